//! Everything that the machine may ask for.

use std::time::Duration;

use cov_core::ids::{AttemptId, DispatchId, NodeId};

use crate::phase::End;

/// Something that shall happen outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the scheduler for a slot of `executor` (an index of the plan) for `node`.
    Enqueue {
        /// The node.
        node: NodeId,
        /// Index of its executor.
        executor: u32,
    },
    /// Hand the node to its executor.
    Submit {
        /// The node.
        node: NodeId,
        /// Under this attempt.
        attempt: AttemptId,
    },
    /// Take up the attempt where an engine outside went on with it. What becomes of it will be
    /// reported, or that it is lost.
    Attach {
        /// The node.
        node: NodeId,
        /// Its attempt.
        attempt: AttemptId,
    },
    /// Kill an attempt; its end will be reported.
    Kill {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Send [`crate::event::Event::TimeLimit`] after `limit`, unless the attempt ended.
    StartTimer {
        /// The node.
        node: NodeId,
        /// Its attempt.
        attempt: AttemptId,
        /// From now.
        limit: Duration,
    },
    /// Send [`crate::event::Event::RetryDue`] after `delay`.
    Retry {
        /// The node.
        node: NodeId,
        /// From now.
        delay: Duration,
    },
    /// Start the sub-dispatch, and tell when it has ended, also if it has already.
    StartChild {
        /// The node.
        node: NodeId,
        /// Its sub-dispatch.
        child: DispatchId,
    },
    /// Take over what the node built as a sub-dispatch, and send `Linked` or `BuildRefused`.
    ImportChild {
        /// The node.
        node: NodeId,
    },
    /// Cancel all of a sub-dispatch.
    CancelChild {
        /// The sub-dispatch.
        child: DispatchId,
    },
    /// The dispatch ended.
    Finish {
        /// How.
        end: End,
    },
}

impl Effect {
    /// Whether the effect may happen before the step that asks for it is durable. Only the way
    /// of a task to its runner may: everything else tells somebody what must not be unsaid. A
    /// retry may not, because a failure that a crash forgets would not count against the limit.
    #[must_use]
    pub fn may_precede_commit(&self) -> bool {
        match self {
            Self::Enqueue { .. }
            | Self::Submit { .. }
            | Self::Attach { .. }
            | Self::Kill { .. }
            | Self::StartTimer { .. } => true,
            Self::Retry { .. }
            | Self::StartChild { .. }
            | Self::ImportChild { .. }
            | Self::CancelChild { .. }
            | Self::Finish { .. } => false,
        }
    }
}
