//! Fills a data directory through the store: dispatches that ended, with their nodes, outputs and
//! results, as runs would have left them.

use std::path::Path;

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey, SmallContent};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::manifest::LatticeInfo;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_store::model::{Change, ChangeSet, DispatchState, NewNode, NodeState, Registration};
use cov_store::{SqliteStore, Store as _};

/// When the first one was registered. Microseconds.
pub(crate) const EPOCH: i64 = 1_750_000_000_000_000;
/// From one to the next. Microseconds.
pub(crate) const STEP: i64 = 10_000_000;
/// How many lattices there are.
pub(crate) const LATTICES: u32 = 40;

const SETS_A_COMMIT: usize = 512;
const KINDS: [NodeKind; 4] =
    [NodeKind::Parameter, NodeKind::Task, NodeKind::Task, NodeKind::Postprocess];

/// The id of the dispatch with this number: hexadecimal, in no order.
pub(crate) fn id(number: u32) -> DispatchId {
    let digest = SmallContent::new(Bytes::from(number.to_le_bytes().to_vec())).content.id;
    let text = digest.to_string();
    format!("{}-{}", &text[..8], &text[8..32]).parse().unwrap()
}

pub(crate) fn name(number: u32) -> String {
    format!("lattice {}", number % LATTICES)
}

fn status(number: u32) -> Status {
    match number % 50 {
        7 | 19 | 31 => Status::Failed,
        43 => Status::Cancelled,
        _ => Status::Completed,
    }
}

/// The dispatch whose sub-dispatch this one is.
fn parent(number: u32) -> Option<(DispatchId, NodeId)> {
    (number % 20 == 3).then(|| (id(number - 1), NodeId(1)))
}

fn ended(number: u32, function: &SmallContent) -> ChangeSet {
    let at = Timestamp::from_micros(EPOCH + i64::from(number) * STEP);
    let asset = |address, content: &SmallContent| Change::Asset {
        address,
        content: content.content,
        small: Some(content.bytes.clone()),
    };
    let node = |(index, kind): (u32, &NodeKind)| NewNode {
        name: format!("electron {index}"),
        kind: *kind,
        task_group: NodeId(index),
        executor: 0,
        state: NodeState::default(),
    };
    let edge = |target: u32| Edge {
        source: NodeId(target - 1),
        target: NodeId(target),
        name: "x".into(),
        kind: EdgeKind::Arg(0),
    };
    let parent = parent(number);
    let registration = Registration {
        root: parent.as_ref().map_or_else(|| id(number), |(above, _)| above.clone()),
        parent,
        lattice: LatticeInfo { name: name(number), ..LatticeInfo::default() },
        executors: vec![ExecutorSpec { name: "local".into(), data: serde_json::json!({}) }],
        nodes: (0..).zip(&KINDS).map(node).collect(),
        edges: (1..4).map(edge).collect(),
        assets: Vec::new(),
    };
    let mut changes = vec![Change::Register(Box::new(registration))];
    let output = SmallContent::new(Bytes::from(format!("an output of dispatch {number}")));
    for index in 0..4 {
        let (node, end) = (NodeId(index), Some(at));
        let attempt = Some(AttemptId::new(number / 1_000, index));
        let status = Status::Completed;
        let state =
            NodeState { status, attempt, started_at: end, ended_at: end, ..NodeState::default() };
        changes.push(Change::Node { node, state });
        changes.push(asset(AssetAddress::of_node(node, AssetKey::Function), function));
        changes.push(asset(AssetAddress::of_node(node, AssetKey::Output), &output));
    }
    changes.push(asset(AssetAddress::of_dispatch(AssetKey::Result), &output));
    changes.push(Change::Dispatch(DispatchState {
        status: status(number),
        cancel_requested: false,
        started_at: Some(at),
        ended_at: Some(at),
    }));
    ChangeSet { dispatch: id(number), at, changes }
}

pub(crate) fn fill(folder: &Path, dispatches: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let function = SmallContent::new(Bytes::from_static(b"a function of all"));
    runtime.block_on(async {
        let store = SqliteStore::open(folder).await.unwrap();
        let numbers: Vec<u32> = (0..dispatches).collect();
        for numbers in numbers.chunks(SETS_A_COMMIT) {
            let batch: Vec<ChangeSet> =
                numbers.iter().map(|number| ended(*number, &function)).collect();
            store.commit(&batch).await.unwrap();
        }
        store.close().await;
    });
}
