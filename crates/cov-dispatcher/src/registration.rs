//! How a manifest becomes a stored dispatch, and which contents its client has to send.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState, ContentRef};
use cov_core::graph::Graph;
use cov_core::ids::{DispatchId, NodeId, Sha1Digest};
use cov_core::manifest::{Manifest, ManifestAsset, ManifestNode, NAME_INLINE_BYTES_MAX};
use cov_core::state::NodeState;
use cov_core::status::Status;
use cov_store::model::{Change, ChangeSet, NewNode, Registration};
use cov_store::{Contents, Staged};

use crate::handle::Registered;
use crate::handle::named::kept;
use crate::reports::stage;
use crate::service::Shared;
use crate::{Error, target};

/// How much of a long name stays in its row. Bytes.
const NAME_BEGINNING_BYTES: usize = 256;

/// Registers a manifest as it is. The store has `names`, and the manifest their beginnings.
pub(crate) async fn register(
    shared: &Shared,
    manifest: Manifest,
    names: Vec<(NodeId, Staged)>,
) -> Result<Registered, Error> {
    let (manifest, graph) = check(manifest, shared.options.nodes_max).await?;
    let beside = TakenOver { changes: kept(&*shared.contents, names), ..TakenOver::default() };
    register_with(shared, manifest, &graph, beside).await
}

/// Manifests with more nodes and edges than this are checked beside the tasks of the server.
const CHECKED_AT_ONCE_MAX: usize = 5_000;

/// Checks a manifest and builds its graph.
pub(crate) async fn check(
    manifest: Manifest,
    nodes_max: usize,
) -> Result<(Manifest, Graph), Error> {
    let is_small = manifest.nodes.len() + manifest.edges.len() <= CHECKED_AT_ONCE_MAX;
    let check = move || {
        let graph = manifest.graph(nodes_max)?;
        target::check(&manifest)?;
        Ok((manifest, graph))
    };
    match is_small {
        true => check(),
        false => tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| Error::Internal(error.to_string()))?,
    }
}

/// What a new dispatch takes over from an earlier one.
#[derive(Debug, Default)]
pub(crate) struct TakenOver {
    /// Assets with the contents of the earlier dispatch.
    pub(crate) assets: Vec<(AssetAddress, AssetState)>,
    /// Nodes whose results are taken over, with the state to store.
    pub(crate) states: HashMap<NodeId, NodeState>,
    /// Further changes of the new dispatch.
    pub(crate) changes: Vec<Change>,
}

/// A new dispatch, ready to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) registered: Registered,
    /// Its registration first.
    pub(crate) changes: Vec<Change>,
}

/// Registers a checked manifest beside what is taken over.
pub(crate) async fn register_with(
    shared: &Shared,
    manifest: Manifest,
    graph: &Graph,
    taken_over: TakenOver,
) -> Result<Registered, Error> {
    let known = known(shared, &manifest, &HashSet::new()).await?;
    let prepared = prepare(shared, manifest, graph, known, taken_over).await?;
    let Prepared { registered, changes } = prepared;
    let (at, dispatch) = (shared.clock.now(), registered.dispatch.clone());
    shared.committer.commit(ChangeSet { dispatch, at, changes }).await?;
    Ok(registered)
}

/// Which contents of a manifest are stored, by asset. Those of `coming` are not looked for.
pub(crate) async fn known(
    shared: &Shared,
    manifest: &Manifest,
    coming: &HashSet<AssetAddress>,
) -> Result<Vec<Option<ContentRef>>, Error> {
    let asked = |asset: &ManifestAsset| match coming.contains(&asset.address) {
        true => Announced { sha1: None, ..asset.announced },
        false => asset.announced,
    };
    let asked: Vec<Announced> = manifest.assets.iter().map(asked).collect();
    Ok(shared.store.known_contents(&asked).await?)
}

/// Prepares a checked manifest beside what is taken over. `known` are contents of its assets that
/// are stored; any may be left out.
pub(crate) async fn prepare(
    shared: &Shared,
    manifest: Manifest,
    graph: &Graph,
    known: Vec<Option<ContentRef>>,
    taken_over: TakenOver,
) -> Result<Prepared, Error> {
    let dispatch = manifest.dispatch_id.clone().unwrap_or_else(|| shared.new_dispatch_id());
    let (mut assets, uploads) = plan_uploads(&manifest.assets, known);
    assets.extend(taken_over.assets);
    let (mut nodes, names) = nodes_and_names(&*shared.contents, manifest.nodes).await?;
    for (id, state) in taken_over.states {
        nodes.get_mut(id.index()).into_iter().for_each(|node| node.state = state);
    }
    let registration = Registration {
        root: dispatch.clone(),
        parent: None,
        lattice: manifest.lattice,
        executors: manifest.executors,
        nodes,
        edges: graph.edges().collect(),
        assets,
    };
    let mut changes = vec![Change::Register(Box::new(registration))];
    changes.extend(names);
    changes.extend(taken_over.changes);
    Ok(Prepared { registered: Registered { dispatch, uploads }, changes })
}

/// Of assets that have no content, those to ask for, so that each content is asked for once.
pub(crate) fn asked_once(
    wanted: impl Iterator<Item = (AssetAddress, Announced)>,
) -> HashSet<AssetAddress> {
    let mut asked: HashSet<(Sha1Digest, u64)> = HashSet::new();
    let mut uploads = HashSet::new();
    for (address, Announced { size, sha1 }) in wanted {
        if sha1.is_none_or(|sha1| asked.insert((sha1, size))) {
            uploads.insert(address);
        }
    }
    uploads
}

/// Announced assets whose content is stored are there already; of the others, each content is
/// asked for once. Another dispatch's pending upload is never counted on.
fn plan_uploads(
    announced: &[ManifestAsset],
    known: Vec<Option<ContentRef>>,
) -> (Vec<(AssetAddress, AssetState)>, HashSet<AssetAddress>) {
    let mut missing = Vec::new();
    let mut assets = Vec::with_capacity(announced.len());
    for (asset, known) in announced.iter().zip(known) {
        let state = match known {
            Some(content) => AssetState::Present(content),
            None => {
                missing.push((asset.address, asset.announced));
                AssetState::Awaited(asset.announced)
            }
        };
        assets.push((asset.address, state));
    }
    (assets, asked_once(missing.into_iter()))
}

/// The nodes as they are stored, and the assets that hold names too long for a row.
pub(crate) async fn nodes_and_names(
    contents: &dyn Contents,
    nodes: Vec<ManifestNode>,
) -> Result<(Vec<NewNode>, Vec<Change>), Error> {
    let mut stored = Vec::with_capacity(nodes.len());
    let mut names = Vec::new();
    // Calls with the same large argument have the same name; it is staged once.
    let mut staged: HashMap<String, Staged> = HashMap::new();
    for (index, mut node) in nodes.into_iter().enumerate() {
        if node.name.len() > NAME_INLINE_BYTES_MAX {
            let beginning = node.name.floor_char_boundary(NAME_BEGINNING_BYTES);
            let short = node.name.get(..beginning).unwrap_or_default().to_owned();
            let whole = std::mem::replace(&mut node.name, short);
            let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
            let address = AssetAddress::of_node(id, AssetKey::Name);
            let Staged { content, small } = match staged.get(&whole) {
                Some(staged) => staged.clone(),
                None => {
                    let new = stage(contents, Bytes::from(whole.clone())).await?;
                    staged.insert(whole, new.clone());
                    new
                }
            };
            names.push(Change::Asset { address, content, small });
        }
        stored.push(new_node(node));
    }
    Ok((stored, names))
}

fn new_node(node: ManifestNode) -> NewNode {
    // A replaced electron runs like a new one.
    let status = match node.status {
        Status::PendingReplacement => Status::NewObject,
        status => status,
    };
    NewNode {
        name: node.name,
        kind: node.kind,
        task_group: node.task_group,
        executor: node.executor,
        state: NodeState { status, ..NodeState::default() },
    }
}

/// The id of the sub-dispatch that a node built: the same for the same attempt, so that taking
/// it over twice, with a crash in between, makes one.
pub(crate) fn child_id(
    parent: &DispatchId,
    node: NodeId,
    attempt: &str,
) -> Result<DispatchId, Error> {
    let seed = format!("{parent}/{node}/{attempt}");
    let digest = cov_core::asset::SmallContent::new(Bytes::from(seed)).content.id;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(digest.as_bytes().get(..16).unwrap_or(&[0; 16]));
    let id = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
    id.parse().map_err(|_source| Error::Internal(format!("{id} is no dispatch id")))
}
