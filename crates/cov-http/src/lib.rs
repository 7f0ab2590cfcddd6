//! The face: the only HTTP server of the project. Translates requests into calls of
//! [`cov_dispatcher::Handle`] and its answers into JSON. Owns no dispatch, keeps no state but the
//! times of the latest status answers, and never unpickles anything.
//!
//! Covalent's own shapes live in the module `covalent`, those of the native API in `v3`.

mod body;
mod content;
mod covalent;
mod error;
mod guard;
mod health;
mod linger;
mod options;
mod params;
mod request_id;
mod serve;
mod v3;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use cov_dispatcher::Handle;

pub use crate::covalent::StagingArchive;
pub use crate::options::{Limits, Options};
pub use crate::serve::serve;

use crate::error::Refusal;

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

/// Every route of the server, with its checks around it.
pub fn router(handle: Handle, options: Options) -> Router {
    let shared = Arc::new(Shared {
        handle,
        large_manifests: tokio::sync::Semaphore::new(options.limits.large_manifests),
        holding: covalent::Holding::default(),
        options,
    });
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(covalent::routes())
        .merge(v3::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(from_fn_with_state(Arc::clone(&shared), guard::check))
        .layer(from_fn(error::render))
        .layer(from_fn_with_state(request_id::Ids::new(), request_id::name_request))
        .with_state(shared)
}

async fn no_route() -> Refusal {
    Refusal::new(cov_core::error::ErrorCode::NoRoute, "Not Found")
}
