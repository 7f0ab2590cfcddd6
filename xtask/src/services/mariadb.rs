//! How a private MariaDB server is made and run. Durability is off: nothing of it outlives a test run.
//!
//! Only the server's own program is needed: it reads the SQL of its system tables from us.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::account::{self, Account};
use super::server::Kind;
use super::{PASSWORD, PASSWORD_IN_URL, USER, text};
use crate::{run, system};

/// Where packages put the SQL of the system tables.
const SQL_HOMES: [&str; 4] = [
    "/usr/share/mysql",
    "/usr/share/mariadb",
    "/usr/local/share/mysql",
    "/opt/homebrew/share/mysql",
];

/// The files of it that a server cannot do without, in their order. Older versions call them `mysql_…`.
const SQL_FILES: [&str; 3] =
    ["system_tables.sql", "performance_tables.sql", "system_tables_data.sql"];

/// Settings that differ from the defaults, also while the files are made.
const SETTINGS: [&str; 9] = [
    "--character-set-server=utf8mb4",
    "--innodb-buffer-pool-size=32M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=8M",
    "--max-connections=300",
    "--performance-schema=OFF",
    "--skip-log-bin",
    "--skip-name-resolve",
];

/// MariaDB.
pub(super) struct MariaDb;

impl Kind for MariaDb {
    fn name(&self) -> &'static str {
        "MariaDB"
    }

    /// The server's program without the service that would start it.
    fn package(&self) -> Option<&'static str> {
        Some("mariadb-server-core")
    }

    fn program(&self) -> Option<PathBuf> {
        let beside = ["/usr/sbin", "/usr/local/sbin"];
        ["mariadbd", "mysqld"].iter().find_map(|name| {
            let program = system::on_path(name, &beside)?;
            let version = run::text(Command::new(&program).arg("--version")).ok()?;
            version.contains("MariaDB").then_some(program)
        })
    }

    fn address(&self, _home: &Path, port: u16) -> Option<(&'static str, String)> {
        let url = format!("mysql://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/cov");
        Some(("COV_TEST_MYSQL_URL", url))
    }

    fn preparation(&self, home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        let account = lent()?;
        account::directory(&home.join("mariadb"), account)?;
        std::fs::write(home.join("first.sql"), first_statements())?;
        let mut command = self.with_settings(home, account)?;
        command.arg("--bootstrap");
        Ok(Some((command, system_tables()?)))
    }

    fn serving(&self, home: &Path, port: u16) -> anyhow::Result<Command> {
        let mut command = self.with_settings(home, lent()?)?;
        command.args(["--bind-address=127.0.0.1", &format!("--port={port}")]);
        // A relative path is taken from the data directory, and is never too long for a socket.
        command.arg("--socket=mariadb.sock");
        command.arg(format!("--init-file={}", text(&home.join("first.sql"))));
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "ready for connections"
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

impl MariaDb {
    fn with_settings(&self, home: &Path, account: Option<Account>) -> anyhow::Result<Command> {
        let program = self.program().context("MariaDB is not installed")?;
        let mut command = account::program(&program, account, self.stop_signal());
        let data = text(&home.join("mariadb"));
        // Counts only as the first argument.
        command.arg("--no-defaults");
        command.args([format!("--datadir={data}"), format!("--tmpdir={data}")]).args(SETTINGS);
        Ok(command)
    }
}

/// What the server runs before it serves anybody.
fn first_statements() -> String {
    format!(
        "CREATE DATABASE cov;\n\
         CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;\n"
    )
}

fn system_tables() -> anyhow::Result<Vec<u8>> {
    let mut sql = b"CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n".to_vec();
    for file in SQL_FILES {
        let names = ["mariadb", "mysql"].map(|prefix| format!("{prefix}_{file}"));
        let paths =
            SQL_HOMES.iter().flat_map(|home| names.iter().map(|name| Path::new(home).join(name)));
        let content = paths.into_iter().find_map(|path| std::fs::read(path).ok());
        sql.extend(
            content.with_context(|| format!("MariaDB's {file} is in none of {SQL_HOMES:?}"))?,
        );
    }
    Ok(sql)
}

fn lent() -> anyhow::Result<Option<Account>> {
    account::lent(&["mysql", "nobody"])
}
