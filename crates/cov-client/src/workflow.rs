//! Sending a workflow: the manifest and the bytes that the server does not hold, in one request.
//! Every request carries an id of its own, so that one whose answer is lost can be sent again.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, ContentRef};
use cov_core::bundle::Bundle;
use cov_core::ids::DispatchId;
use cov_core::manifest::document::{Document, MEDIA_TYPE, Source};
use cov_core::manifest::{Manifest, ManifestAsset};
use http::Method;
use serde_json::json;

use crate::client::{Call, Client};
use crate::commands::{Accepted, MissingAsset, new_id};
use crate::error::Error;
use crate::payload::{Part, Payload};

/// With more bytes than this, the server is asked first which contents it holds.
const SENT_UNASKED_BYTES_MAX: u64 = 256 * 1024;

/// Most contents of one question.
const ASKED_MAX: usize = 50_000;

/// A workflow that can be dispatched: a graph with its contents, and files that belong to it.
///
/// ```
/// use cov_core::bundle::Bundle;
/// use cov_core::manifest::LatticeInfo;
/// let bundle = Bundle::new(LatticeInfo { name: "empty".into(), ..LatticeInfo::default() });
/// let workflow = cov_client::Workflow::new(bundle).id("my-dispatch".parse()?);
/// # Ok::<(), cov_core::ids::IdError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Workflow {
    pub(crate) bundle: Bundle,
    files: Vec<(ManifestAsset, PathBuf)>,
    dispatch_id: DispatchId,
    /// Assets whose bytes the server has.
    pub(crate) held: Vec<ManifestAsset>,
}

impl Workflow {
    /// A workflow of this graph. It gets a random id, so that sending the same `Workflow` twice
    /// makes one dispatch.
    ///
    /// ```
    /// # use cov_core::{bundle::Bundle, manifest::LatticeInfo};
    /// let workflow = cov_client::Workflow::new(Bundle::new(LatticeInfo::default()));
    /// assert_eq!(workflow.file_count(), 0);
    /// ```
    #[must_use]
    pub fn new(bundle: Bundle) -> Self {
        let dispatch_id = bundle.manifest.dispatch_id.clone().unwrap_or_else(new_id);
        Self { bundle, files: Vec::new(), dispatch_id, held: Vec::new() }
    }

    /// Gives the dispatch this id.
    ///
    /// ```
    /// # use cov_core::{bundle::Bundle, manifest::LatticeInfo};
    /// let workflow = cov_client::Workflow::new(Bundle::new(LatticeInfo::default()));
    /// let workflow = workflow.id("my-dispatch".parse()?);
    /// assert_eq!(workflow.dispatch_id().as_str(), "my-dispatch");
    /// # Ok::<(), cov_core::ids::IdError>(())
    /// ```
    #[must_use]
    pub fn id(mut self, dispatch: DispatchId) -> Self {
        self.dispatch_id = dispatch;
        self
    }

    /// Adds an asset whose bytes are in a file. A server on the same machine takes it from there;
    /// another one gets it sent. `content` says what is in it.
    ///
    /// ```
    /// use cov_core::asset::{AssetAddress, AssetKey, SmallContent};
    /// # use cov_core::{bundle::Bundle, manifest::LatticeInfo};
    /// let content = SmallContent::new("what it does".into()).content;
    /// let doc = AssetAddress::of_dispatch(AssetKey::Doc);
    /// let workflow = cov_client::Workflow::new(Bundle::new(LatticeInfo::default()));
    /// assert_eq!(workflow.file(doc, "doc.txt", &content).file_count(), 1);
    /// ```
    #[must_use]
    pub fn file(
        mut self,
        address: AssetAddress,
        path: impl Into<PathBuf>,
        content: &ContentRef,
    ) -> Self {
        let announced = Announced { size: content.size, sha1: Some(content.sha1) };
        self.files.push((ManifestAsset { address, announced }, path.into()));
        self
    }

    /// The id of the dispatch.
    ///
    /// ```
    /// # use cov_core::{bundle::Bundle, manifest::LatticeInfo};
    /// let workflow = cov_client::Workflow::new(Bundle::new(LatticeInfo::default()));
    /// assert_eq!(workflow.dispatch_id().as_str().len(), 36);
    /// ```
    #[must_use]
    pub fn dispatch_id(&self) -> &DispatchId {
        &self.dispatch_id
    }

    /// Its graph, with the assets whose bytes it holds itself.
    ///
    /// ```
    /// # use cov_core::{bundle::Bundle, manifest::LatticeInfo};
    /// let workflow = cov_client::Workflow::new(Bundle::new(LatticeInfo::default()));
    /// assert!(workflow.manifest().nodes.is_empty());
    /// ```
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.bundle.manifest
    }

    /// How many of its assets are in files.
    ///
    /// ```
    /// # use cov_core::{bundle::Bundle, manifest::LatticeInfo};
    /// let workflow = cov_client::Workflow::new(Bundle::new(LatticeInfo::default()));
    /// assert_eq!(workflow.file_count(), 0);
    /// ```
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    fn bytes_of(&self) -> u64 {
        self.bundle.contents().map(|(bytes, _)| bytes.len() as u64).sum()
    }

    /// The whole request; `held` are the contents that the server has, by index.
    fn payload(&self, held: &HashSet<u32>) -> Result<Payload, Error> {
        let (document, bodies) = self.document(held, &HashSet::new());
        let text = serde_json::to_vec(&document).map_err(Error::no_json_form)?;
        Ok(Payload::framed(MEDIA_TYPE, &text, bodies))
    }

    pub(crate) fn content_count(&self) -> usize {
        self.bundle.contents().len()
    }

    /// The manifest, and the bytes that belong behind it: of contents that are not held, and of the
    /// files that are sent and not only named.
    pub(crate) fn document(
        &self,
        held: &HashSet<u32>,
        files_sent: &HashSet<AssetAddress>,
    ) -> (Document, Vec<Part>) {
        let mut sources = HashMap::new();
        let mut bodies: Vec<Part> = Vec::new();
        let mut sent: HashSet<u32> = HashSet::new();
        for (index, asset) in self.bundle.manifest.assets.iter().enumerate() {
            let Some(content) = self.bundle.content_index(index) else { continue };
            let Some(bytes) = self.bundle.bytes_of(index) else { continue };
            if !held.contains(&content) && sent.insert(content) {
                bodies.push(Part::Bytes(bytes.clone()));
                sources.insert(asset.address, Source::Body);
            }
        }
        let mut manifest = Manifest {
            dispatch_id: Some(self.dispatch_id.clone()),
            ..self.bundle.manifest.clone()
        };
        manifest.assets.extend(&self.held);
        for (asset, path) in &self.files {
            manifest.assets.push(*asset);
            let source = match files_sent.contains(&asset.address) {
                true => {
                    bodies.push(Part::File(path.clone(), asset.announced.size));
                    Source::Body
                }
                false => Source::File(path.clone()),
            };
            sources.insert(asset.address, source);
        }
        let source_of = |asset: &ManifestAsset| {
            sources.get(&asset.address).cloned().unwrap_or(Source::Elsewhere)
        };
        (Document::of(&manifest, source_of), bodies)
    }

    /// The path and the size of a file of the workflow.
    pub(crate) fn file_of(&self, address: AssetAddress) -> Option<(&Path, u64)> {
        let (asset, path) = self.files.iter().find(|(asset, _)| asset.address == address)?;
        Some((path, asset.announced.size))
    }

    /// The bytes of an asset that the server waits for.
    fn part(&self, address: AssetAddress) -> Option<Part> {
        if let Some((asset, path)) = self.files.iter().find(|(asset, _)| asset.address == address) {
            return Some(Part::File(path.clone(), asset.announced.size));
        }
        let mut assets = self.bundle.manifest.assets.iter();
        let index = assets.position(|asset| asset.address == address)?;
        self.bundle.bytes_of(index).cloned().map(Part::Bytes)
    }
}

impl From<Bundle> for Workflow {
    fn from(bundle: Bundle) -> Self {
        Self::new(bundle)
    }
}

impl Client {
    /// Sends a workflow and starts it. Sending the same [`Workflow`] again makes no second
    /// dispatch.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when the workflow makes no sense to the server, or
    /// its id is taken; [`Kind::Workflow`](crate::Kind::Workflow) when one of its files cannot be
    /// read; otherwise whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client, bundle: cov_core::bundle::Bundle)
    /// # -> Result<(), cov_client::Error> {
    /// let accepted = client.dispatch(&bundle.into()).await?;
    /// println!("{} is {}", accepted.dispatch_id, accepted.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn dispatch(&self, workflow: &Workflow) -> Result<Accepted, Error> {
        self.send_workflow("/api/v3/dispatches", workflow, true).await
    }

    /// Sends a workflow without starting it.
    ///
    /// # Errors
    /// As [`Client::dispatch`].
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client, bundle: cov_core::bundle::Bundle)
    /// # -> Result<(), cov_client::Error> {
    /// let registered = client.register(&bundle.into()).await?;
    /// client.start(&registered.dispatch_id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register(&self, workflow: &Workflow) -> Result<Accepted, Error> {
        self.send_workflow("/api/v3/dispatches?start=false", workflow, false).await
    }

    /// Sends a workflow that takes the place of an earlier dispatch's: with other inputs, or with
    /// other electrons. Starts it. With `reuse`, the results of nodes that count as the same are
    /// taken over.
    ///
    /// # Errors
    /// As [`Client::dispatch`]; [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client, bundle: cov_core::bundle::Bundle)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let earlier = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// client.redispatch_as(&earlier, &bundle.into(), true).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn redispatch_as(
        &self,
        earlier: &DispatchId,
        workflow: &Workflow,
        reuse: bool,
    ) -> Result<Accepted, Error> {
        let path = format!("/api/v3/dispatches/{earlier}/redispatch?reuse={reuse}");
        self.send_workflow(&path, workflow, true).await
    }

    /// Uploads an asset of a dispatch that is registered and not started.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch or node;
    /// [`Kind::Refused`](crate::Kind::Refused) when the bytes are not those that were announced;
    /// otherwise whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// # use cov_core::asset::{AssetAddress, AssetKey};
    /// # use cov_core::ids::NodeId;
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let value = AssetAddress::of_node(NodeId(0), AssetKey::Value);
    /// client.upload(&id, value, "bytes".into()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upload(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        bytes: Bytes,
    ) -> Result<(), Error> {
        self.upload_part(dispatch, address, Part::Bytes(bytes)).await
    }

    /// As [`Client::upload`], from a file, which is read while it is sent.
    ///
    /// # Errors
    /// As [`Client::upload`]; [`Kind::Workflow`](crate::Kind::Workflow) when the file cannot be
    /// read.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// # use cov_core::asset::{AssetAddress, AssetKey};
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let inputs = AssetAddress::of_dispatch(AssetKey::Inputs);
    /// client.upload_file(&id, inputs, "inputs.tobj".as_ref()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upload_file(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        path: &Path,
    ) -> Result<(), Error> {
        let size =
            tokio::fs::metadata(path).await.map_err(|source| Error::file(path, source))?.len();
        self.upload_part(dispatch, address, Part::File(path.to_owned(), size)).await
    }

    async fn upload_part(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        part: Part,
    ) -> Result<(), Error> {
        if let Part::File(path, _) = &part {
            // So that a missing file is told as what it is, and not as a connection that broke.
            tokio::fs::File::open(path).await.map_err(|source| Error::file(path, source))?;
        }
        let AssetAddress { node, key } = address;
        let path = match node {
            Some(node) => format!("/api/v3/dispatches/{dispatch}/assets/{node}/{key}"),
            None => format!("/api/v3/dispatches/{dispatch}/assets/{key}"),
        };
        let payload = Payload::new("application/octet-stream", vec![part]);
        self.command(&Call::new(Method::PUT, path).payload(payload)).await
    }

    async fn send_workflow(
        &self,
        path: &str,
        workflow: &Workflow,
        start: bool,
    ) -> Result<Accepted, Error> {
        let payload = workflow.payload(&self.held_of(workflow).await?)?;
        let call = Call::post(path).payload(payload).repeatable();
        let mut accepted: Accepted = self.json(&call).await?;
        let missing = std::mem::take(&mut accepted.missing);
        if missing.is_empty() {
            return Ok(accepted);
        }
        // What is of another program that knows more is told of when it is started.
        accepted.missing = self.upload_missing(&accepted.dispatch_id, missing, workflow).await?;
        match start {
            true => self.start(&accepted.dispatch_id).await,
            false => Ok(accepted),
        }
    }

    /// Uploads assets that the server asks for; returns those that the workflow does not have.
    async fn upload_missing(
        &self,
        dispatch: &DispatchId,
        missing: Vec<MissingAsset>,
        workflow: &Workflow,
    ) -> Result<Vec<MissingAsset>, Error> {
        let mut unknown = Vec::new();
        for asset in missing {
            let address = asset.key.parse().map(|key| AssetAddress { node: asset.node, key });
            let part = address.ok().and_then(|address| Some((address, workflow.part(address)?)));
            match part {
                Some((address, part)) => self.upload_part(dispatch, address, part).await?,
                None => unknown.push(asset),
            }
        }
        Ok(unknown)
    }

    /// The contents that need not be sent, by index.
    pub(crate) async fn held_of(&self, workflow: &Workflow) -> Result<HashSet<u32>, Error> {
        match workflow.bytes_of() > SENT_UNASKED_BYTES_MAX {
            true => self.held(workflow).await,
            false => Ok(HashSet::new()),
        }
    }

    /// The contents that the server holds, by index.
    async fn held(&self, workflow: &Workflow) -> Result<HashSet<u32>, Error> {
        let contents: Vec<&ContentRef> =
            workflow.bundle.contents().map(|(_, content)| content).collect();
        let mut held = HashSet::new();
        let mut index = 0;
        for some in contents.chunks(ASKED_MAX) {
            let asked: Vec<_> =
                some.iter().map(|one| json!({ "sha1": one.sha1, "size": one.size })).collect();
            let known: Vec<bool> =
                self.post_json_again("/api/v3/contents/known", &json!(asked)).await?;
            for is_known in known {
                if is_known {
                    held.insert(index);
                }
                index += 1;
            }
        }
        Ok(held)
    }
}
