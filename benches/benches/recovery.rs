//! What a start costs: 10,000 stored dispatches, of which 200 were under way when the server died.
//! Measured from the opening of the data directory until every one of them has handed the task
//! that was running to the executor again. Runners cost nothing here.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cov_benches::servers;
use cov_core::asset::{AssetAddress, AssetKey, SmallContent};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::manifest::LatticeInfo;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_dispatcher::Options;
use cov_exec::{Executor, Task};
use cov_store::model::{Change, ChangeSet, DispatchState, NewNode, NodeState, Registration};
use cov_store::{SqliteStore, Store as _};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::sync::{Notify, mpsc};

const DISPATCHES: usize = 10_000;
/// One in so many is under way.
const UNFINISHED_EVERY: usize = 50;
const UNFINISHED: usize = DISPATCHES / UNFINISHED_EVERY;
const NODES: u32 = 10;
/// Electrons of an unfinished dispatch that had completed; the next one was running.
const COMPLETED: u32 = 4;
const DISPATCHES_A_COMMIT: usize = 256;

fn chain(number: usize) -> Vec<ChangeSet> {
    let dispatch: DispatchId = format!("bench-{number}").parse().expect("an id");
    let content = |text: String| SmallContent::new(Bytes::from(text));
    let function = content("a function of all".to_owned());
    let node = |id| NewNode {
        name: "task".into(),
        kind: NodeKind::Task,
        task_group: NodeId(id),
        executor: 0,
        state: NodeState::default(),
    };
    let edge = |id: u32| Edge {
        source: NodeId(id - 1),
        target: NodeId(id),
        name: "x".into(),
        kind: EdgeKind::Arg(0),
    };
    let registration = Registration {
        root: dispatch.clone(),
        parent: None,
        lattice: LatticeInfo::default(),
        executors: vec![ExecutorSpec { name: "local".into(), data: serde_json::json!({}) }],
        nodes: (0..NODES).map(node).collect(),
        edges: (1..NODES).map(edge).collect(),
        assets: Vec::new(),
    };
    let at = Timestamp::from_micros(1);
    let mut changes = vec![Change::Register(Box::new(registration))];
    for id in 0..NODES {
        changes.push(Change::Asset {
            address: AssetAddress::of_node(NodeId(id), AssetKey::Function),
            content: function.content,
            small: Some(function.bytes.clone()),
        });
    }
    let is_unfinished = number.is_multiple_of(UNFINISHED_EVERY);
    let completed = if is_unfinished { COMPLETED } else { NODES };
    for id in 0..completed {
        let output = content(format!("output {number} {id}"));
        let address = AssetAddress::of_node(NodeId(id), AssetKey::Output);
        let (content, small) = (output.content, Some(output.bytes));
        changes.push(Change::Asset { address, content, small });
        changes.push(node_state(id, Status::Completed, at));
    }
    if is_unfinished {
        changes.push(node_state(completed, Status::Running, at));
    }
    let status = if is_unfinished { Status::Running } else { Status::Completed };
    changes.push(Change::Dispatch(DispatchState {
        status,
        cancel_requested: false,
        started_at: Some(at),
        ended_at: (!is_unfinished).then_some(at),
    }));
    vec![ChangeSet { dispatch, at, changes }]
}

fn node_state(id: u32, status: Status, at: Timestamp) -> Change {
    let state = NodeState {
        status,
        attempt: Some(AttemptId::new(0, id)),
        started_at: Some(at),
        ended_at: status.is_terminal().then_some(at),
        ..NodeState::default()
    };
    Change::Node { node: NodeId(id), state }
}

async fn fill(folder: &Path) {
    let store = SqliteStore::open(folder).await.expect("the folder is empty");
    let numbers: Vec<usize> = (0..DISPATCHES).collect();
    for numbers in numbers.chunks(DISPATCHES_A_COMMIT) {
        let batch: Vec<ChangeSet> = numbers.iter().flat_map(|number| chain(*number)).collect();
        store.commit(&batch).await.expect("the disk has space");
    }
    store.close().await;
}

/// Takes every task and runs none.
#[derive(Debug, Default)]
struct Taken {
    count: AtomicUsize,
    all: Notify,
}

#[async_trait]
impl Executor for Taken {
    fn slots(&self) -> usize {
        UNFINISHED
    }

    async fn submit(&self, _task: Task) -> Result<(), cov_exec::Error> {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == UNFINISHED {
            self.all.notify_one();
        }
        Ok(())
    }

    async fn kill(&self, _attempt: AttemptId) {}

    async fn live_output(&self, _attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        None
    }

    async fn stop(&self) {}
}

/// Starts on a folder; returns how long it took until all was resumed.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
async fn recover(folder: &Path) -> Duration {
    let taken = Arc::new(Taken::default());
    let (_reporter, reports) = mpsc::channel(1);
    let begin = Instant::now();
    let store = SqliteStore::open(folder).await.expect("it was closed");
    let parts = servers::parts(store, Arc::clone(&taken) as _, reports);
    let started = cov_dispatcher::start(Options::default(), parts).await;
    let (handle, service) = started.expect("the store answers");
    taken.all.notified().await;
    let took = begin.elapsed();
    drop(handle);
    service.stop(Duration::ZERO).await;
    took
}

fn recovery(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
    let place = tempfile::tempdir().expect("a folder for temporary files");
    let filled = place.path().join("filled");
    runtime.block_on(fill(&filled));
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10);
    group.bench_function(format!("{DISPATCHES} dispatches, {UNFINISHED} unfinished"), |bencher| {
        bencher.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let copy = tempfile::tempdir_in(place.path()).expect("the folder is there");
                let database = "dispatches.sqlite";
                std::fs::copy(filled.join(database), copy.path().join(database))
                    .expect("the disk has space");
                took += runtime.block_on(recover(copy.path()));
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, recovery);
criterion_main!(benches);
