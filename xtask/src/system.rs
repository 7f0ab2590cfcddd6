//! Programs of the operating system that tests need. Installed with the system's package manager
//! where that is Debian's and we may; otherwise the sentence says what to install.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::{repo, run, say};

/// Asked by Debian's packages before they start a service; the code says "not allowed".
const POLICY: &str = "/usr/sbin/policy-rc.d";
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// Sees to it that `strace` is there: it shows that contents are synced in the right order.
///
/// # Errors
///
/// When it is not there and cannot be installed.
pub(crate) fn strace() -> anyhow::Result<()> {
    if run::text(Command::new("strace").arg("--version")).is_ok() {
        return Ok(());
    }
    install(&["strace"])
}

/// Sees to it that `valgrind` is there: it counts instructions.
///
/// # Errors
///
/// When it is not there and cannot be installed.
pub(crate) fn valgrind() -> anyhow::Result<()> {
    if has_valgrind() { Ok(()) } else { install(&["valgrind"]) }
}

/// Whether `valgrind` is there.
pub(crate) fn has_valgrind() -> bool {
    run::text(Command::new("valgrind").arg("--version")).is_ok()
}

/// Installs packages that hold servers, without letting them start any.
///
/// # Errors
///
/// When they cannot be installed.
pub(crate) fn install_servers(packages: &[&str]) -> anyhow::Result<()> {
    if Path::new(POLICY).exists() {
        return install(packages);
    }
    let ours = repo::target().join("xtask").join("policy-rc.d");
    std::fs::create_dir_all(repo::target().join("xtask"))?;
    std::fs::write(&ours, NO_SERVICES)?;
    let copy = ["-m", "755", &ours.display().to_string(), POLICY];
    as_root("install", &copy).with_context(|| must_be_installed(packages))?;
    let installed = install(packages);
    as_root("rm", &["-f", POLICY])?;
    installed
}

/// Whether this program runs as root.
pub(crate) fn is_root() -> bool {
    run::text(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// The name of the user who runs this program.
///
/// # Errors
///
/// When it has none.
pub(crate) fn user_name() -> anyhow::Result<String> {
    Ok(run::text(Command::new("id").arg("-un"))?.trim().to_owned())
}

/// The file of a program, in the directories of `PATH` or in one of these.
pub(crate) fn on_path(name: &str, further: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(further.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|program| program.is_file())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    say::aside(&format!("installing {} with apt-get", packages.join(", ")));
    let quiet = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"];
    // What is installed already is the user's: nothing may be removed for our sake.
    let options = ["install", "-y", "--no-install-recommends", "--no-remove"];
    as_root("env", &[&quiet[..], &["update"]].concat())
        .and_then(|()| as_root("env", &[&quiet[..], &options, packages].concat()))
        .with_context(|| must_be_installed(packages))
}

fn must_be_installed(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    format!("{packages} missing, and cannot be installed from here: apt-get install {packages}")
}

/// Runs a program as root, with `sudo` where we are not: it must not ask for a password.
fn as_root(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(if is_root() { program } else { "sudo" });
    if !is_root() {
        command.args(["-n", program]);
    }
    run::logged("install packages", command.args(arguments)).map(|_log| ())
}
