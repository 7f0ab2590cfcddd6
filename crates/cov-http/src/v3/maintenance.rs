//! Upkeep of the data directory. Every handler reads its request and makes one call.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use cov_core::status::Status;
use cov_dispatcher::store::BackupReader;
use serde::{Deserialize, Serialize};

use crate::App;
use crate::body;
use crate::error::Refusal;

/// What to remove.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purge {
    /// Only dispatches that ended at least this long ago.
    older_than_seconds: u64,
    /// Only these states; all in which a dispatch has ended if empty.
    #[serde(default)]
    statuses: Vec<Status>,
    /// Remove nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Serialize)]
pub(super) struct Purged {
    dry_run: bool,
    /// With sub-dispatches.
    dispatches: u64,
    contents: u64,
    bytes: u64,
}

/// Removes ended dispatches and what nobody refers to any more.
pub(super) async fn purge(
    State(shared): App,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Purged>, Refusal> {
    let asked: Purge = body::json(body, &headers, &shared.options.limits).await?;
    let Purge { older_than_seconds, statuses, dry_run } = asked;
    let older_than = Duration::from_secs(older_than_seconds);
    let purged = shared.handle.purge(older_than, statuses, dry_run).await?;
    Ok(Json(Purged {
        dry_run,
        dispatches: purged.dispatches,
        contents: purged.contents,
        bytes: purged.bytes,
    }))
}

/// Sends a backup as it is made. No GET, so that no web page can ask for one by naming it. A
/// fault midway breaks the connection off, and the archive has no end then.
pub(super) async fn backup(State(shared): App) -> Result<impl IntoResponse, Refusal> {
    let reader = shared.handle.backup().await?;
    let step = |mut reader: Box<dyn BackupReader>| async move {
        let piece = reader.next().await.inspect_err(|error| {
            tracing::error!(%error, "a backup was broken off");
        })?;
        Ok::<_, cov_dispatcher::store::Error>(piece.map(|piece| (piece, reader)))
    };
    let pieces = futures_util::stream::try_unfold(reader, step);
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(pieces)))
}
