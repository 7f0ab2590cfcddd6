//! A store that fails when it is told to, for tests of those who stand above it. Passes
//! everything else on; invents no answer of its own.

mod triggers;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetState, ContentRef};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::result::Summary;

use crate::fault::from_io;
use crate::model::{ChangeSet, DispatchRecord, PurgeQuery, Purged, Query, StoredDispatch};
use crate::{Awaited, BackupReader, Blob, ContentWriter, Contents, Error, Staged, Store};

/// What can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Store::begin_epoch`].
    BeginEpoch,
    /// [`Store::commit`]; nothing is applied.
    Commit,
    /// [`TriggerStore::change_triggers`](crate::TriggerStore::change_triggers); nothing is applied.
    ChangeTriggers,
    /// [`Store::purge`]; nothing is removed.
    Purge,
    /// [`Store::backup`].
    Backup,
    /// Any other method of [`Store`] or [`TriggerStore`](crate::TriggerStore).
    Read,
    /// [`Contents::writer`].
    Open,
    /// [`ContentWriter::write`].
    Write,
    /// [`ContentWriter::finish`]; nothing is kept.
    Finish,
    /// [`Contents::adopt`]; the file stays.
    Adopt,
    /// [`Contents::read`] and [`Contents::holds`].
    Fetch,
}

/// In which way it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// [`Error::Full`].
    Full,
    /// [`Error::Unavailable`].
    Unavailable,
}

impl Failure {
    fn error(self) -> Error {
        match self {
            Self::Full => from_io(io::Error::from(io::ErrorKind::StorageFull)),
            Self::Unavailable => from_io(io::Error::other("told to fail")),
        }
    }
}

/// Tells a [`Faulty`] store what to fail. Cheap to clone; clones tell the same store.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    /// How often each operation was called.
    calls: BTreeMap<Operation, u64>,
    /// Which calls, counted from the first, fail.
    armed: Vec<(Operation, std::ops::Range<u64>, Failure)>,
}

impl Faults {
    /// Fails the `nth` next call of `operation`; 1 is the very next.
    pub fn fail_nth(&self, operation: Operation, nth: u64, failure: Failure) {
        let mut plan = self.plan();
        let call = plan.calls.get(&operation).copied().unwrap_or(0) + nth.max(1) - 1;
        plan.armed.push((operation, call..call + 1, failure));
    }

    /// Fails every call of `operation` until [`Faults::mend`].
    pub fn fail_all(&self, operation: Operation, failure: Failure) {
        self.plan().armed.push((operation, 0..u64::MAX, failure));
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        self.plan().armed.clear();
    }

    /// How often `operation` was called, failed calls included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.plan().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Counts a call, and fails it if it was told to.
    fn check(&self, operation: Operation) -> Result<(), Error> {
        let mut plan = self.plan();
        let calls = plan.calls.entry(operation).or_default();
        let call = *calls;
        *calls += 1;
        let mut armed = plan.armed.iter();
        match armed.find(|(armed, calls, _)| *armed == operation && calls.contains(&call)) {
            Some((.., failure)) => Err(failure.error()),
            None => Ok(()),
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Any store, made to fail by [`Faults`].
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S> Faulty<S> {
    /// Wraps `inner`. Nothing fails until `faults` is told so.
    #[must_use]
    pub fn new(inner: S, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn begin_epoch(&self) -> Result<u32, Error> {
        self.faults.check(Operation::BeginEpoch)?;
        self.inner.begin_epoch().await
    }

    async fn commit(&self, batch: &[ChangeSet]) -> Result<(), Error> {
        self.faults.check(Operation::Commit)?;
        self.inner.commit(batch).await
    }

    async fn load(&self, dispatch: &DispatchId) -> Result<StoredDispatch, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.load(dispatch).await
    }

    async fn unfinished(&self) -> Result<Vec<DispatchId>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.unfinished().await
    }

    async fn summaries(&self, query: &Query) -> Result<Vec<Summary>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.summaries(query).await
    }

    async fn count(&self, query: &Query) -> Result<u64, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.count(query).await
    }

    async fn record(&self, dispatch: &DispatchId) -> Result<DispatchRecord, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.record(dispatch).await
    }

    async fn asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
    ) -> Result<Option<AssetState>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.asset(dispatch, address).await
    }

    async fn awaited(&self, dispatch: &DispatchId) -> Result<Awaited, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.awaited(dispatch).await
    }

    async fn known_contents(
        &self,
        announced: &[Announced],
    ) -> Result<Vec<Option<ContentRef>>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.known_contents(announced).await
    }

    async fn parent(&self, child: &DispatchId) -> Result<Option<(DispatchId, NodeId)>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.parent(child).await
    }

    async fn result_node(&self, dispatch: &DispatchId) -> Result<Option<NodeId>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.result_node(dispatch).await
    }

    async fn purge(&self, query: &PurgeQuery) -> Result<Purged, Error> {
        self.faults.check(Operation::Purge)?;
        self.inner.purge(query).await
    }

    async fn backup(&self) -> Result<Box<dyn BackupReader>, Error> {
        self.faults.check(Operation::Backup)?;
        self.inner.backup().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: Contents> Contents for Faulty<S> {
    async fn writer(&self) -> Result<Box<dyn ContentWriter>, Error> {
        self.faults.check(Operation::Open)?;
        let inner = self.inner.writer().await?;
        Ok(Box::new(FaultyWriter { inner, faults: self.faults.clone() }))
    }

    async fn adopt(&self, path: &Path) -> Result<Staged, Error> {
        self.faults.check(Operation::Adopt)?;
        self.inner.adopt(path).await
    }

    async fn read(&self, content: &ContentRef) -> Result<Blob, Error> {
        self.faults.check(Operation::Fetch)?;
        self.inner.read(content).await
    }

    async fn read_all(&self, contents: &[ContentRef]) -> Result<Vec<Blob>, Error> {
        if !contents.is_empty() {
            self.faults.check(Operation::Fetch)?;
        }
        self.inner.read_all(contents).await
    }

    fn spool(&self) -> &Path {
        self.inner.spool()
    }

    async fn holds(&self, content: &ContentId) -> Result<bool, Error> {
        self.faults.check(Operation::Fetch)?;
        self.inner.holds(content).await
    }

    fn let_go(&self, content: &ContentId) {
        self.inner.let_go(content);
    }
}

#[derive(Debug)]
struct FaultyWriter {
    inner: Box<dyn ContentWriter>,
    faults: Faults,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ContentWriter for FaultyWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.faults.check(Operation::Write)?;
        self.inner.write(chunk).await
    }

    async fn finish(self: Box<Self>) -> Result<Staged, Error> {
        self.faults.check(Operation::Finish)?;
        self.inner.finish().await
    }
}
