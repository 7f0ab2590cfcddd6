//! The inside of a server, with an executor whose tasks cost nothing, and workflows for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, SmallContent};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, NodeKind};
use cov_core::ids::{AttemptId, NodeId};
use cov_core::manifest::{LatticeInfo, Manifest, ManifestAsset, ManifestNode};
use cov_core::status::Status;
use cov_core::time::{Clock, Timestamp};
use cov_dispatcher::{Executors, Handle, Options, Parts, Service};
use cov_exec::{Ending, Event, Executor, Outcome, Payload, Report, Task};
use cov_http::StagingArchive;
use cov_store::SqliteStore;
use tokio::sync::mpsc;

/// How long a dispatch may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What every electron of a workflow is.
const FUNCTION: &[u8] = b"a function";

/// Every task returns its node's number at once.
#[derive(Debug)]
struct Instantly(mpsc::Sender<Report>);

#[async_trait]
impl Executor for Instantly {
    fn slots(&self) -> usize {
        8
    }

    async fn submit(&self, task: Task) -> Result<(), cov_exec::Error> {
        let outcome = Outcome::Completed(Payload::Bytes(task.node.to_string().into()));
        let (stdout, stderr) = <_>::default();
        let ended = Event::Ended(Ending { outcome, stdout, stderr });
        for event in [Event::Begun, ended] {
            self.0.send(Report { attempt: task.attempt, event }).await.ok();
        }
        Ok(())
    }

    async fn kill(&self, _attempt: AttemptId) {}

    async fn live_output(&self, _attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        None
    }

    async fn stop(&self) {}
}

/// A clock that moves by a microsecond whenever it is looked at.
#[derive(Debug)]
struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a dispatcher is made of, with this executor.
#[must_use]
pub fn parts(
    store: SqliteStore,
    executor: Arc<dyn Executor>,
    reports: mpsc::Receiver<Report>,
) -> Parts {
    let store = Arc::new(store);
    Parts {
        store: Arc::clone(&store) as _,
        contents: store,
        executors: Executors::new(executor),
        reports,
        sublattices: Arc::new(StagingArchive { nodes_max: usize::MAX }),
        clock: Arc::new(Ticks(AtomicI64::new(2))),
    }
}

/// A dispatcher whose tasks return at once.
///
/// # Panics
/// The store does not answer.
pub async fn start(store: SqliteStore) -> (Handle, Service) {
    let (reporter, reports) = mpsc::channel(1_024);
    let parts = parts(store, Arc::new(Instantly(reporter)), reports);
    cov_dispatcher::start(Options::default(), parts).await.expect("the store answers")
}

/// A workflow of so many electrons, all with the same function.
#[must_use]
pub fn workflow(electrons: u32, edges: Vec<Edge>) -> Manifest {
    let function = SmallContent::new(Bytes::from_static(FUNCTION)).content;
    let announced = Announced { size: function.size, sha1: Some(function.sha1) };
    let node = |id| ManifestNode {
        name: "task".into(),
        kind: NodeKind::Task,
        task_group: NodeId(id),
        executor: 0,
        status: Status::NewObject,
    };
    let asset = |id| ManifestAsset {
        address: AssetAddress::of_node(NodeId(id), AssetKey::Function),
        announced,
    };
    Manifest {
        dispatch_id: None,
        lattice: LatticeInfo::default(),
        executors: vec![ExecutorSpec { name: "local".into(), data: serde_json::json!({}) }],
        nodes: (0..electrons).map(node).collect(),
        edges,
        assets: (0..electrons).map(asset).collect(),
    }
}

/// Registers a workflow, uploads its function where the store does not have it, and runs it to its
/// end.
///
/// # Panics
/// It is refused, or does not complete.
pub async fn run(handle: &Handle, workflow: Manifest) {
    let registered = handle.register(workflow).await.expect("it is a workflow");
    for address in &registered.uploads {
        let upload = handle.upload(&registered.dispatch, *address, None).await;
        let mut upload = upload.expect("it is asked for");
        upload.write(Bytes::from_static(FUNCTION)).await.expect("the disk has space");
        upload.finish().await.expect("it is what was announced");
    }
    handle.start(&registered.dispatch).await.expect("it is whole");
    handle.wait_for_end(&registered.dispatch, PATIENCE).await;
    let summary = handle.summary(&registered.dispatch).await.expect("it is stored");
    assert_eq!(summary.status, Status::Completed);
}
