//! Covalent's routes and shapes: what the unmodified SDK and its tasks say over HTTP. The only
//! place that knows them; everything else of the project speaks in the types of `cov-core`.

mod assets;
mod dispatches;
mod escape;
mod export;
mod files;
mod holding;
mod long_names;
mod manifest;
mod names;
mod needs;
mod outline;
mod refused;
mod sources;
mod status;
mod tarball;
mod tasks;
mod triggers;
mod ui;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, patch, post, put};

use crate::Shared;
use crate::triggers::TriggerShared;

pub(crate) use self::holding::Holding;
pub(crate) use self::needs::LINES;
pub(crate) use self::refused::Refused;
#[cfg(test)]
pub(crate) use self::refused::told;
pub use self::tarball::StagingArchive;
pub(crate) use self::triggers::nothing_else;

/// The routes that the SDK and its tasks call.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(ui::index))
        .route("/api/draw", post(ui::draw))
        .route("/api/v1/dispatches/list", get(ui::list))
        .route("/api/v2/dispatches", post(dispatches::register).get(status::list))
        .route("/api/v2/dispatches/{dispatch}", get(dispatches::export))
        .route("/api/v2/dispatches/{dispatch}/redispatches", post(dispatches::redispatch))
        .route("/api/v2/dispatches/{dispatch}/status", put(dispatches::set_status))
        .route("/api/v2/dispatches/{dispatch}/electrons/{node}", patch(tasks::link))
        .route(
            "/api/v2/dispatches/{dispatch}/electrons/{node}/assets/{key}",
            get(assets::locate).post(assets::announce),
        )
        .route("/api/v2/dispatches/{dispatch}/electrons/{node}/job", put(tasks::job_event))
        .route("/api/v0/files/{*key}", get(files::download).put(files::upload))
}

/// The routes by which the SDK registers and stops triggers.
pub(crate) fn trigger_routes() -> Router<Arc<TriggerShared>> {
    Router::new()
        .route("/api/triggers/status", get(triggers::status))
        .route("/api/triggers/healthcheck", get(triggers::healthcheck))
        .route("/api/triggers/register", post(triggers::register))
        .route("/api/triggers/stop_observe", post(triggers::stop_observe))
}
