//! How a private PostgreSQL server is made and run. Durability is off: nothing of it outlives a test run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::account::{self, Account};
use super::server::Kind;
use super::{PASSWORD, PASSWORD_IN_URL, USER, text};
use crate::system;

/// Debian keeps the programs of each version in a directory of its own, outside the path.
const DEBIAN_HOME: &str = "/usr/lib/postgresql";

/// Settings that differ from the defaults; `unix_socket_directories` is empty because a long path cannot be a socket's.
const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "max_connections=300",
    "shared_buffers=32MB",
    "logging_collector=off",
];

/// PostgreSQL.
pub(super) struct Postgres;

impl Kind for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn package(&self) -> Option<&'static str> {
        Some("postgresql")
    }

    fn program(&self) -> Option<PathBuf> {
        system::on_path("postgres", &[]).or_else(|| {
            let homes = std::fs::read_dir(DEBIAN_HOME).ok()?;
            let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
            let newest = homes.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(version)?;
            let program = newest.join("bin").join("postgres");
            program.is_file().then_some(program)
        })
    }

    fn address(&self, _home: &Path, port: u16) -> Option<(&'static str, String)> {
        let url = format!("postgresql://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/postgres");
        Some(("COV_TEST_POSTGRES_URL", url))
    }

    fn preparation(&self, home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        let account = lent()?;
        let data = home.join("postgres");
        account::directory(&data, account)?;
        let password = home.join("password");
        std::fs::write(&password, PASSWORD)?;
        let mut command = account::program(&self.sibling("initdb")?, account, "KILL");
        command.args(["--auth", "scram-sha-256", "--username", USER, "--encoding", "UTF8"]);
        command.args(["--no-locale", "--no-sync", "--no-instructions"]);
        command.args(["--pwfile", &text(&password), "--pgdata", &text(&data)]);
        Ok(Some((command, Vec::new())))
    }

    fn serving(&self, home: &Path, port: u16) -> anyhow::Result<Command> {
        let program = self.sibling("postgres")?;
        let mut command = account::program(&program, lent()?, self.stop_signal());
        command.args(["-D", &text(&home.join("postgres")), "-p", &port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "database system is ready to accept connections"
    }

    /// With SIGTERM it would wait for its clients to leave.
    fn stop_signal(&self) -> &'static str {
        "INT"
    }
}

impl Postgres {
    /// A program that stands beside the server's: it has to be of the same version.
    fn sibling(&self, name: &str) -> anyhow::Result<PathBuf> {
        let program = self.program().context("PostgreSQL is not installed")?;
        let real = program.canonicalize().unwrap_or(program);
        Ok(real.with_file_name(name))
    }
}

fn lent() -> anyhow::Result<Option<Account>> {
    account::lent(&["postgres", "nobody"])
}
