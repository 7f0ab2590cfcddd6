//! One module per command. Each gathers what it has to say in a report; printing is the output's
//! business.

mod access;
mod backup;
mod cancel;
mod config;
mod db;
mod dispatch;
mod doctor;
mod executors;
mod explain;
mod import_covalent;
mod ls;
mod manual;
mod purge;
mod redispatch;
mod replay;
mod restart;
mod restore;
mod result;
mod run;
mod server_log;
mod show;
mod start;
mod status;
mod stop;
mod task_logs;
mod triggers;
mod version;
mod watch;

use std::time::Duration;

use cov_client::{Client, Filter, RetryPolicy};
use cov_core::status::Status;

use crate::args::Command;
use crate::context::Context;
use crate::error::{Code, Error};
use crate::server_process::Record;

/// How long the server may take to answer a question about itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs one command; returns the exit code.
pub(crate) async fn run(command: Command, context: &Context) -> Result<Code, Error> {
    let Context { state, printer, .. } = context;
    match command {
        Command::Start(start) => start::run(state, &start.server, printer).await,
        Command::Stop(stop) => stop::run(state, &stop, printer).await,
        Command::Restart(start) => restart::run(state, &start.server, printer).await,
        Command::Status => status::run(state, printer).await,
        Command::Run(run) => run::run(context, &run).await,
        Command::Dispatch(dispatch) => dispatch::run(context, &dispatch).await,
        Command::Ls(ls) => ls::run(context, &ls).await,
        Command::Show(show) => show::run(context, &show).await,
        Command::Result(result) => result::run(context, &result).await,
        Command::Logs(logs) => match &logs.dispatch {
            Some(dispatch) => task_logs::run(context, dispatch, &logs).await,
            None => server_log::run(state, &logs, printer).await,
        },
        Command::Watch(watch) => watch::run(context, &watch.dispatch).await,
        Command::Cancel(cancel) => cancel::run(context, &cancel).await,
        Command::Redispatch(redispatch) => redispatch::run(context, &redispatch).await,
        Command::Replay(replay) => replay::run(context, &replay).await,
        Command::Explain(explain) => explain::run(context, &explain.dispatch).await,
        Command::Triggers(triggers) => triggers::run(context, triggers).await,
        Command::Executors => executors::run(context).await,
        Command::Token(asked) => access::tokens(context, asked).await,
        Command::Audit(asked) => access::audit(context, &asked).await,
        Command::Purge(purge) => purge::run(context, &purge).await,
        Command::Backup(backup) => backup::run(context, &backup).await,
        Command::Restore(restore) => restore::run(&restore, printer).await,
        Command::ImportCovalent(asked) => import_covalent::run(context, &asked).await,
        Command::Db(db) => db::run(&db, printer).await,
        Command::Config(config) => config::run(context, &config).await,
        Command::Doctor(doctor) => doctor::run(context, &doctor).await,
        Command::Version => version::run(state, printer).await,
        Command::Completions(completions) => manual::completions(completions.shell, printer),
        Command::Man(man) => manual::pages(&man, printer),
    }
}

/// A client for the server of a record. It asks once: the server is on this machine.
fn client(record: &Record) -> Result<Client, Error> {
    crate::context::builder(&record.address)
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

/// The exit code of a dispatch that has ended so.
fn code_of(status: Status) -> Code {
    match status {
        Status::Failed | Status::Cancelled => Code::Failed,
        _ => Code::Done,
    }
}
