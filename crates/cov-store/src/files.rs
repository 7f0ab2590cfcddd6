//! Large contents as files, named by their digest. A file stands under its name only when it is
//! whole and durable. Knows no database: small contents are handed back to go with a row.

mod adopt;
mod intake;
mod removal;

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cov_core::asset::{ContentDigest, ContentRef, INLINE_BYTES_MAX, SmallContent};
use cov_core::ids::ContentId;

use crate::fault::{corrupt, flatten, from_io};
use crate::pins::Pins;
use crate::{Blob, Error, Staged};

const CONTENTS: &str = "contents";
const SPOOL: &str = "spool";
/// Inside `contents`, so that a rename never leaves the file system.
const INCOMING: &str = "incoming";

/// How much of a file is in memory while it is hashed. Bytes.
const HASH_BUFFER_BYTES: usize = 1024 * 1024;

/// How many files are remembered as checked; then the memory starts anew.
const CHECKED_MAX: usize = 65_536;

/// How many files are checked at the same time. One file is never checked twice at once.
const CHECK_LANES: usize = 8;

/// The folders of large contents.
#[derive(Debug)]
pub(crate) struct Files {
    contents: PathBuf,
    incoming: PathBuf,
    spool: PathBuf,
    next_name: AtomicU64,
    /// The folders `contents/ab` whose own names are durable.
    folders: Mutex<[bool; 256]>,
    /// Files whose bytes were seen to match their names, as they stood then.
    checked: Mutex<HashMap<ContentId, Stamp>>,
    /// Spool files whose bytes may not be on the disk although the system says so.
    doubtful: Mutex<HashSet<PathBuf>>,
    lanes: [tokio::sync::Mutex<()>; CHECK_LANES],
    pins: Pins,
}

/// What changes when somebody writes into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            size: metadata.size(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A file that is removed when it is dropped, unless it was renamed.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: Option<PathBuf>,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "temporary file cannot be removed");
        }
    }
}

impl Files {
    /// Creates the folders below `data` that are missing, and removes what uploads and runners
    /// left behind.
    pub(crate) fn open(data: &Path) -> Result<Self, Error> {
        let contents = data.join(CONTENTS);
        let incoming = contents.join(INCOMING);
        let spool = data.join(SPOOL);
        for folder in [&contents, &incoming, &spool] {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(from_io)?;
        }
        empty(&incoming).map_err(from_io)?;
        empty(&spool).map_err(from_io)?;
        sync_folder(&contents).map_err(from_io)?;
        Ok(Self {
            contents,
            incoming,
            spool,
            next_name: AtomicU64::new(0),
            folders: Mutex::new([false; 256]),
            checked: Mutex::new(HashMap::new()),
            doubtful: Mutex::default(),
            lanes: Default::default(),
            pins: Pins::default(),
        })
    }

    /// Who speaks for which content.
    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    pub(crate) fn spool(&self) -> &Path {
        &self.spool
    }

    /// Takes over a file in the spool.
    pub(crate) async fn adopt(self: &Arc<Self>, path: &Path) -> Result<Staged, Error> {
        let files = Arc::clone(self);
        let path = path.to_path_buf();
        flatten(tokio::task::spawn_blocking(move || files.adopt_now(&path)).await)
    }

    /// The file of `content`, checked; `None` if there is none.
    pub(crate) async fn read(
        self: &Arc<Self>,
        content: &ContentRef,
    ) -> Result<Option<Blob>, Error> {
        // One look costs less than the way to another thread and back.
        match self.stand(content)? {
            Standing::Missing => return Ok(None),
            Standing::Checked => {}
            Standing::Unchecked => self.check(*content).await?,
        }
        Ok(Some(Blob::File { path: self.path_of(&content.id), size: content.size }))
    }

    /// Whether a file stands under the name of `id`.
    pub(crate) async fn holds(self: &Arc<Self>, id: ContentId) -> Result<bool, Error> {
        let files = Arc::clone(self);
        let looked =
            tokio::task::spawn_blocking(move || files.path_of(&id).try_exists().map_err(from_io));
        flatten(looked.await)
    }

    /// Which of `contents` have a file of the right size, in order.
    pub(crate) async fn stand_whole(
        self: &Arc<Self>,
        contents: Vec<ContentRef>,
    ) -> Result<Vec<bool>, Error> {
        // So few looks cost less than the way to another thread and back.
        const LOOKED_AT_HERE_MAX: usize = 4;
        if contents.len() <= LOOKED_AT_HERE_MAX {
            return Ok(contents.iter().map(|content| self.stands_whole(content)).collect());
        }
        let files = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            Ok(contents.iter().map(|content| files.stands_whole(content)).collect())
        });
        flatten(looked.await)
    }

    fn stands_whole(&self, content: &ContentRef) -> bool {
        let metadata = fs::metadata(self.path_of(&content.id));
        metadata.is_ok_and(|metadata| metadata.size() == content.size)
    }

    async fn check(self: &Arc<Self>, content: ContentRef) -> Result<(), Error> {
        let [lane, ..] = content.id.as_bytes();
        let _one_at_a_time = match self.lanes.get(usize::from(*lane) % CHECK_LANES) {
            Some(lane) => lane.lock().await,
            None => return Ok(()),
        };
        let files = Arc::clone(self);
        let checking = tokio::task::spawn_blocking(move || match files.stand(&content)? {
            // Another reader checked it while this one waited.
            Standing::Checked => Ok(()),
            Standing::Missing | Standing::Unchecked => files.check_now(&content),
        });
        flatten(checking.await)
    }

    fn stand(&self, content: &ContentRef) -> Result<Standing, Error> {
        let metadata = match fs::metadata(self.path_of(&content.id)) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Missing),
            Err(error) => return Err(from_io(error)),
        };
        if metadata.size() != content.size {
            let reason = format!("its file has {} of {} bytes", metadata.size(), content.size);
            return Err(corrupt(format!("content {}", content.id), reason));
        }
        let checked = self.checked().get(&content.id) == Some(&Stamp::of(&metadata));
        Ok(if checked { Standing::Checked } else { Standing::Unchecked })
    }

    fn check_now(&self, content: &ContentRef) -> Result<(), Error> {
        let mut file = File::open(self.path_of(&content.id)).map_err(from_io)?;
        let stamp = Stamp::of(&file.metadata().map_err(from_io)?);
        if hash(&mut file).map_err(from_io)? != *content {
            let reason = "its file does not match its digest";
            return Err(corrupt(format!("content {}", content.id), reason));
        }
        self.remember(content.id, stamp);
        Ok(())
    }

    /// Makes a written file durable under the name of its content.
    fn keep(&self, mut temporary: Temporary, content: ContentRef) -> Result<Staged, Error> {
        let staged = Staged { content, small: None };
        // Before the look for a file that stands: from here on, nobody removes it.
        self.pins.pin(content.id);
        let folder = self.folder_for(&content.id)?;
        let target = self.path_of(&content.id);
        if matches!(self.stand(&content), Ok(Standing::Checked)) {
            // Whoever renamed it may not have come to this yet.
            sync_folder(&folder).map_err(from_io)?;
            return Ok(staged);
        }
        temporary.file.sync_all().map_err(from_io)?;
        if let Some(path) = temporary.path.take()
            && let Err(error) = fs::rename(&path, &target)
        {
            temporary.path = Some(path);
            return Err(from_io(error));
        }
        sync_folder(&folder).map_err(from_io)?;
        let stamp = Stamp::of(&temporary.file.metadata().map_err(from_io)?);
        self.remember(content.id, stamp);
        Ok(staged)
    }

    /// The folder for the file of `id`, durable.
    fn folder_for(&self, id: &ContentId) -> Result<PathBuf, Error> {
        let [first, ..] = *id.as_bytes();
        let folder = self.contents.join(format!("{first:02x}"));
        let durable = self.folders().get(usize::from(first)).copied().unwrap_or(false);
        if durable {
            return Ok(folder);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(from_io)?;
        sync_folder(&self.contents).map_err(from_io)?;
        if let Some(durable) = self.folders().get_mut(usize::from(first)) {
            *durable = true;
        }
        Ok(folder)
    }

    /// Where the file of `id` stands, or would.
    pub(crate) fn path_of(&self, id: &ContentId) -> PathBuf {
        let [first, ..] = *id.as_bytes();
        self.contents.join(format!("{first:02x}/{id}"))
    }

    /// A new name in the folder that is emptied when the store is opened.
    pub(crate) fn temporary_path(&self) -> PathBuf {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        self.incoming.join(number.to_string())
    }

    fn temporary(&self) -> Result<Temporary, Error> {
        let path = self.temporary_path();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o400);
        let file = options.open(&path).map_err(from_io)?;
        Ok(Temporary { file, path: Some(path) })
    }

    fn remember(&self, id: ContentId, stamp: Stamp) {
        let mut checked = self.checked();
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.insert(id, stamp);
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<ContentId, Stamp>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubtful(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folders(&self) -> MutexGuard<'_, [bool; 256]> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a content's file.
enum Standing {
    Missing,
    Unchecked,
    Checked,
}

fn read_small(file: &mut File, metadata: &fs::Metadata) -> io::Result<Option<Staged>> {
    let mut bytes = Vec::new();
    file.take(INLINE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != metadata.size() {
        return Ok(None);
    }
    let SmallContent { content, bytes } = SmallContent::new(Bytes::from(bytes));
    Ok(Some(Staged { content, small: Some(bytes) }))
}

fn hash(file: &mut File) -> io::Result<ContentRef> {
    let mut digest = ContentDigest::default();
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer)?;
        match buffer.get(..count) {
            Some(read) if count > 0 => digest.update(read),
            _ => return Ok(digest.finish()),
        }
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}
