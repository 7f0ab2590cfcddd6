//! The native API. Speaks problem+json when it refuses; every handler makes one call of the
//! handle and shapes its answer.

mod access;
mod commands;
mod contents;
mod dispatches;
mod events;
mod executors;
mod follow;
mod intake;
mod maintenance;
mod nodes;
mod openapi;
mod table;
mod triggers;

use std::sync::Arc;

use axum::Router;

use crate::Shared;
use crate::triggers::TriggerShared;
use crate::v3::table::Table;

/// The routes of the native API. A new one is also described in `docs/openapi.json`.
fn table() -> Table<Arc<Shared>> {
    Table::new()
        .get("/api/v3/dispatches", dispatches::list)
        .post("/api/v3/dispatches", intake::create)
        .get("/api/v3/dispatches/{dispatch}", dispatches::show)
        .get("/api/v3/dispatches/{dispatch}/graph", dispatches::graph)
        .get("/api/v3/dispatches/{dispatch}/summary", dispatches::summary)
        .get("/api/v3/dispatches/{dispatch}/events", events::of_one)
        .get("/api/v3/dispatches/{dispatch}/result", contents::result)
        .post("/api/v3/dispatches/{dispatch}/start", commands::start)
        .post("/api/v3/dispatches/{dispatch}/cancel", commands::cancel)
        .post("/api/v3/dispatches/{dispatch}/redispatch", commands::redispatch)
        .get("/api/v3/dispatches/{dispatch}/redispatch-plan", dispatches::redispatch_plan)
        .get("/api/v3/dispatches/{dispatch}/assets/{key}", contents::of_dispatch)
        .put("/api/v3/dispatches/{dispatch}/assets/{key}", contents::put_of_dispatch)
        .put("/api/v3/dispatches/{dispatch}/assets/{node}/{key}", contents::put_of_node)
        .get("/api/v3/dispatches/{dispatch}/nodes/{node}", nodes::show)
        .get("/api/v3/dispatches/{dispatch}/nodes/{node}/{key}", contents::of_node)
        .post("/api/v3/contents/known", intake::known)
        .post("/api/v3/import", intake::import)
        .get("/api/v3/events", events::of_all)
        .get("/api/v3/executors", executors::list)
        .get("/api/v3/openapi.json", openapi::document)
        .post("/api/v3/purge", maintenance::purge)
        .post("/api/v3/backup", maintenance::backup)
}

/// The router of the native API.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    table().into_router()
}

/// The routes of the native API that are about triggers.
pub(crate) fn trigger_routes() -> Router<Arc<TriggerShared>> {
    triggers::table().into_router()
}

/// The routes of the native API that are about callers.
pub(crate) fn access_routes(access: crate::access::Access, limits: crate::Limits) -> Router {
    access::table().into_router().with_state(Arc::new(access::AccessShared { access, limits }))
}

/// Method and path of every route of the native API.
#[cfg(test)]
pub(crate) fn known() -> Vec<(&'static str, &'static str)> {
    let (ours, of_triggers, of_access) = (table(), triggers::table(), access::table());
    [ours.known(), of_triggers.known(), of_access.known()].concat()
}
