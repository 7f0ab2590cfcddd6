//! What can go wrong while a graph is made.

use cov_core::error::ErrorKind;
use cov_core::ids::DispatchId;
use cov_core::manifest::ManifestError;
use cov_core::status::Status;

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node was used in another graph than the one it was recorded in.
    #[error(
        "a node of another graph is used in `{lattice}`: nodes stay in the graph they were recorded in"
    )]
    ForeignNode {
        /// The lattice it was used in.
        lattice: String,
    },
    /// A value cannot travel.
    #[error("{consumer}: a value of type `{type_name}` cannot travel: {reason}")]
    Value {
        /// Its Rust type.
        type_name: &'static str,
        /// What takes or gives it.
        consumer: String,
        /// What its serde implementation said.
        reason: String,
    },
    /// A keyword argument was given more than one value.
    #[error("the keyword argument `{name}` of `{consumer}` must be one node or one value")]
    Keyword {
        /// The keyword.
        name: String,
        /// What takes it.
        consumer: String,
    },
    /// Nodes wait for each other, or there are too many of them.
    #[error("`{lattice}` is no workflow")]
    Manifest {
        /// The lattice.
        lattice: String,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// The graph cannot be written down.
    #[error("the workflow has no JSON form")]
    Bundle(#[from] cov_core::bundle::Error),
    /// A server could not run this program's electrons: [`runner::init`](crate::runner::init) was
    /// not called.
    #[error(
        "a server cannot run this program's electrons: the first line of its `main` must be \
         `cov::runner::init()`"
    )]
    NotInitialised,
    /// Two electrons have the same name.
    #[error(
        "two electrons are named `{name}`: {first} and {second}; give one of them another `name`"
    )]
    SameName {
        /// The name.
        name: String,
        /// File and line of one.
        first: String,
        /// File and line of the other.
        second: String,
    },
    /// The program cannot read itself.
    #[error("this program cannot read its own executable")]
    Program(#[source] std::io::Error),
    /// The dispatch ended otherwise than by completing.
    #[error("dispatch {dispatch_id} ended as {status}: {reason}")]
    NotCompleted {
        /// The dispatch.
        dispatch_id: DispatchId,
        /// How it ended.
        status: Status,
        /// Its failed electrons, one a line.
        reason: String,
    },
    /// The server cannot be reached, or refuses something.
    #[cfg(feature = "client")]
    #[error(transparent)]
    Client(#[from] cov_client::Error),
}

impl Error {
    /// How an error of this kind is answered.
    ///
    /// ```
    /// use cov_core::error::ErrorKind;
    /// let error = cov::Error::ForeignNode { lattice: "sum".into() };
    /// assert_eq!(error.kind(), ErrorKind::Invalid);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ForeignNode { .. }
            | Self::Value { .. }
            | Self::Keyword { .. }
            | Self::Manifest { .. }
            | Self::Bundle(_)
            | Self::NotInitialised
            | Self::SameName { .. } => ErrorKind::Invalid,
            Self::NotCompleted { .. } => ErrorKind::Conflict,
            Self::Program(_) => ErrorKind::Internal,
            #[cfg(feature = "client")]
            Self::Client(_) => ErrorKind::Unavailable,
        }
    }
}
