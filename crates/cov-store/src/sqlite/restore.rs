//! Filling an empty data directory from a backup. Everything is unpacked beside the directory and
//! checked there; one rename makes it the data directory, or nothing does. Believes nothing that
//! the archive says before it has seen it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cov_core::backup::{Event, Inventory, Member, Reader};
use cov_core::ids::ContentId;
use rustix::fs::FlockOperation;
use sqlx::{ConnectOptions, Connection};

use super::SqliteStore;
use super::backup::{large_contents, snapshot_options};
use super::open::DATABASE;
use crate::fault::{flatten, from_io, from_sql};
use crate::model::Query;
use crate::{Error, Store as _};

/// How much of the archive is in memory. Bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// Held in the folder beside the data directory while it is filled.
const LOCK: &str = "restore.lock";

/// What was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Dispatches, sub-dispatches included.
    pub dispatches: u64,
    /// Large contents.
    pub contents: u64,
    /// Bytes of the database and of the large contents.
    pub bytes: u64,
}

impl SqliteStore {
    /// Makes `data` a data directory with what is in the backup `archive`. It must be empty, or
    /// not exist. Durable on return.
    ///
    /// # Errors
    /// `Refused` when `data` is not empty, when the archive is no whole and sound backup, or when
    /// a newer release wrote it; `Full` or `Unavailable` when the disk does not do its part.
    /// `data` is as it was.
    pub async fn restore(
        archive: impl AsRef<Path>,
        data: impl AsRef<Path>,
    ) -> Result<Restored, Error> {
        let (archive, data) = (archive.as_ref().to_path_buf(), data.as_ref().to_path_buf());
        let unpacking = tokio::task::spawn_blocking(move || {
            let site = Site::prepare(&data)?;
            let unpacked = unpack(&archive, &site.folder)?;
            Ok((site, unpacked))
        });
        let (site, unpacked) = flatten(unpacking.await)?;
        check_database(&site.folder, &unpacked.contents).await?;
        let store = SqliteStore::open(&site.folder).await?;
        let dispatches = store.count(&Query::default()).await?;
        store.close().await;
        drop(store);
        flatten(tokio::task::spawn_blocking(move || site.finish()).await)?;
        let Inventory { contents, bytes } = unpacked.inventory;
        Ok(Restored { dispatches, contents, bytes })
    }
}

/// The folder beside the data directory. Removed when it is dropped before it is finished.
#[derive(Debug)]
struct Site {
    folder: PathBuf,
    target: PathBuf,
    is_finished: bool,
    /// Locked, so that no other restore works here.
    _lock: File,
}

impl Site {
    fn prepare(data: &Path) -> Result<Self, Error> {
        let target = empty_or_missing(data)?;
        let place = target.parent().zip(target.file_name());
        let (parent, name) = place.ok_or_else(|| refused(&target, "has no folder above it"))?;
        let folder = parent.join(format!(".{}.restoring", name.to_string_lossy()));
        let created = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        created.map_err(|error| refused(&folder, &format!("cannot be created: {error}")))?;
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = lock.open(folder.join(LOCK)).map_err(from_io)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_errno| refused(&target, "is being restored by another process"))?;
        empty_but_lock(&folder)?;
        Ok(Self { folder, target, is_finished: false, _lock: lock })
    }

    /// Makes everything durable, and then the folder the data directory.
    fn finish(mut self) -> Result<(), Error> {
        sync_folders(&self.folder).map_err(from_io)?;
        // Takes the place of an empty folder, and of no other.
        fs::rename(&self.folder, &self.target).map_err(|error| match error.kind() {
            ErrorKind::ResourceBusy => {
                refused(&self.target, "is a mount point; restore into a folder below it")
            }
            ErrorKind::DirectoryNotEmpty => refused(&self.target, "is not empty any more"),
            _ => from_io(error),
        })?;
        self.is_finished = true;
        fs::remove_file(self.target.join(LOCK)).map_err(from_io)?;
        sync_folder(&self.target).map_err(from_io)?;
        sync_folder(self.target.parent().unwrap_or(&self.target)).map_err(from_io)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(path = %self.folder.display(), %error, "folder cannot be removed");
        }
    }
}

fn refused(path: &Path, why: &str) -> Error {
    Error::Refused(format!("{} {why}", path.display()))
}

/// The path of the data directory, absolute and without links.
fn empty_or_missing(data: &Path) -> Result<PathBuf, Error> {
    match fs::read_dir(data) {
        Ok(mut entries) => match entries.next() {
            None => fs::canonicalize(data).map_err(from_io),
            Some(_) => {
                Err(refused(data, "is not empty; a backup is restored into an empty folder"))
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::path::absolute(data).map_err(from_io)
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(refused(data, "is no folder"))
        }
        Err(error) => Err(from_io(error)),
    }
}

/// Removes what a restore that was killed has left.
fn empty_but_lock(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(from_io)? {
        let entry = entry.map_err(from_io)?;
        if entry.file_name() == LOCK {
            continue;
        }
        let removed = match entry.file_type().map_err(from_io)?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
        removed.map_err(from_io)?;
    }
    Ok(())
}

/// What came out of the archive.
#[derive(Debug)]
struct Unpacked {
    inventory: Inventory,
    contents: Vec<ContentId>,
}

fn unpack(archive: &Path, folder: &Path) -> Result<Unpacked, Error> {
    let unreadable = |error| refused(archive, &format!("cannot be read: {error}"));
    let unusable =
        |error: cov_core::backup::Error| refused(archive, &format!("cannot be used: {error}"));
    let mut archive = File::open(archive).map_err(unreadable)?;
    let mut reader = Reader::default();
    let mut contents = Vec::new();
    let mut member: Option<File> = None;
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = archive.read(&mut buffer).map_err(unreadable)?;
        let mut input = buffer.get(..count).unwrap_or_default();
        if input.is_empty() {
            let inventory = reader.finish().map_err(unusable)?;
            return Ok(Unpacked { inventory, contents });
        }
        while let Some(event) = reader.next(&mut input).map_err(unusable)? {
            match event {
                Event::Head(_) => {}
                Event::Begin { member: begun, .. } => {
                    if let Member::Content(id) = begun {
                        contents.push(id);
                    }
                    member = Some(create(folder, begun).map_err(from_io)?);
                }
                Event::Data(data) => {
                    let file = member.as_mut();
                    file.map_or(Ok(()), |file| file.write_all(data)).map_err(from_io)?;
                }
                Event::End(_) => {
                    let file = member.take();
                    file.map_or(Ok(()), |file| file.sync_all()).map_err(from_io)?;
                }
            }
        }
    }
}

fn create(folder: &Path, member: Member) -> std::io::Result<File> {
    let path = folder.join(member.to_string());
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(above)?;
    }
    let mode = if matches!(member, Member::Content(_)) { 0o400 } else { 0o600 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// The database is sound and refers to the contents that have come, and to no others.
async fn check_database(folder: &Path, contents: &[ContentId]) -> Result<(), Error> {
    let unsound = |why: String| Error::Refused(format!("the backup cannot be used: {why}"));
    let path = folder.join(DATABASE);
    let mut connection = snapshot_options(&path).connect().await.map_err(from_sql)?;
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut connection)
        .await
        .map_err(|error| unsound(format!("its database is damaged: {error}")))?;
    if found != ["ok"] {
        return Err(unsound(format!("its database is damaged: {}", found.join("; "))));
    }
    let wanted = large_contents(&mut connection).await?;
    connection.close().await.map_err(from_sql)?;
    match wanted.iter().map(|content| &content.id).eq(contents) {
        true => Ok(()),
        false => Err(unsound("its contents are not those of its database".to_owned())),
    }
}

fn sync_folders(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_folders(&entry.path())?,
            // Opening the store has written to the database and made files beside it.
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
