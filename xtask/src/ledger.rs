//! `kill-ledger`: workflows whose tasks write down that they ran, on a server that is killed again and again.
//!
//! Builds the server and hands over to `tests/ledger/kill_ledger.py`. Judges nothing itself.

use std::path::Path;
use std::process::Command;

use crate::{python, repo, run};

/// What the run does, relative to the root.
const SCRIPT: &str = "tests/ledger/kill_ledger.py";

/// What `kill-ledger` understands; each is followed by a whole number.
const OPTIONS: [&str; 3] = ["--kills", "--dispatches", "--seed"];

/// The run that is a part of `test`: some seconds, and the same ones each time.
const SMALL: [&str; 6] = ["--kills", "8", "--dispatches", "40", "--seed", "1"];

/// Runs `kill-ledger [--kills N] [--dispatches N] [--seed N]` and shows its report.
///
/// # Errors
///
/// When an option is not known, the server does not build, or the ledger finds a fault.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    check(arguments)?;
    let python = python::sdk()?;
    let mut build = Command::new(env!("CARGO"));
    // The features of `test`, so that nothing is compiled twice.
    build.args(["build", "--workspace", "--all-features", "--locked", "--bins"]);
    run::logged("ledger build", build.current_dir(repo::root()))?;
    let status = script(&python).args(arguments).status()?;
    anyhow::ensure!(status.success(), "kill-ledger: {status}");
    Ok(())
}

/// The small run, on the server that is already built. Returns its verdict as one line.
///
/// # Errors
///
/// When the judge fails its own tests, or the ledger finds a fault.
pub(crate) fn small() -> anyhow::Result<String> {
    let python = python::sdk()?;
    let mut tests = Command::new(&python);
    tests.args(["-m", "pytest", "tests/ledger", "-q", "-p", "no:cacheprovider"]);
    run::logged("ledger tests", tests.current_dir(repo::root()))?;
    let text = run::logged("kill ledger", script(&python).args(SMALL))?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

fn check(arguments: &[String]) -> anyhow::Result<()> {
    for pair in arguments.chunks(2) {
        let is_known = OPTIONS.contains(&pair[0].as_str());
        let is_number = pair.get(1).is_some_and(|text| text.parse::<u32>().is_ok());
        anyhow::ensure!(
            is_known && is_number,
            "no option `{}`: there are `--kills N`, `--dispatches N` and `--seed N`",
            pair.join(" ")
        );
    }
    Ok(())
}

fn script(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(SCRIPT).arg("--server").arg(repo::built("cov-server")).current_dir(repo::root());
    command
}

#[cfg(test)]
mod tests {
    use super::{SMALL, check};

    #[test]
    fn options_are_known_or_refused() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        check(&SMALL.map(str::to_owned)).unwrap();
        check(&[]).unwrap();
        for wrong in ["--kills", "--kills many", "--server x", "--seed 1 --fast"] {
            let error = check(&words(wrong)).unwrap_err().to_string();
            assert!(error.contains("there are `--kills N`"), "{error}");
        }
    }
}
