//! Validated identifiers. A value of one of these types is well formed by construction, so
//! nothing behind the edge checks again. This module generates no ids: randomness is an input.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest dispatch id that is accepted, in bytes.
pub const DISPATCH_ID_BYTES_MAX: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The dispatch id is empty, too long, or holds a character outside `[A-Za-z0-9_-]`.
    #[error("`{text}` is no dispatch id: expected 1 to 64 characters of A-Z, a-z, 0-9, `-`, `_`")]
    Dispatch {
        /// The refused text, shortened.
        text: String,
    },
    /// The digest is not lower- or upper-case hexadecimal of the right length.
    #[error("`{text}` is no {algorithm} digest: expected {digits} hexadecimal digits")]
    Digest {
        /// The refused text, shortened.
        text: String,
        /// Name of the digest's algorithm.
        algorithm: &'static str,
        /// How many hexadecimal digits it has.
        digits: usize,
    },
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Names one dispatch. Cheap to clone. Usually a UUID, but any text of 1 to 64 characters of
/// `[A-Za-z0-9_-]` is legal, because a client may choose the id of a dispatch that it registers.
///
/// ```
/// use cov_core::ids::DispatchId;
/// let id: DispatchId = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// assert_eq!(id.as_str().len(), 36);
/// assert!("../etc".parse::<DispatchId>().is_err());
/// # Ok::<(), cov_core::ids::IdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DispatchId(Arc<str>);

impl DispatchId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DispatchId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if text.is_empty() || text.len() > DISPATCH_ID_BYTES_MAX || !text.bytes().all(legal) {
            return Err(IdError::Dispatch { text: shorten(text) });
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for DispatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DispatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DispatchId({})", self.0)
    }
}

/// Names one node of a transport graph: its index, contiguous from 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The id as an index into per-node arrays.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one attempt to run one electron. Never reused: the upper half is the boot epoch that
/// the server commits once at its start, the lower half counts within that epoch. Every report
/// of a runner carries it, so that a late report of an older attempt is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(u64);

impl AttemptId {
    /// The attempt with number `counter` of boot `epoch`.
    #[must_use]
    pub fn new(epoch: u32, counter: u32) -> Self {
        Self(u64::from(epoch) << 32 | u64::from(counter))
    }

    /// Rebuilds an id from its wire form.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The wire form.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The boot epoch in which this attempt was made.
    #[must_use]
    pub fn epoch(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), self.0 & u64::from(u32::MAX))
    }
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $algorithm:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Wraps a digest that was computed elsewhere.
            #[must_use]
            pub fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw digest.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self).ok_or_else(|| IdError::Digest {
                    text: shorten(text),
                    algorithm: $algorithm,
                    digits: $bytes * 2,
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        serde_as_text!($name);
    };
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(DispatchId);

digest_type!(
    /// Names a content by its BLAKE3 digest, which the server computes itself. Two assets with
    /// the same content id are the same bytes and are stored once.
    ContentId,
    32,
    "BLAKE3"
);

digest_type!(
    /// The SHA-1 that the Covalent SDK announces. Never trusted as an identity: with the size it
    /// is an index to a [`ContentId`].
    Sha1Digest,
    20,
    "SHA-1"
);

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair.first()?, pair.get(1)?].map(|d| char::from(*d).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispatch_ids_refuse_what_could_leave_a_folder() {
        for text in ["", "a/b", "..", "a\0", "ä", "a b", &"x".repeat(65)] {
            assert!(text.parse::<DispatchId>().is_err(), "{text:?} was accepted");
        }
        assert!("x".repeat(64).parse::<DispatchId>().is_ok());
    }

    #[test]
    fn attempts_are_ordered_by_epoch_first() {
        assert!(AttemptId::new(2, 0) > AttemptId::new(1, u32::MAX));
        assert_eq!(AttemptId::new(7, 9).epoch(), 7);
        assert_eq!(AttemptId::new(7, 9).to_string(), "7.9");
        assert_eq!(AttemptId::from_bits(AttemptId::new(7, 9).to_bits()), AttemptId::new(7, 9));
    }

    #[test]
    fn digests_round_trip_through_text() {
        let text = "9058936b2eeae8ec35678c7b34992b6d617d476a";
        assert_eq!(text.parse::<Sha1Digest>().unwrap().to_string(), text);
        assert!("90".parse::<Sha1Digest>().is_err());
        assert!("zz58936b2eeae8ec35678c7b34992b6d617d476a".parse::<Sha1Digest>().is_err());
    }
}
