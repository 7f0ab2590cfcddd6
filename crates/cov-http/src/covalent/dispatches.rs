//! Registering, starting, cancelling and exporting dispatches.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use cov_core::error::ErrorCode;
use cov_core::ids::NodeId;
use cov_dispatcher::Registered;
use serde::Deserialize;
use tokio::sync::SemaphorePermit;

use super::export::{Export, JSON, Mode};
use super::long_names::{self, LongNames};
use super::manifest::{self, Sent};
use super::outline::Outline;
use super::sources::Sources;
use crate::access::{Action, Target};
use crate::body::{Chunks, Collected};
use crate::error::Refusal;
use crate::guard::Base;
use crate::params::{DispatchPath, QueryParams};
use crate::{App, Shared, body};

/// Larger bodies wait for a permit before they are read, so that few are in memory at once.
const LARGE_BYTES: u64 = 8 << 20;
/// Larger bodies may hold names that are better kept out of memory.
const SIEVED_FROM_BYTES: u64 = 1 << 20;
/// Larger bodies are parsed off the runtime's threads.
const PARSED_INLINE_BYTES_MAX: usize = 128 << 10;

/// Registers a dispatch and says which assets are to be uploaded.
pub(super) async fn register(
    State(shared): App,
    Extension(base): Extension<Base>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (Sent { manifest, sources, names }, _permit) =
        read_manifest(&shared, &headers, body).await?;
    let sources = Sources::check(sources, &manifest.assets).await?;
    let outline = Outline::of(&manifest, &names);
    let mut registered = shared.handle.register_named(manifest, names).await?;
    sources.take_in(&shared.handle, &mut registered).await?;
    answer(&shared, base, outline, registered).await
}

/// Registers a redispatch of an earlier dispatch. Nodes whose results are reused are shown as
/// `NEW_OBJECT`, as the SDK expects of an answer.
pub(super) async fn redispatch(
    State(shared): App,
    Extension(base): Extension<Base>,
    DispatchPath(earlier): DispatchPath,
    params: QueryParams,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let reuse = params.flag("reuse_previous_results", false)?;
    let (Sent { manifest, names, .. }, _permit) = read_manifest(&shared, &headers, body).await?;
    let outline = Outline::of(&manifest, &names);
    let registered = shared.handle.redispatch_named(&earlier, manifest, names, reuse).await?;
    answer(&shared, base, outline, registered).await
}

/// The manifest in a body; for a large one with a permit, to be held until it is registered.
async fn read_manifest<'a>(
    shared: &'a Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Sent, Option<SemaphorePermit<'a>>), Refusal> {
    let limits = &shared.options.limits;
    let chunks = Chunks::new(body, headers, limits.manifest_bytes, limits)?;
    let large = chunks.announced().is_none_or(|length| length > LARGE_BYTES);
    let permit =
        match large {
            true => {
                Some(shared.large_manifests.acquire().await.map_err(|_closed| {
                    Refusal::new(ErrorCode::Stopping, "the server is stopping")
                })?)
            }
            false => None,
        };
    let may_hold_long_names = chunks.announced().is_none_or(|length| length > SIEVED_FROM_BYTES);
    let (body, names) = match may_hold_long_names {
        true => long_names::collect(&shared.handle, chunks).await?,
        false => (chunks.collect().await?, LongNames::default()),
    };
    Ok((parse(body, names, limits.nodes).await?, permit))
}

async fn answer(
    shared: &Shared,
    base: Base,
    outline: Outline,
    registered: Registered,
) -> Result<Response, Refusal> {
    let target = Target(registered.dispatch.to_string());
    let record = outline.into_record(registered.dispatch);
    let mode = Mode::Registered { uploads: registered.uploads };
    let body = Export::new(shared.handle.clone(), base, record, mode).into_body().await?;
    Ok((StatusCode::CREATED, JSON, Extension(target), body).into_response())
}

/// Parses and drops the body.
async fn parse(body: Collected, names: LongNames, nodes_max: usize) -> Result<Sent, Refusal> {
    if body.len() <= PARSED_INLINE_BYTES_MAX {
        return manifest::parse(&body, nodes_max, &names);
    }
    let parse = move || manifest::parse(&body, nodes_max, &names);
    let parsed = tokio::task::spawn_blocking(parse).await;
    parsed.map_err(|error| {
        tracing::error!(error = %error, "manifest parser ended early");
        Refusal::new(ErrorCode::Internal, "the parser ended early")
    })?
}

/// Everything known of a dispatch.
pub(super) async fn export(
    State(shared): App,
    Extension(base): Extension<Base>,
    DispatchPath(dispatch): DispatchPath,
) -> Result<Response, Refusal> {
    let record = shared.handle.record(&dispatch).await?;
    let export = Export::new(shared.handle.clone(), base, record, Mode::Current);
    Ok((JSON, export.into_body().await?).into_response())
}

#[derive(Debug, Deserialize)]
struct StatusChange {
    status: WantedStatus,
    #[serde(default)]
    task_ids: Vec<NodeId>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum WantedStatus {
    Running,
    Cancelled,
}

/// Starts a dispatch, or cancels it or some of its nodes.
pub(super) async fn set_status(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Extension<Action>, Json<String>), Refusal> {
    let change: StatusChange = body::json(body, &headers, &shared.options.limits).await?;
    let (done, said) = match change.status {
        WantedStatus::Running => {
            shared.handle.start(&dispatch).await?;
            ("dispatch.start", dispatch.to_string())
        }
        WantedStatus::Cancelled => {
            shared.handle.cancel(&dispatch, &change.task_ids).await?;
            ("dispatch.cancel", cancelled(&dispatch, &change.task_ids))
        }
    };
    Ok((StatusCode::ACCEPTED, Extension(Action(done)), Json(said)))
}

/// The words that clients print.
fn cancelled(dispatch: &cov_core::ids::DispatchId, nodes: &[NodeId]) -> String {
    if nodes.is_empty() {
        return format!("Dispatch {dispatch} cancelled.");
    }
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    format!("Cancelled tasks [{}] in dispatch {dispatch}.", nodes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelling_is_answered_in_the_words_clients_know() {
        let id = "d-1".parse().unwrap();
        assert_eq!(cancelled(&id, &[]), "Dispatch d-1 cancelled.");
        assert_eq!(cancelled(&id, &[NodeId(2)]), "Cancelled tasks [2] in dispatch d-1.");
        let two = cancelled(&id, &[NodeId(1), NodeId(2)]);
        assert_eq!(two, "Cancelled tasks [1, 2] in dispatch d-1.");
    }
}
