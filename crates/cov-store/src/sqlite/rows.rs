//! How values are written in rows and blobs, and read back with every check. The only module
//! that knows the stored spelling of anything.

mod packed;
pub(super) mod triggers;

use bincode::{BorrowDecode, Decode, Encode};
use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState, ContentRef};
use cov_core::error::Fault;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::{AttemptId, ContentId, DispatchId, NodeId, Sha1Digest};
use cov_core::manifest::LatticeInfo;
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_core::time::Timestamp;

pub(super) use self::packed::{PackedAssets, packed_assets};
use crate::Error;
use crate::fault::{corrupt, internal};
use crate::model::{DispatchState, NodeState, Registration};

/// The node column of assets of the dispatch or its lattice.
pub(super) const NO_NODE: i64 = -1;

/// First byte of an encoded graph. A change of the layout takes the next number, and the
/// reader of each released one stays.
const GRAPH_LAYOUT: u8 = 1;

/// No graph decodes to more: 2,000,000 nodes with long names stay below. Bytes.
const GRAPH_BYTES_MAX: usize = 4 * 1024 * 1024 * 1024;

type Reading<T> = Result<T, String>;

#[derive(Encode, BorrowDecode)]
struct GraphLayout<'a> {
    nodes: Vec<NodeLayout<'a>>,
    edges: Vec<EdgeLayout<'a>>,
}

#[derive(Encode, BorrowDecode)]
struct NodeLayout<'a> {
    name: &'a str,
    kind: u8,
    task_group: u32,
    executor: u32,
}

#[derive(Encode, BorrowDecode)]
struct EdgeLayout<'a> {
    source: u32,
    target: u32,
    name: &'a str,
    kind: EdgeKindLayout,
}

#[derive(Encode, Decode)]
enum EdgeKindLayout {
    Arg(u32),
    Kwarg,
    Wait,
}

/// What never changes of a dispatch.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) lattice: LatticeInfo,
    pub(super) executors: Vec<ExecutorSpec>,
    pub(super) nodes: Vec<PlanNode<'a>>,
    /// Grouped by target.
    pub(super) edges: Vec<Edge>,
}

/// What never changes of a node.
#[derive(Debug)]
pub(super) struct PlanNode<'a> {
    pub(super) name: &'a str,
    pub(super) kind: NodeKind,
    pub(super) task_group: NodeId,
    pub(super) executor: u32,
}

/// The columns of table `plans`, as stored.
#[derive(Debug)]
pub(super) struct EncodedPlan {
    pub(super) lattice: String,
    pub(super) executors: String,
    pub(super) graph: Vec<u8>,
}

pub(super) fn encode_plan(registration: &Registration) -> Result<EncodedPlan, Error> {
    let mut edges: Vec<&Edge> = registration.edges.iter().collect();
    edges.sort_by_key(|edge| edge.target);
    let layout = GraphLayout {
        nodes: registration
            .nodes
            .iter()
            .map(|node| NodeLayout {
                name: &node.name,
                kind: node.kind.code(),
                task_group: node.task_group.0,
                executor: node.executor,
            })
            .collect(),
        edges: edges
            .into_iter()
            .map(|edge| EdgeLayout {
                source: edge.source.0,
                target: edge.target.0,
                name: &edge.name,
                kind: match edge.kind {
                    EdgeKind::Arg(index) => EdgeKindLayout::Arg(index),
                    EdgeKind::Kwarg => EdgeKindLayout::Kwarg,
                    EdgeKind::Wait => EdgeKindLayout::Wait,
                },
            })
            .collect(),
    };
    let mut graph = vec![GRAPH_LAYOUT];
    bincode::encode_into_std_write(&layout, &mut graph, bincode::config::standard())
        .map_err(internal)?;
    Ok(EncodedPlan {
        lattice: serde_json::to_string(&registration.lattice).map_err(internal)?,
        executors: serde_json::to_string(&registration.executors).map_err(internal)?,
        graph,
    })
}

pub(super) fn decode_plan(encoded: &EncodedPlan) -> Reading<Plan<'_>> {
    let lattice = serde_json::from_str(&encoded.lattice)
        .map_err(|error| format!("the lattice cannot be read: {error}"))?;
    let executors = serde_json::from_str(&encoded.executors)
        .map_err(|error| format!("the executors cannot be read: {error}"))?;
    let (layout, body) = encoded.graph.split_first().ok_or("the graph is empty")?;
    if *layout != GRAPH_LAYOUT {
        return Err(format!("the graph has layout {layout}"));
    }
    let config = bincode::config::standard().with_limit::<GRAPH_BYTES_MAX>();
    let (graph, read): (GraphLayout<'_>, usize) =
        bincode::borrow_decode_from_slice(body, config)
            .map_err(|error| format!("the graph cannot be read: {error}"))?;
    if read != body.len() {
        return Err("the graph has bytes after its end".to_owned());
    }
    let nodes = graph.nodes.into_iter().map(read_node).collect::<Reading<_>>()?;
    let edges = graph.edges.into_iter().map(read_edge).collect();
    Ok(Plan { lattice, executors, nodes, edges })
}

fn read_node(node: NodeLayout<'_>) -> Reading<PlanNode<'_>> {
    Ok(PlanNode {
        name: node.name,
        kind: NodeKind::from_code(node.kind)
            .ok_or_else(|| format!("a node has kind {}", node.kind))?,
        task_group: NodeId(node.task_group),
        executor: node.executor,
    })
}

fn read_edge(edge: EdgeLayout<'_>) -> Edge {
    Edge {
        source: NodeId(edge.source),
        target: NodeId(edge.target),
        name: edge.name.to_owned(),
        kind: match edge.kind {
            EdgeKindLayout::Arg(index) => EdgeKind::Arg(index),
            EdgeKindLayout::Kwarg => EdgeKind::Kwarg,
            EdgeKindLayout::Wait => EdgeKind::Wait,
        },
    }
}

/// A row of `dispatches`: `dispatch_id, root_id, parent_id, parent_node, name, status,
/// cancel_requested, node_count, completed_node_count, created_at, updated_at, started_at,
/// ended_at`.
pub(super) type DispatchColumns = (
    String,
    String,
    Option<String>,
    Option<i64>,
    String,
    i64,
    bool,
    i64,
    i64,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
);

/// A row of `dispatches`, read.
#[derive(Debug)]
pub(super) struct DispatchRow {
    pub(super) summary: Summary,
    pub(super) parent_node: Option<NodeId>,
    pub(super) cancel_requested: bool,
}

impl DispatchRow {
    pub(super) fn state(&self) -> DispatchState {
        DispatchState {
            status: self.summary.status,
            started_at: self.summary.started_at,
            ended_at: self.summary.ended_at,
            cancel_requested: self.cancel_requested,
        }
    }
}

pub(super) fn read_dispatch(columns: DispatchColumns) -> Result<DispatchRow, Error> {
    let what = format!("dispatch {}", columns.0);
    read_dispatch_columns(columns).map_err(|reason| corrupt(what, reason))
}

fn read_dispatch_columns(columns: DispatchColumns) -> Reading<DispatchRow> {
    let (id, root, parent, parent_node, name, status, cancel, ..) = columns;
    let (.., nodes, completed, created, updated, started, ended) = columns;
    Ok(DispatchRow {
        summary: Summary {
            dispatch_id: read_id(&id)?,
            root_dispatch_id: read_id(&root)?,
            parent_dispatch_id: parent.as_deref().map(read_id).transpose()?,
            name,
            status: read_status(status)?,
            node_count: read_u32(nodes)?,
            completed_node_count: read_u32(completed)?,
            created_at: Timestamp::from_micros(created),
            updated_at: Timestamp::from_micros(updated),
            started_at: started.map(Timestamp::from_micros),
            ended_at: ended.map(Timestamp::from_micros),
        },
        parent_node: parent_node.map(read_u32).transpose()?.map(NodeId),
        cancel_requested: cancel,
    })
}

/// A row of `nodes`: `node, status, cancel_requested, failed_attempts, attempt, fault,
/// started_at, ended_at`.
pub(super) type NodeColumns =
    (i64, i64, bool, i64, Option<i64>, Option<String>, Option<i64>, Option<i64>);

pub(super) fn read_node_state(columns: NodeColumns) -> Reading<(NodeId, NodeState)> {
    let (node, status, cancel_requested, failed_attempts, attempt, fault, started, ended) = columns;
    let node = NodeId(read_u32(node)?);
    let status = read_status(status)?;
    if status == Status::Starting {
        return Err(format!("node {node} has the status {status} of a dispatch"));
    }
    let fault = fault
        .map(|text| text.parse::<Fault>().map_err(|()| format!("node {node} has fault `{text}`")));
    let state = NodeState {
        status,
        started_at: started.map(Timestamp::from_micros),
        ended_at: ended.map(Timestamp::from_micros),
        attempt: attempt.map(|bits| AttemptId::from_bits(bits.cast_unsigned())),
        failed_attempts: read_u32(failed_attempts)?,
        fault: fault.transpose()?,
        cancel_requested,
    };
    Ok((node, state))
}

/// A row of `assets`: `node, key`, the content's id if it is there, and size and SHA-1 of the
/// content or else of what was announced. Few columns: each costs as much as the reading of it.
pub(super) type AssetColumns = (i64, i64, Option<Vec<u8>>, Option<i64>, Option<Vec<u8>>);

pub(super) fn read_asset(columns: AssetColumns) -> Reading<(AssetAddress, AssetState)> {
    let (node, key, id, size, sha1) = columns;
    asset_of(node, key, id.as_deref(), size, sha1.as_deref())
}

fn asset_of(
    node: i64,
    key: i64,
    id: Option<&[u8]>,
    size: Option<i64>,
    sha1: Option<&[u8]>,
) -> Reading<(AssetAddress, AssetState)> {
    let node = match node {
        NO_NODE => None,
        node => Some(NodeId(read_u32(node)?)),
    };
    let key = u8::try_from(key).ok().and_then(AssetKey::from_code);
    let address = AssetAddress { node, key: key.ok_or("an asset has an unknown key")? };
    let state = match (id, size, sha1) {
        (None, Some(size), sha1) => AssetState::Awaited(Announced {
            size: size.cast_unsigned(),
            sha1: sha1.map(read_sha1).transpose()?,
        }),
        (Some(id), Some(size), Some(sha1)) => AssetState::Present(read_content(id, size, sha1)?),
        _ => return Err(format!("the asset `{address}` has no content row")),
    };
    Ok((address, state))
}

pub(super) fn read_content(id: &[u8], size: i64, sha1: &[u8]) -> Reading<ContentRef> {
    let id = id.try_into().map_err(|_wrong_length| "a content id has the wrong length")?;
    Ok(ContentRef {
        id: ContentId::from_bytes(id),
        size: size.cast_unsigned(),
        sha1: read_sha1(sha1)?,
    })
}

fn read_sha1(bytes: &[u8]) -> Reading<Sha1Digest> {
    let bytes = bytes.try_into().map_err(|_wrong_length| "a SHA-1 has the wrong length")?;
    Ok(Sha1Digest::from_bytes(bytes))
}

pub(super) fn read_id(text: &str) -> Reading<DispatchId> {
    text.parse().map_err(|error: cov_core::ids::IdError| error.to_string())
}

pub(super) fn read_u32(number: i64) -> Reading<u32> {
    u32::try_from(number).map_err(|_wrong_size| format!("{number} is out of range"))
}

pub(super) fn read_status(code: i64) -> Reading<Status> {
    let status = u8::try_from(code).ok().and_then(Status::from_code);
    status.ok_or_else(|| format!("{code} is no status"))
}

/// The node column of an asset's address.
pub(super) fn node_column(address: AssetAddress) -> i64 {
    address.node.map_or(NO_NODE, |node| i64::from(node.0))
}
