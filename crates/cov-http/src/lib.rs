//! The face: the only HTTP server of the project. Translates requests into calls of
//! [`cov_dispatcher::Handle`] and its answers into JSON. Owns no dispatch, keeps no state but the
//! times of the latest status answers, and never unpickles anything.
//!
//! Covalent's own shapes live in the module `covalent`, those of the native API in `v3`.

mod access;
mod body;
mod content;
mod covalent;
mod error;
mod gate;
mod guard;
mod health;
mod linger;
mod listener;
mod metrics;
mod options;
mod params;
mod request_id;
mod routes;
mod serve;
mod stream;
mod tls;
mod triggers;
mod v3;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use cov_dispatcher::Handle;

pub use crate::access::{Access, Login, Quotas, Rules, Secret, create_first_token};
pub use crate::body::BodyMemory;
pub use crate::covalent::StagingArchive;
pub use crate::listener::Listener;
pub use crate::metrics::{Metrics, Scrape};
pub use crate::options::{ContinueTrace, Limits, Options};
pub use crate::serve::serve;
pub use crate::tls::{Tls, TlsError};
pub use crate::triggers::Triggers;

use crate::error::Refusal;
use crate::triggers::TriggerShared;

/// What every handler needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) handle: Handle,
    pub(crate) options: Options,
    pub(crate) holding: covalent::Holding,
    /// Permits for manifests so large that only a few may be in memory at once.
    pub(crate) large_manifests: tokio::sync::Semaphore,
}

pub(crate) type App = axum::extract::State<Arc<Shared>>;

/// Every route of the server, with its checks around it. Without `triggers`, their routes say
/// that there are none.
pub fn router(handle: Handle, triggers: Option<Triggers>, options: Options) -> Router {
    let of_triggers = trigger_routes(triggers, &options);
    let shared = Arc::new(Shared {
        handle,
        large_manifests: tokio::sync::Semaphore::new(options.limits.large_manifests),
        holding: covalent::Holding::default(),
        options,
    });
    let options = shared.options.clone();
    let routes = Router::new()
        .route("/readyz", get(health::ready))
        .merge(covalent::routes())
        .merge(v3::routes())
        .with_state(shared);
    let routes = routes.merge(of_triggers);
    checked(routes.fallback(no_route).method_not_allowed_fallback(no_route), options)
}

/// The routes of a server that runs nothing but triggers, with the same checks.
pub fn trigger_router(triggers: Triggers, options: Options) -> Router {
    let routes = trigger_routes(Some(triggers), &options)
        .route("/readyz", get(health::alive))
        .fallback(covalent::nothing_else)
        .method_not_allowed_fallback(covalent::nothing_else);
    checked(routes, options)
}

fn trigger_routes(triggers: Option<Triggers>, options: &Options) -> Router {
    let shared = Arc::new(TriggerShared::new(triggers, options));
    covalent::trigger_routes().merge(v3::trigger_routes()).with_state(shared)
}

/// What stands around every route.
fn checked(routes: Router, options: Options) -> Router {
    let gate = Arc::new(gate::Gate::new(options.access.clone(), &options.limits));
    let routes = routes
        .route("/healthz", get(health::alive))
        .route("/metrics", get(metrics::show).with_state(options.metrics.clone()))
        .merge(v3::access_routes(options.access.clone(), options.limits.clone()));
    let options = Arc::new(options);
    let counted = options.metrics.clone();
    let ids = request_id::Ids::new(options.continue_trace);
    routes
        .layer(from_fn_with_state(gate, gate::pass))
        .layer(from_fn_with_state(options, guard::check))
        .layer(from_fn(error::render))
        .layer(from_fn_with_state(ids, request_id::name_request))
        .layer(from_fn_with_state(counted, metrics::count))
}

async fn no_route() -> Refusal {
    Refusal::new(cov_core::error::ErrorCode::NoRoute, "Not Found")
}
