//! The states of dispatches and electrons, and which of them may follow which. Says nothing of
//! *why* a state changes: that is the engine's business.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The state of a dispatch or of one of its electrons.
///
/// The spelling on the wire is that of the variants in `SCREAMING_SNAKE_CASE`.
///
/// ```
/// use cov_core::status::Status;
/// assert_eq!("NEW_OBJECT".parse::<Status>(), Ok(Status::NewObject));
/// assert!(Status::Failed.is_terminal());
/// assert!(!Status::Completed.may_become(Status::Running));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Registered, nothing happened yet. Electrons below a failed one stay so for ever.
    NewObject,
    /// A dispatch that was asked to start and has not begun its first electron.
    Starting,
    /// An electron whose earlier result is taken over when it is reached.
    PendingReuse,
    /// An electron whose function a redispatch replaces.
    PendingReplacement,
    /// At work, or handed to an executor.
    Running,
    /// An electron whose sub-dispatch is at work.
    Dispatching,
    /// Kept for clients that know it; this server never sets it.
    Postprocessing,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
}

impl Status {
    /// All states, in the order of their stored numbers.
    pub const ALL: [Self; 10] = [
        Self::NewObject,
        Self::Starting,
        Self::PendingReuse,
        Self::PendingReplacement,
        Self::Running,
        Self::Dispatching,
        Self::Postprocessing,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The spelling on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewObject => "NEW_OBJECT",
            Self::Starting => "STARTING",
            Self::PendingReuse => "PENDING_REUSE",
            Self::PendingReplacement => "PENDING_REPLACEMENT",
            Self::Running => "RUNNING",
            Self::Dispatching => "DISPATCHING",
            Self::Postprocessing => "POSTPROCESSING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The number under which the state is stored. Numbers are never reassigned.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::NewObject => 0,
            Self::Starting => 1,
            Self::PendingReuse => 2,
            Self::PendingReplacement => 3,
            Self::Running => 4,
            Self::Dispatching => 5,
            Self::Postprocessing => 6,
            Self::Completed => 7,
            Self::Failed => 8,
            Self::Cancelled => 9,
        }
    }

    /// The state stored under `code`, or `None` for a number that no release has written.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Whether nothing can follow this state.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether `next` may follow this state, for an electron or a dispatch. A state never
    /// follows itself, and nothing follows a terminal one.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::NewObject => !matches!(next, Self::NewObject | Self::PendingReplacement),
            Self::PendingReplacement => next == Self::NewObject,
            Self::PendingReuse => matches!(next, Self::Completed | Self::Cancelled | Self::Failed),
            Self::Starting => next == Self::Running || next.is_terminal(),
            // A running electron returns to NEW_OBJECT when its attempt is lost or retried.
            Self::Running => {
                matches!(next, Self::NewObject | Self::Dispatching | Self::Postprocessing)
                    || next.is_terminal()
            }
            Self::Dispatching | Self::Postprocessing => next.is_terminal(),
            Self::Completed | Self::Failed | Self::Cancelled => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no status; expected one of NEW_OBJECT, STARTING, PENDING_REUSE, PENDING_REPLACEMENT, RUNNING, DISPATCHING, POSTPROCESSING, COMPLETED, FAILED, CANCELLED"
)]
pub struct UnknownStatus {
    /// The refused text.
    pub text: String,
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus { text: text.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_spellings_are_one_to_one() {
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
        assert_eq!(Status::from_code(10), None);
        assert!("DONE".parse::<Status>().is_err());
    }

    #[test]
    fn terminal_states_are_final_and_no_state_follows_itself() {
        for status in Status::ALL {
            assert!(!status.may_become(status), "{status} follows itself");
            for next in Status::ALL {
                assert!(!(status.is_terminal() && status.may_become(next)), "{status} -> {next}");
            }
        }
    }
}
