//! Reads request bodies within limits of size and patience. Holds no more than one chunk of a
//! streamed body, and knows no format but JSON.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use cov_core::error::ErrorCode;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::Limits;
use crate::error::{Refusal, Step};

/// A body that is read chunk by chunk.
#[derive(Debug)]
pub(crate) struct Chunks {
    body: Body,
    announced: Option<u64>,
    taken: u64,
    limit: u64,
    patience: Duration,
    bytes_per_second: u64,
    /// How long it was waited for the sender.
    waited: Duration,
    memory: BodyMemory,
}

/// The memory that bodies may take together while they are read and parsed. Clones share it.
#[derive(Debug, Clone)]
pub struct BodyMemory(Arc<Semaphore>);

/// Bodies of up to this size are not counted: their number is that of the connections. Bytes.
const UNCOUNTED_BYTES: usize = 64 << 10;
/// What memory is counted in. Bytes.
const UNIT_BYTES: usize = 1 << 10;

impl BodyMemory {
    /// This many bytes; at most 4 TiB.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES as u64).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(u32::MAX as usize))))
    }
}

/// A part of that memory, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    memory: BodyMemory,
    units: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Grows to `bytes`. Never waits: two bodies that wait for each other would do so for ever.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let units = bytes.saturating_sub(UNCOUNTED_BYTES).div_ceil(UNIT_BYTES);
        let Some(more) = units.checked_sub(self.units).filter(|more| *more > 0) else {
            return Ok(());
        };
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.memory.0).try_acquire_many_owned(more).map_err(|_none| {
            Refusal::new(ErrorCode::Overloaded, "bodies take all the memory that they may")
        })?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.units = units;
        Ok(())
    }
}

/// A whole body. Its part of the memory is given back with it.
#[derive(Debug)]
pub(crate) struct Collected {
    bytes: Vec<u8>,
    _room: Room,
}

impl Collected {
    /// What was gathered of a body elsewhere, and the memory that was held for it.
    pub(crate) fn new(bytes: Vec<u8>, room: Room) -> Self {
        Self { bytes, _room: room }
    }
}

impl Deref for Collected {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Chunks {
    /// Begins to read `body`, of which at most `limit` bytes are taken.
    ///
    /// # Errors
    /// The announced length is over the limit; nothing was read.
    pub(crate) fn new(
        body: Body,
        headers: &HeaderMap,
        limit: u64,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let announced = content_length(headers)?;
        if announced.is_some_and(|length| length > limit) {
            return Err(too_long(limit));
        }
        Ok(Self {
            body,
            announced,
            taken: 0,
            limit,
            patience: limits.body_wait,
            bytes_per_second: limits.body_bytes_per_second,
            waited: Duration::ZERO,
            memory: limits.body_memory.clone(),
        })
    }

    /// Memory for what is gathered of this body.
    pub(crate) fn room(&self) -> Room {
        Room { memory: self.memory.clone(), units: 0, held: None }
    }

    /// The announced length, if there is one.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// The next bytes, or `None` at the end.
    ///
    /// # Errors
    /// The body is over its limit, is cut off, or its sender stalls.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let begin = Instant::now();
            let frame = tokio::time::timeout(self.patience, self.body.frame()).await;
            self.waited = self.waited.saturating_add(begin.elapsed());
            let frame = frame.map_err(|_error| cut_off("the body did not arrive in time"))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_error| cut_off("the body is cut off"))?;
            let Ok(data) = frame.into_data() else { continue };
            self.taken = self.taken.saturating_add(data.len() as u64);
            if self.taken > self.limit {
                return Err(too_long(self.limit));
            }
            self.check_pace()?;
            return Ok(Some(data));
        }
    }

    /// A sender that never stalls for long, and sends next to nothing, is not waited for either.
    /// Time that the receiver took is not held against it.
    fn check_pace(&self) -> Result<(), Refusal> {
        let time = self.waited.saturating_sub(self.patience);
        let expected = time.as_secs().saturating_mul(self.bytes_per_second);
        match self.taken < expected {
            true => Err(cut_off("the body comes too slowly")),
            false => Ok(()),
        }
    }

    /// All bytes at once.
    pub(crate) async fn collect(mut self) -> Result<Collected, Refusal> {
        // What is announced may never come, so only a little of it is believed.
        const BELIEVED_BYTES_MAX: u64 = 1 << 20;
        let expected = self.announced.unwrap_or(0).min(BELIEVED_BYTES_MAX);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        let mut room = self.room();
        while let Some(chunk) = self.next().await? {
            if bytes.len() + chunk.len() > bytes.capacity() {
                self.grow(&mut bytes, chunk.len());
            }
            bytes.extend_from_slice(&chunk);
            room.hold(bytes.capacity())?;
        }
        Ok(Collected { bytes, _room: room })
    }

    /// Once the believed part has come, room for all that is announced, so that the body is
    /// never copied into twice its size.
    fn grow(&self, bytes: &mut Vec<u8>, more: usize) {
        let announced = self.announced.and_then(|length| usize::try_from(length).ok());
        let missing = announced.map_or(0, |length| length.saturating_sub(bytes.len()));
        if missing >= more {
            bytes.reserve_exact(missing);
        }
    }

    /// Reads to the end and drops everything, so that the sender gets to read the answer.
    pub(crate) async fn discard(mut self) -> Result<(), Refusal> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}

/// A small JSON body, whatever its type is said to be.
pub(crate) async fn json<T: DeserializeOwned>(
    body: Body,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<T, Refusal> {
    let bytes = Chunks::new(body, headers, limits.body_bytes, limits)?.collect().await?;
    parse(&bytes, "body")
}

/// Parses `bytes` as JSON; `root` begins the path of a fault.
///
/// # Errors
/// Where the fault is and what it is.
pub(crate) fn parse<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    root: &'static str,
) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| fault(bytes, &error, vec![root.into()]))?;
    reader.end().map_err(|error| syntax_fault(bytes, &error))?;
    Ok(value)
}

/// The announced length of a body.
///
/// # Errors
/// The header is malformed.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        Refusal::new(ErrorCode::InvalidParameter, "the Content-Length header is malformed")
    })
}

/// Where in a body, below `loc`, a value of the wrong kind stands, or where it ceases to be JSON.
pub(crate) fn fault(
    bytes: &[u8],
    error: &serde_path_to_error::Error<serde_json::Error>,
    mut loc: Vec<Step>,
) -> Refusal {
    use serde_path_to_error::Segment;
    let is_data = error.inner().classify() == serde_json::error::Category::Data;
    // A number where a word of a list is expected is told as a fault of syntax.
    if !is_data && serde_json::from_slice::<IgnoredAny>(bytes).is_err() {
        return syntax_fault(bytes, error.inner());
    }
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => loc.push(Step::Index(*index)),
            Segment::Map { key } => loc.push(Step::from(key.clone())),
            Segment::Enum { variant } => loc.push(Step::from(variant.clone())),
            Segment::Unknown => {}
        }
    }
    data_fault(error.inner(), loc)
}

fn data_fault(error: &serde_json::Error, mut loc: Vec<Step>) -> Refusal {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    if let Some(name) = missing {
        loc.push(Step::from(name.to_owned()));
        return Refusal::at(ErrorCode::InvalidBody, "missing", loc, "Field required");
    }
    let kind = if text.starts_with("unknown variant") { "enum" } else { "value_error" };
    Refusal::at(ErrorCode::InvalidBody, kind, loc, shorten(text))
}

/// The message may quote the value, and a value may be long.
fn shorten(text: &str) -> String {
    const SHOWN_CHARS: usize = 300;
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn syntax_fault(bytes: &[u8], error: &serde_json::Error) -> Refusal {
    let loc = vec!["body".into(), Step::Index(offset_of(bytes, error))];
    let said = format!("JSON decode error: {error}");
    Refusal::at(ErrorCode::MalformedJson, "json_invalid", loc, said)
}

/// The byte at which `error` was found.
fn offset_of(bytes: &[u8], error: &serde_json::Error) -> usize {
    let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let line_start = match error.line() {
        0 | 1 => 0,
        line => newlines.map(|(at, _)| at + 1).nth(line - 2).unwrap_or(0),
    };
    (line_start + error.column().saturating_sub(1)).min(bytes.len())
}

fn too_long(limit: u64) -> Refusal {
    Refusal::new(ErrorCode::TooLarge, format!("the body is over the limit of {limit} bytes"))
}

fn cut_off(said: &'static str) -> Refusal {
    Refusal::new(ErrorCode::MalformedJson, said)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    type Shape = HashMap<String, Vec<u32>>;

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let refusal = parse::<Shape>(br#"{"a": [1, 2, "x"]}"#, "body").unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::InvalidBody);
        let loc = vec!["body".into(), "a".to_owned().into(), Step::Index(2)];
        assert_eq!(refusal.faults()[0].loc, loc);
    }

    #[test]
    fn what_is_no_json_is_malformed_and_says_where() {
        for (text, offset) in
            [("", 0), ("nope", 1), ("{\n \"a\": [1,\n ,]}", 13), (r#"{"a": [1"#, 7), ("{} x", 3)]
        {
            let refusal = parse::<Shape>(text.as_bytes(), "body").unwrap_err();
            assert_eq!(refusal.code(), ErrorCode::MalformedJson, "{text}");
            assert_eq!(refusal.faults()[0].loc[1], Step::Index(offset), "{text}");
        }
    }

    #[tokio::test]
    async fn bodies_end_at_their_limit() {
        let limits = Limits::default();
        let none = HeaderMap::new();
        let body = || Body::from("0123456789");
        let whole = Chunks::new(body(), &none, 10, &limits).unwrap().collect().await;
        assert_eq!(&*whole.unwrap(), b"0123456789");
        let cut = Chunks::new(body(), &none, 9, &limits).unwrap().collect().await;
        assert_eq!(cut.unwrap_err().code(), ErrorCode::TooLarge);
        let mut announced = HeaderMap::new();
        announced.insert(header::CONTENT_LENGTH, 10.into());
        let refused = Chunks::new(body(), &announced, 9, &limits).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::TooLarge);
    }

    /// A body whose chunks come one by one, a while apart.
    fn drip(chunk: &'static [u8], pause: Duration) -> Body {
        Body::from_stream(futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(chunk)), ()))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_drips_is_not_waited_for() {
        let limits = Limits::default();
        let second = Duration::from_secs(1);
        let begin = Instant::now();
        let slow = Chunks::new(drip(b"x", second), &HeaderMap::new(), 1 << 20, &limits).unwrap();
        assert_eq!(slow.collect().await.unwrap_err().code(), ErrorCode::MalformedJson);
        assert!(begin.elapsed() < 2 * limits.body_wait, "{:?}", begin.elapsed());
        // One that is quick enough is read to its limit.
        let quick = drip(&[0; 2048], second);
        let quick = Chunks::new(quick, &HeaderMap::new(), 1 << 18, &limits).unwrap();
        assert_eq!(quick.collect().await.unwrap_err().code(), ErrorCode::TooLarge);
    }

    #[tokio::test]
    async fn bodies_share_their_memory_and_give_it_back() {
        let body_memory = BodyMemory::new(1 << 20);
        let limits = Limits { body_memory, ..Limits::default() };
        let read = |size: usize| {
            let body = Body::from(vec![0; size]);
            Chunks::new(body, &HeaderMap::new(), 1 << 30, &limits).unwrap().collect()
        };
        let first = read(700 << 10).await.unwrap();
        assert_eq!(read(700 << 10).await.unwrap_err().code(), ErrorCode::Overloaded);
        let small = read(60 << 10).await.unwrap();
        assert_eq!(small.len(), 60 << 10, "small ones are not counted");
        drop(first);
        assert_eq!(read(700 << 10).await.unwrap().len(), 700 << 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stalls_is_not_waited_for() {
        let silent = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let limits = Limits::default();
        let body = Body::from_stream(silent);
        let read = Chunks::new(body, &HeaderMap::new(), 10, &limits).unwrap().collect().await;
        assert_eq!(read.unwrap_err().code(), ErrorCode::MalformedJson);
    }
}
