//! `cov purge`: removes ended dispatches from a server.

use std::time::Duration;

use crate::args::Purge;
use crate::context::Context;
use crate::error::{Code, Error};
use crate::output::{NotRunning, Purged};

/// How long a purge may take.
const PURGE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

pub(super) async fn run(context: &Context, purge: &Purge) -> Result<Code, Error> {
    let printer = &context.printer;
    let Some(client) = context.client_for(PURGE_TIMEOUT)? else {
        printer.print(&NotRunning {})?;
        return Ok(Code::Unreachable);
    };
    let Purge { older_than, status, dry_run } = purge;
    let asked =
        cov_client::Purge { older_than: *older_than, statuses: status.clone(), dry_run: *dry_run };
    let cov_client::Purged { dispatches, contents, bytes } =
        client.purge(&asked).await.map_err(|error| context.told(error))?;
    printer.print(&Purged { dry_run: *dry_run, dispatches, contents, bytes })?;
    Ok(Code::Done)
}
