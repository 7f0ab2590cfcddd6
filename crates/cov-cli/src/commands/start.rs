//! `cov start`: a server in the background, ready when the command returns.

use std::path::PathBuf;

use cov_client::Kind;

use crate::args::ServerOptions;
use crate::commands::client;
use crate::error::{Code, Error};
use crate::output::{AlreadyRunning, Printer, Started};
use crate::server_process::{self, Lock, Record, State, launch};

pub(super) async fn run(
    state: &State,
    options: &ServerOptions,
    printer: &Printer,
) -> Result<Code, Error> {
    let (options, folder) = given(options)?;
    let lock = state.lock()?;
    if let Some(record) = state.running()?
        && answers(&record).await?
    {
        if !options.is_empty() && options != record.options {
            return Err(Error::OtherOptions { address: record.address, pid: record.pid });
        }
        printer.print(&AlreadyRunning { address: record.address, pid: record.pid })?;
        return Ok(Code::Done);
    }
    begin(state, &lock, options, folder, printer).await
}

/// Whether the server of a process that lives listens. One that does not is about to end, since
/// it was ready when it was remembered: somebody killed or stopped it. Its end is waited for.
async fn answers(record: &Record) -> Result<bool, Error> {
    match client(record)?.health().await {
        Err(error) if error.kind() == Kind::Unreachable => {
            server_process::wait_for_end(record).await?;
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// Starts the server and says where it is.
pub(super) async fn begin(
    state: &State,
    lock: &Lock,
    options: Vec<String>,
    folder: PathBuf,
    printer: &Printer,
) -> Result<Code, Error> {
    let record = launch(state, lock, options, folder).await?;
    printer.print(&Started { address: record.address, pid: record.pid, log: state.log() })?;
    Ok(Code::Done)
}

/// The options as text, and the folder that they were given in.
pub(super) fn given(options: &ServerOptions) -> Result<(Vec<String>, PathBuf), Error> {
    let what = "the current folder";
    let folder = std::env::current_dir().map_err(|source| Error::System { what, source })?;
    let line = options.line().map_err(|source| Error::System { what, source })?;
    let options = line.into_iter().map(|word| word.into_string().map_err(Error::NoText));
    Ok((options.collect::<Result<_, _>>()?, folder))
}
