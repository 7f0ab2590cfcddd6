//! A workflow that comes in one stream: its manifest, then the bytes of its assets. Small
//! contents are gathered and become durable with the registration, in one step; what does not fit
//! into one step follows in further ones. Holds a few MiB at most, however long the stream is.
//! Starts nothing before everything is there.

mod order;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cov_core::asset::{
    Announced, AssetAddress, AssetState, ContentDigest, ContentRef, INLINE_BYTES_MAX, SmallContent,
};
use cov_core::graph::Graph;
use cov_core::ids::{DispatchId, Sha1Digest};
use cov_core::manifest::ManifestAsset;
use cov_core::manifest::ended::{Outcome, ParentNode};
use cov_core::status::Status;
use cov_store::model::{Change, ChangeSet};
use cov_store::{ContentWriter, Staged};
use tokio::io::AsyncReadExt as _;

use self::order::NewOrder;
pub use self::order::Order;
use crate::Error;
use crate::effects::is_registered_only;
use crate::handle::{Handle, Registered};
use crate::owner::{self, Newborn};
use crate::redispatch::plan_redispatch;
use crate::registration::{Prepared, TakenOver, check, known, prepare};
use crate::repeat::Request;
use crate::service::Shared;
use crate::upload::check_content;

/// Bytes of small contents that are gathered for one step.
const STEP_BYTES_MAX: usize = 8 << 20;

/// Bytes that are read at once from a file.
const FILE_CHUNK_BYTES: usize = 256 << 10;

/// A workflow on its way in. Dropping it leaves what was durable so far: at most a registered
/// dispatch that is not started, which the same order under the same id completes.
#[derive(Debug)]
pub struct Intake {
    handle: Handle,
    dispatch: DispatchId,
    /// What the client chose the id for.
    request: Option<Request>,
    /// The bodies to come, the next one first.
    bodies: VecDeque<ManifestAsset>,
    /// Contents that the dispatch waits for.
    awaited: HashMap<(Sha1Digest, u64), Awaiting>,
    current: Option<Incoming>,
    /// Changes that are not durable yet; the registration is the first of them, or durable.
    step: Vec<Change>,
    step_bytes: usize,
    is_new: bool,
    /// The contents that came, until the first step is durable: the dispatch may be there
    /// already, and wait for them.
    arrived: Vec<Staged>,
    /// The graph of a dispatch that is not stored yet.
    graph: Option<Graph>,
    /// What becomes of the dispatch, with the last step.
    outcome: Option<Box<Outcome>>,
}

/// A workflow that was taken in.
#[derive(Debug)]
pub struct Taken {
    /// The dispatch, and what is missing of it.
    pub registered: Registered,
    /// Its status.
    pub status: Status,
    /// Whether nothing of it was there before.
    pub is_new: bool,
}

/// Who waits for a content.
#[derive(Debug, Clone, Copy)]
struct Awaiting {
    /// The first asset of them.
    address: AssetAddress,
    has_others: bool,
}

/// One body on its way in.
#[derive(Debug)]
struct Incoming {
    asset: ManifestAsset,
    left: u64,
    to: Sink,
}

#[derive(Debug)]
enum Sink {
    /// Small enough to be gathered.
    Memory(BytesMut),
    /// Into a file of the store.
    Store(Box<dyn ContentWriter>),
    /// Nobody waits for it any more; only its digest is checked.
    Check(Box<ContentDigest>),
}

/// What a registration waits for, each content once.
fn awaited_of(changes: &[Change]) -> HashMap<(Sha1Digest, u64), Awaiting> {
    let Some(Change::Register(registration)) = changes.first() else { return HashMap::new() };
    let awaited = registration.assets.iter().filter_map(|(address, state)| match state {
        AssetState::Awaited(announced) => Some((*address, *announced)),
        AssetState::Present(_) => None,
    });
    by_content(awaited)
}

/// Puts a registration below a node of another dispatch.
async fn below(handle: &Handle, at: &ParentNode, changes: &mut [Change]) -> Result<(), Error> {
    let ParentNode { dispatch, node } = at;
    let above = handle.summary(dispatch).await?;
    if node.0 >= above.node_count {
        return Err(Error::NodeNotFound { dispatch: dispatch.clone(), node: *node });
    }
    if let Some(Change::Register(registration)) = changes.first_mut() {
        registration.root = above.root_dispatch_id;
        registration.parent = Some((dispatch.clone(), *node));
    }
    Ok(())
}

fn by_content(
    awaited: impl Iterator<Item = (AssetAddress, Announced)>,
) -> HashMap<(Sha1Digest, u64), Awaiting> {
    let mut found: HashMap<_, Awaiting> = HashMap::new();
    for (address, Announced { size, sha1 }) in awaited {
        let Some(sha1) = sha1 else { continue };
        let entry = found.entry((sha1, size));
        entry
            .and_modify(|awaiting| awaiting.has_others = true)
            .or_insert(Awaiting { address, has_others: false });
    }
    found
}

impl Intake {
    /// `coming` are assets whose bytes are in the stream.
    async fn new(
        handle: &Handle,
        order: NewOrder,
        coming: HashSet<AssetAddress>,
    ) -> Result<Self, Error> {
        let NewOrder { manifest, request, redispatch_of, outcome } = order;
        let shared = handle.shared();
        let beside = match &request {
            Some(request) => vec![request.kept(shared).await?],
            None => Vec::new(),
        };
        let (manifest, graph) = check(manifest, shared.options.nodes_max).await?;
        let (manifest, graph, taken_over) = match redispatch_of {
            Some((earlier, reuse)) => {
                let record = shared.store.record(&earlier).await?;
                plan_redispatch(shared, &record, manifest, reuse, beside).await?
            }
            None => (manifest, graph, TakenOver { changes: beside, ..TakenOver::default() }),
        };
        let known = known(shared, &manifest, &coming).await?;
        let Prepared { registered, mut changes } =
            prepare(shared, manifest, &graph, known, taken_over).await?;
        if let Some(parent) = outcome.as_ref().and_then(|outcome| outcome.parent.as_ref()) {
            below(handle, parent, &mut changes).await?;
        }
        Ok(Self {
            handle: handle.clone(),
            dispatch: registered.dispatch,
            request,
            bodies: VecDeque::new(),
            awaited: awaited_of(&changes),
            current: None,
            step: changes,
            step_bytes: 0,
            is_new: true,
            arrived: Vec::new(),
            graph: Some(graph),
            outcome,
        })
    }

    /// Goes on with a dispatch that an earlier order has registered.
    async fn resumed(
        handle: &Handle,
        dispatch: DispatchId,
        outcome: Option<Box<Outcome>>,
    ) -> Result<Self, Error> {
        let status = handle.summary(&dispatch).await?.status;
        let outcome = outcome.filter(|_| is_registered_only(status));
        if outcome.is_some() {
            handle.complete_what_is_known(&dispatch).await?;
        }
        let awaited = match is_registered_only(status) {
            true => handle.shared().store.awaited(&dispatch).await?.assets,
            false => Vec::new(),
        };
        Ok(Self {
            handle: handle.clone(),
            dispatch,
            request: None,
            bodies: VecDeque::new(),
            awaited: by_content(awaited.into_iter()),
            current: None,
            step: Vec::new(),
            step_bytes: 0,
            is_new: false,
            arrived: Vec::new(),
            graph: None,
            outcome,
        })
    }

    fn shared(&self) -> &Arc<Shared> {
        self.handle.shared()
    }

    /// Takes in the next bytes of the stream, of whatever bodies they are.
    ///
    /// # Errors
    /// More bytes than were announced, others than were announced, or the store cannot take them.
    pub async fn write(&mut self, mut chunk: Bytes) -> Result<(), Error> {
        while !chunk.is_empty() {
            let Some(mut incoming) = self.next_incoming().await? else {
                let what = format!("dispatch {}", self.dispatch);
                return Err(Error::Surplus { what, bytes: chunk.len() as u64 });
            };
            let size = usize::try_from(incoming.left).unwrap_or(usize::MAX).min(chunk.len());
            incoming.write(chunk.split_to(size)).await?;
            match incoming.left {
                0 => self.take(incoming).await?,
                _ => self.current = Some(incoming),
            }
        }
        Ok(())
    }

    /// Ends the stream. What has come is durable on return; with `start`, the dispatch is started,
    /// unless contents are missing.
    ///
    /// # Errors
    /// The stream ended within a body, or the store cannot take it.
    pub async fn finish(mut self, start: bool) -> Result<Taken, Error> {
        if let Some(asset) = self.current.as_ref().map(|one| one.asset).or(self.bodies.pop_front())
        {
            let difference = "the stream ended before all of its bytes had come".to_owned();
            return Err(Error::Mismatch { address: asset.address, difference });
        }
        let request = self.request.take().filter(|_| self.is_new);
        match (self.settle(start).await, request) {
            // The same came before, or at the same time.
            (Err(Error::Exists { dispatch }), Some(request)) => {
                self.join(dispatch, &request, start).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Stores what was gathered, and starts the dispatch if that is wanted and nothing is missing.
    async fn settle(&mut self, start: bool) -> Result<Taken, Error> {
        let (start, is_new) = (start && self.outcome.is_none(), self.is_new);
        let taken = |dispatch: &DispatchId, uploads, status| {
            let registered = Registered { dispatch: dispatch.clone(), uploads };
            Taken { registered, status, is_new }
        };
        if start && let Some(newborn) = self.newborn()? {
            self.handle.check_open()?;
            match owner::bear(self.shared(), &self.dispatch, newborn).await? {
                Ok(status) => return Ok(taken(&self.dispatch, HashSet::new(), status)),
                Err(changes) => self.step = changes,
            }
        }
        self.conclude();
        self.commit().await?;
        let uploads = match self.awaited.is_empty() {
            true => HashSet::new(),
            false => self.handle.missing(&self.dispatch).await?,
        };
        let begins = start && uploads.is_empty();
        let status = match &self.outcome {
            _ if begins => self.handle.start(&self.dispatch).await?,
            None if is_new => Status::NewObject,
            _ => self.handle.summary(&self.dispatch).await?.status,
        };
        Ok(taken(&self.dispatch, uploads, status))
    }

    /// Adds what became of the dispatch elsewhere. With contents missing, the same order comes
    /// again behind their uploads.
    fn conclude(&mut self) {
        if self.awaited.is_empty()
            && let Some(outcome) = &self.outcome
        {
            let states = outcome.node_states();
            self.step.extend(states.map(|(node, state)| Change::Node { node, state }));
            self.step.push(Change::Dispatch(outcome.state()));
        }
    }

    /// The dispatch as its owner takes it, if nothing of it is stored and nothing is missing.
    fn newborn(&mut self) -> Result<Option<Newborn>, Error> {
        if !self.is_new || !self.awaited.is_empty() {
            return Ok(None);
        }
        let Some(graph) = self.graph.take() else { return Ok(None) };
        let changes = std::mem::take(&mut self.step);
        match Newborn::new(self.shared(), &self.dispatch, graph, changes)? {
            Ok(newborn) => Ok(Some(newborn)),
            Err(changes) => {
                self.step = changes;
                Ok(None)
            }
        }
    }

    /// Goes on with `dispatch`, which an equal order has registered, if `request` is its request.
    async fn join(
        self,
        dispatch: DispatchId,
        request: &Request,
        start: bool,
    ) -> Result<Taken, Error> {
        let there = self.handle.must_be(&dispatch, request).await?;
        let mut resumed = Self::resumed(&self.handle, there.dispatch, self.outcome).await?;
        for staged in self.arrived {
            resumed.keep(staged).await?;
        }
        resumed.settle(start).await
    }

    async fn next_incoming(&mut self) -> Result<Option<Incoming>, Error> {
        if let Some(current) = self.current.take() {
            return Ok(Some(current));
        }
        let Some(asset) = self.bodies.pop_front() else { return Ok(None) };
        let Announced { size, sha1 } = asset.announced;
        let wanted = sha1.is_some_and(|sha1| self.awaited.contains_key(&(sha1, size)));
        let to = match usize::try_from(size) {
            _ if !wanted => Sink::Check(Box::default()),
            Ok(size) if size <= INLINE_BYTES_MAX => Sink::Memory(BytesMut::with_capacity(size)),
            _ => Sink::Store(self.shared().contents.writer().await?),
        };
        Ok(Some(Incoming { asset, left: size, to }))
    }

    async fn take(&mut self, incoming: Incoming) -> Result<(), Error> {
        let Incoming { asset: ManifestAsset { address, announced }, to, .. } = incoming;
        let staged = match to {
            Sink::Check(digest) => return check_content(address, &announced, &digest.finish()),
            Sink::Memory(bytes) => {
                let SmallContent { content, bytes } = SmallContent::new(bytes.freeze());
                Staged { content, small: Some(bytes) }
            }
            Sink::Store(writer) => writer.finish().await?,
        };
        check_content(address, &announced, &staged.content)?;
        self.keep(staged).await
    }

    /// Gives a content to whatever waits for it.
    async fn keep(&mut self, staged: Staged) -> Result<(), Error> {
        let Staged { content, small } = staged;
        let ContentRef { sha1, size, .. } = content;
        let Some(Awaiting { address, has_others }) = self.awaited.remove(&(sha1, size)) else {
            return Ok(());
        };
        self.step_bytes += small.as_ref().map_or(0, Bytes::len);
        if self.is_new && self.request.is_some() {
            self.arrived.push(Staged { content, small: small.clone() });
        }
        self.step.push(Change::Asset { address, content, small });
        if has_others {
            self.step.push(Change::Fulfil { content });
        }
        if self.step_bytes >= STEP_BYTES_MAX {
            self.commit().await?;
            self.arrived.clear();
        }
        Ok(())
    }

    /// Makes durable what was gathered.
    async fn commit(&mut self) -> Result<(), Error> {
        let changes = std::mem::take(&mut self.step);
        if changes.is_empty() {
            return Ok(());
        }
        self.step_bytes = 0;
        let at = match &self.outcome {
            Some(outcome) => outcome.registered_at,
            None => self.shared().clock.now(),
        };
        let set = ChangeSet { dispatch: self.dispatch.clone(), at, changes };
        self.is_new = false;
        self.shared().committer.commit(set).await
    }

    /// Takes the bytes of an asset from a file, if it has them. A file that cannot be read, or
    /// has others, is passed over: the client is told that the asset is missing.
    async fn take_file(&mut self, asset: ManifestAsset, path: &Path) -> Result<(), Error> {
        let Announced { size, sha1 } = asset.announced;
        if !sha1.is_some_and(|sha1| self.awaited.contains_key(&(sha1, size))) {
            return Ok(());
        }
        let found = tokio::fs::metadata(path).await;
        if !found.is_ok_and(|found| found.is_file() && found.len() == size) {
            return Ok(());
        }
        let Ok(mut file) = tokio::fs::File::open(path).await else { return Ok(()) };
        let mut writer = self.shared().contents.writer().await?;
        let mut left = size;
        while left > 0 {
            let mut chunk = BytesMut::with_capacity(FILE_CHUNK_BYTES);
            let next = (&mut file).take(left).read_buf(&mut chunk).await;
            match next {
                Ok(0) | Err(_) => return Ok(()),
                Ok(read) => left -= read as u64,
            }
            writer.write(chunk.freeze()).await?;
        }
        let staged = writer.finish().await?;
        match check_content(asset.address, &asset.announced, &staged.content) {
            Ok(()) => self.keep(staged).await,
            Err(_others) => Ok(()),
        }
    }
}

impl Incoming {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.left -= bytes.len() as u64;
        match &mut self.to {
            Sink::Memory(gathered) => gathered.extend_from_slice(&bytes),
            Sink::Store(writer) => writer.write(bytes).await?,
            Sink::Check(digest) => digest.update(&bytes),
        }
        Ok(())
    }
}
