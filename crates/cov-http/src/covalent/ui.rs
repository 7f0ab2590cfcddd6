//! What Covalent's command line and `Lattice.draw` ask for beside the workflow calls. Draws
//! nothing.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Html;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_dispatcher::store::model::Query;
use serde::Serialize;
use serde_json::{Value, json};

use crate::App;
use crate::body::Chunks;
use crate::error::Refusal;
use crate::params::QueryParams;

/// Rows of one answer, when the client does not say how many.
const ROWS_DEFAULT: u32 = 10;
/// Most rows of one answer.
const ROWS_MAX: u32 = 1_000;

const INDEX: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
    <title>cov</title></head>\n<body><h1>cov</h1>\n<p>The workflow dispatch server is running. \
    Its API is under <code>/api/v3</code>; the Covalent SDK uses <code>/api/v2</code>.</p>\
    </body></html>\n";

/// Tells browsers and `covalent start` that the server is up.
pub(super) async fn index() -> Html<&'static str> {
    Html(INDEX)
}

/// Takes a lattice to draw, and leaves it at that.
pub(super) async fn draw(
    State(shared): App,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let limits = &shared.options.limits;
    Chunks::new(body, &headers, limits.manifest_bytes, limits)?.discard().await?;
    Ok(Json(json!({ "ok": true })))
}

#[derive(Debug, Serialize)]
pub(super) struct Overview {
    items: Vec<Item>,
    total_count: u64,
}

#[derive(Debug, Serialize)]
struct Item {
    dispatch_id: DispatchId,
    lattice_name: String,
    /// Milliseconds, of what has ended.
    runtime: Option<u64>,
    total_electrons: u32,
    total_electrons_completed: u32,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    status: Status,
    updated_at: Timestamp,
}

/// The list that `covalent status` counts the running workflows by.
pub(super) async fn list(
    State(shared): App,
    params: QueryParams,
) -> Result<Json<Overview>, Refusal> {
    let all = params.all("status_filter").any(|filter| filter == "ALL");
    let statuses = if all { Vec::new() } else { params.statuses("status_filter")? };
    let query = Query {
        statuses,
        roots_only: true,
        offset: params.number("offset", 0)?,
        limit: params.number("count", ROWS_DEFAULT)?.min(ROWS_MAX),
        ..Query::default()
    };
    let total_count = shared.handle.count(&query).await?;
    let found = shared.handle.summaries(&query).await?;
    let items = found.into_iter().map(|summary| Item {
        runtime: summary.started_at.zip(summary.ended_at).map(|(started, ended)| {
            u64::try_from(ended.since(started).as_millis()).unwrap_or(u64::MAX)
        }),
        dispatch_id: summary.dispatch_id,
        lattice_name: summary.name,
        total_electrons: summary.node_count,
        total_electrons_completed: summary.completed_node_count,
        started_at: summary.started_at,
        ended_at: summary.ended_at,
        status: summary.status,
        updated_at: summary.updated_at,
    });
    Ok(Json(Overview { items: items.collect(), total_count }))
}
