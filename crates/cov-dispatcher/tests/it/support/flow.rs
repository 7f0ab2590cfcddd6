//! Workflows of scripts, and the format in which a script builds one.

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, SmallContent};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::manifest::{LatticeInfo, Manifest, ManifestAsset, ManifestNode};
use cov_core::status::Status;
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::{BuiltLattice, SublatticeFormat};
use serde_json::{Value, json};

/// A workflow with the bytes of its assets.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Vec<(AssetAddress, Bytes)>,
}

impl Flow {
    pub(crate) fn new() -> Self {
        let local = ExecutorSpec { name: "local".into(), data: json!({}) };
        let lattice = LatticeInfo { name: "flow".into(), ..LatticeInfo::default() };
        let manifest = Manifest {
            dispatch_id: None,
            lattice,
            executors: vec![local],
            nodes: Vec::new(),
            edges: Vec::new(),
            assets: Vec::new(),
        };
        Self { manifest, bytes: Vec::new() }
    }

    /// A chain of tasks, each of which adds one.
    pub(crate) fn chain(length: u32) -> Self {
        let mut flow = Self::new();
        for index in 0..length {
            let inputs: Vec<u32> = index.checked_sub(1).into_iter().collect();
            flow.task(json!({}), &inputs);
        }
        flow
    }

    /// Tasks without inputs.
    pub(crate) fn fan(width: u32, script: &Value) -> Self {
        let mut flow = Self::new();
        for _ in 0..width {
            flow.task(script.clone(), &[]);
        }
        flow
    }

    pub(crate) fn node(&mut self, kind: NodeKind) -> u32 {
        let id = u32::try_from(self.manifest.nodes.len()).unwrap();
        self.manifest.nodes.push(ManifestNode {
            name: format!("task {id}"),
            kind,
            task_group: NodeId(id),
            executor: 0,
            status: Status::NewObject,
        });
        id
    }

    /// A task with these positional arguments.
    pub(crate) fn task(&mut self, script: Value, inputs: &[u32]) -> u32 {
        self.task_of(NodeKind::Task, script, inputs)
    }

    pub(crate) fn task_of(&mut self, kind: NodeKind, script: Value, inputs: &[u32]) -> u32 {
        let id = self.node(kind);
        self.asset(AssetAddress::of_node(NodeId(id), AssetKey::Function), script.to_string());
        for (index, source) in (0_u32..).zip(inputs) {
            self.edge(*source, id, EdgeKind::Arg(index));
        }
        id
    }

    pub(crate) fn parameter(&mut self, value: Value) -> u32 {
        let id = self.node(NodeKind::Parameter);
        self.asset(AssetAddress::of_node(NodeId(id), AssetKey::Output), value.to_string());
        id
    }

    /// The end of a lattice that returns what `source` made.
    pub(crate) fn forward(&mut self, source: u32) -> u32 {
        let id = self.node(NodeKind::Forward);
        self.edge(source, id, EdgeKind::Arg(0));
        id
    }

    pub(crate) fn edge(&mut self, source: u32, target: u32, kind: EdgeKind) {
        let (source, target) = (NodeId(source), NodeId(target));
        self.manifest.edges.push(Edge { source, target, name: format!("x{source}"), kind });
    }

    pub(crate) fn asset(&mut self, address: AssetAddress, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.manifest.assets.push(ManifestAsset { address, announced: announced(&bytes) });
        self.bytes.push((address, bytes));
    }

    /// Runs `node` on an executor with this name and these attributes.
    pub(crate) fn on(&mut self, node: u32, name: &str, attributes: Value) {
        let executor = u32::try_from(self.manifest.executors.len()).unwrap();
        let data = json!({ "attributes": attributes });
        self.manifest.executors.push(ExecutorSpec { name: name.into(), data });
        self.manifest.nodes[node as usize].executor = executor;
    }
}

pub(crate) fn announced(bytes: &Bytes) -> Announced {
    let content = SmallContent::new(bytes.clone()).content;
    Announced { size: content.size, sha1: Some(content.sha1) }
}

/// What a script returns to build a chain of scripts, the last of which is its result.
pub(crate) fn lattice(scripts: &[Value]) -> Value {
    json!({ "lattice": scripts })
}

/// Reads [`lattice`].
#[derive(Debug)]
pub(crate) struct Format;

impl SublatticeFormat for Format {
    fn read(&self, output: &Blob) -> Result<BuiltLattice, String> {
        let bytes = match output {
            Blob::Small(bytes) => bytes.to_vec(),
            Blob::File { path, .. } => std::fs::read(path).map_err(|error| error.to_string())?,
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let scripts = value.get("lattice").and_then(Value::as_array);
        let scripts = scripts.ok_or_else(|| "it is no lattice".to_owned())?;
        let flow = built(scripts);
        Ok(BuiltLattice { manifest: flow.manifest, assets: flow.bytes })
    }
}

/// A chain of scripts, the last of which ends the workflow. A script that is a lattice itself
/// becomes a sublattice.
pub(crate) fn built(scripts: &[Value]) -> Flow {
    let mut flow = Flow::new();
    for (index, script) in scripts.iter().enumerate() {
        let kind = match (index + 1 == scripts.len(), script.get("lattice")) {
            (true, _) => NodeKind::Postprocess,
            (false, Some(_)) => NodeKind::Sublattice,
            (false, None) => NodeKind::Task,
        };
        let script = match script.get("lattice") {
            Some(_) => json!({ "return": script }),
            None => script.clone(),
        };
        let inputs: Vec<u32> = u32::try_from(index).unwrap().checked_sub(1).into_iter().collect();
        flow.task_of(kind, script, &inputs);
    }
    flow
}
