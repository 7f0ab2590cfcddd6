//! Reads a manifest as the SDK writes it into the form of the core. Checks all that can be told
//! from one node or one link; whether they make a graph is checked by the core.

use std::collections::HashMap;
use std::fmt;

use cov_core::asset::{Announced, AssetAddress, AssetKey};
use cov_core::error::ErrorCode;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::manifest::{LatticeInfo, Manifest, ManifestAsset, ManifestNode};
use cov_core::status::Status;
use cov_dispatcher::store::Staged;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::long_names::LongNames;
use super::names::{WAITING_EDGE, node_kind};
use super::wire::{self, Object};
use crate::body;
use crate::error::{Refusal, Step};

/// A manifest as it was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) manifest: Manifest,
    /// Assets that the server shall take from a file by itself, and where that is.
    pub(super) sources: Vec<(AssetAddress, String)>,
    /// Names that the store has; the manifest has their beginnings.
    pub(super) names: Vec<(NodeId, Staged)>,
}

/// Parses a manifest of at most `nodes_max` nodes, out of which `names` were taken.
///
/// # Errors
/// The first fault, with its path. Reading ends with the node that is one too many.
pub(super) fn parse(bytes: &[u8], nodes_max: usize, names: &LongNames) -> Result<Sent, Refusal> {
    let Object(wire): Object<wire::Manifest<'_>> = match serde_json::from_slice(bytes) {
        Ok(wire) => wire,
        // Only a refused manifest pays for the path of its fault.
        Err(_) => body::parse(bytes, "body")?,
    };
    let Object(lattice) = wire.lattice;
    let mut reading = Reading::new(nodes_max, names);
    reading.lattice_assets(&lattice.assets)?;
    reading.nodes(lattice.transport_graph.nodes)?;
    let links = lattice.transport_graph.0.links;
    let edges = links.into_iter().enumerate().map(|(index, link)| edge_of(index, link));
    let edges = edges.collect::<Result<_, _>>()?;
    let manifest = Manifest {
        dispatch_id: chosen_id(&wire.metadata.dispatch_id)?,
        lattice: lattice_info(lattice.metadata.0)?,
        executors: reading.executors.specs,
        nodes: in_order(reading.listed)?,
        edges,
        assets: reading.assets,
    };
    Ok(Sent { manifest, sources: reading.sources, names: reading.names })
}

fn chosen_id(text: &str) -> Result<Option<cov_core::ids::DispatchId>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let loc = || ["body", "metadata", "dispatch_id"].map(Step::from).to_vec();
    let parsed = text.parse().map(Some);
    parsed.map_err(|error: cov_core::ids::IdError| invalid(loc(), error.to_string()))
}

fn lattice_info(metadata: wire::LatticeMetadata<'_>) -> Result<LatticeInfo, Refusal> {
    let at = |member| ["body", "lattice", "metadata", member].map(Step::from).to_vec();
    Ok(LatticeInfo {
        name: metadata.name,
        executor: ExecutorSpec {
            name: metadata.executor,
            data: object(metadata.executor_data, || at("executor_data"))?,
        },
        workflow_executor: ExecutorSpec {
            name: metadata.workflow_executor,
            data: object(metadata.workflow_executor_data, || at("workflow_executor_data"))?,
        },
        python_version: metadata.python_version,
        sdk_version: metadata.covalent_version,
    })
}

fn object(raw: &RawValue, loc: impl Fn() -> Vec<Step>) -> Result<serde_json::Value, Refusal> {
    let value = serde_json::from_str(raw.get());
    let value: serde_json::Value = value.map_err(|error| invalid(loc(), error.to_string()))?;
    if value.is_object() {
        return Ok(value);
    }
    Err(invalid(loc(), "Input should be an object"))
}

fn edge_of(index: usize, Object(link): Object<wire::Link<'_>>) -> Result<Edge, Refusal> {
    let Object(metadata) = link.metadata;
    let kind = match metadata.param_type {
        _ if metadata.edge_name == WAITING_EDGE => EdgeKind::Wait,
        None => EdgeKind::Wait,
        Some(wire::ParamType::Kwarg) => EdgeKind::Kwarg,
        Some(wire::ParamType::Arg) => {
            let position = metadata.arg_index.ok_or_else(|| {
                let mut loc = in_graph("links", index);
                loc.extend(["metadata", "arg_index"].map(Step::from));
                invalid(loc, "a positional argument has an index")
            })?;
            EdgeKind::Arg(position)
        }
    };
    Ok(Edge {
        source: NodeId(link.source),
        target: NodeId(link.target),
        name: metadata.edge_name.into_owned(),
        kind,
    })
}

/// The nodes by id. They may be listed in any order, but every id from 0 must be there once.
fn in_order(listed: Vec<(u32, ManifestNode)>) -> Result<Vec<ManifestNode>, Refusal> {
    let count = listed.len();
    let mut seen = vec![false; count];
    for (index, (id, node)) in listed.iter().enumerate() {
        let fault = |member: &'static [&'static str], said: String| {
            let mut loc = in_graph("nodes", index);
            loc.extend(member.iter().copied().map(Step::from));
            Err(Refusal::at(ErrorCode::InvalidGraph, "value_error", loc, said))
        };
        match seen.get_mut(*id as usize) {
            None => return fault(&["id"], format!("id {id} of {count} nodes; ids run from 0")),
            Some(true) => return fault(&["id"], format!("id {id} is there twice")),
            Some(place) => *place = true,
        }
        if node.task_group.index() >= count {
            let said = format!("group {} of {count} nodes", node.task_group);
            return fault(&["metadata", "task_group_id"], said);
        }
    }
    let mut listed = listed;
    listed.sort_by_key(|(id, _)| *id);
    Ok(listed.into_iter().map(|(_, node)| node).collect())
}

fn in_graph(list: &'static str, index: usize) -> Vec<Step> {
    let steps = ["body", "lattice", "transport_graph", list];
    steps.into_iter().map(Step::from).chain([Step::Index(index)]).collect()
}

fn invalid(loc: Vec<Step>, said: impl Into<String>) -> Refusal {
    Refusal::at(ErrorCode::InvalidBody, "value_error", loc, said)
}

/// The executors of a manifest, each once.
#[derive(Debug, Default)]
struct Executors {
    specs: Vec<ExecutorSpec>,
    known: HashMap<(String, String), u32>,
    /// Neighbours mostly name the same one.
    latest: Option<(String, String, u32)>,
}

impl Executors {
    fn index_of(
        &mut self,
        name: &str,
        data: &RawValue,
        loc: impl Fn() -> Vec<Step>,
    ) -> Result<u32, Refusal> {
        if let Some((latest_name, latest_data, index)) = &self.latest
            && latest_name == name
            && latest_data == data.get()
        {
            return Ok(*index);
        }
        let key = (name.to_owned(), data.get().to_owned());
        let index = match self.known.get(&key) {
            Some(index) => *index,
            None => {
                let index = u32::try_from(self.specs.len()).unwrap_or(u32::MAX);
                self.specs.push(ExecutorSpec { name: name.to_owned(), data: object(data, loc)? });
                self.known.insert(key.clone(), index);
                index
            }
        };
        self.latest = Some((key.0, key.1, index));
        Ok(index)
    }
}

/// What has been read of a manifest.
#[derive(Debug)]
struct Reading<'n> {
    nodes_max: usize,
    long_names: &'n LongNames,
    /// Ids and nodes, in the order of the list.
    listed: Vec<(u32, ManifestNode)>,
    executors: Executors,
    assets: Vec<ManifestAsset>,
    sources: Vec<(AssetAddress, String)>,
    names: Vec<(NodeId, Staged)>,
    /// A fault that serde's errors cannot carry.
    refusal: Option<Refusal>,
}

impl<'n> Reading<'n> {
    fn new(nodes_max: usize, long_names: &'n LongNames) -> Self {
        Self {
            nodes_max,
            long_names,
            listed: Vec::new(),
            executors: Executors::default(),
            assets: Vec::new(),
            sources: Vec::new(),
            names: Vec::new(),
            refusal: None,
        }
    }

    fn lattice_assets(&mut self, assets: &wire::LatticeAssets) -> Result<(), Refusal> {
        let keyed = [
            (AssetKey::WorkflowFunction, &assets.workflow_function),
            (AssetKey::WorkflowFunctionString, &assets.workflow_function_string),
            (AssetKey::Doc, &assets.doc),
            (AssetKey::Inputs, &assets.inputs),
            (AssetKey::Hooks, &assets.hooks),
        ];
        let loc = || ["body", "lattice", "assets"].map(Step::from).to_vec();
        keyed
            .into_iter()
            .try_for_each(|(key, asset)| self.asset(AssetAddress::of_dispatch(key), asset, loc))
    }

    fn nodes(&mut self, raw: &RawValue) -> Result<(), Refusal> {
        let fast = (&mut *self).deserialize(&mut serde_json::Deserializer::from_str(raw.get()));
        if fast.is_ok() {
            return Ok(());
        }
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal);
        }
        // The same again, only to learn where the fault is.
        let mut again = Self::new(self.nodes_max, self.long_names);
        let mut track = serde_path_to_error::Track::new();
        let mut reader = serde_json::Deserializer::from_str(raw.get());
        let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
        let Err(error) = (&mut again).deserialize(tracked) else { return Ok(()) };
        let error = serde_path_to_error::Error::new(track.path(), error);
        let loc = ["body", "lattice", "transport_graph", "nodes"].map(Step::from).to_vec();
        Err(body::fault(raw.get().as_bytes(), &error, loc))
    }

    fn node(&mut self, node: wire::Node<'_>) -> Result<(), Refusal> {
        let index = self.listed.len();
        let Object(metadata) = node.metadata;
        let executor =
            self.executors.index_of(&metadata.executor, metadata.executor_data, || {
                let mut loc = in_graph("nodes", index);
                loc.extend(["metadata", "executor_data"].map(Step::from));
                loc
            })?;
        let (name, kind) = match self.long_names.of(&metadata.name) {
            Some(long) => {
                self.names.push((NodeId(node.id), long.staged.clone()));
                (long.beginning.clone(), long.kind)
            }
            None => {
                let kind = node_kind(&metadata.name);
                (metadata.name, kind)
            }
        };
        self.node_assets(index, NodeId(node.id), kind, &node.assets)?;
        let status = match metadata.status {
            Status::PendingReplacement => Status::PendingReplacement,
            _ => Status::NewObject,
        };
        self.listed.push((
            node.id,
            ManifestNode {
                name,
                kind,
                task_group: NodeId(metadata.task_group_id),
                executor,
                status,
            },
        ));
        Ok(())
    }

    /// Takes what clients send. What tasks and the server make (streams, errors, outputs of all
    /// but parameters) is not awaited, whatever a copied manifest says of it.
    fn node_assets(
        &mut self,
        index: usize,
        node: NodeId,
        kind: NodeKind,
        assets: &wire::NodeAssets,
    ) -> Result<(), Refusal> {
        let output = (kind == NodeKind::Parameter).then_some((AssetKey::Output, &assets.output));
        let keyed = [
            (AssetKey::Function, &assets.function),
            (AssetKey::FunctionString, &assets.function_string),
            (AssetKey::Value, &assets.value),
            (AssetKey::Hooks, &assets.hooks),
        ];
        let loc = || {
            let mut loc = in_graph("nodes", index);
            loc.push("assets".into());
            loc
        };
        keyed
            .into_iter()
            .chain(output)
            .try_for_each(|(key, asset)| self.asset(AssetAddress::of_node(node, key), asset, loc))
    }

    fn asset(
        &mut self,
        address: AssetAddress,
        asset: &wire::Asset,
        loc: impl Fn() -> Vec<Step>,
    ) -> Result<(), Refusal> {
        if asset.size == 0 {
            return Ok(());
        }
        let sha1 = match (asset.digest_alg.as_deref(), asset.digest.as_deref()) {
            (Some("sha" | "sha1"), Some(digest)) => {
                Some(digest.parse().map_err(|error: cov_core::ids::IdError| {
                    let mut loc = loc();
                    loc.extend([address.key.as_str(), "digest"].map(Step::from));
                    invalid(loc, error.to_string())
                })?)
            }
            _ => None,
        };
        self.assets
            .push(ManifestAsset { address, announced: Announced { size: asset.size, sha1 } });
        if let Some(uri) = asset.uri.as_ref().filter(|uri| !uri.is_empty()) {
            self.sources.push((address, uri.clone()));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reading<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of nodes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while self.listed.len() < self.nodes_max {
            let Some(Object(node)) = seq.next_element::<Object<wire::Node<'de>>>()? else {
                return Ok(());
            };
            if let Err(refusal) = self.node(node) {
                self.refusal = Some(refusal);
                return Err(A::Error::custom("refused"));
            }
        }
        if seq.next_element::<IgnoredAny>()?.is_none() {
            return Ok(());
        }
        let said = format!("more than {} nodes (limits.nodes)", self.nodes_max);
        self.refusal = Some(Refusal::new(ErrorCode::TooLarge, said));
        Err(A::Error::custom("refused"))
    }
}

#[cfg(test)]
mod tests;
