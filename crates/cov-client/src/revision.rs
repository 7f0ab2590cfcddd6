//! A workflow that the server holds, to be changed and dispatched again: by whoever has neither
//! the program nor the script that made it. Its contents stay where they are.

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::bundle::Bundle;
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::document::Document;
use cov_core::transportable::TransportableObject;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::workflow::Workflow;

/// Assets of a parameter that hold its value.
const VALUES: [AssetKey; 2] = [AssetKey::Value, AssetKey::Output];

#[derive(Debug, Deserialize)]
struct Graph {
    manifest: Document,
}

impl Client {
    /// The workflow of a dispatch, whoever made it, under a new id. Its contents stay on the
    /// server; what is changed goes there with [`Client::redispatch_as`], or, as a dispatch of its
    /// own, with [`Client::dispatch`].
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch; otherwise whatever
    /// keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use cov_core::transportable::TransportableObject;
    /// let earlier = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let workflow = client.workflow(&earlier).await?;
    /// let (node, _) = workflow.parameters().next().ok_or("it takes nothing")?;
    /// let changed = workflow.value(node, &TransportableObject::from_json(&42)?);
    /// client.redispatch_as(&earlier, &changed, true).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn workflow(&self, dispatch: &DispatchId) -> Result<Workflow, Error> {
        let path = format!("/api/v3/dispatches/{dispatch}/graph?manifest=true");
        let Graph { manifest } = self.get_json(&path).await?;
        let mut manifest = manifest.into_parts().manifest;
        let held = std::mem::take(&mut manifest.assets);
        let mut bundle = Bundle::new(manifest.lattice.clone());
        bundle.manifest = manifest;
        bundle.manifest.dispatch_id = None;
        let mut workflow = Workflow::new(bundle);
        workflow.held = held;
        Ok(workflow)
    }
}

impl Workflow {
    /// The nodes that have a value from the start, with their names: the arguments and constants
    /// of the lattice. The SDK names them after what they print.
    ///
    /// ```
    /// # use cov_core::{bundle::Bundle, manifest::LatticeInfo};
    /// let workflow = cov_client::Workflow::new(Bundle::new(LatticeInfo::default()));
    /// assert_eq!(workflow.parameters().count(), 0);
    /// ```
    pub fn parameters(&self) -> impl Iterator<Item = (NodeId, &str)> {
        let nodes = (0..).map(NodeId).zip(&self.bundle.manifest.nodes);
        let parameters = nodes.filter(|(_, node)| node.kind == NodeKind::Parameter);
        parameters.map(|(id, node)| (id, node.name.as_str()))
    }

    /// Gives a parameter another value. Ignored for a node that is none. What was kept of the
    /// lattice's arguments as a whole is left out, as it would not be true any more.
    ///
    /// ```
    /// # use cov_core::{bundle::Bundle, ids::NodeId, manifest::LatticeInfo};
    /// # use cov_core::transportable::TransportableObject;
    /// let workflow = cov_client::Workflow::new(Bundle::new(LatticeInfo::default()));
    /// let changed = workflow.value(NodeId(0), &TransportableObject::from_json(&42)?);
    /// # drop(changed);
    /// # Ok::<(), cov_core::transportable::Error>(())
    /// ```
    #[must_use]
    pub fn value(mut self, node: NodeId, object: &TransportableObject) -> Self {
        let record = self.bundle.manifest.nodes.get_mut(node.index());
        let Some(record) = record.filter(|record| record.kind == NodeKind::Parameter) else {
            return self;
        };
        record.name.clone_from(&object.object_string);
        let content = self.bundle.content(Bytes::from(object.to_archive()));
        let inputs = AssetAddress::of_dispatch(AssetKey::Inputs);
        let values = VALUES.map(|key| AssetAddress::of_node(node, key));
        let replaced = |address| address == inputs || values.contains(&address);
        self.held.retain(|asset| !replaced(asset.address));
        self.bundle.retain_assets(|address| !replaced(address));
        for address in values {
            self.bundle.asset(address, content);
        }
        self
    }
}
