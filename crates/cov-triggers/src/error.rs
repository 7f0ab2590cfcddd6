//! Why a trigger cannot be registered, or cannot observe.

use cov_core::error::ErrorKind;

/// Why something about a trigger did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No trigger type has this name.
    #[error("there is no trigger type `{name}`; known are {}", known.join(", "))]
    UnknownType {
        /// The name.
        name: String,
        /// The names of those that exist here.
        known: Vec<String>,
    },
    /// A field of its dictionary is missing, has the wrong type or an impossible value.
    #[error("{trigger}: field `{field}` {reason}")]
    Field {
        /// The class name.
        trigger: String,
        /// The field.
        field: String,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// It is not connected to a dispatch, so it has nothing to run.
    #[error("{trigger} is connected to no dispatch: set its `lattice_dispatch_id` first")]
    NoDispatch {
        /// The class name.
        trigger: String,
    },
    /// What it watches cannot be watched now. Tried again.
    #[error("{0}")]
    Observe(String),
    /// What it is asked to do can never work, like a query that would write.
    #[error("{0}")]
    Refused(String),
    /// There is no such trigger, or dispatch.
    #[error("{0}")]
    NotFound(String),
    /// It does not fit the present state, like resuming a trigger that was stopped.
    #[error("{0}")]
    Conflict(String),
    /// The caller did not prove that it may do this, like a webhook with a wrong signature.
    #[error("{0}")]
    Forbidden(String),
    /// The host cannot take it now; nothing was changed.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    /// How the error is answered.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownType { .. } | Self::Field { .. } | Self::NoDispatch { .. } => {
                ErrorKind::Invalid
            }
            Self::Observe(_) | Self::Refused(_) => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::Unavailable(_) => ErrorKind::Unavailable,
        }
    }
}
