//! Bytes of assets under Covalent's object keys, in both directions. A key is an address of the
//! store, never a path of a file.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use cov_core::asset::AssetAddress;
use cov_core::error::ErrorCode;
use cov_core::ids::DispatchId;
use serde_json::Value;

use super::names::{self, FILES};
use crate::body::Chunks;
use crate::error::Refusal;
use crate::{App, content};

/// Sends an asset, or a range of it.
pub(super) async fn download(
    State(shared): App,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (dispatch, address) = object_of(&uri)?;
    let blob = shared.handle.read_asset(&dispatch, address).await?;
    let blob = blob.ok_or_else(|| {
        let said = format!("dispatch {dispatch} has no bytes for {address}");
        Refusal::new(ErrorCode::AssetNotFound, said)
    })?;
    Ok(content::answer(blob, names::content_type(address), &headers))
}

/// Takes the bytes of an asset, chunk by chunk; they count once all have come and fit what was
/// announced.
pub(super) async fn upload(
    State(shared): App,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let (dispatch, address) = object_of(&uri)?;
    let limits = &shared.options.limits;
    let mut chunks = Chunks::new(body, &headers, limits.upload_bytes, limits)?;
    let mut upload = shared.handle.upload(&dispatch, address, chunks.announced()).await?;
    while let Some(chunk) = chunks.next().await? {
        upload.write(chunk).await?;
    }
    upload.finish().await?;
    Ok(Json(Value::Null))
}

/// The key as it was sent: no known one has a character that needs to be encoded.
fn object_of(uri: &Uri) -> Result<(DispatchId, AssetAddress), Refusal> {
    let key = uri.path().strip_prefix(FILES).unwrap_or_default();
    names::parse_object_key(key).ok_or_else(|| {
        let shown: String = key.chars().take(200).collect();
        Refusal::new(ErrorCode::InvalidParameter, format!("Invalid object key {shown}"))
    })
}
