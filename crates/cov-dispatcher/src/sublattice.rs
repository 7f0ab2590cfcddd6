//! Takes over the sub-dispatch that a task built and did not register itself: the task's output
//! holds its manifest and assets. From Rust, that is a bundle, which is read here; what others
//! look like is known only to the [`SublatticeFormat`] that the server brings along.

use std::fmt::Debug;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState, ContentRef};
use cov_core::bundle::Bundle;
use cov_core::executor::ExecutorSpec;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::{Manifest, ManifestAsset};
use cov_core::transportable::{Encoding, HEADER_BYTES_MAX, Header, Layout, TransportableObject};
use cov_store::model::{Change, ChangeSet, Registration};
use cov_store::{Blob, Staged};

use crate::handle::Handle;
use crate::registration::{check, child_id, nodes_and_names};
use crate::reports::stage;
use crate::{Error, target};

/// The header of an archive, and what stands before it, ends within so many bytes.
const BEGINNING_BYTES: u64 = 16 + HEADER_BYTES_MAX as u64;

/// Largest bundle that is taken over. Bytes.
const BUNDLE_BYTES_MAX: u64 = 1 << 30;

/// A lattice that a task built.
#[derive(Debug)]
pub struct BuiltLattice {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its assets that are not empty.
    pub assets: Vec<(AssetAddress, Bytes)>,
}

/// Reads what tasks build that is no bundle.
pub trait SublatticeFormat: Debug + Send + Sync + 'static {
    /// Reads the output of a task that built a lattice. May block.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence for the user.
    fn read(&self, output: &Blob) -> Result<BuiltLattice, String>;
}

/// Registers what `node` of `parent` built, durably, and returns its id.
pub(crate) async fn import(
    handle: &Handle,
    parent: &DispatchId,
    node: NodeId,
) -> Result<DispatchId, Error> {
    let shared = handle.shared();
    let built = read_built(handle, parent, node).await?;
    let stored = shared.store.load(parent).await?;
    let state = stored.nodes.get(node.index()).map(|node| node.state);
    let attempt = state.and_then(|state| state.attempt);
    let attempt = attempt.map(|attempt| attempt.to_string()).unwrap_or_default();
    let child = child_id(parent, node, &attempt)?;
    let executor = stored.nodes.get(node.index()).map(|node| node.executor as usize);
    let executor = executor.and_then(|index| stored.executors.get(index));
    let built = with_program(handle, parent, executor, built).await?;
    match register(handle, &child, stored.root, (parent.clone(), node), built).await {
        // It was taken over before the server was restarted.
        Err(Error::Exists { .. }) | Ok(()) => Ok(child),
        Err(error) => Err(error),
    }
}

/// Gives a linked sub-dispatch the assets that its builder could not upload: a server that stops
/// refuses them, and the builder then leaves all of them in its output.
pub(crate) async fn complete(
    handle: &Handle,
    parent: &DispatchId,
    node: NodeId,
    child: &DispatchId,
    missing: &[AssetAddress],
) -> Result<(), Error> {
    let shared = handle.shared();
    let built = read_built(handle, parent, node).await?;
    let mut changes = Vec::new();
    for (address, bytes) in built.assets {
        if missing.contains(&address) {
            let Staged { content, small } = stage(&*shared.contents, bytes).await?;
            changes.push(Change::Asset { address, content, small });
        }
    }
    let at = shared.clock.now();
    shared.committer.commit(ChangeSet { dispatch: child.clone(), at, changes }).await
}

async fn read_built(
    handle: &Handle,
    parent: &DispatchId,
    node: NodeId,
) -> Result<BuiltLattice, Error> {
    let address = AssetAddress::of_node(node, AssetKey::SublatticeManifest);
    let output = handle.read_asset(parent, address).await?;
    let output = output.ok_or_else(|| refused("the task built nothing"))?;
    let format = Arc::clone(&handle.shared().sublattices);
    tokio::task::spawn_blocking(move || read(&*format, &output))
        .await
        .map_err(|error| Error::Internal(error.to_string()))?
        .map_err(|reason| refused(&reason))
}

fn read(format: &dyn SublatticeFormat, output: &Blob) -> Result<BuiltLattice, String> {
    match read_bundle(output)? {
        Some(bundle) => Ok(built_of(&bundle)),
        None => format.read(output),
    }
}

/// The bundle in an output that holds one: none other is encoded as JSON.
fn read_bundle(output: &Blob) -> Result<Option<Bundle>, String> {
    let unreadable = |error: std::io::Error| error.to_string();
    let (beginning, size) = match output {
        Blob::Small(bytes) => (bytes.clone(), bytes.len() as u64),
        Blob::File { path, size } => {
            let mut beginning = Vec::new();
            let file = File::open(path).map_err(unreadable)?;
            file.take(BEGINNING_BYTES).read_to_end(&mut beginning).map_err(unreadable)?;
            (beginning.into(), *size)
        }
    };
    if !is_json(&beginning, size) {
        return Ok(None);
    }
    if size > BUNDLE_BYTES_MAX {
        return Err(format!("it has {size} bytes; at most {BUNDLE_BYTES_MAX} are taken over"));
    }
    let archive = match output {
        Blob::Small(bytes) => bytes.clone(),
        Blob::File { path, .. } => std::fs::read(path).map_err(unreadable)?.into(),
    };
    let object = TransportableObject::from_bytes(&archive).map_err(|error| error.to_string())?;
    Bundle::from_json(&object.data).map(Some).map_err(|error| error.to_string())
}

/// Whether an archive that begins like this says that it is encoded as JSON.
fn is_json(beginning: &[u8], size: u64) -> bool {
    let Ok(layout) = Layout::read(beginning, size) else { return false };
    let Range { start, end } = layout.header();
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    let header = beginning.get(at(start)..at(end)).map(Header::read);
    matches!(header, Some(Ok((Header { encoding: Encoding::Json, .. }, _))))
}

fn built_of(bundle: &Bundle) -> BuiltLattice {
    let assets = bundle.manifest.assets.iter().enumerate();
    let assets =
        assets.filter_map(|(index, asset)| Some((asset.address, bundle.bytes_of(index)?.clone())));
    let manifest = Manifest { dispatch_id: None, ..bundle.manifest.clone() };
    BuiltLattice { assets: assets.collect(), manifest }
}

/// Names the program of the task that built a lattice in executors that name none, and gives the
/// lattice that program, if it needs one and brings none.
async fn with_program(
    handle: &Handle,
    parent: &DispatchId,
    executor: Option<&ExecutorSpec>,
    mut built: BuiltLattice,
) -> Result<Built, Error> {
    let manifest = &mut built.manifest;
    target::name_program(manifest, executor);
    let address = AssetAddress::of_dispatch(AssetKey::Program);
    let is_brought = manifest.assets.iter().any(|asset| asset.address == address);
    if is_brought || !target::needs_program(manifest) {
        return Ok(Built { lattice: built, program: None });
    }
    let state = handle.shared().store.asset(parent, address).await?;
    let program = state.and_then(|state| state.content().copied());
    if let Some(ContentRef { size, sha1, .. }) = program {
        let announced = Announced { size, sha1: Some(sha1) };
        manifest.assets.push(ManifestAsset { address, announced });
    }
    Ok(Built { lattice: built, program })
}

/// A lattice that a task built, and the program of that task, if it is to run it.
struct Built {
    lattice: BuiltLattice,
    program: Option<ContentRef>,
}

fn refused(reason: &str) -> Error {
    Error::IllegalState { what: format!("the sub-workflow cannot be taken over: {reason}") }
}

async fn register(
    handle: &Handle,
    child: &DispatchId,
    root: DispatchId,
    parent: (DispatchId, NodeId),
    built: Built,
) -> Result<(), Error> {
    let shared = handle.shared();
    let Built { lattice: BuiltLattice { manifest, assets }, program } = built;
    let (manifest, graph) = check(manifest, shared.options.nodes_max).await?;
    let (nodes, names) = nodes_and_names(&*shared.contents, manifest.nodes).await?;
    let awaited = |asset: &ManifestAsset| (asset.address, AssetState::Awaited(asset.announced));
    let registration = Registration {
        root,
        parent: Some(parent),
        lattice: manifest.lattice,
        executors: manifest.executors,
        nodes,
        edges: graph.edges().collect(),
        assets: manifest.assets.iter().map(awaited).collect(),
    };
    let mut changes = vec![Change::Register(Box::new(registration))];
    changes.extend(names);
    for (address, bytes) in assets {
        let Staged { content, small } = stage(&*shared.contents, bytes).await?;
        changes.push(Change::Asset { address, content, small });
    }
    if let Some(content) = program {
        let address = AssetAddress::of_dispatch(AssetKey::Program);
        changes.push(Change::Asset { address, content, small: None });
    }
    let at = shared.clock.now();
    shared.committer.commit(ChangeSet { dispatch: child.clone(), at, changes }).await
}
