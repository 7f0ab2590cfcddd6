//! Contents in memory; large ones as files in a temporary folder, because callers expect a path.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cov_core::asset::{ContentRef, INLINE_BYTES_MAX, SmallContent};
use cov_core::ids::ContentId;

use crate::fault::{corrupt, from_io};
use crate::pins::Pins;
use crate::{Blob, ContentWriter, Error, Staged, spool};

#[derive(Debug)]
pub(super) struct Holder {
    folder: tempfile::TempDir,
    spool: PathBuf,
    large: Mutex<HashSet<ContentId>>,
    pins: Pins,
}

impl Holder {
    pub(super) fn new() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let spool = folder.path().join("spool");
        fs::create_dir(&spool)?;
        Ok(Self { folder, spool, large: Mutex::default(), pins: Pins::default() })
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Removes a large content, unless somebody speaks for it.
    pub(super) fn remove(&self, id: &ContentId) -> io::Result<()> {
        let removed = self.pins.unless_kept(id, || match self.large().remove(id) {
            true => fs::remove_file(self.path_of(id)),
            false => Ok(()),
        });
        removed.unwrap_or(Ok(()))
    }

    pub(super) fn spool(&self) -> &Path {
        &self.spool
    }

    pub(super) fn empty_spool(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.spool)?;
        fs::create_dir(&self.spool)
    }

    pub(super) fn adopt(&self, path: &Path) -> Result<Staged, Error> {
        let what = || format!("spool file {}", path.display());
        if !spool::holds(self.spool(), path) {
            return Err(corrupt(what(), "it does not stand in the spool"));
        }
        if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            return Err(corrupt(what(), "it is no plain file"));
        }
        let staged = self.take(fs::read(path).map_err(from_io)?.into())?;
        fs::remove_file(path).map_err(from_io)?;
        Ok(staged)
    }

    fn take(&self, bytes: Bytes) -> Result<Staged, Error> {
        let SmallContent { content, bytes } = SmallContent::new(bytes);
        if bytes.len() <= INLINE_BYTES_MAX {
            return Ok(Staged { content, small: Some(bytes) });
        }
        // Before it is there: from here on, nobody removes it.
        self.pins.pin(content.id);
        fs::write(self.path_of(&content.id), &bytes).map_err(from_io)?;
        self.large().insert(content.id);
        Ok(Staged { content, small: None })
    }

    pub(super) fn read(&self, content: &ContentRef, small: Option<Bytes>) -> Result<Blob, Error> {
        match small {
            Some(bytes) => Ok(Blob::Small(bytes)),
            None if self.holds(&content.id) => {
                Ok(Blob::File { path: self.path_of(&content.id), size: content.size })
            }
            None => Err(corrupt(format!("content {}", content.id), "its bytes are gone")),
        }
    }

    pub(super) fn holds(&self, content: &ContentId) -> bool {
        self.large().contains(content)
    }

    fn path_of(&self, content: &ContentId) -> PathBuf {
        self.folder.path().join(content.to_string())
    }

    fn large(&self) -> MutexGuard<'_, HashSet<ContentId>> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gathers all of a content, however large.
#[derive(Debug)]
pub(super) struct MemoryWriter {
    holder: Arc<Holder>,
    bytes: BytesMut,
}

impl MemoryWriter {
    pub(super) fn new(holder: Arc<Holder>) -> Self {
        Self { holder, bytes: BytesMut::new() }
    }
}

#[async_trait]
impl ContentWriter for MemoryWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Staged, Error> {
        self.holder.take(self.bytes.freeze())
    }
}
