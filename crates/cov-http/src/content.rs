//! Sends stored bytes: whole or a range, from memory or chunk by chunk from a file. Changes
//! nothing and decides nothing about who may read.

use std::io::SeekFrom;
use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;
use cov_core::asset::ContentDigest;
use cov_dispatcher::store::Blob;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// Bytes read from a file at once.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Reads a blob chunk by chunk.
#[derive(Debug)]
pub(crate) enum BlobReader {
    Memory(Bytes),
    File { path: PathBuf, file: Option<tokio::fs::File>, start: u64, left: u64 },
}

impl BlobReader {
    /// Reads `length` bytes of `blob` from `start`; both lie within the blob.
    pub(crate) fn new(blob: Blob, start: u64, length: u64) -> Self {
        match blob {
            Blob::Small(bytes) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let range = index(start)..index(start.saturating_add(length));
                Self::Memory(bytes.slice(range))
            }
            Blob::File { path, .. } => Self::File { path, file: None, start, left: length },
        }
    }

    /// The next bytes, at most [`CHUNK_BYTES`] of them, or `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        match self {
            Self::Memory(bytes) if bytes.is_empty() => Ok(None),
            Self::Memory(bytes) => {
                let size = bytes.len().min(CHUNK_BYTES);
                Ok(Some(bytes.split_to(size)))
            }
            Self::File { left: 0, .. } => Ok(None),
            Self::File { path, file, start, left } => {
                let opened = match file {
                    Some(opened) => opened,
                    None => file.insert(open_at(path, *start).await?),
                };
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
                let mut chunk = BytesMut::with_capacity(size);
                let read = opened.take(size as u64).read_buf(&mut chunk).await?;
                if read == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                *left -= read as u64;
                Ok(Some(chunk.freeze()))
            }
        }
    }

    fn into_body(self) -> Body {
        let step = |mut reader: Self| async move {
            Ok::<_, std::io::Error>(reader.next().await?.map(|chunk| (chunk, reader)))
        };
        Body::from_stream(futures_util::stream::try_unfold(self, step))
    }
}

async fn open_at(path: &std::path::Path, start: u64) -> std::io::Result<tokio::fs::File> {
    let mut file = tokio::fs::File::open(path).await?;
    if start > 0 {
        let _at: u64 = file.seek(SeekFrom::Start(start)).await?;
    }
    Ok(file)
}

/// Bytes in `blob`.
pub(crate) fn size_of(blob: &Blob) -> u64 {
    match blob {
        Blob::Small(bytes) => bytes.len() as u64,
        Blob::File { size, .. } => *size,
    }
}

/// Answers with `blob`, or with the part that the request's `Range` asks for.
pub(crate) fn answer(blob: Blob, kind: &'static str, request: &HeaderMap) -> Response {
    let size = size_of(&blob);
    let tag = tag_of(&blob);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(tag) = &tag {
        headers.insert(header::ETAG, tag.clone());
        if request.get(header::IF_NONE_MATCH) == Some(tag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
    }
    let (status, start, length) = match range_of(request, tag.as_ref(), size) {
        Wanted::All => (StatusCode::OK, 0, size),
        Wanted::Part { start, end } => {
            insert_text(
                &mut headers,
                header::CONTENT_RANGE,
                &format!("bytes {start}-{end}/{size}"),
            );
            (StatusCode::PARTIAL_CONTENT, start, end - start + 1)
        }
        Wanted::Nothing => {
            insert_text(&mut headers, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    insert_text(&mut headers, header::CONTENT_LENGTH, &length.to_string());
    (status, headers, BlobReader::new(blob, start, length).into_body()).into_response()
}

fn insert_text(headers: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Contents never change, so that a file's name, which is its digest, tells it apart.
fn tag_of(blob: &Blob) -> Option<HeaderValue> {
    let name = match blob {
        Blob::Small(bytes) => {
            let mut digest = ContentDigest::default();
            digest.update(bytes);
            digest.finish().id.to_string()
        }
        Blob::File { path, .. } => path.file_name()?.to_str()?.to_owned(),
    };
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    plain.then(|| HeaderValue::from_str(&format!("\"{name}\"")).ok()).flatten()
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part { start: u64, end: u64 },
    Nothing,
}

/// What `Range` asks for. Several ranges, and what is no range, ask for all.
fn range_of(request: &HeaderMap, tag: Option<&HeaderValue>, size: u64) -> Wanted {
    let stale = request.get(header::IF_RANGE).is_some_and(|known| Some(known) != tag);
    let text = request.get(header::RANGE).and_then(|value| value.to_str().ok());
    let spec = text.and_then(|text| text.strip_prefix("bytes="));
    let Some((first, last)) = spec.filter(|_| !stale).and_then(|spec| spec.split_once('-')) else {
        return Wanted::All;
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), Ok(end)) if start > end => Wanted::All,
        (Ok(start), _) if start >= size => Wanted::Nothing,
        (Ok(start), Ok(end)) => Wanted::Part { start, end: end.min(size - 1) },
        (Ok(start), Err(_)) if last.trim().is_empty() => Wanted::Part { start, end: size - 1 },
        (Err(_), Ok(0)) if first.trim().is_empty() => Wanted::Nothing,
        (Err(_), Ok(count)) if first.trim().is_empty() && size > 0 => {
            Wanted::Part { start: size.saturating_sub(count), end: size - 1 }
        }
        _ => Wanted::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(range: &str, size: u64) -> Wanted {
        let mut request = HeaderMap::new();
        request.insert(header::RANGE, range.parse().unwrap());
        range_of(&request, None, size)
    }

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        assert_eq!(wanted("bytes=0-0", 3), Wanted::Part { start: 0, end: 0 });
        assert_eq!(wanted("bytes=1-", 3), Wanted::Part { start: 1, end: 2 });
        assert_eq!(wanted("bytes=-2", 3), Wanted::Part { start: 1, end: 2 });
        assert_eq!(wanted("bytes=-9", 3), Wanted::Part { start: 0, end: 2 });
        assert_eq!(wanted("bytes=1-99", 3), Wanted::Part { start: 1, end: 2 });
        for nothing in ["bytes=3-", "bytes=9-10", "bytes=-0"] {
            assert_eq!(wanted(nothing, 3), Wanted::Nothing, "{nothing}");
        }
        for all in ["bytes=2-1", "bytes=0-0,2-2", "lines=1-2", "bytes=x-", "bytes=-", "bytes=1-x"] {
            assert_eq!(wanted(all, 3), Wanted::All, "{all}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(wanted("bytes=-1", 0), Wanted::All);
    }

    #[tokio::test]
    async fn a_large_file_is_never_in_memory_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content");
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 17).map(|i| i.to_le_bytes()[0]).collect();
        std::fs::write(&path, &bytes).unwrap();
        let size = bytes.len() as u64;
        let mut reader = BlobReader::new(Blob::File { path, size }, 5, size - 5);
        let mut read = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            assert!(chunk.len() <= CHUNK_BYTES);
            read.extend_from_slice(&chunk);
        }
        assert!(read == bytes[5..]);
    }
}
