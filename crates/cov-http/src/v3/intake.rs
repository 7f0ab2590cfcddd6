//! A whole workflow in one request: the manifest, and behind it the bytes of the assets. Reads
//! the stream chunk by chunk; never holds more of it than the manifest and one step.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::{Buf as _, BytesMut};
use cov_core::asset::{Announced, SmallContent};
use cov_core::error::ErrorCode;
use cov_core::ids::{DispatchId, Sha1Digest};
use cov_core::manifest::document::{Document, MEDIA_TYPE, Parts, Source};
use cov_core::manifest::ended::EndedDocument;
use cov_dispatcher::Order;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::SemaphorePermit;

use super::commands::Accepted;
use crate::access::Target;
use crate::body::{self, Chunks, Room};
use crate::error::Refusal;
use crate::params::QueryParams;
use crate::{App, Shared};

/// Names a request, so that it can be sent again without making a second dispatch.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest such name. Bytes.
const KEY_BYTES_MAX: usize = 255;
/// Larger manifests wait for a permit before they are read, so that few are in memory at once.
const LARGE_BYTES: u64 = 8 << 20;
/// Larger manifests are parsed off the runtime's threads.
const PARSED_INLINE_BYTES_MAX: usize = 128 << 10;
/// Most contents of one question.
const CONTENTS_MAX: usize = 100_000;

/// Takes in a workflow and starts it.
pub(super) async fn create(
    State(shared): App,
    params: QueryParams,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let start = params.flag("start", true)?;
    let key = idempotency_key(&headers)?;
    take_in(&shared, &headers, body, Wanted { start, chosen: key, redispatch_of: None }).await
}

/// Takes in a workflow that is made from an earlier dispatch.
pub(super) async fn redispatch(
    shared: &Shared,
    earlier: DispatchId,
    params: &QueryParams,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let reuse = params.flag("reuse", false)?;
    let start = params.flag("start", true)?;
    let chosen = idempotency_key(headers)?;
    let redispatch_of = Some((earlier, reuse));
    take_in(shared, headers, body, Wanted { start, chosen, redispatch_of }).await
}

/// A dispatch that was taken over.
#[derive(Debug, Serialize)]
pub(super) struct Imported {
    #[serde(flatten)]
    accepted: Accepted,
    /// Whether nothing of it was there before.
    new: bool,
}

/// Takes over a dispatch that ended elsewhere, as it is. It never runs.
pub(super) async fn import(
    State(shared): App,
    headers: HeaderMap,
    body: Body,
) -> Result<(Extension<Target>, Json<Imported>), Refusal> {
    if !is_framed(&headers) {
        let said = format!("a dispatch that ended is sent as {MEDIA_TYPE}");
        return Err(Refusal::new(ErrorCode::InvalidParameter, said));
    }
    let mut stream = Stream::new(&shared, &headers, body)?;
    let take_apart = |EndedDocument { workflow, outcome }| (workflow.into_parts(), outcome);
    let ((parts, outcome), permit) = framed_manifest(&shared, &mut stream, take_apart).await?;
    let order = Order { parts, redispatch_of: None, outcome: Some(Box::new(outcome)) };
    let mut intake = shared.handle.take_in(order).await?;
    drop(permit);
    while let Some(chunk) = stream.next().await? {
        intake.write(chunk).await?;
    }
    let taken = intake.finish(false).await?;
    let (new, accepted) = (taken.is_new, Accepted::from(taken));
    let taken = Target(accepted.dispatch_id().to_string());
    Ok((Extension(taken), Json(Imported { accepted, new })))
}

/// Whether the body is a manifest, alone or with contents behind it.
pub(super) fn is_framed(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim() == MEDIA_TYPE)
}

struct Wanted {
    start: bool,
    /// The id to use if the manifest names none.
    chosen: Option<DispatchId>,
    redispatch_of: Option<(DispatchId, bool)>,
}

async fn take_in(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
    wanted: Wanted,
) -> Result<Response, Refusal> {
    let framed = is_framed(headers);
    let mut stream = Stream::new(shared, headers, body)?;
    let (mut parts, permit) = match framed {
        true => framed_manifest(shared, &mut stream, Document::into_parts).await?,
        false => whole_manifest(shared, &mut stream).await?,
    };
    parts.manifest.dispatch_id = parts.manifest.dispatch_id.or(wanted.chosen);
    let order = Order { parts, redispatch_of: wanted.redispatch_of, outcome: None };
    let mut intake = shared.handle.take_in(order).await?;
    drop(permit);
    while let Some(chunk) = stream.next().await? {
        intake.write(chunk).await?;
    }
    let accepted = Accepted::from(intake.finish(wanted.start).await?);
    let location = format!("/api/v3/dispatches/{}", accepted.dispatch_id());
    let mut response = (StatusCode::CREATED, Json(accepted)).into_response();
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    Ok(response)
}

/// A body, of which a part may have been read too far.
struct Stream {
    chunks: Chunks,
    rest: Bytes,
    /// The memory of what was gathered of it.
    room: Room,
}

impl Stream {
    fn new(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<Self, Refusal> {
        let limits = &shared.options.limits;
        let limit = match is_framed(headers) {
            true => limits.upload_bytes.saturating_add(limits.manifest_bytes),
            false => limits.manifest_bytes,
        };
        let chunks = Chunks::new(body, headers, limit, limits)?;
        let room = chunks.room();
        Ok(Self { chunks, rest: Bytes::new(), room })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        match self.rest.is_empty() {
            true => self.chunks.next().await,
            false => Ok(Some(std::mem::take(&mut self.rest))),
        }
    }

    /// Exactly this many bytes.
    async fn exactly(&mut self, size: usize) -> Result<Bytes, Refusal> {
        // What is announced may never come, so only a little of it is believed.
        const BELIEVED_BYTES_MAX: usize = 1 << 20;
        let mut bytes = BytesMut::with_capacity(size.min(BELIEVED_BYTES_MAX));
        while bytes.len() < size {
            let Some(mut chunk) = self.next().await? else {
                let said = "the body ends before the manifest does";
                return Err(Refusal::new(ErrorCode::MalformedJson, said));
            };
            let part = chunk.split_to(chunk.len().min(size - bytes.len()));
            bytes.extend_from_slice(&part);
            self.room.hold(bytes.len())?;
            self.rest = chunk;
        }
        Ok(bytes.freeze())
    }
}

type Permit<'a> = Option<SemaphorePermit<'a>>;

async fn permit(shared: &Shared, size: Option<u64>) -> Result<Permit<'_>, Refusal> {
    if size.is_some_and(|size| size <= LARGE_BYTES) {
        return Ok(None);
    }
    let stopping = |_closed| Refusal::new(ErrorCode::Stopping, "the server is stopping");
    shared.large_manifests.acquire().await.map(Some).map_err(stopping)
}

async fn framed_manifest<'a, D: DeserializeOwned + 'static, P: Send + 'static>(
    shared: &'a Shared,
    stream: &mut Stream,
    take_apart: fn(D) -> P,
) -> Result<(P, Permit<'a>), Refusal> {
    let size = stream.exactly(4).await?.get_u32_le();
    let limit = shared.options.limits.manifest_bytes;
    if u64::from(size) > limit {
        let said = format!("the manifest has {size} bytes; the limit is {limit}");
        return Err(Refusal::new(ErrorCode::TooLarge, said));
    }
    let permit = permit(shared, Some(size.into())).await?;
    let bytes = stream.exactly(size as usize).await?;
    let parsed = parse(bytes, take_apart).await?;
    stream.room = stream.chunks.room();
    Ok((parsed, permit))
}

/// A manifest alone: nothing follows, whatever it says of its assets.
async fn whole_manifest<'a>(
    shared: &'a Shared,
    stream: &mut Stream,
) -> Result<(Parts, Permit<'a>), Refusal> {
    let permit = permit(shared, stream.chunks.announced()).await?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await? {
        bytes.extend_from_slice(&chunk);
        stream.room.hold(bytes.len())?;
    }
    let mut parts = parse(bytes.freeze(), Document::into_parts).await?;
    for source in &mut parts.sources {
        if *source == Source::Body {
            *source = Source::Elsewhere;
        }
    }
    Ok((parts, permit))
}

async fn parse<D: DeserializeOwned + 'static, P: Send + 'static>(
    bytes: Bytes,
    take_apart: fn(D) -> P,
) -> Result<P, Refusal> {
    let is_small = bytes.len() <= PARSED_INLINE_BYTES_MAX;
    let parse = move || body::parse::<D>(&bytes, "body").map(take_apart);
    if is_small {
        return parse();
    }
    let parsed = tokio::task::spawn_blocking(parse).await;
    parsed.map_err(|error| {
        tracing::error!(error = %error, "manifest parser ended early");
        Refusal::new(ErrorCode::Internal, "the parser ended early")
    })?
}

/// The id that a key stands for, if the request names itself.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<DispatchId>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > KEY_BYTES_MAX {
        let said = format!("Idempotency-Key has to be a text of 1 to {KEY_BYTES_MAX} bytes");
        return Err(Refusal::new(ErrorCode::InvalidParameter, said));
    }
    let seed = Bytes::from(format!("idempotency key {text}"));
    let digest = SmallContent::new(seed).content.id;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(digest.as_bytes().get(..16).unwrap_or(&[0; 16]));
    let id = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
    let parsed = id.parse();
    parsed.map(Some).map_err(|_error| Refusal::new(ErrorCode::Internal, "a UUID is no id"))
}

/// A content that a client would send.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    sha1: Sha1Digest,
    size: u64,
}

/// Says which of these contents are held, so that they need not be sent.
pub(super) async fn known(
    State(shared): App,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Vec<bool>>, Refusal> {
    let asked: Vec<Content> = body::json(body, &headers, &shared.options.limits).await?;
    if asked.len() > CONTENTS_MAX {
        let said = format!("{} contents; at most {CONTENTS_MAX} at once", asked.len());
        return Err(Refusal::new(ErrorCode::TooLarge, said));
    }
    let announced = asked.into_iter().map(|one| Announced { size: one.size, sha1: Some(one.sha1) });
    Ok(Json(shared.handle.known(&announced.collect::<Vec<_>>()).await?))
}
