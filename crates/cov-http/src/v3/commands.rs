//! What can be done to a dispatch: start it, cancel it or a part of it, dispatch it again. All
//! of them may be repeated.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use cov_core::asset::AssetAddress;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_dispatcher::{Redispatch, Registered, Taken};
use serde::{Deserialize, Serialize};

use crate::access::Target;
use crate::body::Chunks;
use crate::error::Refusal;
use crate::params::{DispatchPath, QueryParams};
use crate::v3::intake;
use crate::{App, Shared, body};

/// A dispatch that was made, or acted on.
#[derive(Debug, Serialize)]
pub(super) struct Accepted {
    dispatch_id: DispatchId,
    status: Status,
    /// The assets that have to be uploaded before it can start, each content once.
    missing: Vec<Missing>,
}

/// An asset that has to be uploaded.
#[derive(Debug, Serialize)]
pub(super) struct Missing {
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    key: &'static str,
}

impl Accepted {
    pub(super) fn dispatch_id(&self) -> &DispatchId {
        &self.dispatch_id
    }

    fn of(dispatch_id: DispatchId, status: Status) -> Self {
        Self { dispatch_id, status, missing: Vec::new() }
    }

    /// Starts a registered dispatch if that was asked for and nothing is missing.
    pub(super) async fn begun(
        shared: &Shared,
        registered: Registered,
        start: bool,
    ) -> Result<Self, Refusal> {
        let Registered { dispatch, uploads } = &registered;
        let status = match start && uploads.is_empty() {
            true => shared.handle.start(dispatch).await?,
            false => shared.handle.summary(dispatch).await?.status,
        };
        let Registered { dispatch, uploads } = registered;
        Ok(Self { dispatch_id: dispatch, status, missing: listed(uploads) })
    }
}

impl From<Taken> for Accepted {
    fn from(taken: Taken) -> Self {
        let Taken { registered: Registered { dispatch, uploads }, status, .. } = taken;
        Self { dispatch_id: dispatch, status, missing: listed(uploads) }
    }
}

fn listed(uploads: impl IntoIterator<Item = AssetAddress>) -> Vec<Missing> {
    let mut addresses: Vec<AssetAddress> = uploads.into_iter().collect();
    addresses.sort_unstable();
    let shown = |AssetAddress { node, key }| Missing { node, key: key.as_str() };
    addresses.into_iter().map(shown).collect()
}

/// Starts a registered dispatch. Does nothing to one that was started before.
pub(super) async fn start(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
) -> Result<(StatusCode, Json<Accepted>), Refusal> {
    let status = shared.handle.start(&dispatch).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted::of(dispatch, status))))
}

/// Which nodes to cancel.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    /// All, if empty.
    #[serde(default)]
    nodes: Vec<NodeId>,
}

/// Cancels a dispatch, or some of its nodes.
pub(super) async fn cancel(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Accepted>), Refusal> {
    let Cancel { nodes } = json_or_default(&shared, &headers, body).await?;
    let status = shared.handle.cancel(&dispatch, &nodes).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted::of(dispatch, status))))
}

/// How to dispatch again what was dispatched before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Again {
    /// The id of the new dispatch. With one, the call may be repeated.
    dispatch_id: Option<DispatchId>,
    /// Take over the results of nodes that were complete.
    reuse: bool,
    /// Start it at once.
    start: bool,
}

impl Default for Again {
    fn default() -> Self {
        Self { dispatch_id: None, reuse: false, start: true }
    }
}

/// Dispatches again what was dispatched before: as it was, or as the workflow in the body.
pub(super) async fn redispatch(
    State(shared): App,
    DispatchPath(earlier): DispatchPath,
    params: QueryParams,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    if intake::is_framed(&headers) {
        return intake::redispatch(&shared, earlier, &params, &headers, body).await;
    }
    let Again { dispatch_id, reuse, start } = json_or_default(&shared, &headers, body).await?;
    let asked = Redispatch { earlier, manifest: None, dispatch_id, reuse };
    let registered = shared.handle.redispatch_once(asked).await?;
    let accepted = Accepted::begun(&shared, registered, start).await?;
    let made = Target(accepted.dispatch_id.to_string());
    Ok((StatusCode::CREATED, Extension(made), Json(accepted)).into_response())
}

/// A small JSON body; none at all asks for the defaults.
async fn json_or_default<T: serde::de::DeserializeOwned + Default>(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Refusal> {
    let limits = &shared.options.limits;
    let bytes = Chunks::new(body, headers, limits.body_bytes, limits)?.collect().await?;
    match &*bytes {
        [] => Ok(T::default()),
        bytes => body::parse(bytes, "body"),
    }
}
