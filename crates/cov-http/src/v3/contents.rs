//! Bytes of assets, in both directions: whole, a range, or a log while it grows.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::error::ErrorCode;
use cov_core::ids::DispatchId;
use cov_dispatcher::store::Blob;

use crate::body::Chunks;
use crate::error::Refusal;
use crate::params::{AssetPath, DispatchPath, NodePath, QueryParams};
use crate::v3::dispatches::wait_of;
use crate::v3::follow;
use crate::{App, Shared, content};

/// Sends what a dispatch returned; with a wait, once it has completed.
pub(super) async fn result(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
    params: QueryParams,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let at_most = wait_of(&params)?;
    if at_most.is_zero() {
        let address = shared.handle.result_address(&dispatch).await?;
        return send(&shared, &dispatch, address, &headers).await;
    }
    let blob = shared.handle.result(&dispatch, at_most).await?;
    answer(blob, &dispatch, AssetAddress::of_dispatch(AssetKey::Result), &headers)
}

/// Sends an asset of a dispatch or its lattice.
pub(super) async fn of_dispatch(
    State(shared): App,
    AssetPath { dispatch, key }: AssetPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let address = match key_of(&key)? {
        AssetKey::Result => shared.handle.result_address(&dispatch).await?,
        key => AssetAddress::of_dispatch(key),
    };
    send(&shared, &dispatch, address, &headers).await
}

/// Sends an asset of a node, or follows what the node prints.
pub(super) async fn of_node(
    State(shared): App,
    path: NodePath,
    params: QueryParams,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let follows = params.flag("follow", false)?;
    let address = address_of(&path)?;
    let is_log = matches!(address.key, AssetKey::Stdout | AssetKey::Stderr);
    if !follows {
        return send(&shared, &path.dispatch, address, &headers).await;
    }
    if !is_log {
        return Err(Refusal::query("follow", "only stdout and stderr can be followed"));
    }
    follow::answer(&shared.handle, path.dispatch, path.node, address.key).await
}

/// Takes the bytes of an asset of a dispatch or its lattice.
pub(super) async fn put_of_dispatch(
    State(shared): App,
    AssetPath { dispatch, key }: AssetPath,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    take(&shared, &dispatch, AssetAddress::of_dispatch(key_of(&key)?), &headers, body).await
}

/// Takes the bytes of an asset of a node.
pub(super) async fn put_of_node(
    State(shared): App,
    path: NodePath,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let address = address_of(&path)?;
    take(&shared, &path.dispatch, address, &headers, body).await
}

async fn take(
    shared: &Shared,
    dispatch: &DispatchId,
    address: AssetAddress,
    headers: &HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    if address.key.is_servers() {
        let said = format!("{address} is made by the server; no client brings it");
        return Err(Refusal::path("key", said));
    }
    let limits = &shared.options.limits;
    let mut chunks = Chunks::new(body, headers, limits.upload_bytes, limits)?;
    let mut upload = shared.handle.upload(dispatch, address, chunks.announced()).await?;
    while let Some(chunk) = chunks.next().await? {
        upload.write(chunk).await?;
    }
    upload.finish().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn send(
    shared: &Shared,
    dispatch: &DispatchId,
    address: AssetAddress,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let blob = shared.handle.read_asset(dispatch, address).await?;
    answer(blob, dispatch, address, headers)
}

fn answer(
    blob: Option<Blob>,
    dispatch: &DispatchId,
    address: AssetAddress,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    match blob {
        Some(blob) => Ok(content::answer(blob, kind_of(address.key), headers)),
        // A task that printed nothing has an empty log, and no missing one.
        None if matches!(address.key, AssetKey::Stdout | AssetKey::Stderr) => {
            let kind = [(header::CONTENT_TYPE, kind_of(address.key))];
            Ok((kind, Bytes::new()).into_response())
        }
        None => {
            let said = format!("dispatch {dispatch} has no bytes for {address}");
            Err(Refusal::new(ErrorCode::AssetNotFound, said))
        }
    }
}

fn address_of(path: &NodePath) -> Result<AssetAddress, Refusal> {
    let key = key_of(path.key.as_deref().unwrap_or_default())?;
    Ok(AssetAddress::of_node(path.node, key))
}

fn key_of(text: &str) -> Result<AssetKey, Refusal> {
    let key = text.parse::<AssetKey>();
    key.map_err(|unknown| Refusal::path("key", unknown.to_string()))
}

/// What the bytes of an asset are called. JSON among them is not called so: clients may ask for a
/// part, and a part of it is none.
pub(super) fn kind_of(key: AssetKey) -> &'static str {
    match key {
        AssetKey::FunctionString
        | AssetKey::WorkflowFunctionString
        | AssetKey::Doc
        | AssetKey::Error
        | AssetKey::Name
        | AssetKey::Stdout
        | AssetKey::Stderr => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
