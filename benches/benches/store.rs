//! Commits of the store on a real disk: what one step costs alone, and what it costs in company.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use cov_core::executor::ExecutorSpec;
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::LatticeInfo;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_store::model::{Change, ChangeSet, NewNode, NodeState, Registration};
use cov_store::{SqliteStore, Store as _};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const NODES: u32 = 1_000;
const BATCHES: [u32; 3] = [1, 16, 256];

fn change_set(dispatch: &DispatchId, change: Change) -> ChangeSet {
    let at = Timestamp::from_micros(0);
    ChangeSet { dispatch: dispatch.clone(), at, changes: vec![change] }
}

fn registration(dispatch: &DispatchId) -> Registration {
    let node = NewNode {
        name: "task".into(),
        kind: NodeKind::Task,
        task_group: NodeId(0),
        executor: 0,
        state: NodeState::default(),
    };
    Registration {
        root: dispatch.clone(),
        parent: None,
        lattice: LatticeInfo::default(),
        executors: vec![ExecutorSpec::default()],
        nodes: vec![node; NODES as usize],
        edges: Vec::new(),
        assets: Vec::new(),
    }
}

/// One node's next state; it changes with every round, so that every commit writes.
fn running(dispatch: &DispatchId, round: u32, index: u32) -> ChangeSet {
    let started_at = Some(Timestamp::from_micros(i64::from(round)));
    let state = NodeState { status: Status::Running, started_at, ..NodeState::default() };
    change_set(dispatch, Change::Node { node: NodeId(index % NODES), state })
}

fn commits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let store = runtime.block_on(SqliteStore::open(folder.path())).expect("the folder is empty");
    let dispatch: DispatchId = "bench".parse().expect("letters make an id");
    let registered = change_set(&dispatch, Change::Register(Box::new(registration(&dispatch))));
    runtime.block_on(store.commit(&[registered])).expect("it is the first");

    let mut group = criterion.benchmark_group("store");
    let mut round = 0;
    for size in BATCHES {
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_function(BenchmarkId::new("commit", size), |bencher| {
            bencher.iter(|| {
                round += 1;
                let sets: Vec<_> = (0..size).map(|at| running(&dispatch, round, at)).collect();
                runtime.block_on(store.commit(&sets)).expect("the disk has space");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
