//! Dispatches: the list, and one with its nodes. Shows no bytes of assets.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::Edge;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::LatticeInfo;
use cov_core::manifest::document::{Document, Source};
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_dispatcher::store::model::{DispatchRecord, NodeRecord, Query};
use serde::Serialize;

use crate::error::Refusal;
use crate::params::{DispatchPath, QueryParams};
use crate::v3::nodes::{self, Node, Sizes};
use crate::{App, Shared};

/// Rows of one page, when the client does not say how many.
const PAGE_DEFAULT: u32 = 100;
/// Most rows of one page.
const PAGE_MAX: u32 = 1_000;

/// Longest wait for the end of a dispatch. Seconds.
const WAIT_MAX: u64 = 60;

/// Where the summary of a failure is.
const ERROR: AssetAddress = AssetAddress { node: None, key: AssetKey::Error };

/// One page of the list.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    dispatches: Vec<Summary>,
    /// How many dispatches match, on all pages.
    total: u64,
    /// Asks for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<DispatchId>,
}

/// Lists dispatches, newest first.
pub(super) async fn list(State(shared): App, params: QueryParams) -> Result<Json<Page>, Refusal> {
    let limit = params.number("limit", PAGE_DEFAULT)?;
    if limit > PAGE_MAX {
        return Err(Refusal::query("limit", format!("Input should be at most {PAGE_MAX}")));
    }
    let all = Query {
        statuses: params.statuses("status")?,
        name: params.last("name").map(str::to_owned),
        prefix: params.last("prefix").map(str::to_owned),
        since: params.parsed("since")?,
        until: params.parsed("until")?,
        roots_only: params.flag("roots", false)?,
        offset: params.number("offset", 0)?,
        limit,
        ..Query::default()
    };
    let total = shared.handle.count(&all).await?;
    let query = Query { behind: cursor(&shared, &params).await?, ..all };
    let dispatches = shared.handle.summaries(&query).await?;
    let is_full = limit > 0 && dispatches.len() == limit as usize;
    let last = dispatches.last().filter(|_| is_full).map(|last| last.dispatch_id.clone());
    Ok(Json(Page { dispatches, total, cursor: last }))
}

/// The dispatch behind which a page begins. One that was purged meanwhile has no place any more.
async fn cursor(shared: &Shared, params: &QueryParams) -> Result<Option<DispatchId>, Refusal> {
    let Some(behind) = params.parsed::<DispatchId>("cursor")? else { return Ok(None) };
    match shared.handle.summary(&behind).await {
        Ok(_there) => Ok(Some(behind)),
        Err(cov_dispatcher::Error::DispatchNotFound { .. }) => {
            Err(Refusal::query("cursor", "nothing stands there any more; begin the list again"))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a redispatch took over from the earlier dispatch, or would, and why. With `reuse`: what
/// dispatching it again would take over, also if it is a redispatch itself.
pub(super) async fn redispatch_plan(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
    params: QueryParams,
) -> Result<Json<serde_json::Value>, Refusal> {
    let nodes = match params.last("reuse") {
        None => shared.handle.redispatch_plan(&dispatch).await?,
        Some(_) => {
            let reuse = params.flag("reuse", true)?;
            shared.handle.redispatch_preview(&dispatch, reuse).await?
        }
    };
    Ok(Json(serde_json::json!({ "dispatch_id": dispatch, "nodes": nodes })))
}

/// One dispatch.
#[derive(Debug, Serialize)]
pub(super) struct Dispatch {
    #[serde(flatten)]
    summary: Summary,
    lattice: LatticeInfo,
    /// Why it failed: its failed nodes, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The assets of the dispatch and the lattice that are there, with their sizes in bytes.
    assets: Sizes,
    nodes: Vec<Node>,
}

/// The edges of a dispatch. They never change.
#[derive(Debug, Serialize)]
pub(super) struct Edges {
    dispatch_id: DispatchId,
    /// Grouped by target.
    edges: Vec<Edge>,
    /// All that its client sent, but for the bytes of the assets.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Document>,
}

/// Shows how the nodes of a dispatch hang together; on request, with all that is needed to
/// dispatch it again.
pub(super) async fn graph(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
    params: QueryParams,
) -> Result<Json<Edges>, Refusal> {
    if !params.flag("manifest", false)? {
        let edges = shared.handle.record(&dispatch).await?.edges;
        return Ok(Json(Edges { dispatch_id: dispatch, edges, manifest: None }));
    }
    let manifest = shared.handle.manifest(&dispatch).await?;
    let document = Document::of(&manifest, |_| Source::Elsewhere);
    let edges = manifest.edges;
    Ok(Json(Edges { dispatch_id: dispatch, edges, manifest: Some(document) }))
}

/// Waits as long as the query asks, but no longer than until the dispatch has ended.
async fn wait(shared: &Shared, dispatch: &DispatchId, params: &QueryParams) -> Result<(), Refusal> {
    let at_most = wait_of(params)?;
    if !at_most.is_zero() {
        shared.handle.wait_for_end(dispatch, at_most).await;
    }
    Ok(())
}

/// How long the query asks to wait for the end of a dispatch; zero if it does not.
pub(super) fn wait_of(params: &QueryParams) -> Result<Duration, Refusal> {
    let seconds: u64 = params.number("wait", 0)?;
    if seconds > WAIT_MAX {
        return Err(Refusal::query("wait", format!("Input should be at most {WAIT_MAX}")));
    }
    Ok(Duration::from_secs(seconds))
}

/// Shows the short record of a dispatch.
pub(super) async fn summary(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
    params: QueryParams,
) -> Result<Json<Summary>, Refusal> {
    wait(&shared, &dispatch, &params).await?;
    Ok(Json(shared.handle.summary(&dispatch).await?))
}

/// Shows a dispatch with its nodes.
pub(super) async fn show(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
    params: QueryParams,
) -> Result<Json<Dispatch>, Refusal> {
    wait(&shared, &dispatch, &params).await?;
    let record = shared.handle.record(&dispatch).await?;
    let DispatchRecord { summary, lattice, executors, nodes, assets, .. } = record;
    let error = match summary.status {
        Status::Failed => Some(nodes::tail(&shared.handle, &dispatch, ERROR).await?),
        _ => None,
    };
    let assets = nodes::sizes(&assets);
    let shown = |(id, node): (u32, NodeRecord)| Node::of(NodeId(id), node, &executors);
    let nodes = (0..).zip(nodes).map(shown).collect();
    Ok(Json(Dispatch { summary, lattice, error, assets, nodes }))
}
