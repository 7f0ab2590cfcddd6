//! A workflow as it is registered: metadata, nodes, edges, and which assets will come. This is
//! our own form; foreign spellings are translated at the edge. Checked once, by
//! [`Manifest::graph`], and trusted afterwards.

pub mod document;
pub mod ended;

use std::collections::HashSet;

use crate::asset::{Announced, AssetAddress};
use crate::executor::ExecutorSpec;
use crate::graph::{Edge, Graph, GraphError, NodeKind};
use crate::ids::{DispatchId, NodeId};
use crate::status::Status;

/// Names longer than this are kept as an asset. Bytes.
pub const NAME_INLINE_BYTES_MAX: usize = 4 * 1024;

/// What a client says of a lattice. Free of anything that the engine decides by.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct LatticeInfo {
    /// The lattice's name.
    pub name: String,
    /// Default executor of its electrons.
    pub executor: ExecutorSpec,
    /// Executor of the tasks that the workflow itself needs.
    pub workflow_executor: ExecutorSpec,
    /// Python version of the client.
    pub python_version: Option<String>,
    /// SDK version of the client.
    pub sdk_version: Option<String>,
}

/// One node as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestNode {
    /// Its name. May be as long as the printed form of an argument.
    pub name: String,
    /// What it is to the engine.
    pub kind: NodeKind,
    /// The packing group that the client put it in.
    pub task_group: NodeId,
    /// Index into [`Manifest::executors`].
    pub executor: u32,
    /// `NewObject`, or `PendingReplacement` in a redispatch.
    pub status: Status,
}

/// An asset that the manifest announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestAsset {
    /// Whose asset it is.
    pub address: AssetAddress,
    /// Its size and digest.
    pub announced: Announced,
}

/// A whole workflow as registered. Node ids are the indices of `nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// An id that the client chose, if it did.
    pub dispatch_id: Option<DispatchId>,
    /// What the client says of the lattice.
    pub lattice: LatticeInfo,
    /// The executors that nodes name, each once.
    pub executors: Vec<ExecutorSpec>,
    /// The nodes, by id.
    pub nodes: Vec<ManifestNode>,
    /// The edges, in any order.
    pub edges: Vec<Edge>,
    /// The assets that are not empty.
    pub assets: Vec<ManifestAsset>,
}

/// Why a manifest is refused. Indices are those of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Nodes and edges are no transport graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// More nodes than the server's limit.
    #[error("the workflow has {nodes} nodes; this server's limits.nodes is {limit}")]
    TooManyNodes {
        /// How many it has.
        nodes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A node names an executor that the manifest does not list.
    #[error("node {node} names executor {executor} of {executors}")]
    Executor {
        /// The node.
        node: NodeId,
        /// The index it names.
        executor: u32,
        /// How many there are.
        executors: usize,
    },
    /// Two postprocessing nodes, so that the end is not defined.
    #[error("nodes {first} and {second} both end the workflow")]
    TwoEnds {
        /// The first such node.
        first: NodeId,
        /// The second.
        second: NodeId,
    },
    /// A node that hands on what it takes does not take exactly one argument, or nodes wait for it.
    #[error(
        "node {node} hands on the output of another as the result: it takes one positional \
         argument, and no node takes its own"
    )]
    Forward {
        /// The node.
        node: NodeId,
    },
    /// An asset is announced twice, or for a node that does not exist, or with size 0.
    #[error("the asset `{address}` is announced twice, is empty, or belongs to no node")]
    Asset {
        /// The asset.
        address: AssetAddress,
    },
    /// An asset that only the server makes.
    #[error("the asset `{address}` is made by the server; no client brings it")]
    ServersAsset {
        /// The asset.
        address: AssetAddress,
    },
}

impl Manifest {
    /// Checks everything that can be wrong with a manifest and builds its graph.
    ///
    /// # Errors
    /// The first fault found; nothing was changed.
    pub fn graph(&self, nodes_max: usize) -> Result<Graph, ManifestError> {
        if self.nodes.len() > nodes_max {
            return Err(ManifestError::TooManyNodes { nodes: self.nodes.len(), limit: nodes_max });
        }
        let kinds: Vec<NodeKind> = self.nodes.iter().map(|node| node.kind).collect();
        let graph = Graph::new(&kinds, &self.edges)?;
        self.check_executors(&graph)?;
        check_end(&graph)?;
        self.check_assets(&graph)?;
        Ok(graph)
    }

    /// Checks that a client may bring every asset.
    ///
    /// # Errors
    /// The first asset that only the server makes.
    pub fn check_bringer(&self) -> Result<(), ManifestError> {
        let mut addresses = self.assets.iter().map(|asset| asset.address);
        match addresses.find(|address| address.key.is_servers()) {
            Some(address) => Err(ManifestError::ServersAsset { address }),
            None => Ok(()),
        }
    }

    fn check_executors(&self, graph: &Graph) -> Result<(), ManifestError> {
        let executors = self.executors.len();
        let mut nodes = graph.nodes().zip(&self.nodes);
        match nodes.find(|(_, node)| node.executor as usize >= executors) {
            Some((id, node)) => {
                Err(ManifestError::Executor { node: id, executor: node.executor, executors })
            }
            None => Ok(()),
        }
    }

    fn check_assets(&self, graph: &Graph) -> Result<(), ManifestError> {
        let mut seen = HashSet::with_capacity(self.assets.len());
        for asset in &self.assets {
            let owned = asset.address.node.is_none_or(|node| graph.contains(node));
            if !owned || asset.announced.size == 0 || !seen.insert(asset.address) {
                return Err(ManifestError::Asset { address: asset.address });
            }
        }
        Ok(())
    }
}

fn check_end(graph: &Graph) -> Result<(), ManifestError> {
    let mut ends = graph.nodes().filter(|node| graph.kind(*node).ends_lattice());
    match (ends.next(), ends.next()) {
        (Some(first), Some(second)) => Err(ManifestError::TwoEnds { first, second }),
        (Some(node), None) if graph.kind(node) == NodeKind::Forward => check_forward(graph, node),
        _ => Ok(()),
    }
}

fn check_forward(graph: &Graph, node: NodeId) -> Result<(), ManifestError> {
    let inputs = graph.inputs(node);
    let takes_one = inputs.args.len() == 1 && inputs.kwargs.is_empty();
    match takes_one && graph.children(node).is_empty() {
        true => Ok(()),
        false => Err(ManifestError::Forward { node }),
    }
}

#[cfg(test)]
mod tests;
