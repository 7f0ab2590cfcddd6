//! What the owner's next commit will hold, and what waits for it.

use std::collections::HashMap;

use bytes::Bytes;
use cov_core::ids::{ContentId, NodeId};
use cov_core::status::Status;
use cov_engine::effect::Effect;
use cov_engine::phase::End;
use cov_store::model::Change;
use tokio::sync::oneshot;

use crate::Error;
use crate::options::MESSAGES_PER_STEP_MAX;

/// Where a caller waits for an answer: the status that the dispatch has in the step that is durable
/// then.
pub(crate) type Reply = oneshot::Sender<Result<Status, Error>>;

/// Changes that are not stored yet, and what follows when they are.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Nodes whose state changed; may name one twice.
    pub(super) nodes: Vec<NodeId>,
    /// Whether the dispatch's own state changed.
    pub(super) dispatch_changed: bool,
    /// Other changes, in order.
    pub(super) changes: Vec<Change>,
    /// Small contents among the changes: tasks may need them before they are stored.
    pub(super) fresh: HashMap<ContentId, Bytes>,
    /// Texts of nodes that failed for good.
    pub(super) failures: Vec<(NodeId, String)>,
    /// Callers to answer.
    pub(super) replies: Vec<Reply>,
    /// Effects that may not precede the commit.
    pub(super) effects: Vec<Effect>,
    /// How the dispatch ended, if it did.
    pub(super) finished: Option<End>,
    /// How many messages went into this.
    pub(super) messages: usize,
    /// Whether something outside has begun that a crash must not forget.
    pub(super) is_pressing: bool,
}

impl Pending {
    /// Whether there is nothing to store and nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && !self.dispatch_changed
            && self.changes.is_empty()
            && self.replies.is_empty()
            && self.effects.is_empty()
    }

    /// Whether nobody waits for it.
    pub(super) fn may_wait(&self) -> bool {
        !self.is_pressing
            && self.replies.is_empty()
            && self.effects.is_empty()
            && self.finished.is_none()
            && self.messages < MESSAGES_PER_STEP_MAX
    }

    /// Tells everybody who waits that nothing was stored.
    pub(super) fn refuse(self) {
        for reply in self.replies {
            reply.send(Err(Error::Overloaded)).ok();
        }
    }
}
