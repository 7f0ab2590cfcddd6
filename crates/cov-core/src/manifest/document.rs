//! A manifest as a JSON document: what a client of the native API sends ahead of the bytes of the
//! assets. Unknown members are refused, so that a misspelt one is not taken for a missing one.
//!
//! ```text
//! {"dispatch_id": "…", "lattice": {"name": "…", "executor": {…}, "workflow_executor": {…}},
//!  "executors": [{"name": "local", "data": {}}],
//!  "nodes": [{"name": "add", "kind": "task", "executor": 0}],
//!  "edges": [{"source": 0, "target": 1, "name": "x", "kind": {"arg": 0}}],
//!  "assets": [{"node": 0, "key": "function", "size": 12, "sha1": "…", "body": true}]}
//! ```

use std::io::BufWriter;
use std::path::PathBuf;

use serde::ser::{SerializeStruct as _, Serializer};
use serde::{Deserialize, Serialize};

use super::{LatticeInfo, Manifest, ManifestAsset, ManifestNode};
use crate::asset::{Announced, AssetAddress, AssetKey};
use crate::executor::ExecutorSpec;
use crate::graph::{Edge, NodeKind};
use crate::ids::{ContentId, DispatchId, NodeId, Sha1Digest};
use crate::status::Status;

/// The media type of a manifest with the bytes of its assets behind it: the length of the
/// document as a little-endian `u32`, the document, and the bytes of every asset with `body`, in
/// the order of the document.
pub const MEDIA_TYPE: &str = "application/vnd.cov.dispatch";

/// Text that is digested at once. Bytes.
const DIGESTED_BYTES: usize = 64 << 10;

/// A manifest with, for each asset, where its bytes are.
///
/// ```
/// use cov_core::manifest::document::Document;
/// let text = r#"{"lattice": {"name": "flow"}, "nodes": [{"name": "add"}]}"#;
/// let document: Document = serde_json::from_str(text).unwrap();
/// let parts = document.into_parts();
/// assert_eq!(parts.manifest.executors[0].name, "local");
/// assert_eq!(parts.manifest.nodes[0].name, "add");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// An id that the client chose, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch_id: Option<DispatchId>,
    /// What the client says of the lattice.
    pub lattice: LatticeRecord,
    /// The executors that nodes name by index; the lattice's alone, if there are none.
    #[serde(default)]
    pub executors: Vec<ExecutorSpec>,
    /// The nodes; their ids are their indices.
    pub nodes: Vec<NodeRecord>,
    /// The edges, in any order.
    #[serde(default)]
    pub edges: Vec<Edge>,
    /// The assets that are not empty.
    #[serde(default)]
    pub assets: Vec<AssetRecord>,
}

/// What the client says of the lattice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatticeRecord {
    /// Its name.
    pub name: String,
    /// Default executor of its electrons.
    #[serde(default = "local")]
    pub executor: ExecutorSpec,
    /// Executor of the tasks that the workflow itself needs.
    #[serde(default = "local")]
    pub workflow_executor: ExecutorSpec,
    /// Python version of the client, if it runs Python.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python_version: Option<String>,
    /// SDK version of the client, if it uses the SDK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk_version: Option<String>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRecord {
    /// Its name.
    pub name: String,
    /// What it is to the engine.
    #[serde(default = "task")]
    pub kind: NodeKind,
    /// Index into the executors.
    #[serde(default)]
    pub executor: u32,
    /// The packing group; one of its own, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_group: Option<NodeId>,
    /// In a redispatch: another electron stands in this place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
}

/// One asset, and where its bytes are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetRecord {
    /// The node that it belongs to; the lattice, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Which of its owner's assets.
    pub key: AssetKey,
    /// Bytes. Never 0: an empty asset is no asset.
    pub size: u64,
    /// SHA-1 of the bytes.
    pub sha1: Sha1Digest,
    /// Whether the bytes follow in this request. They do not when the server is known to hold
    /// them, or another asset of the document brings the same ones.
    #[serde(default = "yes")]
    pub body: bool,
    /// A file on the server's machine that has these bytes. The server takes it if it can read it
    /// and finds them there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// Where the bytes of one asset come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From the request, in its turn.
    Body,
    /// From a file on the server's machine, if it has them.
    File(PathBuf),
    /// From another request, another asset, or what the server holds.
    Elsewhere,
}

/// A document, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The manifest. Whether it makes sense is for [`Manifest::graph`] to say.
    pub manifest: Manifest,
    /// For each asset of the manifest, where its bytes come from.
    pub sources: Vec<Source>,
}

fn local() -> ExecutorSpec {
    ExecutorSpec { name: "local".to_owned(), data: serde_json::json!({}) }
}

fn task() -> NodeKind {
    NodeKind::Task
}

fn yes() -> bool {
    true
}

impl Document {
    /// The document of a manifest, whose assets' bytes come from `source`.
    pub fn of(manifest: &Manifest, source: impl Fn(&ManifestAsset) -> Source) -> Self {
        let Manifest { dispatch_id, lattice, executors, nodes, edges, assets } = manifest;
        Self {
            dispatch_id: dispatch_id.clone(),
            lattice: LatticeRecord::of(lattice),
            executors: executors.clone(),
            nodes: nodes.iter().map(NodeRecord::of).collect(),
            edges: edges.clone(),
            assets: assets
                .iter()
                .filter_map(|asset| AssetRecord::of(asset, source(asset)))
                .collect(),
        }
    }

    /// The manifest, and where the bytes of its assets come from.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let Self { dispatch_id, lattice, mut executors, nodes, edges, assets } = self;
        if executors.is_empty() {
            executors.push(lattice.executor.clone());
        }
        let mut sources = Vec::with_capacity(assets.len());
        let mut announced = Vec::with_capacity(assets.len());
        for asset in assets {
            let AssetRecord { node, key, size, sha1, body, path } = asset;
            sources.push(match (body, path) {
                (_, Some(path)) => Source::File(path),
                (true, None) => Source::Body,
                (false, None) => Source::Elsewhere,
            });
            let address = AssetAddress { node, key };
            let asset = ManifestAsset { address, announced: Announced { size, sha1: Some(sha1) } };
            announced.push(asset);
        }
        let nodes = nodes.into_iter().enumerate();
        let manifest = Manifest {
            dispatch_id,
            lattice: LatticeInfo {
                name: lattice.name,
                executor: lattice.executor,
                workflow_executor: lattice.workflow_executor,
                python_version: lattice.python_version,
                sdk_version: lattice.sdk_version,
            },
            executors,
            nodes: nodes.map(|(index, node)| node.into_node(index)).collect(),
            edges,
            assets: announced,
        };
        Parts { manifest, sources }
    }
}

impl LatticeRecord {
    fn of(lattice: &LatticeInfo) -> Self {
        Self {
            name: lattice.name.clone(),
            executor: lattice.executor.clone(),
            workflow_executor: lattice.workflow_executor.clone(),
            python_version: lattice.python_version.clone(),
            sdk_version: lattice.sdk_version.clone(),
        }
    }
}

impl NodeRecord {
    fn of(node: &ManifestNode) -> Self {
        Self {
            name: node.name.clone(),
            kind: node.kind,
            executor: node.executor,
            task_group: Some(node.task_group),
            replaced: node.status == Status::PendingReplacement,
        }
    }

    fn into_node(self, index: usize) -> ManifestNode {
        let own = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
        ManifestNode {
            name: self.name,
            kind: self.kind,
            task_group: self.task_group.unwrap_or(own),
            executor: self.executor,
            status: if self.replaced { Status::PendingReplacement } else { Status::NewObject },
        }
    }
}

impl AssetRecord {
    /// An asset that was announced without a digest has no form here.
    fn of(asset: &ManifestAsset, source: Source) -> Option<Self> {
        let Announced { size, sha1 } = asset.announced;
        let (body, path) = match source {
            Source::Body => (true, None),
            Source::File(path) => (false, Some(path)),
            Source::Elsewhere => (false, None),
        };
        let AssetAddress { node, key } = asset.address;
        Some(Self { node, key, size, sha1: sha1?, body, path })
    }
}

/// Names what a manifest says, whatever its dispatch is called and wherever its bytes come from:
/// two requests with the same name ask for the same thing.
#[must_use]
pub fn digest(manifest: &Manifest) -> ContentId {
    let mut writer = BufWriter::with_capacity(DIGESTED_BYTES, blake3::Hasher::new());
    // Only maps with other keys than texts have no JSON form, and there are none.
    let written = serde_json::to_writer(&mut writer, &Nameless(manifest)).is_ok();
    let hasher = writer.into_inner().ok().filter(|_| written).unwrap_or_default();
    ContentId::from_bytes(*hasher.finalize().as_bytes())
}

/// A manifest as its document without an id and without sources, written record by record: the
/// whole text may be larger than the manifest.
struct Nameless<'a>(&'a Manifest);

impl Serialize for Nameless<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Manifest { lattice, executors, nodes, edges, assets, .. } = self.0;
        let assets = || assets.iter().filter_map(|one| AssetRecord::of(one, Source::Elsewhere));
        let mut document = serializer.serialize_struct("Document", 5)?;
        document.serialize_field("lattice", &LatticeRecord::of(lattice))?;
        document.serialize_field("executors", executors)?;
        document.serialize_field("nodes", &Each(|| nodes.iter().map(NodeRecord::of)))?;
        document.serialize_field("edges", edges)?;
        document.serialize_field("assets", &Each(assets))?;
        document.end()
    }
}

/// A list whose items are made while it is written.
struct Each<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graph::EdgeKind;

    fn sample() -> Manifest {
        let bytes = crate::asset::SmallContent::new("f".into()).content;
        let announced = Announced { size: bytes.size, sha1: Some(bytes.sha1) };
        let node = |name: &str, kind, group| ManifestNode {
            name: name.into(),
            kind,
            task_group: NodeId(group),
            executor: 0,
            status: Status::NewObject,
        };
        Manifest {
            dispatch_id: Some("d-1".parse().unwrap()),
            lattice: LatticeInfo { name: "flow".into(), ..LatticeInfo::default() },
            executors: vec![local()],
            nodes: vec![node("1", NodeKind::Parameter, 0), node("add", NodeKind::Task, 1)],
            edges: vec![Edge {
                source: NodeId(0),
                target: NodeId(1),
                name: "x".into(),
                kind: EdgeKind::Arg(0),
            }],
            assets: vec![ManifestAsset {
                address: AssetAddress::of_node(NodeId(1), AssetKey::Function),
                announced,
            }],
        }
    }

    #[test]
    fn a_manifest_survives_its_document() {
        let manifest = sample();
        for source in [Source::Body, Source::Elsewhere, Source::File("/bin/true".into())] {
            let document = Document::of(&manifest, |_| source.clone());
            let text = serde_json::to_string(&document).unwrap();
            let read: Document = serde_json::from_str(&text).unwrap();
            let parts = read.into_parts();
            assert_eq!((parts.manifest, parts.sources), (manifest.clone(), vec![source]));
        }
    }

    /// Digests are kept with dispatches: they stay what they were.
    #[test]
    fn the_digest_is_that_of_the_text_of_the_document() {
        let mut manifest = sample();
        manifest.nodes[1].status = Status::PendingReplacement;
        let mut document = Document::of(&manifest, |_| Source::Elsewhere);
        document.dispatch_id = None;
        let text = serde_json::to_vec(&document).unwrap();
        assert_eq!(serde_json::to_vec(&Nameless(&manifest)).unwrap(), text);
        assert_eq!(digest(&manifest), crate::asset::SmallContent::new(text.into()).content.id);
    }

    #[test]
    fn the_digest_names_what_is_asked_for_and_not_how_it_is_sent() {
        let manifest = sample();
        let renamed = Manifest { dispatch_id: None, ..manifest.clone() };
        assert_eq!(digest(&manifest), digest(&renamed));
        let mut other = manifest.clone();
        other.nodes[1].name.push('x');
        assert_ne!(digest(&manifest), digest(&other));
        let mut other = manifest.clone();
        other.assets.clear();
        assert_ne!(digest(&manifest), digest(&other));
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let text = r#"{"lattice": {"name": "l", "executor": {"name": "far", "data": {}}},
            "nodes": [{"name": "a"}, {"name": "b", "task_group": 0, "replaced": true}],
            "assets": [{"node": 1, "key": "function", "size": 1,
                "sha1": "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"}]}"#;
        let document: Document = serde_json::from_str(text).unwrap();
        let Parts { manifest, sources } = document.into_parts();
        assert_eq!(manifest.lattice.workflow_executor, local());
        assert_eq!(manifest.executors, std::slice::from_ref(&manifest.lattice.executor));
        assert_eq!(manifest.executors[0].name, "far");
        assert_eq!(sources, [Source::Body]);
        let [first, second] = manifest.nodes.as_slice() else { panic!("{manifest:?}") };
        assert_eq!((first.kind, first.task_group), (NodeKind::Task, NodeId(0)));
        assert_eq!(second.task_group, NodeId(0));
        assert_eq!(second.status, Status::PendingReplacement);
        let again = Document::of(&manifest, |_| Source::Body);
        assert!(again.nodes[1].replaced && !again.nodes[0].replaced);
    }

    #[test]
    fn an_asset_without_a_digest_has_no_form() {
        let mut manifest = sample();
        manifest.assets[0].announced.sha1 = None;
        assert!(Document::of(&manifest, |_| Source::Body).assets.is_empty());
    }

    #[test]
    fn a_misspelt_member_is_refused() {
        let text = r#"{"lattice": {"name": "l"}, "nodes": [], "edgse": []}"#;
        let error = serde_json::from_str::<Document>(text).unwrap_err().to_string();
        assert!(error.contains("edgse"), "{error}");
    }

    proptest! {
        #[test]
        fn damaged_documents_are_an_error_or_a_manifest(at in 0usize..2_000, byte in any::<u8>()) {
            let document = Document::of(&sample(), |_| Source::Body);
            let mut bytes = serde_json::to_vec(&document).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(read) = serde_json::from_slice::<Document>(&bytes) {
                let parts = read.into_parts();
                prop_assert_eq!(parts.manifest.assets.len(), parts.sources.len());
                // Whether it is a graph is said without a panic.
                let _checked = parts.manifest.graph(100).is_ok();
            }
        }
    }
}
