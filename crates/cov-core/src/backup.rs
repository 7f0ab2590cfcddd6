//! The form of a backup: one tar archive that can be written and checked piece by piece. Knows no
//! file and no database: bytes go in and come out.
//!
//! Its members, in this order and with no others between them: [`Head`] as JSON, the database,
//! every large content by rising id, and a trailer with a digest over all of them. A reader takes
//! only what the writer would have written, byte for byte, so that no member can name a strange
//! path; and an archive without its trailer counts as cut off.

mod header;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use self::reader::{Event, Reader};
pub use self::writer::Writer;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::asset::ContentDigest;
use crate::ids::ContentId;

/// The form that this release writes and reads.
pub const FORMAT: u32 = 1;

/// Archives are made of blocks of this size. Bytes.
pub const BLOCK_BYTES: usize = 512;

/// Most bytes of the members that are JSON.
const JSON_BYTES_MAX: u64 = 64 * 1024;

const HEAD: &str = "cov-backup.json";
const DATABASE: &str = "dispatches.sqlite";
const CONTENTS: &str = "contents/";
const TRAILER: &str = "cov-backup-end.json";

/// What the archive says of itself at its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The form; [`FORMAT`].
    pub format: u32,
    /// The release that wrote it.
    pub release: String,
    /// How many large contents follow.
    pub contents: u64,
}

/// What the archive says of itself at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trailer {
    /// Members before this one.
    members: u64,
    /// Their bytes, without what the archive adds.
    bytes: u64,
    /// Over the name, size and digest of each.
    digest: String,
}

/// One member of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// [`Head`] as JSON.
    Head,
    /// The database, as one file.
    Database,
    /// A large content.
    Content(ContentId),
    /// The account of all members.
    Trailer,
}

impl Member {
    fn parse(name: &str) -> Option<Self> {
        match name {
            HEAD => Some(Self::Head),
            DATABASE => Some(Self::Database),
            TRAILER => Some(Self::Trailer),
            _ => {
                let id = name.strip_prefix(CONTENTS)?.get(3..)?.parse().ok()?;
                Some(Self::Content(id))
            }
        }
    }
}

impl fmt::Display for Member {
    /// The path in the archive, and in the data directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str(HEAD),
            Self::Database => f.write_str(DATABASE),
            Self::Content(id) => {
                let [first, ..] = id.as_bytes();
                write!(f, "{CONTENTS}{first:02x}/{id}")
            }
            Self::Trailer => f.write_str(TRAILER),
        }
    }
}

/// What is in a whole and sound archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Large contents.
    pub contents: u64,
    /// Bytes of the database and of the large contents.
    pub bytes: u64,
}

/// Why bytes are no backup that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first member is not that of a backup.
    #[error("it is no backup of this server")]
    Foreign,
    /// The archive has another form.
    #[error("it has the form {found}, and this release reads the form {FORMAT}")]
    Format {
        /// Its form.
        found: u32,
    },
    /// The archive ends before its trailer.
    #[error("it is cut off")]
    CutOff,
    /// Something is not as a backup has it.
    #[error("it is damaged: {what}")]
    Damaged {
        /// What, and where.
        what: String,
    },
}

impl Error {
    fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

/// The account of the members so far.
#[derive(Debug, Default)]
struct Account {
    members: u64,
    bytes: u64,
    digest: ContentDigest,
}

impl Account {
    fn add(&mut self, member: Member, size: u64, id: &ContentId) {
        self.members += 1;
        self.bytes += size;
        self.digest.update(format!("{member} {size} {id}\n").as_bytes());
    }

    fn trailer(&self) -> Trailer {
        let digest = self.digest.clone().finish().id.to_string();
        Trailer { members: self.members, bytes: self.bytes, digest }
    }
}

/// Zeros that fill the last block of a member of `size` bytes.
fn padding(size: u64) -> usize {
    let rest = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or(0);
    (BLOCK_BYTES - rest) % BLOCK_BYTES
}
