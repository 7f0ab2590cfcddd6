//! What an electron can ask of its place in a workflow.

use std::sync::{PoisonError, RwLock};

use cov_core::ids::{AttemptId, NodeId};

static CURRENT: RwLock<Option<Context>> = RwLock::new(None);

/// Which task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The dispatch.
    pub dispatch_id: String,
    /// The electron's node in it.
    pub node_id: NodeId,
    /// Which attempt this is.
    pub attempt: AttemptId,
}

/// Which task runs in this process, on whatever thread it asks. `None` when the electron was
/// called as a function, and between tasks.
///
/// ```
/// assert_eq!(cov::runner::context(), None);
/// ```
#[must_use]
pub fn context() -> Option<Context> {
    CURRENT.read().unwrap_or_else(PoisonError::into_inner).clone()
}

pub(super) fn set(context: Option<Context>) {
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = context;
}
