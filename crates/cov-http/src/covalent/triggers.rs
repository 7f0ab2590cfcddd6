//! The trigger endpoints of a server that runs no triggers, answered as Covalent's server does
//! when it was started without them.

use axum::Json;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// Says that no triggers run here.
pub(super) async fn status() -> Json<Value> {
    Json(json!({ "status": "disabled" }))
}

/// Refuses to register or to stop a trigger.
pub(super) async fn disabled() -> (StatusCode, Json<Value>) {
    let detail = "Trigger endpoints are disabled as requested";
    (StatusCode::BAD_REQUEST, Json(json!({ "detail": detail })))
}
