//! What tasks outside of our own pool say of themselves: which sub-dispatch they built, and how
//! their job ended.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use cov_core::error::ErrorCode;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Refusal;
use crate::params::NodePath;
use crate::{App, body};

#[derive(Debug, Deserialize)]
struct Link {
    sub_dispatch_id: String,
}

/// Makes a dispatch the child of a node.
pub(super) async fn link(
    State(shared): App,
    path: NodePath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let link: Link = body::json(body, &headers, &shared.options.limits).await?;
    let child: DispatchId = link.sub_dispatch_id.parse().map_err(|_error| {
        let loc = vec!["body".into(), "sub_dispatch_id".into()];
        Refusal::at(ErrorCode::InvalidBody, "value_error", loc, "expected a dispatch id")
    })?;
    shared.handle.link(&path.dispatch, path.node, &child).await?;
    Ok(Json(Value::Null))
}

#[derive(Debug, Deserialize)]
struct JobEvent {
    status: Status,
}

/// Takes the report of a job that ended. A late one changes nothing.
pub(super) async fn job_event(
    State(shared): App,
    path: NodePath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<String>, Refusal> {
    let event: JobEvent = body::json(body, &headers, &shared.options.limits).await?;
    if !event.status.is_terminal() {
        let loc = vec!["body".into(), "status".into()];
        let said = "Input should be 'COMPLETED', 'FAILED' or 'CANCELLED'";
        return Err(Refusal::at(ErrorCode::InvalidBody, "enum", loc, said));
    }
    let NodePath { dispatch, node, .. } = path;
    shared.handle.job_report(&dispatch, node, event.status).await?;
    let task = format!("{{'dispatch_id': '{dispatch}', 'node_id': {node}}}");
    let detail = format!("{{'status': '{}'}}", event.status);
    Ok(Json(format!("Task {task} marked ready with detail {detail}")))
}
