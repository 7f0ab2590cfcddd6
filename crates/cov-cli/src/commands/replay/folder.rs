//! The folder of a replay: the function and the inputs of a node, as they are fetched.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cov_client::{Client, Kind, Node};
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::NodeInputs;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::transportable::{Encoding, TransportableObject};

use super::{asset, file};
use crate::context::Context;
use crate::error::Error;

/// The largest content that is taken. Bytes.
const CONTENT_BYTES_MAX: usize = 4 << 30;

/// A folder that only this user can read. Removed in the end, unless it was asked for.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Folder {
    pub(super) fn make(keep: Option<&Path>) -> Result<Self, Error> {
        let failed = |path: &Path, source| Error::File {
            what: "the folder",
            path: path.to_path_buf(),
            source,
        };
        if let Some(keep) = keep {
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(keep)
                .map_err(|error| failed(keep, error))?;
            // What is started from there may run somewhere else.
            let path = keep.canonicalize().map_err(|error| failed(keep, error))?;
            return Ok(Self { path, _temporary: None });
        }
        let parent = std::env::temp_dir();
        let temporary = tempfile::Builder::new().prefix("cov-replay-").tempdir_in(&parent);
        let temporary = temporary.map_err(|error| failed(&parent, error))?;
        Ok(Self { path: temporary.path().to_path_buf(), _temporary: Some(temporary) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fetches the function, its hooks and its inputs; returns the function.
    pub(super) async fn fetch(
        &self,
        context: &Context,
        client: &Client,
        id: &DispatchId,
        node: &Node,
        inputs: &NodeInputs,
    ) -> Result<Bytes, Error> {
        let function = self.take(context, client, id, asset(node, AssetKey::Function), "function");
        let function = function.await?.ok_or_else(|| Error::Impossible {
            said: format!("the function of node {} is not on the server", node.node_id),
            hint: "it was never uploaded, or purged".to_owned(),
        })?;
        self.take(context, client, id, asset(node, AssetKey::Hooks), "hooks").await?;
        let sources = inputs.args.iter().chain(inputs.kwargs.iter().map(|(_, source)| source));
        for source in sources {
            let address = AssetAddress::of_node(*source, AssetKey::Output);
            let name = input_name(*source);
            if file(&self.path, &name).exists() {
                continue;
            }
            if self.take(context, client, id, address, &name).await?.is_none() {
                return Err(Error::Impossible {
                    said: format!(
                        "node {} has no inputs yet: node {source} above it has no output",
                        node.node_id
                    ),
                    hint: "`cov show` says how far the dispatch is".to_owned(),
                });
            }
        }
        Ok(function)
    }

    /// Fetches one asset into a file, beside it in plain form if it is JSON.
    async fn take(
        &self,
        context: &Context,
        client: &Client,
        id: &DispatchId,
        address: AssetAddress,
        name: &str,
    ) -> Result<Option<Bytes>, Error> {
        let read = match client.read_asset(id, address, ..).await {
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            read => read.map_err(|error| context.told(error))?,
        };
        let bytes = read.collect(CONTENT_BYTES_MAX).await.map_err(|error| context.told(error))?;
        self.write(name, &bytes)?;
        let object = TransportableObject::from_archive(&bytes).ok();
        if let Some(object) = object.filter(|object| object.header.encoding == Encoding::Json) {
            self.write(&format!("{name}.json"), &object.data)?;
        }
        Ok(Some(bytes))
    }

    /// Writes a file, below the folder.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = file(&self.path, name);
        let folder = path.parent().unwrap_or(&self.path);
        let written = fs::create_dir_all(folder)
            .and_then(|()| File::create(&path))
            .and_then(|mut file| file.write_all(bytes));
        written.map_err(|source| Error::File { what: "the file", path, source })
    }

    /// Where the outputs are that a node takes as arguments, in order.
    pub(super) fn inputs(&self, inputs: &NodeInputs) -> Vec<(NodeId, PathBuf)> {
        let sources = inputs.args.iter();
        sources.map(|source| (*source, file(&self.path, &input_name(*source)))).collect()
    }
}

/// The file of a node's output.
pub(super) fn input_name(source: NodeId) -> String {
    format!("input-{source}")
}
