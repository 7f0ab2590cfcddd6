//! `cov status`: whether a server runs in the background, and what it does.

use cov_client::Client;

use crate::commands::{client, under_way};
use crate::error::{Code, Error};
use crate::output::{NotRunning, Printer, Running};
use crate::server_process::{Record, State, uptime};

pub(super) async fn run(state: &State, printer: &Printer) -> Result<Code, Error> {
    let Some(record) = state.running()? else {
        printer.print(&NotRunning {})?;
        return Ok(Code::Unreachable);
    };
    let running = ask(&client(&record)?, &record)
        .await
        .map_err(|source| Error::no_answer(record.pid, source))?;
    printer.print(&running)?;
    Ok(Code::Done)
}

async fn ask(client: &Client, record: &Record) -> Result<Running, cov_client::Error> {
    Ok(Running {
        address: record.address.clone(),
        pid: record.pid,
        uptime_seconds: uptime(record).map(|time| time.as_secs()),
        version: client.health().await?.version,
        ready: client.ready().await?,
        dispatches_under_way: under_way(client).await?,
    })
}
