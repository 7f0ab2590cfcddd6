//! Dispatches: the list, and one with its nodes. Shows no bytes of assets.

use axum::Json;
use axum::extract::State;
use cov_core::ids::NodeId;
use cov_core::manifest::LatticeInfo;
use cov_core::result::Summary;
use cov_dispatcher::store::model::{DispatchRecord, NodeRecord, Query};
use serde::Serialize;

use crate::App;
use crate::error::Refusal;
use crate::params::{DispatchPath, QueryParams};
use crate::v3::nodes::Node;

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

/// Shows a dispatch with its nodes.
pub(super) async fn show(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
) -> Result<Json<Dispatch>, Refusal> {
    let record = shared.handle.record(&dispatch).await?;
    let DispatchRecord { summary, lattice, executors, nodes, .. } = record;
    let shown = |(id, node): (u32, NodeRecord)| Node::of(NodeId(id), node, &executors);
    let nodes = (0..).zip(nodes).map(shown).collect();
    Ok(Json(Dispatch { summary, lattice, nodes }))
}
