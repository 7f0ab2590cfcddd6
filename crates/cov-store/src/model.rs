//! What goes into the store and what comes out of it. Plain data: decides nothing.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState, ContentRef};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, Graph, NodeKind};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::manifest::LatticeInfo;
use cov_core::result::Summary;
pub use cov_core::state::{DispatchState, NodeState};
use cov_core::status::Status;
use cov_core::time::Timestamp;

use crate::Error;
use crate::triggers::Decision;

/// Everything that one step of one dispatch changes. Applied whole or not at all.
#[derive(Debug, Clone)]
pub struct ChangeSet {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// When the step was made; becomes the record's `updated_at`.
    pub at: Timestamp,
    /// The changes, applied in order.
    pub changes: Vec<Change>,
}

impl ChangeSet {
    /// Whether `error` refuses a firing of this set, whatever else is in its batch.
    #[must_use]
    pub fn is_refused_by(&self, error: &Error) -> bool {
        self.changes.iter().any(|change| match (change, error) {
            (Change::Firing(decision), Error::TriggerGone { trigger }) => {
                decision.trigger == *trigger
            }
            (Change::Firing(decision), Error::Claimed { trigger, event_key, .. }) => {
                decision.trigger == *trigger && decision.firing.event_key == *event_key
            }
            _ => false,
        })
    }
}

/// One change of a dispatch.
#[derive(Debug, Clone)]
pub enum Change {
    /// The dispatch comes into being. Refused with [`crate::Error::Exists`] if its id is taken.
    Register(Box<Registration>),
    /// The dispatch's own state.
    Dispatch(DispatchState),
    /// A node's state.
    Node {
        /// The node.
        node: NodeId,
        /// Its whole new state.
        state: NodeState,
    },
    /// An asset's bytes are there. The content becomes known to the store if it was not.
    Asset {
        /// The asset.
        address: AssetAddress,
        /// Its content. A large one is durable in its file already.
        content: ContentRef,
        /// The bytes of a small content that the store may not hold yet.
        small: Option<Bytes>,
    },
    /// An asset will be uploaded, by the caller's word.
    Announce {
        /// The asset.
        address: AssetAddress,
        /// Its size and digest.
        announced: Announced,
    },
    /// Every asset of the dispatch that is awaited with the SHA-1 and size of `content`, at the
    /// end of the batch, is there. The content is known, or comes with the same batch.
    Fulfil {
        /// The content.
        content: ContentRef,
    },
    /// `child` becomes the sub-dispatch of `node`, in place of an earlier one, and takes over
    /// this dispatch's root.
    Link {
        /// The node of this dispatch.
        node: NodeId,
        /// The dispatch that it links.
        child: DispatchId,
    },
    /// An event of a trigger made this dispatch, or starts it. Refused with
    /// [`crate::Error::Claimed`] if the event was finally decided before, and with
    /// [`crate::Error::TriggerGone`] if the trigger is stopped or gone.
    Firing(Box<Decision>),
}

/// A new dispatch.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The dispatch at the top of its hierarchy; its own id, if it has no parent.
    pub root: DispatchId,
    /// The node whose sub-dispatch it is.
    pub parent: Option<(DispatchId, NodeId)>,
    /// What the client said of the lattice.
    pub lattice: LatticeInfo,
    /// The executors that nodes name by index.
    pub executors: Vec<ExecutorSpec>,
    /// The nodes, by id.
    pub nodes: Vec<NewNode>,
    /// The edges, validated.
    pub edges: Vec<Edge>,
    /// The assets that are not empty. Contents of present ones are known to the store.
    pub assets: Vec<(AssetAddress, AssetState)>,
}

impl Registration {
    /// The node whose output is what the dispatch returns.
    #[must_use]
    pub fn result_node(&self) -> Option<NodeId> {
        result_node(self.nodes.iter().map(|node| node.kind))
    }
}

/// The node that ends a lattice, by the kinds of its nodes.
pub(crate) fn result_node(kinds: impl Iterator<Item = NodeKind>) -> Option<NodeId> {
    let mut nodes = (0_u32..).map(NodeId).zip(kinds);
    nodes.find(|(_, kind)| kind.ends_lattice()).map(|(node, _)| node)
}

/// A node of a new dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// Its name, or the beginning of it when the whole is kept as the asset `Name`.
    pub name: String,
    /// What it is to the engine.
    pub kind: NodeKind,
    /// The packing group that the client put it in.
    pub task_group: NodeId,
    /// Index into the executors.
    pub executor: u32,
    /// Its state.
    pub state: NodeState,
}

/// What the owner of a dispatch needs to go on with it. Passed its check on load.
#[derive(Debug, Clone)]
pub struct StoredDispatch {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// The dispatch at the top of its hierarchy.
    pub root: DispatchId,
    /// The node whose sub-dispatch it is.
    pub parent: Option<(DispatchId, NodeId)>,
    /// Its state.
    pub state: DispatchState,
    /// Its graph.
    pub graph: Graph,
    /// The executors that nodes name by index.
    pub executors: Vec<ExecutorSpec>,
    /// Its nodes, by id.
    pub nodes: Vec<StoredNode>,
}

/// A node as its owner needs it.
#[derive(Debug, Clone)]
pub struct StoredNode {
    /// Index into the executors.
    pub executor: u32,
    /// Its state.
    pub state: NodeState,
    /// Its sub-dispatch, if one is linked.
    pub sub_dispatch: Option<DispatchId>,
    /// Its contents.
    pub contents: NodeContents,
}

/// The contents that an owner needs of a node, if they are there. Small, because there may be a
/// million of them: nodes with the same function share it, and few have hooks or jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeContents {
    /// Its callable.
    pub function: Option<Arc<ContentRef>>,
    /// Its hooks.
    pub hooks: Option<Box<ContentRef>>,
    /// Its output.
    pub output: Option<ContentRef>,
    /// What an engine outside calls the latest attempt that it had.
    pub job: Option<Box<ContentRef>>,
}

/// The functions that the nodes of one dispatch share.
#[derive(Debug, Default)]
pub struct Functions(HashMap<ContentId, Arc<ContentRef>>);

impl StoredNode {
    /// A node without contents and without a sub-dispatch.
    #[must_use]
    pub fn new(executor: u32, state: NodeState) -> Self {
        Self { executor, state, sub_dispatch: None, contents: NodeContents::default() }
    }
}

impl NodeContents {
    /// Notes the content of one of the node's assets, if its owner needs that.
    pub fn set(&mut self, key: AssetKey, content: ContentRef, functions: &mut Functions) {
        match key {
            AssetKey::Function => self.function = Some(functions.share(content)),
            AssetKey::Hooks => self.hooks = Some(Box::new(content)),
            AssetKey::Output => self.output = Some(content),
            AssetKey::Job => self.job = Some(Box::new(content)),
            _ => {}
        }
    }
}

impl Functions {
    fn share(&mut self, function: ContentRef) -> Arc<ContentRef> {
        Arc::clone(self.0.entry(function.id).or_insert_with(|| Arc::new(function)))
    }
}

/// Everything that the store knows of a dispatch, without the contents.
#[derive(Debug, Clone)]
pub struct DispatchRecord {
    /// The short record.
    pub summary: Summary,
    /// What the client said of the lattice.
    pub lattice: LatticeInfo,
    /// The executors that nodes name by index.
    pub executors: Vec<ExecutorSpec>,
    /// The nodes, by id.
    pub nodes: Vec<NodeRecord>,
    /// The edges, grouped by target.
    pub edges: Vec<Edge>,
    /// Assets of the dispatch and the lattice.
    pub assets: Vec<(AssetAddress, AssetState)>,
}

/// Everything that the store knows of a node, without the contents.
#[derive(Debug, Clone)]
pub struct NodeRecord {
    /// Its name, or the beginning of it when `assets` has a `Name`.
    pub name: String,
    /// What it is to the engine.
    pub kind: NodeKind,
    /// The packing group that the client put it in.
    pub task_group: NodeId,
    /// Index into the executors.
    pub executor: u32,
    /// Its state.
    pub state: NodeState,
    /// Its sub-dispatch, if one is linked.
    pub sub_dispatch: Option<DispatchId>,
    /// Its assets.
    pub assets: Vec<(AssetAddress, AssetState)>,
}

/// Which dispatches a list shows, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Only these; all if empty. Unknown ids are left out.
    pub ids: Vec<DispatchId>,
    /// Only these states; all if empty.
    pub statuses: Vec<Status>,
    /// Only dispatches whose id begins with this. A text that no id can have matches none.
    pub prefix: Option<String>,
    /// Only dispatches without a parent.
    pub roots_only: bool,
    /// Only dispatches of a lattice with this name.
    pub name: Option<String>,
    /// Only dispatches that were registered at this time or later.
    pub since: Option<Timestamp>,
    /// Only dispatches that were registered before this time.
    pub until: Option<Timestamp>,
    /// Only dispatches that come behind this one in the asked order. None at all, if it is
    /// unknown.
    pub behind: Option<DispatchId>,
    /// Newest first, else oldest first.
    pub latest_first: bool,
    /// How many to pass over.
    pub offset: u64,
    /// How many to return at most.
    pub limit: u32,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            statuses: Vec::new(),
            prefix: None,
            roots_only: false,
            name: None,
            since: None,
            until: None,
            behind: None,
            latest_first: true,
            offset: 0,
            limit: 10,
        }
    }
}

/// Which dispatches a purge removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeQuery {
    /// Only dispatches that ended before this.
    pub ended_before: Timestamp,
    /// Only these of the states in which a dispatch has ended; all of them if empty.
    pub statuses: Vec<Status>,
    /// Remove nothing, and say what would be removed.
    pub dry_run: bool,
}

impl PurgeQuery {
    /// The asked states that are ends.
    #[cfg(any(feature = "sqlite", feature = "test-util"))]
    pub(crate) fn ended_statuses(&self) -> impl Iterator<Item = Status> {
        let all = [Status::Completed, Status::Failed, Status::Cancelled];
        all.into_iter().filter(|one| self.statuses.is_empty() || self.statuses.contains(one))
    }
}

/// What a purge has removed, or would remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Dispatches, those below others included.
    pub dispatches: u64,
    /// Contents that nobody refers to any more.
    pub contents: u64,
    /// The bytes of those contents, and of files that crashes have left.
    pub bytes: u64,
}
