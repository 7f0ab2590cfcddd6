//! Dispatches: the list, and one with its nodes. Shows no bytes of assets.

use axum::Json;
use axum::extract::State;
use cov_core::error::Fault;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::manifest::{LatticeInfo, NAME_INLINE_BYTES_MAX};
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_dispatcher::store::model::{DispatchRecord, NodeRecord, Query};
use serde::Serialize;

use crate::App;
use crate::error::Refusal;
use crate::params::{DispatchPath, QueryParams};

/// Rows of one page, when the client does not say how many.
const PAGE_DEFAULT: u32 = 100;
/// Most rows of one page.
const PAGE_MAX: u32 = 1_000;

/// One page of the list.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    dispatches: Vec<Summary>,
    /// How many dispatches match, on all pages.
    total: u64,
}

/// Lists dispatches, newest first.
pub(super) async fn list(State(shared): App, params: QueryParams) -> Result<Json<Page>, Refusal> {
    let limit = params.number("limit", PAGE_DEFAULT)?;
    if limit > PAGE_MAX {
        return Err(Refusal::query("limit", format!("Input should be at most {PAGE_MAX}")));
    }
    let query = Query {
        statuses: params.statuses("status")?,
        offset: params.number("offset", 0)?,
        limit,
        ..Query::default()
    };
    let total = shared.handle.count(&query).await?;
    let dispatches = shared.handle.summaries(&query).await?;
    Ok(Json(Page { dispatches, total }))
}

/// What a redispatch took over from the earlier dispatch, or would, and why.
pub(super) async fn redispatch_plan(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
) -> Result<Json<serde_json::Value>, Refusal> {
    let nodes = shared.handle.redispatch_plan(&dispatch).await?;
    Ok(Json(serde_json::json!({ "dispatch_id": dispatch, "nodes": nodes })))
}

/// One dispatch.
#[derive(Debug, Serialize)]
pub(super) struct Dispatch {
    #[serde(flatten)]
    summary: Summary,
    lattice: LatticeInfo,
    nodes: Vec<Node>,
}

/// One of its nodes.
#[derive(Debug, Serialize)]
struct Node {
    node_id: NodeId,
    /// At most 4 KiB of it.
    name: String,
    kind: NodeKind,
    status: Status,
    fault: Option<Fault>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    /// The latest attempt, as `epoch.number`.
    attempt: Option<String>,
    failed_attempts: u32,
    sub_dispatch_id: Option<DispatchId>,
    /// Short name of the executor.
    executor: String,
}

/// Shows a dispatch with its nodes.
pub(super) async fn show(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
) -> Result<Json<Dispatch>, Refusal> {
    let record = shared.handle.record(&dispatch).await?;
    let DispatchRecord { summary, lattice, executors, nodes, .. } = record;
    let shown = |(id, node): (u32, NodeRecord)| {
        let executor = executors.get(node.executor as usize);
        Node {
            node_id: NodeId(id),
            name: shortened(node.name),
            kind: node.kind,
            status: node.state.status,
            fault: node.state.fault,
            started_at: node.state.started_at,
            ended_at: node.state.ended_at,
            attempt: node.state.attempt.as_ref().map(AttemptId::to_string),
            failed_attempts: node.state.failed_attempts,
            sub_dispatch_id: node.sub_dispatch,
            executor: executor.map(|spec| spec.name.clone()).unwrap_or_default(),
        }
    };
    let nodes = (0..).zip(nodes).map(shown).collect();
    Ok(Json(Dispatch { summary, lattice, nodes }))
}

fn shortened(mut name: String) -> String {
    if name.len() > NAME_INLINE_BYTES_MAX {
        name.truncate(name.floor_char_boundary(NAME_INLINE_BYTES_MAX));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shortened("ä".repeat(NAME_INLINE_BYTES_MAX)).len(), NAME_INLINE_BYTES_MAX);
        assert_eq!(shortened(format!("x{}", "ä".repeat(NAME_INLINE_BYTES_MAX))).len(), 4_095);
        assert_eq!(shortened("add".into()), "add");
    }
}
