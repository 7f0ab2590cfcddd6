//! A world for tests: a data directory, a dispatcher on it with a scripted executor, and its
//! death and next life. Checks nothing itself.

pub(crate) mod executor;
pub(crate) mod far;
pub(crate) mod flow;
pub(crate) mod tap;
mod trigger_tap;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_core::time::{Clock, Timestamp};
use cov_dispatcher::store::Blob;
use cov_dispatcher::store::model::DispatchRecord;
use cov_dispatcher::{Error, Executors, Handle, LocalHost, Options, Parts, Service};
use cov_store::conformance::Opened;
use cov_store::faulty::{Faults, Faulty};
use cov_store::{MemoryStore, SqliteStore};
use cov_triggers::TriggerHost;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) use executor::{Gates, Outside, Scripted};
pub(crate) use far::Far;
pub(crate) use flow::{Flow, Format, lattice};
pub(crate) use tap::Tap;

/// A clock that moves on with every look.
#[derive(Debug)]
pub(crate) struct Ticking {
    now: AtomicI64,
    broken: AtomicBool,
}

impl Ticking {
    /// The next look panics, as a broken invariant would.
    pub(crate) fn break_once(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }
}

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        assert!(!self.broken.swap(false, Ordering::SeqCst), "the clock was told to break");
        Timestamp::from_micros(self.now.fetch_add(1, Ordering::SeqCst))
    }
}

#[derive(Debug)]
enum Disk {
    Folder(TempDir),
    Memory(MemoryStore),
}

/// A dispatcher and everything around it.
#[derive(Debug)]
pub(crate) struct World {
    disk: Disk,
    pub(crate) options: Options,
    pub(crate) slots: usize,
    /// Of each executor that is found; without, none is.
    far_slots: Option<usize>,
    pub(crate) gates: Gates,
    pub(crate) outside: Outside,
    pub(crate) faults: Faults,
    pub(crate) clock: Arc<Ticking>,
    /// A dispatch whose record does not pass its check, from the next start on.
    pub(crate) damaged: Option<DispatchId>,
    life: Option<Life>,
}

/// From a start to a stop or a death.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) handle: Handle,
    pub(crate) service: Service,
    pub(crate) executor: Arc<Scripted>,
    far: Option<Arc<Far>>,
    pub(crate) tap: Arc<Tap>,
}

impl World {
    /// On SQLite, with two slots.
    pub(crate) async fn new() -> Self {
        Self::with_options(Options::default()).await
    }

    pub(crate) async fn with_slots(slots: usize) -> Self {
        let disk = Disk::Folder(tempfile::tempdir().unwrap());
        Self::with(disk, slots, None, Options::default()).await
    }

    pub(crate) async fn with_options(options: Options) -> Self {
        Self::with(Disk::Folder(tempfile::tempdir().unwrap()), 2, None, options).await
    }

    /// With executors that are found, which have so many slots each.
    pub(crate) async fn with_far(slots: usize, options: Options) -> Self {
        Self::with(Disk::Folder(tempfile::tempdir().unwrap()), 2, Some(slots), options).await
    }

    /// As [`World::with_far`], in memory.
    pub(crate) async fn far_in_memory(slots: usize) -> Self {
        let disk = Disk::Memory(MemoryStore::new().unwrap());
        Self::with(disk, 2, Some(slots), Options::default()).await
    }

    /// In memory, for tests that pause the time: it would run on while SQLite's thread works.
    pub(crate) async fn in_memory(slots: usize) -> Self {
        Self::with(Disk::Memory(MemoryStore::new().unwrap()), slots, None, Options::default()).await
    }

    async fn with(disk: Disk, slots: usize, far_slots: Option<usize>, options: Options) -> Self {
        let (now, broken) = (AtomicI64::new(1_000_000), AtomicBool::new(false));
        let clock = Arc::new(Ticking { now, broken });
        let mut world = Self {
            disk,
            options,
            slots,
            far_slots,
            gates: Gates::default(),
            outside: Outside::default(),
            faults: Faults::default(),
            clock,
            damaged: None,
            life: None,
        };
        world.begin().await;
        world
    }

    /// The store itself. Only between two lives, and dropped before the next.
    pub(crate) async fn open(&self) -> Opened {
        match &self.disk {
            Disk::Folder(folder) => {
                let store = SqliteStore::open(folder.path()).await.unwrap();
                Opened::of(Arc::new(Faulty::new(store, self.faults.clone())))
            }
            Disk::Memory(store) => {
                let store = store.reopen().unwrap();
                Opened::of(Arc::new(Faulty::new(store, self.faults.clone())))
            }
        }
    }

    /// Starts the server.
    pub(crate) async fn begin(&mut self) {
        let tap = Arc::new(Tap::new(self.open().await, self.damaged.clone()));
        let (reporter, reports) = mpsc::channel(64);
        let (gates, outside) = (self.gates.clone(), self.outside.clone());
        let far = self.far_slots.map(|slots| Far::new(slots, gates, outside, reporter.clone()));
        let (gates, outside) = (self.gates.clone(), self.outside.clone());
        let executor = Scripted::new(self.slots, gates, outside, reporter);
        let mut executors = Executors::new(Arc::new(executor::Face(Arc::clone(&executor))));
        if let Some(far) = &far {
            executors = executors.with_finder(Arc::clone(far) as _);
        }
        let parts = Parts {
            store: Arc::clone(&tap) as _,
            contents: Arc::clone(&tap) as _,
            executors,
            reports,
            sublattices: Arc::new(Format),
            clock: Arc::clone(&self.clock) as _,
        };
        let (handle, service) = cov_dispatcher::start(self.options.clone(), parts).await.unwrap();
        self.life = Some(Life { handle, service, executor, far, tap });
    }

    /// The process dies: nothing is stopped, nothing more is stored or reported.
    pub(crate) async fn die(&mut self) {
        let Life { executor, far, tap, .. } = self.life.take().unwrap();
        executor.die();
        far.iter().flat_map(|far| far.made()).for_each(|executor| executor.die());
        tap.cut().await;
    }

    /// The process dies and the server is started again.
    pub(crate) async fn crash(&mut self) {
        self.die().await;
        self.begin().await;
    }

    /// Stops in order. Returns what is left of the old life.
    pub(crate) async fn stop(&mut self, grace: Duration) -> (Handle, Arc<Scripted>) {
        let Life { handle, service, executor, tap, .. } = self.life.take().unwrap();
        service.stop(grace).await;
        tap.cut().await;
        (handle, executor)
    }

    pub(crate) fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.life().handle
    }

    /// The host of triggers of this life, as it would be loaded at a start.
    pub(crate) async fn host(&self) -> LocalHost {
        let host = LocalHost::new(self.handle().clone(), Arc::clone(&self.life().tap) as _);
        host.load().await.unwrap();
        host
    }

    pub(crate) fn executor(&self) -> &Scripted {
        &self.life().executor
    }

    /// Those that were found.
    pub(crate) fn finder(&self) -> &Far {
        self.life().far.as_deref().unwrap()
    }

    /// The one that is found by the name `far`.
    pub(crate) fn far(&self) -> Arc<Scripted> {
        self.finder().scripted("far")
    }

    pub(crate) fn tap(&self) -> &Tap {
        &self.life().tap
    }

    /// Registers a workflow and uploads what is asked for.
    pub(crate) async fn register(&self, flow: &Flow) -> DispatchId {
        let registered = self.handle().register(flow.manifest.clone()).await.unwrap();
        for (address, bytes) in &flow.bytes {
            if registered.uploads.contains(address) {
                self.upload(&registered.dispatch, *address, bytes.clone()).await.unwrap();
            }
        }
        registered.dispatch
    }

    pub(crate) async fn upload(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        bytes: impl Into<Bytes>,
    ) -> Result<(), Error> {
        let bytes = bytes.into();
        let length = Some(bytes.len() as u64);
        let mut upload = self.handle().upload(dispatch, address, length).await?;
        upload.write(bytes).await?;
        upload.finish().await
    }

    /// Registers and starts a workflow.
    pub(crate) async fn dispatch(&self, flow: &Flow) -> DispatchId {
        let dispatch = self.register(flow).await;
        self.handle().start(&dispatch).await.unwrap();
        dispatch
    }

    /// Waits for the end of a dispatch and returns its record.
    pub(crate) async fn end(&self, dispatch: &DispatchId) -> DispatchRecord {
        self.handle().wait_for_end(dispatch, Duration::from_secs(60)).await;
        let record = self.record(dispatch).await;
        let status = record.summary.status;
        assert!(status.is_terminal(), "dispatch {dispatch} is {status} after its end");
        record
    }

    /// Runs a workflow to its end.
    pub(crate) async fn run(&self, flow: &Flow) -> DispatchRecord {
        let dispatch = self.dispatch(flow).await;
        self.end(&dispatch).await
    }

    pub(crate) async fn record(&self, dispatch: &DispatchId) -> DispatchRecord {
        self.handle().record(dispatch).await.unwrap()
    }

    /// Waits until what is stored of a dispatch is as it should be.
    pub(crate) async fn until(
        &self,
        dispatch: &DispatchId,
        holds: impl Fn(&DispatchRecord) -> bool + Send + Sync,
    ) {
        loop {
            let committed = self.tap().committed.notified();
            if holds(&self.record(dispatch).await) {
                return;
            }
            committed.await;
        }
    }

    /// The text of an asset.
    pub(crate) async fn text(&self, dispatch: &DispatchId, address: AssetAddress) -> String {
        match self.handle().read_asset(dispatch, address).await.unwrap() {
            Some(Blob::Small(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            Some(Blob::File { path, .. }) => std::fs::read_to_string(path).unwrap(),
            None => String::new(),
        }
    }

    /// What a node returned, or an empty text.
    pub(crate) async fn output(&self, dispatch: &DispatchId, node: u32) -> String {
        self.text(dispatch, of_node(node, AssetKey::Output)).await
    }

    /// Why a node failed.
    pub(crate) async fn error(&self, dispatch: &DispatchId, node: u32) -> String {
        self.text(dispatch, of_node(node, AssetKey::Error)).await
    }
}

pub(crate) fn of_node(node: u32, key: AssetKey) -> AssetAddress {
    AssetAddress::of_node(NodeId(node), key)
}

/// The statuses of all nodes.
pub(crate) fn statuses(record: &DispatchRecord) -> Vec<Status> {
    record.nodes.iter().map(|node| node.state.status).collect()
}
