//! Names and records of assets: the byte strings that belong to a dispatch or to one of its
//! nodes. Knows no storage and no address on the wire.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{ContentId, NodeId, Sha1Digest};

/// Contents up to this size are kept beside the state, in the same transaction; larger ones go
/// to files. Bytes.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;

/// What an asset is to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetKey {
    /// A node's callable; a `TransportableObject`.
    Function,
    /// The source text of `Function`.
    FunctionString,
    /// The value of a parameter node, for clients.
    Value,
    /// What a node returned.
    Output,
    /// Dependencies and callables around a node, or the lattice's; JSON.
    Hooks,
    /// What went wrong, as text.
    Error,
    /// What a task printed.
    Stdout,
    /// What a task printed to its error stream.
    Stderr,
    /// What a dispatch returned: the output of its last node.
    Result,
    /// The lattice's function.
    WorkflowFunction,
    /// The source text of `WorkflowFunction`.
    WorkflowFunctionString,
    /// The lattice's docstring.
    Doc,
    /// The arguments of the dispatch.
    Inputs,
    /// The output of a task that built a sub-dispatch, kept when `Output` is replaced by the
    /// sub-dispatch's result.
    SublatticeManifest,
    /// A node name too long to be kept in a row.
    Name,
    /// What a redispatch took over from the earlier dispatch, and why; JSON.
    RedispatchPlan,
    /// What a client asked for when it chose the id of the dispatch, so that the same request is
    /// known when it comes again; JSON.
    Request,
    /// The executable whose electrons the dispatch calls.
    Program,
    /// What an engine outside calls a node's latest attempt there; JSON.
    Job,
}

impl AssetKey {
    /// All keys, in the order of their stored numbers.
    pub const ALL: [Self; 19] = [
        Self::Function,
        Self::FunctionString,
        Self::Value,
        Self::Output,
        Self::Hooks,
        Self::Error,
        Self::Stdout,
        Self::Stderr,
        Self::Result,
        Self::WorkflowFunction,
        Self::WorkflowFunctionString,
        Self::Doc,
        Self::Inputs,
        Self::SublatticeManifest,
        Self::Name,
        Self::RedispatchPlan,
        Self::Request,
        Self::Program,
        Self::Job,
    ];

    /// The keys that a node can have and clients can see.
    pub const OF_NODE: [Self; 8] = [
        Self::Function,
        Self::FunctionString,
        Self::Value,
        Self::Output,
        Self::Hooks,
        Self::Error,
        Self::Stdout,
        Self::Stderr,
    ];

    /// The keys that a lattice can have.
    pub const OF_LATTICE: [Self; 5] = [
        Self::WorkflowFunction,
        Self::WorkflowFunctionString,
        Self::Doc,
        Self::Inputs,
        Self::Hooks,
    ];

    /// The name in manifests and addresses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::FunctionString => "function_string",
            Self::Value => "value",
            Self::Output => "output",
            Self::Hooks => "hooks",
            Self::Error => "error",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Result => "result",
            Self::WorkflowFunction => "workflow_function",
            Self::WorkflowFunctionString => "workflow_function_string",
            Self::Doc => "doc",
            Self::Inputs => "inputs",
            Self::SublatticeManifest => "sublattice_manifest",
            Self::Name => "name",
            Self::RedispatchPlan => "redispatch_plan",
            Self::Request => "request",
            Self::Program => "program",
            Self::Job => "job",
        }
    }

    /// Whether the server alone makes this asset, so that no client may bring it with a workflow.
    #[must_use]
    pub fn is_servers(self) -> bool {
        matches!(
            self,
            Self::Error
                | Self::Stdout
                | Self::Stderr
                | Self::Result
                | Self::SublatticeManifest
                | Self::Name
                | Self::RedispatchPlan
                | Self::Request
        )
    }

    /// The number under which the key is stored. Numbers are never reassigned.
    #[must_use]
    pub fn code(self) -> u8 {
        let position = Self::ALL.iter().position(|key| *key == self);
        position.and_then(|index| u8::try_from(index).ok()).unwrap_or(u8::MAX)
    }

    /// The key stored under `code`, or `None` for a number that no release has written.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for AssetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`AssetKey`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no asset")]
pub struct UnknownAssetKey {
    /// The refused text, shortened.
    pub text: String,
}

impl FromStr for AssetKey {
    type Err = UnknownAssetKey;

    fn from_str(text: &str) -> Result<Self, UnknownAssetKey> {
        Self::ALL
            .into_iter()
            .find(|key| key.as_str() == text)
            .ok_or_else(|| UnknownAssetKey { text: text.chars().take(80).collect() })
    }
}

/// Where in a dispatch an asset belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetAddress {
    /// The owning node, or `None` for an asset of the dispatch or its lattice.
    pub node: Option<NodeId>,
    /// Which of the owner's assets.
    pub key: AssetKey,
}

impl AssetAddress {
    /// The asset `key` of the dispatch or its lattice.
    #[must_use]
    pub fn of_dispatch(key: AssetKey) -> Self {
        Self { node: None, key }
    }

    /// The asset `key` of `node`.
    #[must_use]
    pub fn of_node(node: NodeId, key: AssetKey) -> Self {
        Self { node: Some(node), key }
    }
}

impl fmt::Display for AssetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "node {node} {}", self.key),
            None => self.key.fmt(f),
        }
    }
}

/// What a client announced of an asset that it will upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Announced {
    /// Bytes. Never 0: an empty asset is no asset.
    pub size: u64,
    /// The announced SHA-1, if any.
    pub sha1: Option<Sha1Digest>,
}

/// A content that the store holds, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentRef {
    /// Which content.
    pub id: ContentId,
    /// Bytes.
    pub size: u64,
    /// Its SHA-1, the index by which SDK clients know it.
    pub sha1: Sha1Digest,
}

/// Whether an asset's bytes are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetState {
    /// Announced by a client, not yet uploaded.
    Awaited(Announced),
    /// Stored.
    Present(ContentRef),
}

impl AssetState {
    /// The size to show: that of the stored content, or 0 while there is none.
    #[must_use]
    pub fn stored_size(&self) -> u64 {
        match self {
            Self::Awaited(_) => 0,
            Self::Present(content) => content.size,
        }
    }

    /// The content, if it is there.
    #[must_use]
    pub fn content(&self) -> Option<&ContentRef> {
        match self {
            Self::Awaited(_) => None,
            Self::Present(content) => Some(content),
        }
    }
}

/// A small content on its way into the store, with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallContent {
    /// The content's names.
    pub content: ContentRef,
    /// Its bytes, at most [`INLINE_BYTES_MAX`].
    pub bytes: Bytes,
}

impl SmallContent {
    /// Computes the names of `bytes`. The caller sees to [`INLINE_BYTES_MAX`].
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let mut digest = ContentDigest::default();
        digest.update(&bytes);
        Self { content: digest.finish(), bytes }
    }
}

/// Computes the names of a content, chunk by chunk.
///
/// ```
/// use cov_core::asset::ContentDigest;
/// let mut digest = ContentDigest::default();
/// digest.update(b"{}");
/// let content = digest.finish();
/// assert_eq!(content.size, 2);
/// assert_eq!(content.sha1.to_string(), "bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f");
/// ```
#[derive(Debug, Clone, Default)]
pub struct ContentDigest {
    blake3: blake3::Hasher,
    sha1: sha1::Sha1,
    size: u64,
}

impl ContentDigest {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        sha1::Digest::update(&mut self.sha1, bytes);
        self.size += bytes.len() as u64;
    }

    /// Bytes taken in so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The names of all bytes taken in.
    #[must_use]
    pub fn finish(self) -> ContentRef {
        ContentRef {
            id: ContentId::from_bytes(*self.blake3.finalize().as_bytes()),
            size: self.size,
            sha1: Sha1Digest::from_bytes(sha1::Digest::finalize(self.sha1).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_number_and_one_name_each() {
        for (index, key) in AssetKey::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(key.code()), index);
            assert_eq!(AssetKey::from_code(key.code()), Some(key));
            assert_eq!(key.as_str().parse(), Ok(key));
        }
    }
}
