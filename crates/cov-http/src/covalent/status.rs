//! The list of dispatches, which is also the question for the status of one. A question for one
//! dispatch that is under way may be held until it ends; a list is answered at once.

use axum::Json;
use axum::extract::State;
use cov_core::ids::DispatchId;
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_dispatcher::store::model::Query;
use serde::Serialize;

use crate::error::Refusal;
use crate::params::QueryParams;
use crate::{App, Shared};

/// Rows of one answer, when the client does not say how many.
const ROWS_DEFAULT: u32 = 10;
/// Most rows of one answer.
const ROWS_MAX: u32 = 10_000;

#[derive(Debug, Serialize)]
pub(super) struct List {
    dispatches: Vec<Row>,
    metadata: ListMetadata,
}

#[derive(Debug, Serialize)]
struct ListMetadata {
    count: usize,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row {
    Status { dispatch_id: DispatchId, status: Status },
    Full(Box<FullRow>),
}

#[derive(Debug, Serialize)]
struct FullRow {
    dispatch_id: DispatchId,
    root_dispatch_id: DispatchId,
    status: Status,
    name: String,
    electron_num: u32,
    completed_electron_num: u32,
    created_at: String,
    updated_at: String,
    completed_at: Option<Timestamp>,
}

/// Lists dispatches; unknown ids are left out.
pub(super) async fn list(State(shared): App, params: QueryParams) -> Result<Json<List>, Refusal> {
    let status_only = params.flag("status_only", false)?;
    let query = Query {
        // What is no id is unknown.
        ids: params.all("dispatch_id").filter_map(|text| text.parse().ok()).collect(),
        statuses: params.statuses("status")?,
        latest_first: params.flag("latest", true)?,
        offset: params.number("offset", 0)?,
        limit: params.number("count", ROWS_DEFAULT)?.min(ROWS_MAX),
        ..Query::default()
    };
    let names_any = params.all("dispatch_id").next().is_some();
    let found = match query.ids.as_slice() {
        [] if names_any => Vec::new(),
        [dispatch] if status_only => held(&shared, dispatch, &query).await?,
        _ => shared.handle.summaries(&query).await?,
    };
    let dispatches: Vec<Row> = found.into_iter().map(|summary| row(summary, status_only)).collect();
    let metadata = ListMetadata { count: dispatches.len() };
    Ok(Json(List { dispatches, metadata }))
}

async fn held(
    shared: &Shared,
    dispatch: &DispatchId,
    query: &Query,
) -> Result<Vec<Summary>, Refusal> {
    let mut found = shared.handle.summaries(query).await?;
    let status_of = |found: &[Summary]| found.first().map(|summary| summary.status);
    let Some(status) = status_of(&found) else { return Ok(found) };
    let hold = shared.holding.hold_for(dispatch, status);
    if !hold.is_zero() {
        shared.handle.wait_for_end(dispatch, hold).await;
        found = shared.handle.summaries(query).await?;
    }
    shared.holding.note_answer(dispatch, status_of(&found).unwrap_or(status));
    Ok(found)
}

fn row(summary: Summary, status_only: bool) -> Row {
    let Summary { dispatch_id, status, .. } = summary;
    if status_only {
        return Row::Status { dispatch_id, status };
    }
    Row::Full(Box::new(FullRow {
        dispatch_id,
        root_dispatch_id: summary.root_dispatch_id,
        status,
        name: summary.name,
        electron_num: summary.node_count,
        completed_electron_num: summary.completed_node_count,
        created_at: whole_seconds(summary.created_at),
        updated_at: whole_seconds(summary.updated_at),
        completed_at: summary.ended_at,
    }))
}

/// The time without its fraction, as clients know these two members.
fn whole_seconds(at: Timestamp) -> String {
    let text = at.to_string();
    text.split('.').next().unwrap_or(&text).to_owned()
}
