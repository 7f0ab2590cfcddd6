//! What callers can ask of the dispatcher. Commands go to the owner of the dispatch by its
//! mailbox and are answered when their changes are durable; reads come straight from the store.

mod ending;
pub(crate) mod named;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState, SmallContent};
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::manifest::Manifest;
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_engine::redispatch::NodePlan;
use cov_store::model::{Change, ChangeSet, DispatchRecord, NodeRecord, Query};
use cov_store::{Awaited, Blob};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::owner::{self, Message, Reply};
use crate::service::Shared;
use crate::upload::Upload;
use crate::{Error, redispatch};

/// How often a command is sent again because the owner that it was sent to had retired.
const OWNERS_ASKED_MAX: usize = 16;

/// How long a caller waits for such an owner to make room for the next.
const OWNER_RETIRES_IN: Duration = Duration::from_millis(200);

/// Cheap to clone; all clones speak to the same dispatcher.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// A dispatch that was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its id.
    pub dispatch: DispatchId,
    /// The assets whose content the client has to send: those that the server does not hold,
    /// each content once.
    pub uploads: HashSet<AssetAddress>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether new dispatches are taken; false while the server is stopping.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.shared.draining.is_cancelled() && !self.shared.committer.is_gone()
    }

    /// Checks a manifest and stores it, durably, as a dispatch that is not started.
    ///
    /// # Errors
    /// The manifest is refused, its id is taken, or the store cannot take it; nothing was stored.
    pub async fn register(&self, manifest: Manifest) -> Result<Registered, Error> {
        self.register_named(manifest, Vec::new()).await
    }

    /// Registers `manifest` as a redispatch of `earlier`. Nodes that count as the same share its
    /// contents; with `reuse`, those that were complete are not run again. The earlier dispatch
    /// stays as it is.
    ///
    /// # Errors
    /// As [`Handle::register`], and there is no such earlier dispatch.
    pub async fn redispatch(
        &self,
        earlier: &DispatchId,
        manifest: Manifest,
        reuse: bool,
    ) -> Result<Registered, Error> {
        self.redispatch_named(earlier, manifest, Vec::new(), reuse).await
    }

    /// Tells a damaged content apart from one that went with its dispatch: `earlier` may have
    /// been purged in between, and with it what would have been shared.
    pub(crate) async fn explain_missing(
        &self,
        earlier: &DispatchId,
        outcome: Result<Registered, Error>,
    ) -> Result<Registered, Error> {
        if matches!(&outcome, Err(Error::Store(cov_store::Error::Corrupt { .. }))) {
            self.summary(earlier).await?;
        }
        outcome
    }

    /// What a redispatch took over, node by node, and why. For a dispatch that is no redispatch:
    /// what dispatching it again, unchanged and with reuse, would take over.
    ///
    /// # Errors
    /// There is no such dispatch.
    pub async fn redispatch_plan(&self, dispatch: &DispatchId) -> Result<Vec<NodePlan>, Error> {
        let address = AssetAddress::of_dispatch(AssetKey::RedispatchPlan);
        if let Some(stored) = self.read_asset(dispatch, address).await? {
            return redispatch::read_plan(stored).await;
        }
        self.redispatch_preview(dispatch, true).await
    }

    /// What dispatching it again, unchanged, would take over, node by node, and why. Changes
    /// nothing.
    ///
    /// # Errors
    /// There is no such dispatch.
    pub async fn redispatch_preview(
        &self,
        dispatch: &DispatchId,
        reuse: bool,
    ) -> Result<Vec<NodePlan>, Error> {
        let record = self.shared.store.record(dispatch).await?;
        let manifest = redispatch::manifest_of(&self.shared, &record).await?;
        let graph = manifest.graph(self.shared.options.nodes_max)?;
        redispatch::plan_against(&record, &manifest, &graph, &[], reuse)
    }

    /// The manifest with which it would be dispatched again, unchanged: without an id, and with the
    /// assets that its client sent.
    ///
    /// # Errors
    /// There is no such dispatch.
    pub async fn manifest(&self, dispatch: &DispatchId) -> Result<Manifest, Error> {
        let record = self.shared.store.record(dispatch).await?;
        redispatch::manifest_of(&self.shared, &record).await
    }

    /// Starts a registered dispatch, durably. Does nothing if it was started before. Returns its
    /// status.
    ///
    /// # Errors
    /// There is no such dispatch, or assets are missing; the dispatch stays as it was.
    pub async fn start(&self, dispatch: &DispatchId) -> Result<Status, Error> {
        self.check_open()?;
        let (handle, dispatch) = (self.clone(), dispatch.clone());
        // Also when the caller goes away: the gate opens when it is known what became of it.
        let starting = async move {
            let _no_upload_is_stored = handle.shared.gates.for_start(&dispatch).await;
            handle.complete_assets(&dispatch).await?;
            handle.ask_owners(&dispatch, Message::Start).await
        };
        let starting = self.shared.tasks.spawn(tracing::Instrument::in_current_span(starting));
        match timeout(self.shared.options.reply_timeout, starting).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(Error::Internal(format!("a start ended badly: {error}"))),
            Err(_elapsed) => Err(Error::Overloaded),
        }
    }

    /// Cancels these nodes of a dispatch, or all if there are none. The request is durable on
    /// return; the nodes are `CANCELLED` when their processes are gone. Nodes that have ended
    /// stay as they are. Returns the status of the dispatch.
    ///
    /// # Errors
    /// There is no such dispatch or node.
    pub async fn cancel(&self, dispatch: &DispatchId, nodes: &[NodeId]) -> Result<Status, Error> {
        self.check_serving()?;
        self.ask(dispatch, |reply| Message::Cancel(nodes.to_vec(), reply)).await
    }

    /// Makes `child` the sub-dispatch of `node`, which is building it.
    ///
    /// # Errors
    /// There is no such dispatch or node, or the node builds no sub-dispatch now.
    pub async fn link(
        &self,
        dispatch: &DispatchId,
        node: NodeId,
        child: &DispatchId,
    ) -> Result<(), Error> {
        self.check_serving()?;
        self.summary(child).await?;
        self.check_node(dispatch, node).await?;
        self.check_link(dispatch, node, child).await?;
        let link = |reply| Message::Link { node, child: child.clone(), reply };
        self.ask(dispatch, link).await.map(drop)
    }

    /// Begins to take in the bytes of an asset; `length` is what the caller announces now.
    ///
    /// # Errors
    /// There is no such dispatch or node, the upload is too large or not what was announced, or
    /// the dispatch was started and the asset is part of what it runs.
    pub async fn upload(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        length: Option<u64>,
    ) -> Result<Upload, Error> {
        self.check_serving()?;
        let summary = self.summary(dispatch).await?;
        check_node_in(&summary, address.node)?;
        let asset = self.shared.store.asset(dispatch, address).await?;
        Upload::begin(&self.shared, &summary, address, asset, length).await
    }

    /// Notes that somebody is about to upload an asset. What exports show does not change before
    /// the bytes are there.
    ///
    /// # Errors
    /// There is no such dispatch or node, or it is too large.
    pub async fn announce(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        announced: Announced,
    ) -> Result<(), Error> {
        check_node_in(&self.summary(dispatch).await?, address.node)?;
        let limit = self.shared.options.upload_bytes_max;
        if announced.size > limit {
            return Err(Error::TooLarge { what: address.to_string(), size: announced.size, limit });
        }
        Ok(())
    }

    /// The bytes of an asset; `None` if it is empty or not there. What a running task has printed
    /// so far can be read.
    ///
    /// # Errors
    /// There is no such dispatch or node, or the bytes are damaged.
    pub async fn read_asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
    ) -> Result<Option<Blob>, Error> {
        if let Some(state) = self.shared.store.asset(dispatch, address).await? {
            return match state {
                AssetState::Present(content) => {
                    Ok(Some(self.shared.contents.read(&content).await?))
                }
                AssetState::Awaited(_) => Ok(None),
            };
        }
        let Some(node) = address.node else { return Ok(None) };
        self.check_node(dispatch, node).await?;
        Ok(self.live_output(dispatch, node, address.key).await.map(Blob::Small))
    }

    /// Where the result of a dispatch is: it is the output of the node that ends the lattice. Without
    /// such a node, it is an asset of the dispatch.
    ///
    /// # Errors
    /// There is no such dispatch.
    pub async fn result_address(&self, dispatch: &DispatchId) -> Result<AssetAddress, Error> {
        Ok(match self.shared.store.result_node(dispatch).await? {
            Some(node) => AssetAddress::of_node(node, AssetKey::Output),
            None => AssetAddress::of_dispatch(AssetKey::Result),
        })
    }

    /// Everything known of a dispatch. Sizes of what running tasks print are those of now.
    ///
    /// # Errors
    /// There is no such dispatch.
    pub async fn record(&self, dispatch: &DispatchId) -> Result<DispatchRecord, Error> {
        let mut record = self.shared.store.record(dispatch).await?;
        for (index, node) in record.nodes.iter_mut().enumerate() {
            if node.state.status != Status::Running {
                continue;
            }
            let Some(attempt) = node.state.attempt else { continue };
            let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
            self.add_live_output(id, attempt, node).await;
        }
        Ok(record)
    }

    /// The short records that `query` asks for.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn summaries(&self, query: &Query) -> Result<Vec<Summary>, Error> {
        Ok(self.shared.store.summaries(query).await?)
    }

    /// The short record of one dispatch.
    ///
    /// # Errors
    /// There is no such dispatch.
    pub async fn summary(&self, dispatch: &DispatchId) -> Result<Summary, Error> {
        let query = Query { ids: vec![dispatch.clone()], limit: 1, ..Query::default() };
        let found = self.shared.store.summaries(&query).await?.pop();
        found.ok_or_else(|| Error::DispatchNotFound { dispatch: dispatch.clone() })
    }

    /// How many dispatches `query` matches, without its offset and limit.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn count(&self, query: &Query) -> Result<u64, Error> {
        Ok(self.shared.store.count(query).await?)
    }

    /// Somebody outside says how a task ended. Tasks of the local pool report on their own way,
    /// so this is checked and changes nothing: it is what a late report of theirs would do.
    ///
    /// # Errors
    /// There is no such dispatch or node.
    pub async fn job_report(
        &self,
        dispatch: &DispatchId,
        node: NodeId,
        status: Status,
    ) -> Result<(), Error> {
        self.check_node(dispatch, node).await?;
        tracing::debug!(dispatch.id = %dispatch, node.id = %node, %status, "a report from outside");
        Ok(())
    }

    async fn ask(
        &self,
        dispatch: &DispatchId,
        message: impl Fn(Reply) -> Message,
    ) -> Result<Status, Error> {
        let asking = self.ask_owners(dispatch, message);
        timeout(self.shared.options.reply_timeout, asking).await.unwrap_or(Err(Error::Overloaded))
    }

    async fn ask_owners(
        &self,
        dispatch: &DispatchId,
        message: impl Fn(Reply) -> Message,
    ) -> Result<Status, Error> {
        let shared = &self.shared;
        for _ in 0..OWNERS_ASKED_MAX {
            if shared.stopping.is_cancelled() {
                return Err(Error::Stopping);
            }
            let live = shared.registry.get_or_create(dispatch, || {
                owner::spawn(shared, dispatch.clone(), owner::Purpose::Serve)
            });
            let (reply, answer) = oneshot::channel();
            if live.mailbox.send(message(reply)).await.is_ok()
                && let Ok(outcome) = answer.await
            {
                return outcome;
            }
            // The owner retired before it took the message, or forgot what it had in memory.
            timeout(OWNER_RETIRES_IN, live.retired.cancelled()).await.ok();
        }
        Err(Error::Overloaded)
    }

    /// Gives every announced asset its content, where another upload has brought it.
    pub(crate) async fn complete_assets(&self, dispatch: &DispatchId) -> Result<(), Error> {
        let (changes, missing) = self.known_of_awaited(dispatch).await?;
        if !missing.is_empty() {
            return Err(Error::AssetsMissing { dispatch: dispatch.clone(), missing });
        }
        self.commit_now(dispatch, changes).await
    }

    /// As [`Handle::complete_assets`], but what is missing stays so.
    pub(crate) async fn complete_what_is_known(&self, dispatch: &DispatchId) -> Result<(), Error> {
        let (changes, _missing) = self.known_of_awaited(dispatch).await?;
        self.commit_now(dispatch, changes).await
    }

    async fn known_of_awaited(
        &self,
        dispatch: &DispatchId,
    ) -> Result<(Vec<Change>, Vec<AssetAddress>), Error> {
        let Awaited { assets, .. } = self.shared.store.awaited(dispatch).await?;
        let announced: Vec<Announced> = assets.iter().map(|(_, announced)| *announced).collect();
        let known = self.shared.store.known_contents(&announced).await?;
        let mut changes = Vec::new();
        let mut missing = Vec::new();
        for ((address, _), content) in assets.into_iter().zip(known) {
            match content {
                Some(content) => changes.push(Change::Asset { address, content, small: None }),
                None => missing.push(address),
            }
        }
        Ok((changes, missing))
    }

    async fn commit_now(&self, dispatch: &DispatchId, changes: Vec<Change>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let at = self.shared.clock.now();
        self.shared.committer.commit(ChangeSet { dispatch: dispatch.clone(), at, changes }).await
    }

    async fn live_output(
        &self,
        dispatch: &DispatchId,
        node: NodeId,
        key: AssetKey,
    ) -> Option<Bytes> {
        if !matches!(key, AssetKey::Stdout | AssetKey::Stderr) {
            return None;
        }
        self.shared.registry.get(dispatch)?;
        let record = self.shared.store.record(dispatch).await.ok()?;
        let attempt = record.nodes.get(node.index())?.state.attempt?;
        let (stdout, stderr) =
            self.shared.admission.executor_of(attempt).live_output(attempt).await?;
        let printed = if key == AssetKey::Stdout { stdout } else { stderr };
        (!printed.is_empty()).then_some(printed)
    }

    async fn add_live_output(&self, id: NodeId, attempt: AttemptId, node: &mut NodeRecord) {
        let live = self.shared.admission.executor_of(attempt).live_output(attempt).await;
        let Some((stdout, stderr)) = live else { return };
        for (key, printed) in [(AssetKey::Stdout, stdout), (AssetKey::Stderr, stderr)] {
            if !printed.is_empty() {
                let content = SmallContent::new(printed).content;
                let address = AssetAddress::of_node(id, key);
                node.assets.push((address, AssetState::Present(content)));
            }
        }
    }

    /// A dispatch is the sub-dispatch of one node, and stands below itself nowhere.
    async fn check_link(
        &self,
        dispatch: &DispatchId,
        node: NodeId,
        child: &DispatchId,
    ) -> Result<(), Error> {
        let store = &self.shared.store;
        let refused = |why: &str| Error::IllegalState {
            what: format!("dispatch {child} cannot be the sub-dispatch of {dispatch}: {why}"),
        };
        match store.parent(child).await? {
            Some((parent, of)) if (&parent, of) == (dispatch, node) => return Ok(()),
            Some((parent, of)) => {
                return Err(refused(&format!("it is that of node {of} of {parent}")));
            }
            None => {}
        }
        let mut above = Some(dispatch.clone());
        while let Some(one) = above {
            if one == *child {
                return Err(refused("it stands above it"));
            }
            above = store.parent(&one).await?.map(|(parent, _)| parent);
        }
        Ok(())
    }

    async fn check_node(&self, dispatch: &DispatchId, node: NodeId) -> Result<(), Error> {
        check_node_in(&self.summary(dispatch).await?, Some(node))
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.is_ready() { Ok(()) } else { Err(Error::Stopping) }
    }
}

fn check_node_in(summary: &Summary, node: Option<NodeId>) -> Result<(), Error> {
    match node {
        Some(node) if node.0 >= summary.node_count => {
            Err(Error::NodeNotFound { dispatch: summary.dispatch_id.clone(), node })
        }
        Some(_) | None => Ok(()),
    }
}
