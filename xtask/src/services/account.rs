//! Whom a database server runs as: it refuses to run as root, so root lends it another account.
//!
//! Makes no accounts.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::{run, system};

/// An account that is not root's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    user: u32,
    group: u32,
}

/// The first of the accounts that exists, or none when this program does not run as root.
///
/// # Errors
///
/// When there is none of them.
pub(super) fn lent(names: &[&str]) -> anyhow::Result<Option<Account>> {
    if !system::is_root() {
        return Ok(None);
    }
    let number = |option: &str, name: &str| -> Option<u32> {
        run::text(Command::new("id").args([option, name])).ok()?.trim().parse().ok()
    };
    let found = names
        .iter()
        .find_map(|name| Some(Account { user: number("-u", name)?, group: number("-g", name)? }));
    found.map(Some).with_context(|| format!("none of the accounts {names:?} exists"))
}

/// A directory that belongs to the account, or to this program's own.
///
/// # Errors
///
/// When it cannot be made.
pub(super) fn directory(path: &Path, account: Option<Account>) -> anyhow::Result<()> {
    std::fs::create_dir(path).with_context(|| path.display().to_string())?;
    if let Some(Account { user, group }) = account {
        std::os::unix::fs::chown(path, Some(user), Some(group))?;
    }
    Ok(())
}

/// A program that runs as the account, in a process group of its own: Ctrl-C is for us to pass on.
///
/// Where `setpriv` is there, the kernel sends `on_our_death` to the program should this one be killed.
pub(super) fn program(path: &Path, account: Option<Account>, on_our_death: &str) -> Command {
    if run::text(Command::new("setpriv").args(["--pdeathsig", "keep", "true"])).is_err() {
        let mut command = Command::new(path);
        if let Some(Account { user, group }) = account {
            command.uid(user).gid(group);
        }
        command.process_group(0);
        return command;
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", on_our_death]);
    if let Some(Account { user, group }) = account {
        command.args([
            "--clear-groups",
            "--reuid",
            &user.to_string(),
            "--regid",
            &group.to_string(),
        ]);
    }
    command.arg(path).process_group(0);
    command
}
