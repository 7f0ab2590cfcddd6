//! One module per command. Each gathers what it has to say in a report; printing is the output's
//! business.

mod backup;
mod logs;
mod purge;
mod restart;
mod restore;
mod start;
mod status;
mod stop;
mod version;

use std::time::Duration;

use cov_client::{Client, Filter, RetryPolicy};
use cov_core::status::Status;

use crate::args::Command;
use crate::error::{Code, Error};
use crate::output::Printer;
use crate::server_process::{Record, State};

/// How long the server may take to answer a question about itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs one command; returns the exit code.
pub(crate) async fn run(command: Command, printer: &Printer) -> Result<Code, Error> {
    let state = State::of_user()?;
    match command {
        Command::Start(start) => start::run(&state, &start.server, printer).await,
        Command::Stop(stop) => stop::run(&state, &stop, printer).await,
        Command::Restart(start) => restart::run(&state, &start.server, printer).await,
        Command::Status => status::run(&state, printer).await,
        Command::Logs(logs) => logs::run(&state, &logs, printer).await,
        Command::Purge(purge) => purge::run(&state, &purge, printer).await,
        Command::Backup(backup) => backup::run(&state, &backup, printer).await,
        Command::Restore(restore) => restore::run(&restore, printer).await,
        Command::Version => version::run(&state, printer).await,
    }
}

/// A client for the server of a record. It asks once: the server is on this machine.
fn client(record: &Record) -> Result<Client, Error> {
    Client::builder(record.address.as_str())
        .retry(RetryPolicy::never())
        .try_timeout(ANSWER_TIMEOUT)
        .build()
        .map_err(|source| Error::NoAnswer { pid: record.pid, source })
}

/// How many dispatches are under way.
async fn under_way(client: &Client) -> Result<u64, cov_client::Error> {
    let statuses = vec![Status::Starting, Status::Running];
    Ok(client.list(&Filter { statuses, limit: 1, ..Filter::default() }).await?.total)
}
