//! Takes over the sub-dispatch that a task built and could not register itself: the task's
//! output is an archive of its manifest and assets. What that archive looks like is known only
//! to the [`SublatticeFormat`] that the server brings along.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey, AssetState};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::Manifest;
use cov_store::model::{Change, ChangeSet, Registration};
use cov_store::{Blob, Staged};

use crate::Error;
use crate::handle::Handle;
use crate::registration::{check, child_id, nodes_and_names};
use crate::reports::stage;

/// A lattice that a task built.
#[derive(Debug)]
pub struct BuiltLattice {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its assets that are not empty.
    pub assets: Vec<(AssetAddress, Bytes)>,
}

/// Reads what tasks build.
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
    tokio::task::spawn_blocking(move || format.read(&output))
        .await
        .map_err(|error| Error::Internal(error.to_string()))?
        .map_err(|reason| refused(&reason))
}

fn refused(reason: &str) -> Error {
    Error::IllegalState { what: format!("the sub-workflow cannot be taken over: {reason}") }
}

async fn register(
    handle: &Handle,
    child: &DispatchId,
    root: DispatchId,
    parent: (DispatchId, NodeId),
    built: BuiltLattice,
) -> Result<(), Error> {
    let shared = handle.shared();
    let BuiltLattice { manifest, assets } = built;
    let (manifest, graph) = check(manifest, shared.options.nodes_max).await?;
    let (nodes, names) = nodes_and_names(&*shared.contents, manifest.nodes).await?;
    let awaited = |asset: &cov_core::manifest::ManifestAsset| {
        (asset.address, AssetState::Awaited(asset.announced))
    };
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
    let at = shared.clock.now();
    shared.committer.commit(ChangeSet { dispatch: child.clone(), at, changes }).await
}
