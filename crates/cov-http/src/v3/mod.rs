//! The native API. Speaks problem+json when it refuses; every handler makes one call of the
//! handle and shapes its answer.

mod commands;
mod dispatches;
mod maintenance;
mod nodes;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::Shared;

/// The routes of the native API.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v3/dispatches", get(dispatches::list))
        .route("/api/v3/dispatches/{dispatch}", get(dispatches::show))
        .route("/api/v3/dispatches/{dispatch}/start", post(commands::start))
        .route("/api/v3/dispatches/{dispatch}/cancel", post(commands::cancel))
        .route("/api/v3/dispatches/{dispatch}/redispatch", post(commands::redispatch))
        .route("/api/v3/dispatches/{dispatch}/redispatch-plan", get(dispatches::redispatch_plan))
        .route("/api/v3/dispatches/{dispatch}/nodes/{node}", get(nodes::show))
        .route("/api/v3/purge", post(maintenance::purge))
        .route("/api/v3/backup", post(maintenance::backup))
}
