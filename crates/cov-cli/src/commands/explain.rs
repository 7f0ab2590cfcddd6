//! `cov explain`: gathers what explains a dispatch.

use cov_client::{Filter, TriggerFilter};
use cov_core::status::Status;

use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::explain::{Explanation, Facts};

/// How many failures are looked at.
const FAILURES_MAX: usize = 3;

pub(super) async fn run(context: &Context, text: &str) -> Result<Code, Error> {
    let client = context.client(Patience::Once)?;
    let told = |error| context.told(error);
    let id = find::dispatch(context, &client, text).await?;
    let edges = client.edges(&id).await.map_err(told)?;
    let executors = client.own_executors().await.map_err(told)?;
    let dispatch = client.get(&id).await.map_err(told)?;
    let mut failures = Vec::new();
    let failed = dispatch.nodes.iter().filter(|node| node.status == Status::Failed);
    for node in failed.take(FAILURES_MAX) {
        let shown = client.node(&id, node.node_id).await.map_err(told)?;
        failures.extend(shown.failure.map(|failure| (node.node_id, failure)));
    }
    let status = dispatch.summary.status;
    let mut running_elsewhere = 0;
    if !status.is_terminal() {
        let statuses = vec![Status::Running];
        let running = Filter { statuses, limit: 0, ..Filter::default() };
        let running = client.list(&running).await.map_err(told)?.total;
        let own = u64::from(status == Status::Running);
        running_elsewhere = usize::try_from(running.saturating_sub(own)).unwrap_or(usize::MAX);
    }
    let mut triggers = 0;
    if status == Status::NewObject {
        let of_it = TriggerFilter { dispatch_id: Some(id), ..TriggerFilter::default() };
        // A server without triggers has none that would start it.
        triggers = client.triggers(&of_it).await.map_or(0, |page| page.triggers.len());
    }
    let facts = Facts { dispatch, edges, executors, failures, running_elsewhere, triggers };
    context.printer.print(&Explanation::of(facts, context.printer.screen()))?;
    Ok(Code::Done)
}
