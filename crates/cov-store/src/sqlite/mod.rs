//! The store in one SQLite file and a folder of large contents. One connection writes, a few
//! read; every commit is durable before it is acknowledged. Holds no decision about dispatches.

mod access;
mod ahead;
mod backup;
mod check;
mod commit;
mod copies;
mod list;
mod load;
mod open;
mod purge;
mod query;
mod restore;
mod rows;
#[cfg(test)]
mod tests;
mod triggers;

pub use self::check::Checked;
pub use self::open::DATABASE;
pub use self::restore::Restored;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cov_core::asset::{Announced, AssetAddress, AssetState, ContentRef, INLINE_BYTES_MAX};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::result::Summary;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};

use self::ahead::ReadAhead;
use crate::cache::SmallContents;
use crate::fault::{corrupt, from_sql};
use crate::files::Files;
use crate::model::{ChangeSet, DispatchRecord, PurgeQuery, Purged, Query, StoredDispatch};
use crate::{Awaited, BackupReader, Blob, ContentWriter, Contents, Error, Staged, Store};

/// How many dispatches' row numbers are remembered.
const KNOWN_DISPATCHES_MAX: usize = 65_536;

/// How many bytes of small contents are kept in memory.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The durable store: `dispatches.sqlite`, `contents/` and `spool/` in one data directory that
/// no other server uses at the same time. Meant to be shared as an `Arc`.
#[derive(Debug)]
pub struct SqliteStore {
    /// How the writing connection is opened, again after a fault.
    writing: SqliteConnectOptions,
    /// The writing connection; `None` when the last one was given up.
    writer: tokio::sync::Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    known: Mutex<KnownRows>,
    small: Mutex<SmallContents>,
    ahead: Mutex<ReadAhead>,
    files: Arc<Files>,
    /// Held by a purge.
    purging: tokio::sync::Mutex<()>,
    /// Held by a backup to its end.
    backing_up: Arc<tokio::sync::Mutex<()>>,
    /// Locked while the store lives.
    _lock: File,
}

/// The rows of committed dispatches.
#[derive(Debug, Default)]
struct KnownRows {
    rows: HashMap<DispatchId, Known>,
    /// How often rows were forgotten because their dispatches are gone.
    purges: u64,
    /// Above every row number that this process has seen or given.
    next_row: i64,
    /// Whether it is above every row number of the database.
    is_counted: bool,
}

/// What is remembered of a committed dispatch. None of it ever changes.
#[derive(Debug, Clone, Copy)]
struct Known {
    row: i64,
    nodes: u32,
    result: ResultNode,
}

/// The node whose output is what a dispatch returns.
#[derive(Debug, Clone, Copy)]
enum ResultNode {
    /// Nobody has looked yet.
    Unread,
    Read(Option<NodeId>),
}

impl SqliteStore {
    fn known(&self, dispatch: &DispatchId) -> Option<Known> {
        lock(&self.known).rows.get(dispatch).copied()
    }

    fn purges(&self) -> u64 {
        lock(&self.known).purges
    }

    /// Remembers rows that were read or written since `purges` was asked for, unless some may be
    /// gone since then.
    fn remember(&self, purges: u64, dispatches: impl IntoIterator<Item = (DispatchId, Known)>) {
        let mut known = lock(&self.known);
        if known.purges != purges {
            return;
        }
        for (dispatch, entry) in dispatches {
            if known.rows.len() >= KNOWN_DISPATCHES_MAX {
                known.rows.clear();
            }
            known.next_row = known.next_row.max(entry.row + 1);
            known.rows.insert(dispatch, entry);
        }
    }

    /// The writing connection, out of its place: one that is dropped midway, with a fault or a
    /// future, is not put back and never used again.
    async fn take(&self, place: &mut Option<SqliteConnection>) -> Result<SqliteConnection, Error> {
        match place.take() {
            Some(connection) => Ok(connection),
            None => self.writing.connect().await.map_err(from_sql),
        }
    }
}

/// A thread that panicked while it held one of these locks left a map of copies: still usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for SqliteStore {
    async fn begin_epoch(&self) -> Result<u32, Error> {
        self.count_epoch().await
    }

    async fn commit(&self, batch: &[ChangeSet]) -> Result<(), Error> {
        self.apply(batch).await
    }

    async fn load(&self, dispatch: &DispatchId) -> Result<StoredDispatch, Error> {
        self.load_dispatch(dispatch).await
    }

    async fn unfinished(&self) -> Result<Vec<DispatchId>, Error> {
        self.list_unfinished().await
    }

    async fn summaries(&self, query: &Query) -> Result<Vec<Summary>, Error> {
        self.list(query).await
    }

    async fn count(&self, query: &Query) -> Result<u64, Error> {
        self.count_matching(query).await
    }

    async fn record(&self, dispatch: &DispatchId) -> Result<DispatchRecord, Error> {
        self.load_record(dispatch).await
    }

    async fn asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
    ) -> Result<Option<AssetState>, Error> {
        self.find_asset(dispatch, address).await
    }

    async fn awaited(&self, dispatch: &DispatchId) -> Result<Awaited, Error> {
        self.list_awaited(dispatch).await
    }

    async fn known_contents(
        &self,
        announced: &[Announced],
    ) -> Result<Vec<Option<ContentRef>>, Error> {
        self.match_contents(announced).await
    }

    async fn parent(&self, child: &DispatchId) -> Result<Option<(DispatchId, NodeId)>, Error> {
        self.find_parent(child).await
    }

    async fn result_node(&self, dispatch: &DispatchId) -> Result<Option<NodeId>, Error> {
        self.find_result_node(dispatch).await
    }

    async fn purge(&self, query: &PurgeQuery) -> Result<Purged, Error> {
        self.purge_now(query).await
    }

    async fn backup(&self) -> Result<Box<dyn BackupReader>, Error> {
        self.begin_backup().await
    }
}

#[async_trait]
impl Contents for SqliteStore {
    async fn writer(&self) -> Result<Box<dyn ContentWriter>, Error> {
        Ok(Box::new(self.files.writer()))
    }

    async fn adopt(&self, path: &Path) -> Result<Staged, Error> {
        self.files.adopt(path).await
    }

    async fn read(&self, content: &ContentRef) -> Result<Blob, Error> {
        let inline = content.size <= INLINE_BYTES_MAX as u64;
        if inline && let Some(bytes) = lock(&self.small).get(&content.id) {
            return Ok(Blob::Small(bytes));
        }
        // The limit may have been another one when the content came in.
        let found = match inline {
            true => match self.read_row(content).await? {
                None => self.files.read(content).await?,
                found => found,
            },
            false => match self.files.read(content).await? {
                None => self.read_row(content).await?,
                found => found,
            },
        };
        found.ok_or_else(|| corrupt(format!("content {}", content.id), "its bytes are gone"))
    }

    async fn read_all(&self, contents: &[ContentRef]) -> Result<Vec<Blob>, Error> {
        if let [content] = contents {
            return Ok(vec![self.read(content).await?]);
        }
        let small = self.read_small(contents).await?;
        let mut read = Vec::with_capacity(contents.len());
        for content in contents {
            read.push(match small.get(&content.id) {
                Some(bytes) => Blob::Small(bytes.clone()),
                None => self.read(content).await?,
            });
        }
        Ok(read)
    }

    fn spool(&self) -> &Path {
        self.files.spool()
    }

    async fn holds(&self, content: &ContentId) -> Result<bool, Error> {
        match self.row_has_bytes(content).await? {
            true => Ok(true),
            false => self.files.holds(*content).await,
        }
    }

    fn let_go(&self, content: &ContentId) {
        self.files.pins().unpin(content);
    }
}
