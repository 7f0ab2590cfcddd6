//! Whether the process lives, and whether it serves. Asks nobody but the handle.

use axum::Json;
use axum::extract::State;
use cov_core::error::ErrorCode;
use serde_json::{Value, json};

use crate::App;
use crate::error::Refusal;

/// Answers as long as the process does, with its version.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Answers 503 while the server is stopping.
pub(crate) async fn ready(State(shared): App) -> Result<Json<Value>, Refusal> {
    if !shared.handle.is_ready() {
        return Err(Refusal::new(ErrorCode::Stopping, "the server is stopping"));
    }
    Ok(Json(json!({ "status": "ready" })))
}
