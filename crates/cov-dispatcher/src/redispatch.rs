//! A dispatch made from an earlier one: what counts as the same is decided by the engine, its
//! contents are shared with the earlier dispatch (nobody ever changes a content), and the plan is
//! kept so that it can be explained afterwards.

use std::collections::HashSet;

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState};
use cov_core::graph::{Graph, NodeKind};
use cov_core::ids::{DispatchId, NodeId, Sha1Digest};
use cov_core::manifest::{Manifest, ManifestAsset, ManifestNode, NAME_INLINE_BYTES_MAX};
use cov_core::state::NodeState;
use cov_core::status::Status;
use cov_engine::redispatch::{NodeFacts, NodePlan, Side, Verdict, plan};
use cov_store::model::{Change, DispatchRecord, NodeRecord};
use cov_store::{Blob, Staged};

use crate::Error;
use crate::handle::Registered;
use crate::registration::{Prepared, TakenOver, known, prepare, register_with};
use crate::reports::stage;
use crate::service::Shared;

/// Registers `manifest` as a redispatch of `earlier`, in one step with `beside`.
pub(crate) async fn redispatch(
    shared: &Shared,
    earlier: &DispatchId,
    manifest: Manifest,
    reuse: bool,
    beside: Vec<Change>,
) -> Result<Registered, Error> {
    let record = shared.store.record(earlier).await?;
    redispatch_record(shared, &record, manifest, reuse, beside).await
}

/// Registers a redispatch of `earlier` as it was, in one step with `beside`.
pub(crate) async fn redispatch_unchanged(
    shared: &Shared,
    earlier: &DispatchId,
    dispatch_id: Option<DispatchId>,
    reuse: bool,
    beside: Vec<Change>,
) -> Result<Registered, Error> {
    let record = shared.store.record(earlier).await?;
    let manifest = Manifest { dispatch_id, ..manifest_of(shared, &record).await? };
    redispatch_record(shared, &record, manifest, reuse, beside).await
}

/// Prepares a redispatch of `earlier` as it was, with nothing reused.
pub(crate) async fn prepare_unchanged(
    shared: &Shared,
    earlier: &DispatchId,
) -> Result<Prepared, Error> {
    let record = shared.store.record(earlier).await?;
    let manifest = manifest_of(shared, &record).await?;
    let (manifest, graph, taken_over) =
        plan_redispatch(shared, &record, manifest, false, Vec::new()).await?;
    let known = known(shared, &manifest, &HashSet::new()).await?;
    prepare(shared, manifest, &graph, known, taken_over).await
}

async fn redispatch_record(
    shared: &Shared,
    record: &DispatchRecord,
    manifest: Manifest,
    reuse: bool,
    beside: Vec<Change>,
) -> Result<Registered, Error> {
    let (manifest, graph, taken_over) =
        plan_redispatch(shared, record, manifest, reuse, beside).await?;
    register_with(shared, manifest, &graph, taken_over).await
}

pub(crate) async fn plan_redispatch(
    shared: &Shared,
    record: &DispatchRecord,
    mut manifest: Manifest,
    reuse: bool,
    beside: Vec<Change>,
) -> Result<(Manifest, Graph, TakenOver), Error> {
    let graph = manifest.graph(shared.options.nodes_max)?;
    let nodes = plan_against(record, &manifest, &graph, &beside, reuse)?;
    manifest.assets.retain(|asset| is_clients(asset.address, &graph));
    let mut taken_over = take_over(record, &nodes);
    let present: HashSet<AssetAddress> =
        taken_over.assets.iter().map(|(address, _)| *address).collect();
    manifest.assets.retain(|asset| !present.contains(&asset.address));
    let explained =
        serde_json::to_vec(&nodes).map_err(|error| Error::Internal(error.to_string()))?;
    let Staged { content, small } = stage(&*shared.contents, Bytes::from(explained)).await?;
    let address = AssetAddress::of_dispatch(AssetKey::RedispatchPlan);
    taken_over.changes.push(Change::Asset { address, content, small });
    taken_over.changes.extend(beside);
    Ok((manifest, graph, taken_over))
}

/// What a redispatch of `earlier` as `manifest`, with the names in `beside`, would take over.
/// Changes nothing.
pub(crate) fn plan_against(
    earlier: &DispatchRecord,
    manifest: &Manifest,
    graph: &Graph,
    beside: &[Change],
    reuse: bool,
) -> Result<Vec<NodePlan>, Error> {
    let mut nodes = facts_of_manifest(manifest);
    for change in beside {
        let Change::Asset { address, content, .. } = change else { continue };
        let named = address.node.filter(|_| address.key == AssetKey::Name);
        if let Some(facts) = named.and_then(|node| nodes.get_mut(node.index())) {
            facts.name = long_name(content.sha1);
        }
    }
    let new = Side { graph: graph.clone(), nodes };
    Ok(plan(&side_of_record(earlier)?, &new, reuse))
}

/// The manifest with which `earlier` would be dispatched again, unchanged.
pub(crate) async fn manifest_of(
    shared: &Shared,
    earlier: &DispatchRecord,
) -> Result<Manifest, Error> {
    let mut nodes = Vec::with_capacity(earlier.nodes.len());
    for node in &earlier.nodes {
        nodes.push(ManifestNode {
            name: whole_name(shared, node).await?,
            kind: node.kind,
            task_group: node.task_group,
            executor: node.executor,
            status: Status::NewObject,
        });
    }
    let all = earlier.assets.iter().chain(earlier.nodes.iter().flat_map(|node| &node.assets));
    let graph = graph_of_record(earlier)?;
    let assets = all
        .filter(|(address, _)| is_clients(*address, &graph))
        .map(|(address, state)| ManifestAsset { address: *address, announced: announced(state) })
        .collect();
    Ok(Manifest {
        dispatch_id: None,
        lattice: earlier.lattice.clone(),
        executors: earlier.executors.clone(),
        nodes,
        edges: earlier.edges.clone(),
        assets,
    })
}

/// Reads a plan that was kept.
pub(crate) async fn read_plan(stored: Blob) -> Result<Vec<NodePlan>, Error> {
    let bytes = bytes_of(stored).await?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Internal(error.to_string()))
}

pub(crate) async fn bytes_of(blob: Blob) -> Result<Bytes, Error> {
    match blob {
        Blob::Small(bytes) => Ok(bytes),
        Blob::File { path, .. } => match tokio::fs::read(path).await {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(Error::Store(cov_store::Error::Unavailable(Box::new(error)))),
        },
    }
}

fn announced(state: &AssetState) -> Announced {
    match state {
        AssetState::Awaited(announced) => *announced,
        AssetState::Present(content) => Announced { size: content.size, sha1: Some(content.sha1) },
    }
}

async fn whole_name(shared: &Shared, node: &NodeRecord) -> Result<String, Error> {
    let Some(AssetState::Present(content)) = asset_of(node, AssetKey::Name) else {
        return Ok(node.name.clone());
    };
    let bytes = bytes_of(shared.contents.read(content).await?).await?;
    String::from_utf8(bytes.into()).map_err(|error| Error::Internal(error.to_string()))
}

fn asset_of(node: &NodeRecord, key: AssetKey) -> Option<&AssetState> {
    node.assets.iter().find(|(address, _)| address.key == key).map(|(_, state)| state)
}

/// Whether clients make this asset, and not the run of a task.
fn is_clients(address: AssetAddress, graph: &Graph) -> bool {
    let Some(node) = address.node else {
        return address.key == AssetKey::Program || AssetKey::OF_LATTICE.contains(&address.key);
    };
    match address.key {
        AssetKey::Function | AssetKey::FunctionString | AssetKey::Value | AssetKey::Hooks => true,
        AssetKey::Output => graph.kind(node) == NodeKind::Parameter,
        AssetKey::Error
        | AssetKey::Stdout
        | AssetKey::Stderr
        | AssetKey::Result
        | AssetKey::WorkflowFunction
        | AssetKey::WorkflowFunctionString
        | AssetKey::Doc
        | AssetKey::Inputs
        | AssetKey::SublatticeManifest
        | AssetKey::Name
        | AssetKey::RedispatchPlan
        | AssetKey::Request
        | AssetKey::Program
        | AssetKey::Job => false,
    }
}

/// A text that stands for the whole name, however long that is.
fn name_facts(name: &str) -> String {
    if name.len() <= NAME_INLINE_BYTES_MAX {
        return name.to_owned();
    }
    let mut digest = cov_core::asset::ContentDigest::default();
    digest.update(name.as_bytes());
    long_name(digest.finish().sha1)
}

fn long_name(sha1: Sha1Digest) -> String {
    format!("a long name with SHA-1 {sha1}")
}

fn facts_of_manifest(manifest: &Manifest) -> Vec<NodeFacts> {
    let digest_of: std::collections::HashMap<AssetAddress, Option<Sha1Digest>> =
        manifest.assets.iter().map(|asset| (asset.address, asset.announced.sha1)).collect();
    let digest = |node, key| digest_of.get(&AssetAddress::of_node(node, key)).copied().flatten();
    let facts = |(index, node): (usize, &ManifestNode)| {
        let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
        NodeFacts {
            name: name_facts(&node.name),
            value: digest(id, AssetKey::Value),
            function: digest(id, AssetKey::FunctionString)
                .or_else(|| digest(id, AssetKey::Function)),
            executor: executor_of(&manifest.executors, node.executor),
            status: node.status,
        }
    };
    manifest.nodes.iter().enumerate().map(facts).collect()
}

fn executor_of(
    executors: &[cov_core::executor::ExecutorSpec],
    index: u32,
) -> cov_core::executor::ExecutorSpec {
    executors.get(index as usize).cloned().unwrap_or_default()
}

fn graph_of_record(record: &DispatchRecord) -> Result<Graph, Error> {
    let kinds: Vec<NodeKind> = record.nodes.iter().map(|node| node.kind).collect();
    Graph::new(&kinds, &record.edges).map_err(|reason| {
        Error::Store(cov_store::Error::Corrupt {
            what: format!("dispatch {}", record.summary.dispatch_id),
            reason: reason.to_string(),
        })
    })
}

fn side_of_record(record: &DispatchRecord) -> Result<Side, Error> {
    let sha1 = |node: &NodeRecord, key| asset_of(node, key).and_then(|state| announced(state).sha1);
    let facts = |node: &NodeRecord| NodeFacts {
        name: sha1(node, AssetKey::Name).map_or_else(|| node.name.clone(), long_name),
        value: sha1(node, AssetKey::Value),
        function: sha1(node, AssetKey::FunctionString).or_else(|| sha1(node, AssetKey::Function)),
        executor: executor_of(&record.executors, node.executor),
        status: node.state.status,
    };
    Ok(Side { graph: graph_of_record(record)?, nodes: record.nodes.iter().map(facts).collect() })
}

/// Nodes that count as the same run with their earlier function and inputs, by contract; reused
/// ones bring their output, logs and times along.
fn take_over(record: &DispatchRecord, nodes: &[NodePlan]) -> TakenOver {
    let mut taken_over = TakenOver::default();
    for (node, plan) in record.nodes.iter().zip(nodes).filter(|(_, plan)| plan.is_same()) {
        let reused = plan.verdict == Verdict::Reused;
        let keeps = |key: AssetKey| match key {
            AssetKey::Function | AssetKey::FunctionString | AssetKey::Value | AssetKey::Hooks => {
                true
            }
            AssetKey::Output => reused || node.kind == NodeKind::Parameter,
            AssetKey::Stdout | AssetKey::Stderr => reused,
            _ => false,
        };
        let present = |state: &AssetState| matches!(state, AssetState::Present(_));
        let kept =
            node.assets.iter().filter(|(address, state)| keeps(address.key) && present(state));
        taken_over.assets.extend(kept.copied());
        if reused {
            let state = NodeState {
                status: Status::PendingReuse,
                started_at: node.state.started_at,
                ended_at: node.state.ended_at,
                ..NodeState::default()
            };
            taken_over.states.insert(plan.node_id, state);
        }
    }
    taken_over
}
