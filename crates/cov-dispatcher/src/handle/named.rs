//! Manifests whose long names came ahead of them: the store has the names, and the manifest their
//! beginnings. Reads no manifest.

use std::collections::HashSet;

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::Manifest;
use cov_store::model::Change;
use cov_store::{ContentWriter, Contents, Staged};

use crate::handle::{Handle, Registered};
use crate::{Error, redispatch, registration};

impl Handle {
    /// Takes in a content that a later call will name. What no call names goes away after a while.
    ///
    /// # Errors
    /// The store is unavailable or full, or the server is stopping.
    pub async fn content_writer(&self) -> Result<Box<dyn ContentWriter>, Error> {
        self.check_open()?;
        Ok(self.shared().contents.writer().await?)
    }

    /// As [`Handle::register`], with names of nodes that the store has already.
    ///
    /// # Errors
    /// As [`Handle::register`].
    pub async fn register_named(
        &self,
        manifest: Manifest,
        names: Vec<(NodeId, Staged)>,
    ) -> Result<Registered, Error> {
        self.check_open()?;
        registration::register(self.shared(), manifest, names).await
    }

    /// As [`Handle::redispatch`], with names of nodes that the store has already.
    ///
    /// # Errors
    /// As [`Handle::redispatch`].
    pub async fn redispatch_named(
        &self,
        earlier: &DispatchId,
        manifest: Manifest,
        names: Vec<(NodeId, Staged)>,
        reuse: bool,
    ) -> Result<Registered, Error> {
        self.check_open()?;
        let names = kept(&*self.shared().contents, names);
        let outcome = redispatch::redispatch(self.shared(), earlier, manifest, reuse, names).await;
        self.explain_missing(earlier, outcome).await
    }
}

/// The changes that make names of nodes assets of theirs. Nodes with the same argument have the same
/// name: what was staged for all of them but one is let go.
pub(crate) fn kept(contents: &dyn Contents, names: Vec<(NodeId, Staged)>) -> Vec<Change> {
    let mut seen = HashSet::new();
    let kept = |(node, Staged { content, small })| {
        if small.is_none() && !seen.insert(content.id) {
            contents.let_go(&content.id);
        }
        let address = AssetAddress::of_node(node, AssetKey::Name);
        Change::Asset { address, content, small }
    };
    names.into_iter().map(kept).collect()
}
