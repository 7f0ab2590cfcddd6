//! Why the server does not start or does not go on, what to do about it, and the exit code.

use std::io;
use std::path::PathBuf;

use crate::config::Faults;
use crate::listen::{self, Listen};

/// Shown below the help text.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    stopped as asked
  1    a fault of the server or of the machine, or a backup that cannot be restored
  2    wrong options or configuration
  3    the address cannot be listened on, for example because another server uses it
  4    the data directory cannot be used, for example because another server uses it
  130  ended by a second SIGINT, 143 by a second SIGTERM";

/// Why the server does not start or does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(#[from] Faults),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: Listen,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error("the data directory {} cannot be used", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the store said.
        #[source]
        source: cov_store::Error,
    },
    /// The backup cannot be restored.
    #[error("{} is not restored", path.display())]
    Restore {
        /// The backup.
        path: PathBuf,
        /// What the store said.
        #[source]
        source: cov_store::Error,
    },
    /// A part of the server does not start.
    #[error("{part} does not start")]
    Part {
        /// Which part.
        part: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part of the server ended by itself.
    #[error("{part} ended by itself")]
    Ended {
        /// Which part.
        part: &'static str,
    },
}

/// What kind of failure an [`enum@Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The server or the machine has a fault.
    Fault,
    /// The configuration cannot be used.
    Config,
    /// The address cannot be listened on.
    Listen,
    /// The data directory cannot be used.
    Data,
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Config(_) => Kind::Config,
            Self::Listen { .. } => Kind::Listen,
            Self::Data { .. } => Kind::Data,
            Self::Restore { .. } | Self::Part { .. } | Self::Ended { .. } => Kind::Fault,
        }
    }

    /// The exit code of a process that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.kind() {
            Kind::Fault => 1,
            Kind::Config => 2,
            Kind::Listen => 3,
            Kind::Data => 4,
        }
    }

    /// What to do about it, if there is something to say that the text does not say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { address, source } => Some(listen::hint(address, source)),
            Self::Data { source: cov_store::Error::Refused(_), .. } => Some(
                "stop the other server (`cov stop`, if it runs in the background), or choose another folder with --data-dir"
                    .to_owned(),
            ),
            Self::Data { source: cov_store::Error::Schema(_), .. } => Some(
                "nothing was changed; start the release that wrote it or a newer one, or restore a backup of before the upgrade into another folder"
                    .to_owned(),
            ),
            Self::Data { .. } => Some(
                "make sure that this user may write there and that the disk has space, or choose another folder with --data-dir"
                    .to_owned(),
            ),
            Self::Restore { source: cov_store::Error::Refused(_), .. } => {
                Some("nothing was changed; choose another backup, or another folder with --data-dir".to_owned())
            }
            Self::Restore { .. } => Some(
                "nothing was changed; make sure that this user may write there and that the disk has space"
                    .to_owned(),
            ),
            Self::Config(_) | Self::Part { .. } | Self::Ended { .. } => None,
        }
    }

    /// The error for people: every cause, then the hint.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        // The text of a configuration fault names everything already.
        while let Some(error) = cause.filter(|_| self.kind() != Kind::Config) {
            text.push_str(&format!("\n  because: {error}"));
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("\n  hint: {hint}"));
        }
        text
    }
}
