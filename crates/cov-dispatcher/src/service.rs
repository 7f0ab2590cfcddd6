//! Puts the dispatcher together, brings back what was under way, and takes it apart again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cov_core::asset::{AssetAddress, AssetKey, ContentRef};
use cov_core::ids::{AttemptId, DispatchId};
use cov_core::time::Clock;
use cov_exec::Report;
use cov_store::model::{Change, ChangeSet};
use cov_store::{Contents, Staged, Store};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::committer::Committer;
use crate::events::Feed;
use crate::executors::Executors;
use crate::gates::Gates;
use crate::handle::Handle;
use crate::options::{LAST_STEPS_MAX, LOADS_MAX, Options};
use crate::registry::Registry;
use crate::sublattice::SublatticeFormat;
use crate::{Error, owner, reports};

/// What the dispatcher is made of.
#[derive(Debug)]
pub struct Parts {
    /// The state of all dispatches.
    pub store: Arc<dyn Store>,
    /// The bytes of all contents.
    pub contents: Arc<dyn Contents>,
    /// Run tasks; their reports come in by `reports`.
    pub executors: Executors,
    /// The reports of all executors.
    pub reports: mpsc::Receiver<Report>,
    /// Reads what tasks build.
    pub sublattices: Arc<dyn SublatticeFormat>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// What all owners and handles share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) contents: Arc<dyn Contents>,
    pub(crate) sublattices: Arc<dyn SublatticeFormat>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) committer: Committer,
    pub(crate) feed: Feed,
    pub(crate) registry: Registry,
    pub(crate) admission: Admission,
    /// Owners and what they do beside themselves.
    pub(crate) tasks: TaskTracker,
    /// Cancelled first: new dispatches are refused.
    pub(crate) draining: CancellationToken,
    /// Cancelled next: new requests are refused, waiting ones are answered.
    pub(crate) closing: CancellationToken,
    /// Cancelled later: owners end where they stand.
    pub(crate) stopping: CancellationToken,
    /// Between starts and uploads.
    pub(crate) gates: Gates,
    /// Turns of reading whole dispatches.
    pub(crate) loads: Semaphore,
    epoch: u32,
    attempts: AtomicU32,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn next_attempt(&self) -> AttemptId {
        AttemptId::new(self.epoch, self.attempts.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn new_dispatch_id(&self) -> DispatchId {
        let text = uuid::Uuid::new_v4().to_string();
        #[expect(clippy::expect_used, reason = "a UUID is made of characters that ids may have")]
        text.parse().expect("a UUID is a dispatch id")
    }

    /// Stores an asset of a dispatch that has no owner at work on it.
    pub(crate) async fn keep(
        &self,
        dispatch: &DispatchId,
        key: AssetKey,
        staged: Staged,
    ) -> Result<ContentRef, Error> {
        let Staged { content, small } = staged;
        let address = AssetAddress::of_dispatch(key);
        let changes = vec![Change::Asset { address, content, small }];
        let at = self.clock.now();
        self.committer.commit(ChangeSet { dispatch: dispatch.clone(), at, changes }).await?;
        Ok(content)
    }
}

/// The running dispatcher. Dropping it leaves its tasks running; see [`Service::stop`].
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    committer: Part,
    reports: Part,
}

/// One of the two tasks that everybody relies on.
#[derive(Debug)]
struct Part {
    task: JoinHandle<()>,
    /// Cancelled when nothing more comes for it.
    last: CancellationToken,
}

impl Part {
    /// Lets the task do what has come, and ends it.
    async fn finish(mut self) {
        self.last.cancel();
        match tokio::time::timeout(LAST_STEPS_MAX, &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a part of the dispatcher ended badly"),
            Err(_elapsed) => self.task.abort(),
        }
    }
}

/// Starts the dispatcher: counts the boot epoch, and resumes every dispatch that was under way
/// when the server stopped.
///
/// # Errors
/// The store is unavailable.
pub async fn start(options: Options, parts: Parts) -> Result<(Handle, Service), Error> {
    let Parts { store, contents, executors, reports, sublattices, clock } = parts;
    let epoch = store.begin_epoch().await?;
    let unfinished = store.unfinished().await?;
    let (last_commit, last_report) = (CancellationToken::new(), CancellationToken::new());
    let feed = Feed::new(epoch);
    let metrics = options.metrics.clone();
    let (committer, committing) =
        Committer::new(Arc::clone(&store), last_commit.clone(), feed.clone(), metrics.clone());
    let admission = Admission::new(executors, metrics);
    let stopping = CancellationToken::new();
    let ways = reports::Ways {
        admission: admission.clone(),
        contents: Arc::clone(&contents),
        on_restart: options.on_restart,
        last: last_report.clone(),
        stopping: stopping.clone(),
    };
    let shared = Arc::new(Shared {
        options,
        store,
        contents,
        sublattices,
        clock,
        committer,
        feed,
        registry: Registry::default(),
        admission,
        tasks: TaskTracker::new(),
        draining: CancellationToken::new(),
        closing: CancellationToken::new(),
        stopping,
        gates: Gates::default(),
        loads: Semaphore::new(LOADS_MAX),
        epoch,
        attempts: AtomicU32::new(0),
    });
    let committer = Part { task: tokio::spawn(committing), last: last_commit };
    let reports = Part { task: tokio::spawn(reports::run(reports, ways)), last: last_report };
    if !unfinished.is_empty() {
        tracing::info!(count = unfinished.len(), "resuming dispatches that were under way");
    }
    for dispatch in unfinished {
        shared.registry.get_or_create(&dispatch, || {
            owner::spawn(&shared, dispatch.clone(), owner::Purpose::Resume)
        });
    }
    Ok((Handle::new(Arc::clone(&shared)), Service { shared, committer, reports }))
}

impl Service {
    /// Refuses new dispatches and lets no more tasks begin. Those that run go on, and what is
    /// there can be asked for.
    pub fn drain(&self) {
        self.shared.draining.cancel();
        self.shared.admission.close();
    }

    /// Returns when no task is under way. Cancelling the wait is safe.
    pub async fn idle(&self) {
        self.shared.admission.idle().await;
    }

    /// Refuses new requests and answers those that wait. Tasks go on.
    pub fn close(&self) {
        self.drain();
        self.shared.closing.cancel();
    }

    /// Stops: no more tasks begin, those under way may end within `grace`, the rest is left to
    /// be resumed at the next start. Everything that happened is durable on return.
    pub async fn stop(self, grace: Duration) {
        self.close();
        let Self { shared, committer, reports } = self;
        if tokio::time::timeout(grace, shared.admission.idle()).await.is_err() {
            tracing::info!("tasks are still running; they will be resumed at the next start");
        }
        // Against the stream: first those who report, then those who store what was reported.
        shared.admission.executors().stop().await;
        reports.finish().await;
        shared.stopping.cancel();
        shared.tasks.close();
        if tokio::time::timeout(LAST_STEPS_MAX * 2, shared.tasks.wait()).await.is_err() {
            tracing::warn!(count = shared.tasks.len(), "some tasks of the dispatcher do not end");
        }
        committer.finish().await;
    }
}
