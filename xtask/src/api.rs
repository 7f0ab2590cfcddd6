//! `try-api`: the native API of the built server, tried by schemathesis with requests made from its description.
//!
//! Hands over to `tests/api/try_api.py`, in an environment of its own. Judges nothing itself.

use std::process::Command;

use crate::{python, repo, run};

/// What the run does, relative to the root.
const SCRIPT: &str = "tests/api/try_api.py";

/// Builds the server and tries it.
///
/// # Errors
///
/// When the server does not build, or an answer is none that its description knows.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut build = Command::new(env!("CARGO"));
    // The features of `test`, so that nothing is compiled twice.
    build.args(["build", "--workspace", "--all-features", "--locked", "--bins"]);
    run::logged("api build", build.current_dir(repo::root()))?;
    let status = script()?.status()?;
    anyhow::ensure!(status.success(), "try-api: {status}");
    Ok(())
}

/// The same on the server that is already built. Returns the verdict as one line.
///
/// # Errors
///
/// As [`run()`].
pub(crate) fn step() -> anyhow::Result<String> {
    let text = run::logged("api tester", &mut script()?)?;
    let verdict = text.lines().rev().find(|line| line.contains("generated"));
    Ok(verdict.unwrap_or_default().trim().to_owned())
}

fn script() -> anyhow::Result<Command> {
    let mut command = Command::new(python::api()?);
    command.arg(SCRIPT).current_dir(repo::root()).env("COV_SERVER_BIN", repo::built("cov-server"));
    Ok(command)
}
