//! What tells one state of a file from another, and how it is kept as a mark. Reads metadata that
//! it is given, and opens nothing.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use cov_core::time::Timestamp;

/// Marks of files begin with this.
const PREFIX: &str = "f:";
/// The first byte of a mark: its layout.
const LAYOUT: u8 = 1;
const LENGTH: usize = 42;

/// The state of one file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub(crate) mtime: i64,
    /// Birth, in nanoseconds since 1970; 0 where the file system does not keep it. Tells a file
    /// from an earlier one with the same inode.
    pub(crate) birth: i64,
    pub(crate) is_dir: bool,
}

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        let birth = meta.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
            birth: birth.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
            is_dir: meta.is_dir(),
        }
    }

    /// What is at a path now; a symbolic link is itself, not its target.
    pub(crate) fn at(path: &Path) -> std::io::Result<Self> {
        Ok(Self::of(&std::fs::symlink_metadata(path)?))
    }

    /// Whether this is the same file, whatever its content.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        self.identity() == other.identity() && self.ino != 0
    }

    /// Tells one file from another.
    pub(crate) fn identity(&self) -> (u64, u64, i64) {
        (self.dev, self.ino, self.birth)
    }

    /// Whether the content is the same, too. A directory has none.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        self.same_file(other)
            && (self.is_dir || (self.size, self.mtime) == (other.size, other.mtime))
    }

    /// When the content last changed.
    pub(crate) fn changed_at(&self) -> Timestamp {
        Timestamp::from_micros(self.mtime / 1_000)
    }
}

/// What is known of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stamp: Stamp,
    /// Whether its `closed` event is still to come.
    pub(crate) open: bool,
}

impl Entry {
    /// The entry as the value of a mark.
    pub(crate) fn encode(&self) -> Bytes {
        let stamp = &self.stamp;
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(LAYOUT);
        bytes.push(u8::from(stamp.is_dir) | u8::from(self.open) << 1);
        for number in [stamp.dev, stamp.ino, stamp.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [stamp.mtime, stamp.birth] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.into()
    }

    /// Reads the value of a mark; `None` if it is of another layout.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[layout, flags], numbers) = bytes.split_first_chunk::<2>()?;
        if layout != LAYOUT || bytes.len() != LENGTH {
            return None;
        }
        let (chunks, _) = numbers.as_chunks::<8>();
        let [dev, ino, size, mtime, birth] = chunks else {
            return None;
        };
        let stamp = Stamp {
            dev: u64::from_le_bytes(*dev),
            ino: u64::from_le_bytes(*ino),
            size: u64::from_le_bytes(*size),
            mtime: i64::from_le_bytes(*mtime),
            birth: i64::from_le_bytes(*birth),
            is_dir: flags & 1 != 0,
        };
        Some(Self { stamp, open: flags & 2 != 0 })
    }
}

/// The name of the mark of a path below the root. Bytes that are no UTF-8 are written as `%XX`.
pub(crate) fn mark_name(relative: &Path) -> String {
    let mut name = String::from(PREFIX);
    for chunk in relative.as_os_str().as_bytes().utf8_chunks() {
        name.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

/// The path that a mark is about; `None` for a mark that is about none.
pub(crate) fn marked_path(name: &str) -> Option<PathBuf> {
    let text = name.strip_prefix(PREFIX)?;
    if !text.contains('%') {
        return Some(PathBuf::from(OsStr::new(text)));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%');
        let hex = escaped.and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_path_survives_its_mark(bytes in proptest::collection::vec(1_u8.., 0..40)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            prop_assert_eq!(marked_path(&mark_name(&path)), Some(path));
        }

        #[test]
        fn any_entry_survives_its_mark(
            numbers in any::<[u64; 3]>(),
            times in any::<[i64; 2]>(),
            is_dir in any::<bool>(),
            open in any::<bool>(),
        ) {
            let [dev, ino, size] = numbers;
            let [mtime, birth] = times;
            let entry = Entry { stamp: Stamp { dev, ino, size, mtime, birth, is_dir }, open };
            prop_assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }
    }

    #[test]
    fn other_marks_are_about_no_path_and_no_entry() {
        assert_eq!(marked_path("cursor"), None);
        assert_eq!(Entry::decode(b""), None);
        assert_eq!(Entry::decode(&[2; LENGTH]), None);
        assert_eq!(Entry::decode(&[LAYOUT; LENGTH - 1]), None);
    }
}
