//! `cov db`: the database, checked or migrated by the server's program, which alone knows it.

use std::process::Stdio;

use tokio::process::Command;

use crate::args::{Db, DbPlace};
use crate::error::{Code, Error};
use crate::output::Printer;
use crate::server_process::{FATAL, program};
use crate::view::upkeep::Database;

pub(super) async fn run(db: &Db, printer: &Printer) -> Result<Code, Error> {
    let (flag, what, DbPlace { data_dir, config }) = match db {
        Db::Migrate(place) => ("--migrate-only", "the database was not migrated", place),
        Db::Check(place) => ("--check-database", "the database was not checked", place),
    };
    let mut command = Command::new(program()?);
    command.arg(flag);
    for (flag, path) in [("--data-dir", data_dir), ("--config", config)] {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.map_err(|source| Error::System { what: "cov-server", source })?;
    let Ok(database) = serde_json::from_slice::<Database>(&output.stdout) else {
        let said = String::from_utf8_lossy(&output.stderr);
        let from = said.rfind(FATAL).map_or(0, |at| at + FATAL.len());
        let said = said[from..].to_owned();
        return Err(Error::ServerProgram { what, how: output.status.to_string(), said });
    };
    printer.print(&database)?;
    Ok(if database.problems.is_empty() { Code::Done } else { Code::Failed })
}
