//! Commits of one dispatch: its registration, and batches of its nodes' states.

use cov_core::executor::ExecutorSpec;
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::LatticeInfo;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_store::model::{Change, ChangeSet, NewNode, NodeState, Registration};

/// How many nodes the dispatch has.
pub const NODES: u32 = 1_000;

/// The dispatch that everything here belongs to.
///
/// # Panics
/// Never: its id is one.
#[must_use]
pub fn dispatch() -> DispatchId {
    "bench".parse().expect("letters make an id")
}

/// The change set that registers it.
#[must_use]
pub fn registration() -> ChangeSet {
    let node = NewNode {
        name: "task".into(),
        kind: NodeKind::Task,
        task_group: NodeId(0),
        executor: 0,
        state: NodeState::default(),
    };
    let registration = Registration {
        root: dispatch(),
        parent: None,
        lattice: LatticeInfo::default(),
        executors: vec![ExecutorSpec::default()],
        nodes: vec![node; NODES as usize],
        edges: Vec::new(),
        assets: Vec::new(),
    };
    change_set(Change::Register(Box::new(registration)))
}

/// The next states of so many nodes, one change set each. They change with every round, so that
/// every commit writes.
#[must_use]
pub fn batch(round: u32, size: u32) -> Vec<ChangeSet> {
    let started_at = Some(Timestamp::from_micros(i64::from(round)));
    let state = NodeState { status: Status::Running, started_at, ..NodeState::default() };
    let node = |index: u32| Change::Node { node: NodeId(index % NODES), state };
    (0..size).map(|index| change_set(node(index))).collect()
}

fn change_set(change: Change) -> ChangeSet {
    ChangeSet { dispatch: dispatch(), at: Timestamp::from_micros(0), changes: vec![change] }
}
