//! Backups of a store that is in use: a snapshot of the database beside it, then the large
//! contents that the snapshot refers to. The database is taken as a whole, so that nothing here
//! knows what else is kept in it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cov_core::asset::ContentRef;
use cov_core::backup::{Member, Writer};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::SqliteStore;
use super::rows::read_content;
use crate::fault::{corrupt, flatten, from_io, from_sql, internal};
use crate::files::Files;
use crate::{BackupReader, Error};

/// How much is read and handed out at once. Bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// Pieces that wait for the reader.
const PIECES_WAITING_MAX: usize = 2;

/// How long a piece waits for the reader before the backup is given up.
const READER_WAIT_MAX: Duration = Duration::from_secs(600);

impl SqliteStore {
    pub(super) async fn begin_backup(&self) -> Result<Box<dyn BackupReader>, Error> {
        let turn = Arc::clone(&self.backing_up).lock_owned().await;
        let hold = {
            let _no_removal_is_under_way = self.writer.lock().await;
            self.files.pins().hold_everything();
            Hold(Arc::clone(&self.files))
        };
        let snapshot = self.take_snapshot().await?;
        let mut connection = snapshot_options(&snapshot.0).connect().await.map_err(from_sql)?;
        let contents = large_contents(&mut connection).await?;
        connection.close().await.map_err(from_sql)?;
        self.files.pins().hold(contents.iter().map(|content| content.id).collect::<HashSet<_>>());
        let stand = self.files.stand_whole(contents.clone()).await?;
        if let Some((gone, _)) = contents.iter().zip(stand).find(|(_, stands)| !stands) {
            return Err(corrupt(format!("content {}", gone.id), "its file is gone or cut off"));
        }
        let (pieces, waiting) = mpsc::channel(PIECES_WAITING_MAX);
        let source = Source { snapshot, contents, hold, _turn: turn };
        let runtime = tokio::runtime::Handle::current();
        let archive = Archive { pieces, runtime, writer: Writer::default() };
        tokio::task::spawn_blocking(move || archive.write(&source));
        Ok(Box::new(Backup { waiting, is_over: false }))
    }

    /// The database as of one moment, in a file of its own.
    async fn take_snapshot(&self) -> Result<Snapshot, Error> {
        let path = self.files.temporary_path();
        let created = path.clone();
        let creating = tokio::task::spawn_blocking(move || {
            // Before SQLite does, which would let others read it.
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600).open(created).map_err(from_io)?;
            Ok(())
        });
        flatten(creating.await)?;
        let snapshot = Snapshot(path);
        let text = snapshot.0.to_str().ok_or_else(|| internal("the data directory is no text"))?;
        let mut connection = self.writing.connect().await.map_err(from_sql)?;
        let taken = sqlx::query("VACUUM INTO ?").bind(text).execute(&mut connection).await;
        connection.close().await.map_err(from_sql)?;
        taken.map_err(from_sql)?;
        Ok(snapshot)
    }
}

/// How a database that nobody writes is opened: it gets no files beside it.
pub(super) fn snapshot_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(true)
        .disable_statement_logging()
}

/// The contents whose bytes are in files, by id.
pub(super) async fn large_contents(
    connection: &mut SqliteConnection,
) -> Result<Vec<ContentRef>, Error> {
    let rows: Vec<(Vec<u8>, i64, Vec<u8>)> =
        sqlx::query_as("SELECT id, size, sha1 FROM contents WHERE data IS NULL ORDER BY id")
            .fetch_all(connection)
            .await
            .map_err(from_sql)?;
    let read = |(id, size, sha1): &(Vec<u8>, i64, Vec<u8>)| {
        read_content(id, *size, sha1).map_err(|reason| corrupt("a content", reason))
    };
    rows.iter().map(read).collect()
}

/// A copy of the database; gone when it is dropped.
#[derive(Debug)]
struct Snapshot(PathBuf);

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "snapshot cannot be removed");
        }
    }
}

/// Keeps a purge from what the backup refers to.
#[derive(Debug)]
struct Hold(Arc<Files>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.pins().let_go();
    }
}

/// Everything that a backup is made of.
#[derive(Debug)]
struct Source {
    snapshot: Snapshot,
    contents: Vec<ContentRef>,
    hold: Hold,
    /// Dropped last.
    _turn: OwnedMutexGuard<()>,
}

/// The archive on its way out.
struct Archive {
    pieces: mpsc::Sender<Result<Option<Bytes>, Error>>,
    runtime: tokio::runtime::Handle,
    writer: Writer,
}

impl Archive {
    /// Writes all of it, on a thread where that may take its time.
    fn write(mut self, source: &Source) {
        let outcome = self.write_members(source);
        if let Err(error) = &outcome {
            tracing::warn!(%error, "a backup was given up");
        }
        // Without its last piece the backup counts as broken; the reader may be gone.
        self.send(outcome.map(|()| None)).ok();
    }

    fn write_members(&mut self, source: &Source) -> Result<(), Error> {
        let (writer, begin) = Writer::begin(source.contents.len() as u64);
        self.writer = writer;
        self.send_bytes(begin)?;
        let database = File::open(&source.snapshot.0).map_err(from_io)?;
        let size = database.metadata().map_err(from_io)?.len();
        self.write_member(Member::Database, database, size)?;
        for content in &source.contents {
            let gone = |_| corrupt(format!("content {}", content.id), "its file is gone");
            let file = File::open(source.hold.0.path_of(&content.id)).map_err(gone)?;
            let written = self.write_member(Member::Content(content.id), file, content.size)?;
            if written != *content {
                let reason = "its file does not match its digest";
                return Err(corrupt(format!("content {}", content.id), reason));
            }
        }
        let end = std::mem::take(&mut self.writer).finish();
        self.send_bytes(end)
    }

    fn write_member(
        &mut self,
        member: Member,
        mut file: File,
        size: u64,
    ) -> Result<ContentRef, Error> {
        let header = self.writer.member(member, size);
        self.send_bytes(header.to_vec())?;
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let mut piece = BytesMut::zeroed(length);
            file.read_exact(&mut piece).map_err(from_io)?;
            self.writer.data(&piece);
            self.send(Ok(Some(piece.freeze())))?;
            left -= length as u64;
        }
        let (content, padding) =
            self.writer.end().ok_or_else(|| internal("a member was not begun"))?;
        self.send_bytes(padding)?;
        Ok(content)
    }

    fn send_bytes(&self, bytes: Vec<u8>) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.send(Ok(Some(bytes.into())))
    }

    fn send(&self, piece: Result<Option<Bytes>, Error>) -> Result<(), Error> {
        let sending = tokio::time::timeout(READER_WAIT_MAX, self.pieces.send(piece));
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(Error::Unavailable("its reader went away".into())),
            Err(_elapsed) => Err(Error::Unavailable("its reader takes nothing more".into())),
        }
    }
}

/// The archive as its reader sees it.
#[derive(Debug)]
struct Backup {
    waiting: mpsc::Receiver<Result<Option<Bytes>, Error>>,
    is_over: bool,
}

#[async_trait]
impl BackupReader for Backup {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.is_over {
            return Ok(None);
        }
        match self.waiting.recv().await {
            Some(Ok(Some(piece))) => Ok(Some(piece)),
            Some(Ok(None)) => {
                self.is_over = true;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::Unavailable("the backup was given up".into())),
        }
    }
}
