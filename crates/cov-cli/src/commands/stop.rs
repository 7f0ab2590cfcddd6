//! `cov stop`: ends the server in the background. Nothing is cancelled by it.

use crate::args::Stop;
use crate::commands::{client, under_way};
use crate::error::{Code, Error};
use crate::output::{NotRunning, Printer, Stopped};
use crate::server_process::{self, State};

pub(super) async fn run(state: &State, stop: &Stop, printer: &Printer) -> Result<Code, Error> {
    let _lock = state.lock()?;
    let Some(record) = state.running()? else {
        printer.print(&NotRunning {})?;
        return Ok(Code::Done);
    };
    // A server that does not answer is stopped all the same.
    let under_way = under_way(&client(&record)?).await.ok();
    server_process::stop(&record, stop.now).await?;
    printer.print(&Stopped { pid: record.pid, under_way })?;
    Ok(Code::Done)
}
