//! `cov purge`: removes ended dispatches from the server in the background.

use std::time::Duration;

use cov_client::RetryPolicy;

use crate::args::Purge;
use crate::error::{Code, Error};
use crate::output::{NotRunning, Printer, Purged};
use crate::server_process::State;

/// How long a purge may take.
const PURGE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

pub(super) async fn run(state: &State, purge: &Purge, printer: &Printer) -> Result<Code, Error> {
    let Some(record) = state.running()? else {
        printer.print(&NotRunning {})?;
        return Ok(Code::Unreachable);
    };
    let refused = |source| Error::Refused { what: "the purge", source };
    let client = crate::context::builder(&record.address)
        .retry(RetryPolicy::never())
        .try_timeout(PURGE_TIMEOUT)
        .build()
        .map_err(refused)?;
    let Purge { older_than, status, dry_run } = purge;
    let asked =
        cov_client::Purge { older_than: *older_than, statuses: status.clone(), dry_run: *dry_run };
    let cov_client::Purged { dispatches, contents, bytes } =
        client.purge(&asked).await.map_err(refused)?;
    printer.print(&Purged { dry_run: *dry_run, dispatches, contents, bytes })?;
    Ok(Code::Done)
}
