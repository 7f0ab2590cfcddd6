//! A manifest as the record that the store will have of it, for the answer to its registration.
//! Spares reading it back. Long names are left out: the store has them by then.

use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::Edge;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::{LatticeInfo, Manifest, ManifestNode, NAME_INLINE_BYTES_MAX};
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_dispatcher::store::Staged;
use cov_dispatcher::store::model::{DispatchRecord, NodeRecord, NodeState};

/// What the answer to a registration tells of its manifest.
#[derive(Debug)]
pub(super) struct Outline {
    lattice: LatticeInfo,
    executors: Vec<ExecutorSpec>,
    nodes: Vec<NodeRecord>,
    edges: Vec<Edge>,
    assets: Vec<(AssetAddress, AssetState)>,
}

impl Outline {
    pub(super) fn of(manifest: &Manifest, names: &[(NodeId, Staged)]) -> Self {
        let mut nodes: Vec<NodeRecord> = manifest.nodes.iter().zip(0..).map(outlined).collect();
        for (id, Staged { content, .. }) in names {
            let Some(node) = nodes.get_mut(id.index()) else { continue };
            node.name = String::new();
            let announced = Announced { size: content.size, sha1: None };
            let address = AssetAddress::of_node(*id, AssetKey::Name);
            node.assets.push((address, AssetState::Awaited(announced)));
        }
        let mut assets = Vec::new();
        for asset in &manifest.assets {
            let owner = asset.address.node.and_then(|node| nodes.get_mut(node.index()));
            let owned = owner.map_or(&mut assets, |node| &mut node.assets);
            owned.push((asset.address, AssetState::Awaited(asset.announced)));
        }
        Self {
            lattice: manifest.lattice.clone(),
            executors: manifest.executors.clone(),
            nodes,
            edges: manifest.edges.clone(),
            assets,
        }
    }

    /// The record, now that the dispatch has its id. Its times are not told to anybody.
    pub(super) fn into_record(self, dispatch: DispatchId) -> DispatchRecord {
        let never = Timestamp::from_micros(0);
        DispatchRecord {
            summary: Summary {
                root_dispatch_id: dispatch.clone(),
                dispatch_id: dispatch,
                parent_dispatch_id: None,
                name: self.lattice.name.clone(),
                status: Status::NewObject,
                node_count: u32::try_from(self.nodes.len()).unwrap_or(u32::MAX),
                completed_node_count: 0,
                created_at: never,
                updated_at: never,
                started_at: None,
                ended_at: None,
            },
            lattice: self.lattice,
            executors: self.executors,
            nodes: self.nodes,
            edges: self.edges,
            assets: self.assets,
        }
    }
}

fn outlined((node, id): (&ManifestNode, u32)) -> NodeRecord {
    let is_long = node.name.len() > NAME_INLINE_BYTES_MAX;
    let name_asset = is_long.then(|| {
        let announced = Announced { size: node.name.len() as u64, sha1: None };
        let address = AssetAddress::of_node(NodeId(id), AssetKey::Name);
        (address, AssetState::Awaited(announced))
    });
    NodeRecord {
        name: if is_long { String::new() } else { node.name.clone() },
        kind: node.kind,
        task_group: node.task_group,
        executor: node.executor,
        state: NodeState { status: node.status, ..NodeState::default() },
        sub_dispatch: None,
        assets: name_asset.into_iter().collect(),
    }
}
