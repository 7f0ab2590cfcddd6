//! The files of the results directory. Small ones are read, large ones only named: they may be
//! larger than the memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cov_core::asset::{AssetAddress, ContentDigest, ContentRef, INLINE_BYTES_MAX, SmallContent};
use cov_core::bundle::Bundle;
use cov_core::ids::ContentId;

use super::Error;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What there is of a file.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing, or nothing in it.
    Empty,
    Small(SmallContent),
    Large(ContentRef),
}

/// Reads a file, or what its contents are called.
///
/// # Errors
/// It is there and cannot be read.
pub(super) fn read(path: &Path) -> Result<Content, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Content::Empty);
        }
        Err(error) => return Err(failed(error)),
    };
    let size = file.metadata().map_err(failed)?.len();
    if size == 0 {
        return Ok(Content::Empty);
    }
    if size <= INLINE_BYTES_MAX as u64 {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        return Ok(Content::Small(SmallContent::new(bytes.into())));
    }
    let (mut digest, mut chunk) = (ContentDigest::default(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk).map_err(failed)? {
            0 => return Ok(Content::Large(digest.finish())),
            read => digest.update(chunk.get(..read).unwrap_or_default()),
        }
    }
}

/// Gathers contents, each once.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) bundle: Bundle,
    /// Assets with a large content, which stays in its file.
    pub(super) files: Vec<(AssetAddress, PathBuf, ContentRef)>,
    known: HashMap<ContentId, u32>,
}

impl Gathering {
    pub(super) fn new(bundle: Bundle) -> Self {
        Self { bundle, files: Vec::new(), known: HashMap::new() }
    }

    /// Takes in an asset; says whether it has any bytes.
    pub(super) fn put(&mut self, address: AssetAddress, path: PathBuf) -> Result<bool, Error> {
        match read(&path)? {
            Content::Empty => return Ok(false),
            Content::Small(SmallContent { content, bytes }) => {
                self.put_small(address, content, bytes)
            }
            Content::Large(content) => self.files.push((address, path, content)),
        }
        Ok(true)
    }

    fn put_small(&mut self, address: AssetAddress, content: ContentRef, bytes: Bytes) {
        let bundle = &mut self.bundle;
        let index = *self.known.entry(content.id).or_insert_with(|| bundle.content(bytes));
        self.bundle.asset(address, index);
    }
}
