//! Why a call could not be served, with the stable code of each reason.

use cov_core::asset::AssetAddress;
use cov_core::error::{ErrorCode, ErrorKind};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::ManifestError;
use cov_core::manifest::ended::OutcomeError;
use cov_core::status::Status;

/// Why a call could not be served. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The program of a Rust electron is missing, or cannot run here.
    #[error("node {node} cannot run: {reason}")]
    Program {
        /// The first node that needs it.
        node: NodeId,
        /// What is wrong and what to do.
        reason: String,
    },
    /// What became of a dispatch that ended elsewhere makes no sense.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
    /// There is no such dispatch.
    #[error("The requested dispatch ID {dispatch} was not found.")]
    DispatchNotFound {
        /// Its id.
        dispatch: DispatchId,
    },
    /// The dispatch has no such node.
    #[error("dispatch {dispatch} has no node {node}")]
    NodeNotFound {
        /// The dispatch.
        dispatch: DispatchId,
        /// The node.
        node: NodeId,
    },
    /// The dispatch id is taken.
    #[error("dispatch {dispatch} exists already")]
    Exists {
        /// Its id.
        dispatch: DispatchId,
    },
    /// The dispatch cannot start before these assets are uploaded.
    #[error("dispatch {dispatch} cannot start: {} of its assets are missing: {}", missing.len(), listed(missing))]
    AssetsMissing {
        /// The dispatch.
        dispatch: DispatchId,
        /// The assets.
        missing: Vec<AssetAddress>,
    },
    /// The uploaded bytes are not those that were announced.
    #[error("the upload of {address} does not match what was announced: {difference}")]
    Mismatch {
        /// The asset.
        address: AssetAddress,
        /// What differs.
        difference: String,
    },
    /// More bytes came than were announced.
    #[error("{bytes} bytes came for {what} behind everything that was announced")]
    Surplus {
        /// What they came for.
        what: String,
        /// How many there are, at least.
        bytes: u64,
    },
    /// The present state does not allow this.
    #[error("{what}")]
    IllegalState {
        /// What is not allowed and why.
        what: String,
    },
    /// The upload is larger than the limit.
    #[error("{what} has {size} bytes; this server takes at most {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The store could not do it.
    #[error(transparent)]
    Store(cov_store::Error),
    /// The server did not get to it in time. It may still be done.
    #[error("the server is overloaded or its store is slow; try again")]
    Overloaded,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// A fault of the server. Its text is for the log.
    #[error("{0}")]
    Internal(String),
}

fn listed(missing: &[AssetAddress]) -> String {
    const SHOWN_MAX: usize = 10;
    let shown: Vec<String> = missing.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = missing.len().saturating_sub(SHOWN_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

/// The same error once more, for another who waits for the same thing.
pub(crate) fn again(error: &cov_store::Error) -> cov_store::Error {
    use cov_store::Error as Store;
    match error {
        Store::NotFound { dispatch } => Store::NotFound { dispatch: dispatch.clone() },
        Store::Exists { dispatch } => Store::Exists { dispatch: dispatch.clone() },
        Store::TriggerGone { trigger } => Store::TriggerGone { trigger: trigger.clone() },
        Store::Claimed { trigger, event_key, dispatch } => Store::Claimed {
            trigger: trigger.clone(),
            event_key: event_key.clone(),
            dispatch: dispatch.clone(),
        },
        Store::Corrupt { what, reason } => {
            Store::Corrupt { what: what.clone(), reason: reason.clone() }
        }
        Store::Full(source) => Store::Full(source.to_string().into()),
        Store::Unavailable(source) => Store::Unavailable(source.to_string().into()),
        Store::Refused(reason) => Store::Refused(reason.clone()),
        Store::Schema(reason) => Store::Schema(reason.clone()),
        other => Store::Internal(other.to_string().into()),
    }
}

impl From<cov_store::Error> for Error {
    fn from(error: cov_store::Error) -> Self {
        match error {
            cov_store::Error::NotFound { dispatch } => Self::DispatchNotFound { dispatch },
            cov_store::Error::Exists { dispatch } => Self::Exists { dispatch },
            other => Self::Store(other),
        }
    }
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Manifest(ManifestError::TooManyNodes { .. }) | Self::TooLarge { .. } => {
                ErrorCode::TooLarge
            }
            Self::Manifest(_) => ErrorCode::InvalidGraph,
            Self::Outcome(_) => ErrorCode::InvalidBody,
            Self::Program { .. } => ErrorCode::ProgramRefused,
            Self::DispatchNotFound { .. } => ErrorCode::DispatchNotFound,
            Self::NodeNotFound { .. } => ErrorCode::NodeNotFound,
            Self::Exists { .. } => ErrorCode::DispatchExists,
            Self::AssetsMissing { .. } => ErrorCode::AssetsMissing,
            Self::Mismatch { .. } | Self::Surplus { .. } => ErrorCode::DigestMismatch,
            Self::IllegalState { .. } => ErrorCode::IllegalState,
            Self::Store(cov_store::Error::Full(_)) => ErrorCode::StorageFull,
            Self::Store(cov_store::Error::Unavailable(_)) => ErrorCode::StoreUnavailable,
            Self::Store(cov_store::Error::Corrupt { .. }) => ErrorCode::Quarantined,
            Self::Store(cov_store::Error::TriggerGone { .. }) => ErrorCode::TriggerNotFound,
            Self::Store(cov_store::Error::Claimed { .. }) => ErrorCode::IllegalState,
            Self::Store(_) | Self::Internal(_) => ErrorCode::Internal,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::Stopping => ErrorCode::Stopping,
        }
    }

    /// How the error is answered.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.code().kind()
    }

    /// The same error once more, for another who waits for the same thing.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::DispatchNotFound { dispatch } => {
                Self::DispatchNotFound { dispatch: dispatch.clone() }
            }
            Self::Store(error) => Self::Store(again(error)),
            Self::Stopping => Self::Stopping,
            other => Self::Internal(other.to_string()),
        }
    }

    /// Whether the same call may succeed later without anybody changing it.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Overloaded => true,
            _ => false,
        }
    }

    pub(crate) fn not_completed(dispatch: &DispatchId, status: Status) -> Self {
        let what = format!("dispatch {dispatch} is {status}: only a completed one has a result");
        Self::IllegalState { what }
    }

    pub(crate) fn not_running(dispatch: &DispatchId, status: Status) -> Self {
        Self::IllegalState { what: format!("dispatch {dispatch} is {status}, not running") }
    }
}
