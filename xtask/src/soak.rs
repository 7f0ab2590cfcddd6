//! `soak`: a server at half of what it can do, for minutes; what grows that should not?
//!
//! Builds the server as it is released and hands over to `tests/soak/soak.py`. Judges nothing itself.

use std::process::Command;

use crate::{python, repo, run};

/// What the run does, relative to the root.
const SCRIPT: &str = "tests/soak/soak.py";

/// Runs `soak [--minutes N]` and shows its table.
///
/// # Errors
///
/// When an option is not known, the server does not build, or something grew.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    check(arguments)?;
    let python = python::sdk()?;
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--locked", "--package", "cov-server"]);
    run::logged("soak build", build.current_dir(repo::root()))?;
    let mut script = Command::new(python);
    script.arg(repo::root().join(SCRIPT)).arg("--server");
    script.arg(repo::target().join("release").join("cov-server"));
    let status = script.args(arguments).status()?;
    anyhow::ensure!(status.success(), "soak: {status}");
    Ok(())
}

fn check(arguments: &[String]) -> anyhow::Result<()> {
    match arguments {
        [] => Ok(()),
        [option, minutes]
            if option == "--minutes"
                && minutes.parse::<f64>().is_ok_and(|minutes| minutes > 0.0) =>
        {
            Ok(())
        }
        _ => anyhow::bail!("there is only `soak [--minutes N]`"),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn minutes_are_a_number() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for right in ["", "--minutes 30", "--minutes 0.5"] {
            assert!(check(&words(right)).is_ok(), "{right}");
        }
        for wrong in ["--minutes", "--minutes x", "--minutes -1", "--hours 1", "30"] {
            assert!(check(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
