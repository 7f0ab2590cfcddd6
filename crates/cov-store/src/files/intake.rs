//! A content on its way in: gathered in memory while small, hashed and written to a temporary
//! file on the blocking pool once it is not. Keeps at most two flushes in memory.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cov_core::asset::{ContentDigest, INLINE_BYTES_MAX, SmallContent};
use tokio::task::JoinHandle;

use super::{Files, Temporary};
use crate::fault::{flatten, from_io, internal};
use crate::{ContentWriter, Error, Staged};

/// How much is gathered before it is hashed and written. Bytes.
const FLUSH_BYTES: usize = 1024 * 1024;

impl Files {
    /// Begins to take in a content.
    pub(crate) fn writer(self: &Arc<Self>) -> Intake {
        Intake {
            files: Arc::clone(self),
            gathered: Vec::new(),
            gathered_bytes: 0,
            flushing: None,
            broken: false,
        }
    }
}

/// One content on its way in.
#[derive(Debug)]
pub(crate) struct Intake {
    files: Arc<Files>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    /// The latest flush; there is one once the content is large.
    flushing: Option<JoinHandle<Result<Sink, Error>>>,
    /// Whether bytes were lost, to a fault or with a dropped future: what follows would be
    /// another content.
    broken: bool,
}

/// What was flushed so far.
#[derive(Debug)]
struct Sink {
    digest: ContentDigest,
    temporary: Temporary,
}

impl Intake {
    /// Hashes and writes what was gathered, behind the flush before it.
    async fn flush(&mut self) -> Result<(), Error> {
        if self.broken {
            return Err(internal("the content was given up"));
        }
        self.broken = true;
        let before = match self.flushing.take() {
            Some(flushing) => Some(flatten(flushing.await)?),
            None => None,
        };
        let files = Arc::clone(&self.files);
        let gathered = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        self.flushing = Some(tokio::task::spawn_blocking(move || {
            let mut sink = match before {
                Some(sink) => sink,
                None => Sink { digest: ContentDigest::default(), temporary: files.temporary()? },
            };
            for chunk in gathered {
                sink.digest.update(&chunk);
                sink.temporary.file.write_all(&chunk).map_err(from_io)?;
            }
            Ok(sink)
        }));
        self.broken = false;
        Ok(())
    }
}

#[async_trait]
impl ContentWriter for Intake {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.gathered_bytes += chunk.len();
        self.gathered.push(chunk);
        if self.gathered_bytes >= FLUSH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Staged, Error> {
        let is_small = self.flushing.is_none() && self.gathered_bytes <= INLINE_BYTES_MAX;
        if is_small && !self.broken {
            let mut bytes = BytesMut::with_capacity(self.gathered_bytes);
            self.gathered.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
            let SmallContent { content, bytes } = SmallContent::new(bytes.freeze());
            return Ok(Staged { content, small: Some(bytes) });
        }
        self.flush().await?;
        let Some(flushing) = self.flushing.take() else {
            return Err(internal("a flush left nothing to wait for"));
        };
        let files = Arc::clone(&self.files);
        let Sink { digest, temporary } = flatten(flushing.await)?;
        let keeping = tokio::task::spawn_blocking(move || files.keep(temporary, digest.finish()));
        flatten(keeping.await)
    }
}
