//! Dispatches and contents for the suite: small, and different in every field that is stored.

use bytes::Bytes;
use cov_core::asset::{
    Announced, AssetAddress, AssetKey, AssetState, ContentRef, INLINE_BYTES_MAX, SmallContent,
};
use cov_core::error::Fault;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::{AttemptId, DispatchId, NodeId, Sha1Digest};
use cov_core::manifest::LatticeInfo;
use cov_core::status::Status;
use cov_core::time::Timestamp;

use crate::model::{Change, ChangeSet, DispatchState, NewNode, NodeState, Registration};
use crate::{Contents, Staged};

/// The dispatch id `text`.
#[must_use]
pub fn id(text: &str) -> DispatchId {
    text.parse().unwrap()
}

/// The point `seconds` after an arbitrary one.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_001 + seconds * 1_000_000)
}

/// A change set with one time.
#[must_use]
pub fn set(dispatch: &str, seconds: i64, changes: Vec<Change>) -> ChangeSet {
    ChangeSet { dispatch: id(dispatch), at: at(seconds), changes }
}

/// The registration of `nodes` tasks in a chain, without assets.
#[must_use]
pub fn chain(dispatch: &str, nodes: u32) -> Registration {
    let node = |index| NewNode {
        name: format!("task {index} é"),
        kind: NodeKind::ALL[index as usize % 4],
        task_group: NodeId(index / 2),
        executor: index % 2,
        state: NodeState::default(),
    };
    let edge = |target: u32| Edge {
        source: NodeId(target - 1),
        target: NodeId(target),
        name: format!("arg{target}"),
        kind: [EdgeKind::Arg(0), EdgeKind::Kwarg, EdgeKind::Wait][target as usize % 3],
    };
    let executor = |name: &str| ExecutorSpec {
        name: name.to_owned(),
        data: serde_json::json!({"attributes": {"retries": 2, "nested": [1, null, "é"]}}),
    };
    Registration {
        root: id(dispatch),
        parent: None,
        lattice: LatticeInfo {
            name: format!("lattice of {dispatch}"),
            executor: executor("local"),
            workflow_executor: executor("dask"),
            python_version: Some("3.11.7".to_owned()),
            sdk_version: None,
        },
        executors: vec![executor("local"), executor("dask")],
        nodes: (0..nodes).map(node).collect(),
        edges: (1..nodes).map(edge).collect(),
        assets: Vec::new(),
    }
}

/// The change set that registers [`chain`].
#[must_use]
pub fn register(dispatch: &str, nodes: u32) -> ChangeSet {
    register_as(dispatch, chain(dispatch, nodes))
}

/// The change set that registers `registration`, at second 0.
#[must_use]
pub fn register_as(dispatch: &str, registration: Registration) -> ChangeSet {
    set(dispatch, 0, vec![Change::Register(Box::new(registration))])
}

/// A dispatch's state with every field set.
#[must_use]
pub fn dispatch_state(status: Status) -> DispatchState {
    DispatchState {
        status,
        started_at: Some(at(1)),
        ended_at: status.is_terminal().then(|| at(9)),
        cancel_requested: status == Status::Cancelled,
    }
}

/// A node's state with every field set.
#[must_use]
pub fn node_state(status: Status, attempt: u32) -> NodeState {
    NodeState {
        status,
        started_at: Some(at(2)),
        ended_at: status.is_terminal().then(|| at(8)),
        // An epoch in the upper half, which a signed column has to survive.
        attempt: Some(AttemptId::new(u32::MAX - 1, attempt)),
        failed_attempts: attempt,
        fault: (status == Status::Failed).then_some(Fault::Runner),
        cancel_requested: status == Status::Cancelled,
    }
}

/// The change of node `node` to [`node_state`].
#[must_use]
pub fn node(node: u32, status: Status, attempt: u32) -> Change {
    Change::Node { node: NodeId(node), state: node_state(status, attempt) }
}

/// The asset `key` of node `node`.
#[must_use]
pub fn of_node(node: u32, key: AssetKey) -> AssetAddress {
    AssetAddress::of_node(NodeId(node), key)
}

/// The change that brings `text` as an asset.
#[must_use]
pub fn small(address: AssetAddress, text: &str) -> Change {
    let SmallContent { content, bytes } = SmallContent::new(Bytes::from(text.to_owned()));
    Change::Asset { address, content, small: Some(bytes) }
}

/// The names of `text` as a content.
#[must_use]
pub fn content(text: &str) -> ContentRef {
    SmallContent::new(Bytes::from(text.to_owned())).content
}

/// What a client would announce of `text`.
#[must_use]
pub fn announced(text: &str) -> Announced {
    let content = content(text);
    Announced { size: content.size, sha1: Some(content.sha1) }
}

/// An announcement that no content matches.
#[must_use]
pub fn unknown() -> Announced {
    Announced { size: 3, sha1: Some(Sha1Digest::from_bytes([9; 20])) }
}

/// [`chain`] with awaited and, from `present`, stored assets.
#[must_use]
pub fn chain_with_assets(dispatch: &str, nodes: u32, present: &[ContentRef]) -> Registration {
    let mut registration = chain(dispatch, nodes);
    registration.assets = vec![
        (AssetAddress::of_dispatch(AssetKey::Inputs), AssetState::Awaited(announced("inputs"))),
        (
            of_node(0, AssetKey::Value),
            // More than a signed number holds, and no digest.
            AssetState::Awaited(Announced { size: u64::MAX, sha1: None }),
        ),
    ];
    let keys = AssetKey::OF_NODE.into_iter().rev();
    let stored =
        keys.zip(present).map(|(key, one)| (of_node(nodes - 1, key), AssetState::Present(*one)));
    registration.assets.extend(stored);
    registration
}

/// `size` bytes that differ from those of another `seed`.
#[must_use]
pub fn bytes(seed: u8, size: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(size)
    .collect()
}

/// More than is kept in a row, and no multiple of any buffer.
pub const LARGE: usize = INLINE_BYTES_MAX * 70 + 13;

/// Writes `data` as a content, in chunks of `chunk` bytes.
pub async fn write(contents: &dyn Contents, data: &[u8], chunk: usize) -> Staged {
    let mut writer = contents.writer().await.unwrap();
    for part in data.chunks(chunk) {
        writer.write(Bytes::copy_from_slice(part)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

/// The change that makes `staged` an asset.
#[must_use]
pub fn asset(address: AssetAddress, staged: &Staged) -> Change {
    Change::Asset { address, content: staged.content, small: staged.small.clone() }
}
