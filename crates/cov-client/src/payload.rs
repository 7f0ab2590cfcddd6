//! What a request carries: bytes, and files that are read while they are sent. Made anew for
//! every try.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// Bytes read at once from a file.
const CHUNK_BYTES: usize = 256 * 1024;

pub(crate) type Outgoing = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a request carries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload {
    kind: Option<&'static str>,
    parts: Vec<Part>,
}

/// A piece of it.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Bytes(Bytes),
    /// A file of this size.
    File(PathBuf, u64),
}

impl Payload {
    pub(crate) fn new(kind: &'static str, parts: Vec<Part>) -> Self {
        Self { kind: Some(kind), parts }
    }

    /// The length of a text as a little-endian `u32`, the text, and parts behind it.
    pub(crate) fn framed(kind: &'static str, text: &[u8], behind: Vec<Part>) -> Self {
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
        let head = Part::Bytes(Bytes::from([&size[..], text].concat()));
        Self::new(kind, std::iter::once(head).chain(behind).collect())
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::new("application/json", vec![Part::Bytes(Bytes::from(value.to_string()))])
    }

    pub(crate) fn kind(&self) -> Option<&'static str> {
        self.kind
    }

    /// Bytes of all parts.
    pub(crate) fn size(&self) -> u64 {
        let size = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::File(_, size) => *size,
        };
        self.parts.iter().map(size).sum()
    }

    /// The body of one try.
    pub(crate) fn body(&self) -> Outgoing {
        if let [Part::Bytes(bytes)] = self.parts.as_slice() {
            return Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync();
        }
        let size = self.size();
        if size == 0 {
            return Full::default().map_err(|never| match never {}).boxed_unsync();
        }
        let reading = Reading { parts: self.parts.clone().into_iter(), file: None };
        let step = |mut reading: Reading| async move {
            let next = reading.next().await?;
            Ok::<_, std::io::Error>(next.map(|chunk| (Frame::data(chunk), reading)))
        };
        let body = StreamBody::new(stream::try_unfold(reading, step));
        Sized { body: body.boxed_unsync(), size }.boxed_unsync()
    }
}

struct Reading {
    parts: std::vec::IntoIter<Part>,
    file: Option<(File, u64)>,
}

impl Reading {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if let Some((file, left)) = &mut self.file {
                if *left > 0 {
                    let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
                    let read = file.take(*left).read_buf(&mut chunk).await?;
                    if read == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                    *left -= read as u64;
                    return Ok(Some(chunk.freeze()));
                }
                self.file = None;
            }
            match self.parts.next() {
                None => return Ok(None),
                Some(Part::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Part::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Part::File(path, size)) => self.file = Some((File::open(path).await?, size)),
            }
        }
    }
}

/// A stream whose length is known, so that it is announced.
struct Sized {
    body: Outgoing,
    size: u64,
}

impl Body for Sized {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size)
    }
}
