//! What an owner is told by callers, the scheduler and executors. Plain data.

use cov_core::asset::{AssetKey, ContentRef};
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_engine::event::{Event, Outcome};
use cov_engine::phase::End;
use cov_store::Staged;

use crate::executors::Slot;
use crate::owner::Reply;

/// What an owner is told.
#[derive(Debug)]
pub enum Message {
    /// Start the dispatch.
    Start(Reply),
    /// Cancel these nodes, or all if there are none.
    Cancel(Vec<NodeId>, Reply),
    /// Make `child` the sub-dispatch of a node.
    Link {
        /// The node.
        node: NodeId,
        /// Its sub-dispatch.
        child: DispatchId,
        /// Where to answer.
        reply: Reply,
    },
    /// The scheduler gave the node a slot.
    Granted {
        /// The node.
        node: NodeId,
        /// The slot.
        slot: Slot,
    },
    /// An engine outside has the attempt.
    Accepted {
        /// The node.
        node: NodeId,
        /// Its attempt.
        attempt: AttemptId,
        /// What the engine calls it, in the store or on the way there.
        staged: Staged,
    },
    /// An attempt ended.
    Ended(Delivery),
    /// The sub-dispatch of a node ended.
    ChildEnded(ChildOutcome),
    /// What a node built was taken over as a sub-dispatch, or refused with a reason.
    Imported {
        /// The node.
        node: NodeId,
        /// The sub-dispatch, or why there is none.
        outcome: Result<DispatchId, String>,
    },
    /// Anything else that the engine knows.
    Event(Event),
}

/// How an attempt ended, with what it left in the store.
#[derive(Debug)]
pub struct Delivery {
    /// The node.
    pub node: NodeId,
    /// Its attempt.
    pub attempt: AttemptId,
    /// With what it ended.
    pub outcome: Outcome,
    /// Output and captured streams, those that are not empty.
    pub assets: Vec<(AssetKey, Staged)>,
    /// What went wrong, in words.
    pub failure: Option<String>,
}

/// How a sub-dispatch ended.
#[derive(Debug)]
pub struct ChildOutcome {
    /// The parent's node.
    pub node: NodeId,
    /// The sub-dispatch.
    pub child: DispatchId,
    /// How it ended.
    pub end: End,
    /// Its result.
    pub output: Option<ContentRef>,
    /// Its error text.
    pub error: Option<ContentRef>,
}
