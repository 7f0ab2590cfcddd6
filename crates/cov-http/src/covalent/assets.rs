//! Where the bytes of a node's asset are, and the announcement that they will come. Answers an
//! announcement when its headers are there: its `Content-Length` is that of the coming file, and
//! no body follows.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use cov_core::asset::{Announced, AssetAddress, AssetKey};
use cov_core::error::ErrorCode;
use cov_core::ids::DispatchId;
use serde::Serialize;

use super::names::{FILES, object_name};
use crate::access::Right;
use crate::error::Refusal;
use crate::guard::Base;
use crate::params::NodePath;
use crate::{App, body, content};

/// An asset as answers show it.
#[derive(Debug, Serialize)]
pub(super) struct Asset {
    pub(super) digest_alg: Option<&'static str>,
    pub(super) digest: Option<String>,
    pub(super) uri: Option<&'static str>,
    pub(super) remote_uri: String,
    pub(super) size: u64,
}

/// The address of an asset's bytes, seen from the client; empty for what clients do not see.
pub(super) fn remote_uri(
    base: &Base,
    right: Right,
    dispatch: &DispatchId,
    address: AssetAddress,
) -> String {
    let Some(name) = object_name(address) else { return String::new() };
    let path = match address.node {
        Some(node) => format!("{FILES}{dispatch}/node_{node}/{name}"),
        None => format!("{FILES}{dispatch}/{name}"),
    };
    base.address(right, &path)
}

/// Where an asset is, and its size.
pub(super) async fn locate(
    State(shared): App,
    Extension(base): Extension<Base>,
    path: NodePath,
) -> Result<Json<Asset>, Refusal> {
    let address = address_of(&path)?;
    let blob = shared.handle.read_asset(&path.dispatch, address).await?;
    let size = blob.as_ref().map_or(0, content::size_of);
    Ok(Json(located(&base, Right::Read, &path.dispatch, address, size)))
}

/// Takes note that an asset will be uploaded, and says where to.
pub(super) async fn announce(
    State(shared): App,
    Extension(base): Extension<Base>,
    path: NodePath,
    headers: HeaderMap,
) -> Result<Json<Asset>, Refusal> {
    let address = address_of(&path)?;
    let size = body::content_length(&headers)?.unwrap_or(0);
    let limit = shared.options.limits.upload_bytes;
    if size > limit {
        let said = format!("{size} bytes are announced; the limit is {limit}");
        return Err(Refusal::new(ErrorCode::TooLarge, said));
    }
    let announced = Announced { size, sha1: announced_digest(&headers)? };
    shared.handle.announce(&path.dispatch, address, announced).await?;
    Ok(Json(located(&base, Right::Write, &path.dispatch, address, size)))
}

fn announced_digest(headers: &HeaderMap) -> Result<Option<cov_core::ids::Sha1Digest>, Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("digest-alg"), text("digest")) {
        (Some("sha" | "sha1"), Some(digest)) => {
            let parsed = digest.parse().map(Some);
            parsed.map_err(|error: cov_core::ids::IdError| {
                Refusal::new(ErrorCode::InvalidParameter, error.to_string())
            })
        }
        _ => Ok(None),
    }
}

fn located(
    base: &Base,
    right: Right,
    dispatch: &DispatchId,
    address: AssetAddress,
    size: u64,
) -> Asset {
    let remote_uri = remote_uri(base, right, dispatch, address);
    Asset { digest_alg: None, digest: None, uri: None, remote_uri, size }
}

fn address_of(path: &NodePath) -> Result<AssetAddress, Refusal> {
    let key = path.key.as_deref().and_then(|text| text.parse().ok());
    let key = key.filter(|key| AssetKey::OF_NODE.contains(key)).ok_or_else(|| {
        let loc = vec!["path".into(), "key".into()];
        let said = "Input should be 'function', 'function_string', 'output', 'value', 'hooks', \
                    'error', 'stdout' or 'stderr'";
        Refusal::at(ErrorCode::InvalidParameter, "enum", loc, said)
    })?;
    Ok(AssetAddress::of_node(path.node, key))
}
