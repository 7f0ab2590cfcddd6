//! The record of a dispatch: what it was given, what became of it and of each of its electrons.
//! Plain data. Fetching and saving it is the client's business.

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::ids::{DispatchId, NodeId};
use crate::status::Status;
use crate::time::Timestamp;
use crate::transportable::TransportableObject;

/// Everything known of one dispatch at one moment.
///
/// The type is always written with its module, `result::Result`, so that it is never taken for
/// the standard library's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Result {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// The dispatch at the top of the hierarchy of sub-dispatches; itself, if it has no parent.
    pub root_dispatch_id: DispatchId,
    /// The lattice's name.
    pub lattice: String,
    /// Its state.
    pub status: Status,
    /// When its first electron was about to begin.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// The arguments that it was dispatched with.
    pub inputs: Option<TransportableObject>,
    /// What the lattice returned, once the dispatch is complete.
    pub result: Option<TransportableObject>,
    /// Why it failed: its failed electrons, one a line.
    pub error: Option<String>,
    /// Its electrons, by node id.
    pub nodes: Vec<NodeResult>,
}

/// Everything known of one electron at one moment: the ten fields that the SDK documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeResult {
    /// Its id in the transport graph.
    pub node_id: NodeId,
    /// Its name.
    pub node_name: String,
    /// When it was handed to its executor.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// Its state.
    pub status: Status,
    /// What it returned.
    pub output: Option<TransportableObject>,
    /// Why it failed.
    pub error: Option<String>,
    /// The record of its sub-dispatch, if it is one.
    pub sublattice_result: Option<Box<Result>>,
    /// What it printed.
    pub stdout: Option<String>,
    /// What it printed to its error stream.
    pub stderr: Option<String>,
}

impl Result {
    /// The state of a dispatch that is only registered.
    pub const NEW_OBJ: Status = Status::NewObject;
    /// The state of a dispatch that ended well.
    pub const COMPLETED: Status = Status::Completed;
    /// The state of a dispatch at work.
    pub const RUNNING: Status = Status::Running;
    /// The state of a dispatch with a failed electron.
    pub const FAILED: Status = Status::Failed;
    /// The state of a dispatch that somebody cancelled.
    pub const CANCELLED: Status = Status::Cancelled;

    /// What the lattice returned, still encoded.
    #[must_use]
    pub fn encoded_result(&self) -> Option<&TransportableObject> {
        self.result.as_ref()
    }

    /// The output of every electron that has one, by node id.
    pub fn get_all_node_outputs(&self) -> impl Iterator<Item = (NodeId, &TransportableObject)> {
        self.nodes.iter().filter_map(|node| Some((node.node_id, node.output.as_ref()?)))
    }

    /// The record of every electron.
    #[must_use]
    pub fn get_all_node_results(&self) -> &[NodeResult] {
        &self.nodes
    }

    /// The record of one electron, or `None` for a node that the lattice does not have.
    #[must_use]
    pub fn get_node_result(&self, node_id: NodeId) -> Option<&NodeResult> {
        self.nodes.get(node_id.index())
    }
}

/// The short record of a dispatch in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// The dispatch at the top of its hierarchy.
    pub root_dispatch_id: DispatchId,
    /// The dispatch whose electron it is, if it has a parent.
    pub parent_dispatch_id: Option<DispatchId>,
    /// The lattice's name.
    pub name: String,
    /// Its state.
    pub status: Status,
    /// How many nodes it has.
    pub node_count: u32,
    /// How many of them are complete.
    pub completed_node_count: u32,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its record last changed.
    pub updated_at: Timestamp,
    /// When its first electron was about to begin.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Why an electron failed, in the words that are stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened: a traceback, or a sentence.
    pub message: String,
}
