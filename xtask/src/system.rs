//! Programs of the operating system that tests need. Installed with the system's package manager
//! where that is Debian's and we may; otherwise the sentence says what to install.

use std::process::Command;

use crate::{run, say};

/// Sees to it that `strace` is there: it shows that contents are synced in the right order.
///
/// # Errors
///
/// When it is not there and cannot be installed.
pub(crate) fn strace() -> anyhow::Result<()> {
    if run::text(Command::new("strace").arg("--version")).is_ok() {
        return Ok(());
    }
    say::line("installing strace with apt-get");
    for arguments in [&["update", "-q"][..], &["install", "-q", "-y", "strace"]] {
        let plain = run::logged("apt-get", Command::new("apt-get").args(arguments));
        if plain.is_err() {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "apt-get"]).args(arguments);
            run::logged("apt-get", &mut sudo).map_err(|error| {
                error.context("strace is missing and cannot be installed: apt-get install strace")
            })?;
        }
    }
    Ok(())
}
