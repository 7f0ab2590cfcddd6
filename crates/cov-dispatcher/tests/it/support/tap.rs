//! A store between the dispatcher and the real one, which tells of every commit, can refuse one,
//! and can be cut off as the death of the process would.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use cov_core::asset::{Announced, AssetAddress, AssetState, ContentRef};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::result::Summary;
use cov_store::conformance::Opened;
use cov_store::model::{ChangeSet, DispatchRecord, PurgeQuery, Purged, Query, StoredDispatch};
use cov_store::{Awaited, BackupReader, Blob, ContentWriter, Contents, Error, Staged, Store};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, RwLock};

/// The store that a dispatcher gets.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(super) inner: RwLock<Option<Opened>>,
    spool: PathBuf,
    /// Told when a commit begins, and after it.
    pub(crate) committed: Notify,
    commits: AtomicU64,
    /// How many commits have begun, also those that wait for [`Tap::hold`].
    begun: AtomicU64,
    /// The commit after which the process is dead.
    last: AtomicU64,
    refuse: AtomicBool,
    refused: std::sync::Mutex<Option<DispatchId>>,
    damaged: Option<DispatchId>,
    gate: Arc<Mutex<()>>,
    /// Told when the last commit is reached.
    pub(crate) died: Notify,
}

impl Tap {
    pub(crate) fn new(inner: Opened, damaged: Option<DispatchId>) -> Self {
        let spool = inner.contents.spool().to_path_buf();
        Self {
            inner: RwLock::new(Some(inner)),
            spool,
            committed: Notify::new(),
            commits: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            last: AtomicU64::new(u64::MAX),
            refuse: AtomicBool::new(false),
            refused: std::sync::Mutex::default(),
            damaged,
            gate: Arc::default(),
            died: Notify::new(),
        }
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// The process dies when `commits` more are done: the last is durable and nobody hears of it.
    pub(crate) fn die_after(&self, commits: u64) {
        self.last.store(self.commits() + commits, Ordering::SeqCst);
    }

    /// The next commit fails as a statement of ours that is wrong would.
    pub(crate) fn refuse_next(&self) {
        self.refuse.store(true, Ordering::SeqCst);
    }

    /// Every commit with changes of `dispatch` fails so, until [`Tap::refuse_nothing`].
    pub(crate) fn refuse_all_of(&self, dispatch: &DispatchId) {
        *self.refused.lock().unwrap() = Some(dispatch.clone());
    }

    pub(crate) fn refuse_nothing(&self) {
        *self.refused.lock().unwrap() = None;
    }

    fn refuses(&self, batch: &[ChangeSet]) -> bool {
        let refused = self.refused.lock().unwrap();
        let names = |set: &ChangeSet| Some(&set.dispatch) == refused.as_ref();
        self.refuse.swap(false, Ordering::SeqCst) || batch.iter().any(names)
    }

    /// A path in the spool.
    pub(crate) fn spool_file(&self, name: &str) -> PathBuf {
        self.spool.join(name)
    }

    /// No commit begins while the guard lives.
    pub(crate) async fn hold(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.gate).lock_owned().await
    }

    /// Returns when more than `begun` commits have begun.
    pub(crate) async fn until_another_begins(&self, begun: u64) {
        loop {
            let changed = self.committed.notified();
            if self.begun() > begun {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Cuts the dispatcher off for ever; the store can be opened again on return.
    pub(crate) async fn cut(&self) {
        let inner = self.inner.write().await.take();
        drop(inner);
    }
}

/// Passes a call on, or never returns if the store is cut off.
macro_rules! pass {
    ($tap:expr, $half:ident . $method:ident ( $($argument:expr),* )) => {{
        let inner = $tap.inner.read().await;
        match &*inner {
            Some(inner) => inner.$half.$method($($argument),*).await,
            None => {
                drop(inner);
                std::future::pending().await
            }
        }
    }};
}
pub(super) use pass;

#[async_trait]
impl Store for Tap {
    async fn begin_epoch(&self) -> Result<u32, Error> {
        pass!(self, store.begin_epoch())
    }

    async fn commit(&self, batch: &[ChangeSet]) -> Result<(), Error> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.committed.notify_waiters();
        drop(self.gate.lock().await);
        if self.commits() >= self.last.load(Ordering::SeqCst) {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        if self.refuses(batch) {
            return Err(Error::Internal("told to refuse".into()));
        }
        let outcome: Result<(), Error> = pass!(self, store.commit(batch));
        let count = self.commits.fetch_add(u64::from(outcome.is_ok()), Ordering::SeqCst) + 1;
        if outcome.is_ok() && count >= self.last.load(Ordering::SeqCst) {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        self.committed.notify_waiters();
        outcome
    }

    async fn load(&self, dispatch: &DispatchId) -> Result<StoredDispatch, Error> {
        if self.damaged.as_ref() == Some(dispatch) {
            let (what, reason) = (format!("dispatch {dispatch}"), "told so".to_owned());
            return Err(Error::Corrupt { what, reason });
        }
        pass!(self, store.load(dispatch))
    }

    async fn unfinished(&self) -> Result<Vec<DispatchId>, Error> {
        pass!(self, store.unfinished())
    }

    async fn summaries(&self, query: &Query) -> Result<Vec<Summary>, Error> {
        pass!(self, store.summaries(query))
    }

    async fn count(&self, query: &Query) -> Result<u64, Error> {
        pass!(self, store.count(query))
    }

    async fn record(&self, dispatch: &DispatchId) -> Result<DispatchRecord, Error> {
        pass!(self, store.record(dispatch))
    }

    async fn asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
    ) -> Result<Option<AssetState>, Error> {
        pass!(self, store.asset(dispatch, address))
    }

    async fn awaited(&self, dispatch: &DispatchId) -> Result<Awaited, Error> {
        pass!(self, store.awaited(dispatch))
    }

    async fn known_contents(
        &self,
        announced: &[Announced],
    ) -> Result<Vec<Option<ContentRef>>, Error> {
        pass!(self, store.known_contents(announced))
    }

    async fn parent(&self, child: &DispatchId) -> Result<Option<(DispatchId, NodeId)>, Error> {
        pass!(self, store.parent(child))
    }

    async fn result_node(&self, dispatch: &DispatchId) -> Result<Option<NodeId>, Error> {
        pass!(self, store.result_node(dispatch))
    }

    async fn purge(&self, query: &PurgeQuery) -> Result<Purged, Error> {
        pass!(self, store.purge(query))
    }

    async fn backup(&self) -> Result<Box<dyn BackupReader>, Error> {
        pass!(self, store.backup())
    }
}

#[async_trait]
impl Contents for Tap {
    async fn writer(&self) -> Result<Box<dyn ContentWriter>, Error> {
        pass!(self, contents.writer())
    }

    async fn adopt(&self, path: &Path) -> Result<Staged, Error> {
        pass!(self, contents.adopt(path))
    }

    async fn read(&self, content: &ContentRef) -> Result<Blob, Error> {
        pass!(self, contents.read(content))
    }

    async fn read_all(&self, contents: &[ContentRef]) -> Result<Vec<Blob>, Error> {
        pass!(self, contents.read_all(contents))
    }

    fn spool(&self) -> &Path {
        &self.spool
    }

    async fn holds(&self, content: &ContentId) -> Result<bool, Error> {
        pass!(self, contents.holds(content))
    }

    fn let_go(&self, content: &ContentId) {
        if let Ok(inner) = self.inner.try_read()
            && let Some(inner) = &*inner
        {
            inner.contents.let_go(content);
        }
    }
}
