//! Runs one hot path so many times, for `cargo xtask instructions`, which counts the instructions of the process. What
//! one round costs is the difference between two runs with different numbers of rounds, so everything else is the same
//! in both: each scenario prepares the same, whatever the number.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on has to end")]

mod scenarios;

use std::io::Write as _;

/// The allocator of the C library differs from one release to the next.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Without arguments it lists the scenarios; otherwise they are a scenario and the number of its rounds.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds] = arguments.as_slice() else {
        for (name, _) in scenarios::ALL {
            writeln!(std::io::stdout(), "{name}").expect("somebody reads");
        }
        return;
    };
    let rounds: usize = rounds.parse().expect("rounds are a number");
    assert!(rounds <= scenarios::ROUNDS_MAX, "only so many rounds are prepared");
    let scenario = scenarios::ALL.iter().find(|(known, _)| known == name);
    let (_, run) = scenario.expect("a scenario has this name");
    run(rounds);
}
