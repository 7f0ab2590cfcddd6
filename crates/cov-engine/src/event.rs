//! Everything that can happen to a dispatch.

use cov_core::error::Fault;
use cov_core::ids::{AttemptId, DispatchId, NodeId};

use crate::phase::End;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody started the dispatch. Starting it again changes nothing.
    Start,
    /// The server came back: the attempts that were under way are gone with its process, but for
    /// those that an engine outside went on with.
    Restarted {
        /// What to do with those that are gone.
        on_restart: OnRestart,
        /// The nodes whose attempts may be found again.
        attachable: Vec<NodeId>,
    },
    /// The scheduler gave the node a slot; `attempt` is new.
    Granted {
        /// The node.
        node: NodeId,
        /// The id of the attempt that may now begin.
        attempt: AttemptId,
    },
    /// The executor reports that the task's code is about to run.
    Begun {
        /// The node.
        node: NodeId,
        /// Its attempt.
        attempt: AttemptId,
    },
    /// The executor reports that the attempt never began.
    NotBegun {
        /// The node.
        node: NodeId,
        /// Its attempt.
        attempt: AttemptId,
    },
    /// The executor reports that nobody can tell what became of the attempt.
    Lost {
        /// The node.
        node: NodeId,
        /// Its attempt.
        attempt: AttemptId,
        /// What to do with it.
        on_restart: OnRestart,
    },
    /// The executor reports how the attempt ended.
    Ended {
        /// The node.
        node: NodeId,
        /// Its attempt.
        attempt: AttemptId,
        /// With what.
        outcome: Outcome,
    },
    /// The attempt's time limit has passed.
    TimeLimit {
        /// The node.
        node: NodeId,
        /// Its attempt.
        attempt: AttemptId,
    },
    /// The moment of the node's next attempt has come.
    RetryDue {
        /// The node.
        node: NodeId,
    },
    /// Somebody asked to cancel these nodes, or all of them if there are none.
    Cancel {
        /// The nodes.
        nodes: Vec<NodeId>,
    },
    /// A sub-dispatch was linked to a node that builds one.
    Linked {
        /// The node.
        node: NodeId,
        /// Its sub-dispatch.
        child: DispatchId,
    },
    /// What the node built could not be taken over as a sub-dispatch.
    BuildRefused {
        /// The node.
        node: NodeId,
    },
    /// The sub-dispatch of a node ended.
    ChildEnded {
        /// The node.
        node: NodeId,
        /// Its sub-dispatch.
        child: DispatchId,
        /// How it ended.
        end: End,
    },
}

/// With what an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The task returned.
    Completed,
    /// The task failed.
    Failed(Fault),
    /// It was killed on request.
    Killed,
}

/// What becomes of attempts that were under way when the server stopped, or what ran them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRestart {
    /// They are made again, under a new attempt id.
    #[default]
    Rerun,
    /// Their nodes fail with the fault `lost`.
    Fail,
}
