//! What can go wrong with a call, for programs (`kind`) and for people (the text).

use std::time::Duration;

use cov_core::error::Problem;

/// Why a call failed. Says which address was called and how often it was tried.
///
/// ```
/// let error = cov_client::Client::builder("ftp://example.org").build().unwrap_err();
/// assert!(matches!(error, cov_client::Error::Address { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address cannot be used.
    #[error("`{address}` is no server address: {reason}; expected one like http://127.0.0.1:48008")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection could be made.
    #[error("no server answers at {url} ({})", tries_in_words(*.tries))]
    Unreachable {
        /// The address that was called.
        url: String,
        /// How often it was tried.
        tries: u32,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to {url} broke before the answer was complete ({})", tries_in_words(*.tries))]
    Interrupted {
        /// The address that was called.
        url: String,
        /// How often it was tried.
        tries: u32,
        /// What was seen of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer did not come in time.
    #[error("{url} did not answer within {limit:?} ({})", tries_in_words(*.tries))]
    TimedOut {
        /// The address that was called.
        url: String,
        /// How often it was tried.
        tries: u32,
        /// How long one try may take.
        limit: Duration,
    },
    /// The server answered with an error.
    #[error("{}", answer_in_words(url, *.status, problem.as_deref(), *.tries))]
    Answered {
        /// The address that was called.
        url: String,
        /// How often it was tried.
        tries: u32,
        /// The HTTP status.
        status: u16,
        /// What the server said, if it said it in the form of the native API.
        problem: Option<Box<Problem>>,
    },
    /// The answer is nothing that this client understands.
    #[error(
        "the answer of {url} cannot be read: it may be no dispatch server, or one of another version"
    )]
    Unreadable {
        /// The address that was called.
        url: String,
        /// How often it was tried.
        tries: u32,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The workflow cannot be sent, or a record cannot be saved or loaded.
    #[error("{reason}")]
    Workflow {
        /// What cannot be done.
        reason: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is longer than this client accepts.
    #[error("the answer of {url} is longer than {limit} bytes")]
    TooLarge {
        /// The address that was called.
        url: String,
        /// How often it was tried.
        tries: u32,
        /// The limit in bytes.
        limit: usize,
    },
}

/// What kind of failure an [`enum@Error`] is: what a program can decide by.
///
/// ```
/// use cov_client::Kind;
/// fn is_worth_another_try(error: &cov_client::Error) -> bool {
///     matches!(error.kind(), Kind::Unreachable | Kind::TimedOut | Kind::Unavailable)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The server's address cannot be used.
    Address,
    /// What the call works with on this side, like a file, cannot be used.
    Workflow,
    /// No server answers there, or the connection broke.
    Unreachable,
    /// The answer did not come in time.
    TimedOut,
    /// What the call names does not exist.
    NotFound,
    /// The server refuses the call as it is.
    Refused,
    /// The server cannot answer now.
    Unavailable,
    /// The server has a fault.
    Server,
    /// The answer cannot be read.
    Unreadable,
}

impl Error {
    pub(crate) fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Workflow { reason: path.display().to_string(), source: source.into() }
    }

    pub(crate) fn no_json_form(source: serde_json::Error) -> Self {
        let reason = "its manifest has no JSON form".to_owned();
        Self::Workflow { reason, source: source.into() }
    }

    /// What kind of failure this is.
    ///
    /// ```
    /// use cov_client::{Client, Kind};
    /// let error = Client::builder("ftp://example.org").build().unwrap_err();
    /// assert_eq!(error.kind(), Kind::Address);
    /// ```
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Address { .. } => Kind::Address,
            Self::Workflow { .. } => Kind::Workflow,
            Self::Unreachable { .. } | Self::Interrupted { .. } => Kind::Unreachable,
            Self::TimedOut { .. } => Kind::TimedOut,
            Self::Answered { status: 404, .. } => Kind::NotFound,
            Self::Answered { status: 429 | 502..=504, .. } => Kind::Unavailable,
            Self::Answered { status: 500.., .. } => Kind::Server,
            Self::Answered { .. } => Kind::Refused,
            Self::Unreadable { .. } | Self::TooLarge { .. } => Kind::Unreadable,
        }
    }

    /// How often the request was sent. 0 for an address that cannot be used.
    ///
    /// ```
    /// let error = cov_client::Client::builder("nowhere").build().unwrap_err();
    /// assert_eq!(error.tries(), 0);
    /// ```
    #[must_use]
    pub fn tries(&self) -> u32 {
        match self {
            Self::Address { .. } | Self::Workflow { .. } => 0,
            Self::Unreachable { tries, .. }
            | Self::Interrupted { tries, .. }
            | Self::TimedOut { tries, .. }
            | Self::Answered { tries, .. }
            | Self::Unreadable { tries, .. }
            | Self::TooLarge { tries, .. } => *tries,
        }
    }

    /// What the server said, if it answered with an error in the form of the native API.
    ///
    /// ```
    /// fn code(error: &cov_client::Error) -> Option<cov_core::error::ErrorCode> {
    ///     error.problem().map(|problem| problem.code)
    /// }
    /// ```
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Answered { problem, .. } => problem.as_deref(),
            Self::Address { .. }
            | Self::Workflow { .. }
            | Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::TimedOut { .. }
            | Self::Unreadable { .. }
            | Self::TooLarge { .. } => None,
        }
    }
}

fn tries_in_words(tries: u32) -> String {
    match tries {
        1 => "tried once".to_owned(),
        2 => "tried twice".to_owned(),
        more => format!("tried {more} times"),
    }
}

fn answer_in_words(url: &str, status: u16, problem: Option<&Problem>, tries: u32) -> String {
    let tries = tries_in_words(tries);
    match problem {
        Some(problem) => format!("{} ({}, {url}, {tries})", problem.detail, problem.code),
        None => format!("{url} answered with HTTP status {status} ({tries})"),
    }
}
