//! One dispatch in memory: its plan, and where each node stands. Changed only by
//! [`crate::machine::apply`].

use cov_core::executor::TaskPolicy;
use cov_core::graph::{Graph, NodeKind};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::state::{DispatchState, NodeState};
use cov_core::status::Status;

use crate::phase::{End, Phase};

/// What never changes about a dispatch.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its graph.
    pub graph: Graph,
    /// For each node, the index of its executor.
    pub executor_of: Vec<u32>,
    /// For each executor, the policy of the nodes that name it.
    pub policies: Vec<TaskPolicy>,
}

/// A node as it was stored.
#[derive(Debug, Clone, Default)]
pub struct RestoredNode {
    /// Its state.
    pub state: NodeState,
    /// The sub-dispatch that was linked last, also by an earlier attempt; but by none other than the
    /// present one if that is to be taken up again.
    pub child: Option<DispatchId>,
}

/// Why stored nodes are no dispatch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There are not as many stored nodes as the graph has.
    #[error("the graph has {expected} nodes, but {found} are stored")]
    NodeCount {
        /// Nodes of the graph.
        expected: usize,
        /// Stored nodes.
        found: usize,
    },
    /// A node ran before its inputs were complete.
    #[error("node {node} is {status}, but a node that it needs is not complete")]
    OutOfOrder {
        /// The node.
        node: NodeId,
        /// Its stored status.
        status: Status,
    },
}

/// One dispatch.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub(crate) plan: Plan,
    pub(crate) state: DispatchState,
    pub(crate) nodes: Vec<Node>,
    /// How many nodes are in an active phase.
    pub(crate) active: usize,
}

/// One node: what is stored of it, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) state: NodeState,
    pub(crate) phase: Phase,
    /// A sub-dispatch that was linked while the node was building it.
    pub(crate) built: Option<DispatchId>,
    /// Whether the present attempt reported its begin.
    pub(crate) begun: bool,
    /// Whether the present attempt was begun by an earlier life of the server.
    pub(crate) attached: bool,
}

impl Dispatch {
    /// A dispatch that was registered and not started.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let nodes = plan
            .graph
            .nodes()
            .map(|node| Node {
                state: NodeState::default(),
                phase: Phase::Waiting { pending: plan.graph.in_degree(node), reuse: false },
                built: None,
                begun: false,
                attached: false,
            })
            .collect();
        Self { plan, state: DispatchState::default(), nodes, active: 0 }
    }

    /// A dispatch as it was stored. Nodes that were under way stand as they did then; the event
    /// `Restarted` decides what becomes of them.
    ///
    /// # Errors
    /// The stored nodes contradict the graph.
    pub fn restore(
        plan: Plan,
        state: DispatchState,
        stored: Vec<RestoredNode>,
    ) -> Result<Self, RestoreError> {
        let (expected, found) = (plan.graph.len(), stored.len());
        if expected != found {
            return Err(RestoreError::NodeCount { expected, found });
        }
        let complete: Vec<bool> =
            stored.iter().map(|node| node.state.status == Status::Completed).collect();
        let is_complete = |node: NodeId| complete.get(node.index()).copied().unwrap_or(false);
        let mut nodes = Vec::with_capacity(stored.len());
        for (id, node) in plan.graph.nodes().zip(stored) {
            let open = plan.graph.parents(id).filter(|parent| !is_complete(*parent)).count();
            let pending = u32::try_from(open).unwrap_or(u32::MAX);
            let status = node.state.status;
            let phase = phase_of(&node, pending);
            if pending > 0 && !matches!(phase, Phase::Waiting { .. }) {
                return Err(RestoreError::OutOfOrder { node: id, status });
            }
            let built = node.child.filter(|_| matches!(phase, Phase::Running { .. }));
            nodes.push(Node { state: node.state, phase, built, begun: false, attached: false });
        }
        let active = nodes.iter().filter(|node| node.phase.is_active()).count();
        Ok(Self { plan, state, nodes, active })
    }

    /// The dispatch's own state.
    #[must_use]
    pub fn state(&self) -> DispatchState {
        self.state
    }

    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.plan.graph
    }

    /// The state of `node`, or `None` if it does not exist.
    #[must_use]
    pub fn node_state(&self, node: NodeId) -> Option<NodeState> {
        self.nodes.get(node.index()).map(|node| node.state)
    }

    /// Where `node` stands, or `None` if it does not exist.
    #[must_use]
    pub fn phase(&self, node: NodeId) -> Option<&Phase> {
        self.nodes.get(node.index()).map(|node| &node.phase)
    }

    /// The sub-dispatch that `node` is linked to, while it runs or dispatches.
    #[must_use]
    pub fn child(&self, node: NodeId) -> Option<&DispatchId> {
        let node = self.nodes.get(node.index())?;
        match &node.phase {
            Phase::Dispatching { child } => child.as_ref(),
            Phase::Waiting { .. }
            | Phase::Ready
            | Phase::Running { .. }
            | Phase::Backoff
            | Phase::Ended(_) => node.built.as_ref(),
        }
    }

    /// Whether the dispatch was started and has not ended.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.state.status == Status::Running
    }

    /// The nodes that failed, ascending.
    pub fn failed_nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let failed = |node: &NodeId| self.phase(*node) == Some(&Phase::Ended(End::Failed));
        self.plan.graph.nodes().filter(failed)
    }

    /// How a dispatch ends in which nothing is under way: a failure weighs most.
    pub(crate) fn end(&self) -> End {
        let any = |end| self.nodes.iter().any(|node| node.phase == Phase::Ended(end));
        if any(End::Failed) {
            End::Failed
        } else if any(End::Cancelled) {
            End::Cancelled
        } else {
            End::Completed
        }
    }

    /// The policy of `node`.
    #[must_use]
    pub fn policy(&self, node: NodeId) -> TaskPolicy {
        let executor = self.executor(node);
        self.plan.policies.get(executor as usize).copied().unwrap_or_default()
    }

    pub(crate) fn executor(&self, node: NodeId) -> u32 {
        self.plan.executor_of.get(node.index()).copied().unwrap_or_default()
    }

    pub(crate) fn kind(&self, node: NodeId) -> NodeKind {
        self.plan.graph.kind(node)
    }
}

fn phase_of(node: &RestoredNode, pending: u32) -> Phase {
    match node.state.status {
        Status::Completed => Phase::Ended(End::Completed),
        Status::Failed => Phase::Ended(End::Failed),
        Status::Cancelled => Phase::Ended(End::Cancelled),
        Status::PendingReuse => Phase::Waiting { pending, reuse: true },
        Status::Dispatching if node.child.is_some() => {
            Phase::Dispatching { child: node.child.clone() }
        }
        Status::Running | Status::Dispatching | Status::Postprocessing => {
            match node.state.attempt {
                Some(attempt) => Phase::Running { attempt, kill: None },
                None => Phase::Ready,
            }
        }
        Status::NewObject | Status::Starting | Status::PendingReplacement => {
            Phase::Waiting { pending, reuse: false }
        }
    }
}
