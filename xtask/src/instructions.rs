//! `instructions`: counts what the hot paths take, and holds it against the figures in `benches/instructions.json`.
//!
//! Runs the scenarios of `benches/examples/instructions` under callgrind. Says nothing of time: that is for the
//! benches.

mod figures;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::Context as _;

use crate::{repo, run, say, system};
use figures::{Counts, Figures, grouped};

const FIGURES: &str = "benches/instructions.json";

/// The figures are of whole builds: incremental ones divide the code otherwise, and inline less. How much that makes, in
/// percent. To build one's crates the other way only for this would throw their incremental builds away.
const INCREMENTAL_PERCENT: f64 = 10.0;

/// How the scenarios are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    /// Not incrementally, as continuous integration does.
    Whole,
    /// As the tests were built.
    AsIs,
}

/// Scenarios that are counted side by side.
const TOGETHER: usize = 2;

/// Runs `instructions [--update]`.
///
/// # Errors
///
/// When a count is over its figure, or cannot be taken.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    system::valgrind()?;
    match arguments {
        [] => say::line(&check(Build::Whole)?),
        [only] if only == "--update" => update()?,
        _ => anyhow::bail!("`instructions` takes `--update` and nothing else"),
    }
    Ok(())
}

/// Counts and compares, where valgrind is there.
///
/// # Errors
///
/// When a count is over its figure; when `must` is set, also when valgrind is missing and cannot be installed.
pub(crate) fn step(must: bool) -> anyhow::Result<String> {
    if must {
        system::valgrind()?;
    } else if !system::has_valgrind() {
        return Ok("skipped: no valgrind".to_owned());
    }
    let is_whole = must || std::env::var("CARGO_INCREMENTAL").is_ok_and(|value| value == "0");
    check(if is_whole { Build::Whole } else { Build::AsIs })
}

fn check(build: Build) -> anyhow::Result<String> {
    let figures = Figures::read(&std::fs::read_to_string(file())?, std::env::consts::ARCH)?;
    if figures.is_empty() {
        return Ok(format!("skipped: {FIGURES} has none for {}", std::env::consts::ARCH));
    }
    let counts = count_all(build)?;
    let allowance = if build == Build::Whole { 0.0 } else { INCREMENTAL_PERCENT };
    let judgement = figures.judge(&counts, allowance);
    for gain in &judgement.gains {
        say::line(&format!("instructions: better: {gain}"));
    }
    for fault in &judgement.faults {
        say::line(&format!("instructions: {fault}"));
    }
    anyhow::ensure!(
        judgement.faults.is_empty(),
        "{} paths take more than the committed figures. Where: callgrind_annotate {}. If it has to be so: cargo xtask \
         instructions --update, and say in the commit why",
        judgement.faults.len(),
        profile("NAME").display()
    );
    let said = format!("{} paths as committed", counts.len() - judgement.gains.len());
    Ok(match judgement.gains.len() {
        0 => said,
        better => {
            format!("{said}, {better} better: write it down with cargo xtask instructions --update")
        }
    })
}

fn update() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file()).unwrap_or_else(|_missing| "{}".to_owned());
    let figures = Figures::read(&text, std::env::consts::ARCH)?;
    let counts = count_all(Build::Whole)?;
    std::fs::write(file(), figures.write(&text, std::env::consts::ARCH, &counts)?)?;
    for (name, count) in &counts {
        say::line(&format!("{name:<20} {:>15}", grouped(*count)));
    }
    Ok(())
}

fn file() -> PathBuf {
    repo::root().join(FIGURES)
}

/// What callgrind writes of a scenario's longer run.
fn profile(name: &str) -> PathBuf {
    repo::target().join("xtask").join(format!("instructions-{name}.callgrind"))
}

/// Counts every scenario.
fn count_all(how: Build) -> anyhow::Result<Counts> {
    build(how)?;
    let program = repo::built("examples/instructions");
    let names = run::text(&mut Command::new(&program))?;
    let names: Mutex<Vec<&str>> = Mutex::new(names.lines().collect());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some(name) = names.lock().ok().and_then(|mut names| names.pop()) {
                    let count = one_round(&program, name).map(|count| (name.to_owned(), count));
                    outcomes.lock().map(|mut outcomes| outcomes.push(count)).ok();
                }
            });
        }
    });
    let outcomes =
        outcomes.into_inner().map_err(|_poisoned| anyhow::anyhow!("a count broke off"))?;
    outcomes.into_iter().collect()
}

/// Builds with the features that the whole build has: they do not depend on what was built before.
fn build(how: Build) -> anyhow::Result<()> {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--workspace", "--all-features", "--locked", "--example", "instructions"]);
    build.env("CARGO_TERM_COLOR", "never").current_dir(repo::root());
    if how == Build::Whole {
        build.env("CARGO_INCREMENTAL", "0");
    }
    run::logged("instructions build", &mut build).map(|_log| ())
}

/// The instructions of one round: what the second one adds. Start, preparation and end are in both runs.
fn one_round(program: &Path, name: &str) -> anyhow::Result<u64> {
    let [one, two] = [1, 2].map(|rounds| all_of(program, name, rounds));
    let (one, two) = (one?, two?);
    two.checked_sub(one)
        .filter(|round| *round > 0)
        .with_context(|| format!("{name}: 2 rounds take {two}, 1 takes {one}"))
}

/// The instructions of a whole process, in all of its threads.
fn all_of(program: &Path, name: &str, rounds: usize) -> anyhow::Result<u64> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile(name).display())]);
    command.arg(program).args([name, &rounds.to_string()]);
    let text = run::logged(&format!("instructions {name} {rounds}"), &mut command)?;
    collected(&text).with_context(|| format!("callgrind did not say what it has counted of {name}"))
}

/// The count in what callgrind prints at the end of a process.
fn collected(text: &str) -> Option<u64> {
    let mut lines = text.lines().rev();
    lines.find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_count_is_found_in_what_callgrind_prints() {
        let text =
            "==7== Events    : Ir\n==7== Collected : 12345\n==7== \n==7== I   refs:      12,345\n";
        assert_eq!(collected(text), Some(12_345));
        assert_eq!(collected("valgrind: no such tool\n"), None);
    }
}
