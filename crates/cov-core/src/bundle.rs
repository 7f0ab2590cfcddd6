//! A whole workflow in one JSON document: its manifest, and the bytes of its assets, each content
//! once. This is what a task leaves behind that built a graph while it ran. It is read with the
//! suspicion that bytes from a task deserve: every index is checked. Holds no limits of its own.
//!
//! ```text
//! {"version": 1, "lattice": {…}, "executors": [{…}], "nodes": [{"name", "kind", "executor"}],
//!  "edges": [{"source", "target", "name", "kind"}],
//!  "assets": [{"node", "key", "content"}], "contents": ["<base64>"]}
//! ```
//!
//! `content` is an index into `contents`; a missing `node` means the lattice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::asset::{Announced, AssetAddress, AssetKey, ContentRef, SmallContent};
use crate::executor::ExecutorSpec;
use crate::graph::{Edge, NodeKind};
use crate::ids::{DispatchId, NodeId};
use crate::manifest::{LatticeInfo, Manifest, ManifestAsset, ManifestNode};
use crate::status::Status;

/// Version of the document.
pub const VERSION: u32 = 1;

/// Why bytes are no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No JSON, or not of this shape.
    #[error("the bytes are no built workflow")]
    Json(#[source] serde_json::Error),
    /// The document is of another version.
    #[error("the built workflow is of version {found}; this program reads version {VERSION}")]
    Version {
        /// The version it says.
        found: u32,
    },
    /// An asset names a content that is not there.
    #[error("the asset `{address}` names content {content} of {contents}")]
    Content {
        /// The asset.
        address: AssetAddress,
        /// The index it names.
        content: u32,
        /// How many contents there are.
        contents: usize,
    },
    /// A content is no standard base64.
    #[error("content {index} is no base64")]
    Base64 {
        /// Which.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: base64::DecodeError,
    },
}

/// A workflow with the bytes of its assets.
///
/// ```
/// use cov_core::asset::{AssetAddress, AssetKey};
/// use cov_core::bundle::Bundle;
/// use cov_core::manifest::LatticeInfo;
///
/// let mut bundle = Bundle::new(LatticeInfo { name: "empty".into(), ..LatticeInfo::default() });
/// let doc = bundle.content("what it does".into());
/// bundle.asset(AssetAddress::of_dispatch(AssetKey::Doc), doc);
/// let read = Bundle::from_json(&bundle.to_json()?)?;
/// assert_eq!(read, bundle);
/// assert_eq!(read.bytes_of(0).map(|bytes| &bytes[..]), Some(&b"what it does"[..]));
/// # Ok::<(), cov_core::bundle::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The workflow. Its assets are in step with the contents: see [`Bundle::bytes_of`].
    pub manifest: Manifest,
    contents: Vec<(Bytes, ContentRef)>,
    /// For each asset of the manifest, the index of its content.
    content_of: Vec<u32>,
}

impl Bundle {
    /// A workflow without nodes.
    #[must_use]
    pub fn new(lattice: LatticeInfo) -> Self {
        let manifest = Manifest {
            dispatch_id: None,
            lattice,
            executors: Vec::new(),
            nodes: Vec::new(),
            edges: Vec::new(),
            assets: Vec::new(),
        };
        Self { manifest, contents: Vec::new(), content_of: Vec::new() }
    }

    /// Takes in a content and returns its index. The caller sees to it that each comes once.
    pub fn content(&mut self, bytes: Bytes) -> u32 {
        let SmallContent { content, bytes } = SmallContent::new(bytes);
        self.named_content(bytes, content)
    }

    /// As [`Bundle::content`], for bytes whose names are known.
    ///
    /// ```
    /// # use cov_core::bundle::Bundle;
    /// use cov_core::asset::SmallContent;
    /// let mut bundle = Bundle::new(cov_core::manifest::LatticeInfo::default());
    /// let SmallContent { bytes, content } = SmallContent::new("what it does".into());
    /// assert_eq!(bundle.named_content(bytes, content), 0);
    /// ```
    pub fn named_content(&mut self, bytes: Bytes, content: ContentRef) -> u32 {
        self.contents.push((bytes, content));
        u32::try_from(self.contents.len() - 1).unwrap_or(u32::MAX)
    }

    /// Announces an asset with a content that was taken in; an empty content is no asset, and an
    /// index that [`Bundle::content`] did not return is ignored.
    pub fn asset(&mut self, address: AssetAddress, content: u32) {
        let Some((_, names)) = self.contents.get(content as usize) else { return };
        if names.size == 0 {
            return;
        }
        let announced = Announced { size: names.size, sha1: Some(names.sha1) };
        self.manifest.assets.push(ManifestAsset { address, announced });
        self.content_of.push(content);
    }

    /// Keeps only the assets with these addresses. Contents stay, and so do their indices.
    ///
    /// ```
    /// # use cov_core::asset::{AssetAddress, AssetKey};
    /// # use cov_core::bundle::Bundle;
    /// let mut bundle = Bundle::new(cov_core::manifest::LatticeInfo::default());
    /// let doc = bundle.content("what it does".into());
    /// bundle.asset(AssetAddress::of_dispatch(AssetKey::Doc), doc);
    /// bundle.retain_assets(|address| address.key != AssetKey::Doc);
    /// assert!(bundle.manifest.assets.is_empty());
    /// ```
    pub fn retain_assets(&mut self, keep: impl Fn(AssetAddress) -> bool) {
        let assets = std::mem::take(&mut self.manifest.assets);
        let contents = std::mem::take(&mut self.content_of);
        let both = assets.into_iter().zip(contents);
        let kept = both.filter(|(asset, _)| keep(asset.address));
        (self.manifest.assets, self.content_of) = kept.unzip();
    }

    /// The bytes of the manifest's asset with this index.
    #[must_use]
    pub fn bytes_of(&self, asset: usize) -> Option<&Bytes> {
        let content = self.content_of.get(asset)?;
        self.contents.get(*content as usize).map(|(bytes, _)| bytes)
    }

    /// The index of the content of the manifest's asset with this index.
    #[must_use]
    pub fn content_index(&self, asset: usize) -> Option<u32> {
        self.content_of.get(asset).copied()
    }

    /// The contents, each once, by index.
    pub fn contents(&self) -> impl ExactSizeIterator<Item = (&Bytes, &ContentRef)> {
        self.contents.iter().map(|(bytes, names)| (bytes, names))
    }

    /// The document.
    ///
    /// # Errors
    /// `Json`: never for what was read, or built from values that have a JSON form.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let Manifest { dispatch_id, lattice, executors, nodes, edges, assets } = &self.manifest;
        let nodes = nodes.iter().map(NodeRecord::of).collect();
        let assets = assets.iter().zip(&self.content_of);
        let assets = assets.map(|(asset, content)| AssetRecord {
            node: asset.address.node,
            key: asset.address.key,
            content: *content,
        });
        let document = Document {
            version: VERSION,
            dispatch_id: dispatch_id.clone(),
            lattice: lattice.clone(),
            executors: executors.clone(),
            nodes,
            edges: edges.clone(),
            assets: assets.collect(),
            contents: self.contents.iter().map(|(bytes, _)| STANDARD.encode(bytes)).collect(),
        };
        serde_json::to_vec(&document).map_err(Error::Json)
    }

    /// Reads a document. Whether nodes and edges are a graph is for [`Manifest::graph`] to say.
    ///
    /// # Errors
    /// See [`enum@Error`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let document: Document = serde_json::from_slice(bytes).map_err(Error::Json)?;
        if document.version != VERSION {
            return Err(Error::Version { found: document.version });
        }
        let mut bundle = Self::new(document.lattice);
        for (index, text) in document.contents.into_iter().enumerate() {
            let content = STANDARD.decode(text);
            bundle.content(content.map_err(|source| Error::Base64 { index, source })?.into());
        }
        for asset in document.assets {
            let address = AssetAddress { node: asset.node, key: asset.key };
            let (content, contents) = (asset.content, bundle.contents.len());
            if content as usize >= contents {
                return Err(Error::Content { address, content, contents });
            }
            bundle.asset(address, content);
        }
        let nodes = document.nodes.into_iter().enumerate();
        bundle.manifest.dispatch_id = document.dispatch_id;
        bundle.manifest.executors = document.executors;
        bundle.manifest.nodes = nodes.map(|(index, node)| node.into_node(index)).collect();
        bundle.manifest.edges = document.edges;
        Ok(bundle)
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dispatch_id: Option<DispatchId>,
    lattice: LatticeInfo,
    executors: Vec<ExecutorSpec>,
    nodes: Vec<NodeRecord>,
    edges: Vec<Edge>,
    assets: Vec<AssetRecord>,
    contents: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    name: String,
    kind: NodeKind,
    executor: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task_group: Option<NodeId>,
}

impl NodeRecord {
    fn of(node: &ManifestNode) -> Self {
        let ManifestNode { name, kind, task_group, executor, .. } = node;
        let task_group = Some(*task_group);
        Self { name: name.clone(), kind: *kind, executor: *executor, task_group }
    }

    fn into_node(self, index: usize) -> ManifestNode {
        let own = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
        ManifestNode {
            name: self.name,
            kind: self.kind,
            task_group: self.task_group.unwrap_or(own),
            executor: self.executor,
            status: Status::NewObject,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct AssetRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    key: AssetKey,
    content: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Bundle {
        let mut bundle = Bundle::new(LatticeInfo::default());
        bundle.manifest.executors.push(ExecutorSpec {
            name: "rust".into(),
            data: serde_json::json!({ "attributes": { "retries": 2 } }),
        });
        let function = bundle.content("shared".into());
        for index in 0..2 {
            bundle.manifest.nodes.push(ManifestNode {
                name: format!("node {index}"),
                kind: NodeKind::Task,
                task_group: NodeId(index),
                executor: 0,
                status: Status::NewObject,
            });
            bundle.asset(AssetAddress::of_node(NodeId(index), AssetKey::Function), function);
        }
        bundle
    }

    #[test]
    fn a_shared_content_is_written_once() {
        let bundle = sample();
        assert_eq!((bundle.contents().len(), bundle.manifest.assets.len()), (1, 2));
        let text = String::from_utf8(bundle.to_json().unwrap()).unwrap();
        assert_eq!(text.matches(&STANDARD.encode("shared")).count(), 1);
        assert_eq!(Bundle::from_json(text.as_bytes()).unwrap(), bundle);
    }

    #[test]
    fn an_index_without_a_content_is_refused() {
        let text = String::from_utf8(sample().to_json().unwrap()).unwrap();
        let text = text.replacen(r#""content":0"#, r#""content":1"#, 1);
        let error = Bundle::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the asset `node 0 function` names content 1 of 1");
        let old = String::from_utf8(sample().to_json().unwrap()).unwrap();
        let new = old.replacen(r#""version":1"#, r#""version":9"#, 1);
        let error = Bundle::from_json(new.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Version { found: 9 }), "{error}");
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_an_error_or_a_bundle(at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = sample().to_json().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(bundle) = Bundle::from_json(&bytes) {
                prop_assert!(bundle.manifest.assets.iter().enumerate().all(|(i, _)| bundle.bytes_of(i).is_some()));
            }
        }
    }
}
