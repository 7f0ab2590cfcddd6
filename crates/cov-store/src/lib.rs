//! The truth: what is stored here survives `kill -9`. The only place with SQL for the project's
//! own data, and the only one that keeps assets. Decides nothing about dispatches.

pub mod access;
#[cfg(feature = "sqlite")]
mod cache;
#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(any(feature = "sqlite", feature = "test-util"))]
mod fault;
#[cfg(feature = "test-util")]
pub mod faulty;
#[cfg(feature = "sqlite")]
mod files;
#[cfg(feature = "test-util")]
mod memory;
pub mod model;
#[cfg(any(feature = "sqlite", feature = "test-util"))]
#[cfg_attr(
    not(feature = "sqlite"),
    expect(dead_code, reason = "only contents on disk are removed one by one")
)]
mod pins;
#[cfg(any(feature = "sqlite", feature = "test-util"))]
mod spool;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod triggers;

pub use crate::access::AccessStore;
#[cfg(feature = "test-util")]
pub use crate::memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use crate::sqlite::{Checked, DATABASE, Restored, SqliteStore};
pub use crate::triggers::TriggerStore;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetState, ContentRef};
use cov_core::error::{ErrorCode, ErrorKind};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::result::Summary;
use cov_core::trigger::TriggerId;

use crate::model::{ChangeSet, DispatchRecord, PurgeQuery, Purged, Query, StoredDispatch};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such dispatch.
    #[error("dispatch {dispatch} does not exist")]
    NotFound {
        /// Its id.
        dispatch: DispatchId,
    },
    /// The dispatch id is taken.
    #[error("dispatch {dispatch} exists already")]
    Exists {
        /// Its id.
        dispatch: DispatchId,
    },
    /// There is no such trigger, or it was stopped and fires no more.
    #[error("trigger {trigger} does not exist or was stopped")]
    TriggerGone {
        /// Its id.
        trigger: TriggerId,
    },
    /// The event was finally decided before.
    #[error("event {event_key} of trigger {trigger} was decided before")]
    Claimed {
        /// The trigger.
        trigger: TriggerId,
        /// The event.
        event_key: String,
        /// The dispatch that was made or started for it, if any.
        dispatch: Option<DispatchId>,
    },
    /// What is stored does not pass its check.
    #[error("stored data of {what} is damaged: {reason}")]
    Corrupt {
        /// Which record or content.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no space left for data.
    #[error("no space left in the data directory")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk or the database does not answer as it should; it may again later.
    #[error("the store cannot be read or written now")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The data directory belongs to another server, or is not what it should be.
    #[error("{0}")]
    Refused(String),
    /// The data directory has a schema that this release does not know. It is as it was.
    #[error("{0}")]
    Schema(String),
    /// A statement of ours is wrong.
    #[error("the store refused a statement")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// How the error is answered.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.code().kind()
    }

    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::DispatchNotFound,
            Self::Exists { .. } => ErrorCode::DispatchExists,
            Self::TriggerGone { .. } => ErrorCode::TriggerNotFound,
            Self::Claimed { .. } => ErrorCode::IllegalState,
            Self::Corrupt { .. } => ErrorCode::Quarantined,
            Self::Full(_) => ErrorCode::StorageFull,
            Self::Unavailable(_) | Self::Refused(_) | Self::Schema(_) => {
                ErrorCode::StoreUnavailable
            }
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// Whether the same call may succeed later without anybody changing it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Unavailable(_))
    }
}

/// The state of all dispatches.
///
/// Every method is safe to call from any task. A future that is dropped midway leaves the store
/// as it was or as the completed call would have left it.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Counts one more start of the server and returns its number, from 1, durably. Attempt ids
    /// are made from it, so it never repeats.
    ///
    /// # Errors
    /// The store is unavailable, or 2^32 starts were counted.
    async fn begin_epoch(&self) -> Result<u32, Error>;

    /// Applies all change sets in one transaction that is durable when this returns.
    ///
    /// # Errors
    /// Nothing was applied. `Claimed` or `TriggerGone` name a firing that is refused; the same
    /// batch without the last set that has it may be accepted.
    async fn commit(&self, batch: &[ChangeSet]) -> Result<(), Error>;

    /// What the owner of a dispatch needs to go on with it.
    ///
    /// # Errors
    /// `NotFound`, or `Corrupt` when the stored dispatch does not pass its check.
    async fn load(&self, dispatch: &DispatchId) -> Result<StoredDispatch, Error>;

    /// Every dispatch that was started and has not ended, oldest first.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn unfinished(&self) -> Result<Vec<DispatchId>, Error>;

    /// The short records that `query` asks for.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn summaries(&self, query: &Query) -> Result<Vec<Summary>, Error>;

    /// How many dispatches `query` matches, without its offset and limit.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn count(&self, query: &Query) -> Result<u64, Error>;

    /// Everything known of a dispatch, as of one moment.
    ///
    /// # Errors
    /// `NotFound`.
    async fn record(&self, dispatch: &DispatchId) -> Result<DispatchRecord, Error>;

    /// Whether an asset's bytes are there; `None` for an asset that is empty, or whose node does
    /// not exist.
    ///
    /// # Errors
    /// `NotFound` for an unknown dispatch.
    async fn asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
    ) -> Result<Option<AssetState>, Error>;

    /// The announced assets that have not been uploaded, and the number of the dispatch's nodes.
    ///
    /// # Errors
    /// `NotFound` for an unknown dispatch.
    async fn awaited(&self, dispatch: &DispatchId) -> Result<Awaited, Error>;

    /// The stored content for each announcement that has one, by SHA-1 and size. An announcement
    /// without a digest matches nothing.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn known_contents(
        &self,
        announced: &[Announced],
    ) -> Result<Vec<Option<ContentRef>>, Error>;

    /// The dispatch and node whose sub-dispatch `child` is.
    ///
    /// # Errors
    /// `NotFound` for an unknown dispatch.
    async fn parent(&self, child: &DispatchId) -> Result<Option<(DispatchId, NodeId)>, Error>;

    /// The node whose output is what the dispatch returns; `None` if it returns nothing.
    ///
    /// # Errors
    /// `NotFound` for an unknown dispatch; `Corrupt` if its graph does not pass its check.
    async fn result_node(&self, dispatch: &DispatchId) -> Result<Option<NodeId>, Error>;

    /// Removes ended dispatches without a parent, each with everything below it, but none in
    /// whose hierarchy anything is under way; then every content that nobody refers to. Other
    /// calls go on meanwhile. A content that somebody was told of or has staged within the last
    /// hour, and has not committed, stays. What is removed is gone for good.
    ///
    /// # Errors
    /// The store is unavailable. A part may be removed; the next purge removes the rest.
    async fn purge(&self, query: &PurgeQuery) -> Result<Purged, Error>;

    /// Begins a backup of everything that is committed now, in the form of
    /// [`cov_core::backup`]. Other calls go on meanwhile; what the backup refers to is not
    /// purged before it ends. A second one waits for the first.
    ///
    /// # Errors
    /// `Refused` by a store that keeps nothing on disk; `Corrupt` when a content is gone; the
    /// store is unavailable or has no space for the snapshot.
    async fn backup(&self) -> Result<Box<dyn BackupReader>, Error>;
}

/// Hands out a backup, piece by piece. Dropping it ends the backup.
#[async_trait]
pub trait BackupReader: Debug + Send {
    /// The next piece, at most 1 MiB; `None` behind the last. Who lets ten minutes pass between
    /// two pieces loses the backup.
    ///
    /// # Errors
    /// `Corrupt` when a content is gone or has changed, or the store is unavailable; what was
    /// handed out so far is no backup.
    async fn next(&mut self) -> Result<Option<Bytes>, Error>;
}

/// What a registered dispatch still waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Awaited {
    /// The announced assets that have not been uploaded.
    pub assets: Vec<(AssetAddress, Announced)>,
    /// How many nodes the dispatch has.
    pub node_count: u32,
}

/// A content that is written and checked, and not yet part of any dispatch. A large one is
/// durable in its file; the bytes of a small one travel to [`Store::commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The content's names, computed from what was written.
    pub content: ContentRef,
    /// The bytes, if the content is small.
    pub small: Option<Bytes>,
}

/// The bytes of a content.
#[derive(Debug, Clone)]
pub enum Blob {
    /// In memory.
    Small(Bytes),
    /// In a file that nobody changes.
    File {
        /// Absolute path.
        path: PathBuf,
        /// Bytes.
        size: u64,
    },
}

/// The bytes of all contents, by content id.
#[async_trait]
pub trait Contents: Debug + Send + Sync + 'static {
    /// Begins to take in a content of unknown length.
    ///
    /// # Errors
    /// The store is unavailable or full.
    async fn writer(&self) -> Result<Box<dyn ContentWriter>, Error>;

    /// Takes over a file that stands in the folder of [`Contents::spool`] or in a folder directly in
    /// it; it is gone afterwards.
    ///
    /// # Errors
    /// The file cannot be read, or the store is unavailable or full; after an error that is
    /// transient the file stands there still, and can be taken over again.
    async fn adopt(&self, path: &Path) -> Result<Staged, Error>;

    /// The bytes of a content, checked against its id before they are handed out.
    ///
    /// # Errors
    /// `Corrupt` when they are gone or have changed.
    async fn read(&self, content: &ContentRef) -> Result<Blob, Error>;

    /// The bytes of many contents, in order; each as [`Contents::read`] hands it out.
    ///
    /// # Errors
    /// As [`Contents::read`], for any of them.
    async fn read_all(&self, contents: &[ContentRef]) -> Result<Vec<Blob>, Error>;

    /// The folder, on the same file system as the contents, where runners put large outputs.
    /// Emptied when the store is opened.
    fn spool(&self) -> &Path;

    /// Whether the bytes of `content` are stored.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn holds(&self, content: &ContentId) -> Result<bool, Error>;

    /// One who staged `content` will not name it. Who stages the same content several times for one
    /// dispatch lets go all but one: a commit serves a dispatch once.
    fn let_go(&self, content: &ContentId);
}

/// Takes in one content, chunk by chunk. Dropping it discards what was written.
#[async_trait]
pub trait ContentWriter: Debug + Send {
    /// Takes in the next bytes.
    ///
    /// # Errors
    /// The store is unavailable or full; the writer is of no more use.
    async fn write(&mut self, chunk: Bytes) -> Result<(), Error>;

    /// Ends the content; a large one is durable when this returns.
    ///
    /// # Errors
    /// The store is unavailable or full; nothing remains.
    async fn finish(self: Box<Self>) -> Result<Staged, Error>;
}
