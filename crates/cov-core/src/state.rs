//! The states of dispatches and nodes as they are stored. The engine decides them, the store
//! keeps them. Plain data.

use crate::error::Fault;
use crate::ids::AttemptId;
use crate::status::Status;
use crate::time::Timestamp;

/// The state of a dispatch that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchState {
    /// Its status.
    pub status: Status,
    /// When its first electron was about to begin.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether somebody asked to cancel all of it.
    pub cancel_requested: bool,
}

impl Default for DispatchState {
    fn default() -> Self {
        Self {
            status: Status::NewObject,
            started_at: None,
            ended_at: None,
            cancel_requested: false,
        }
    }
}

/// The state of a node that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeState {
    /// Its status.
    pub status: Status,
    /// When it was handed to its executor.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its latest attempt.
    pub attempt: Option<AttemptId>,
    /// How many of its attempts failed.
    pub failed_attempts: u32,
    /// Whose fault its failure is.
    pub fault: Option<Fault>,
    /// Whether somebody asked to cancel it.
    pub cancel_requested: bool,
}

impl Default for NodeState {
    fn default() -> Self {
        Self {
            status: Status::NewObject,
            started_at: None,
            ended_at: None,
            attempt: None,
            failed_attempts: 0,
            fault: None,
            cancel_requested: false,
        }
    }
}
