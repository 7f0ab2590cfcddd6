//! Where one node stands, with what is known only there. The stored status follows from it.

use cov_core::ids::{AttemptId, DispatchId};
use cov_core::status::Status;

/// Why an attempt is being killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// Somebody asked for it.
    Cancel,
    /// It ran longer than its time limit.
    Timeout,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Waits for edges whose sources are not complete; for ever below a failure. Its result is
    /// taken over instead of made when `reuse` is set.
    Waiting {
        /// How many such edges there are.
        pending: u32,
        /// Whether its earlier result is taken over.
        reuse: bool,
    },
    /// In the scheduler's queue.
    Ready,
    /// Handed to its executor.
    Running {
        /// Under this attempt.
        attempt: AttemptId,
        /// Why it is being killed, if it is.
        kill: Option<KillReason>,
    },
    /// Waits for the moment of its next attempt.
    Backoff,
    /// Its sub-dispatch is being taken over or at work.
    Dispatching {
        /// The sub-dispatch, once it is known.
        child: Option<DispatchId>,
    },
    /// Nothing follows.
    Ended(End),
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Well.
    Completed,
    /// With an error.
    Failed,
    /// Because somebody asked for it.
    Cancelled,
}

impl Phase {
    /// The status to store and show.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Waiting { reuse: true, .. } => Status::PendingReuse,
            Self::Waiting { reuse: false, .. } | Self::Ready | Self::Backoff => Status::NewObject,
            // While the sub-dispatch is taken over, the store may still know an earlier attempt's:
            // only a node whose own sub-dispatch is stored is stored as DISPATCHING.
            Self::Running { .. } | Self::Dispatching { child: None } => Status::Running,
            Self::Dispatching { child: Some(_) } => Status::Dispatching,
            Self::Ended(end) => end.status(),
        }
    }

    /// Whether something is under way for this node, so that the dispatch cannot end.
    #[must_use]
    pub fn is_active(&self) -> bool {
        match self {
            Self::Waiting { .. } | Self::Ended(_) => false,
            Self::Ready | Self::Running { .. } | Self::Backoff | Self::Dispatching { .. } => true,
        }
    }
}

impl End {
    /// The terminal status.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Completed => Status::Completed,
            Self::Failed => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// The end that `status` names, if it is terminal.
    #[must_use]
    pub fn of(status: Status) -> Option<Self> {
        match status {
            Status::Completed => Some(Self::Completed),
            Status::Failed => Some(Self::Failed),
            Status::Cancelled => Some(Self::Cancelled),
            Status::NewObject
            | Status::Starting
            | Status::PendingReuse
            | Status::PendingReplacement
            | Status::Running
            | Status::Dispatching
            | Status::Postprocessing => None,
        }
    }
}
