//! A dispatch that is registered and started in one step. Its owner takes it from the hands of its
//! registration, so that nothing has to be read; until that step is durable, nothing of it runs.

use std::collections::HashMap;
use std::sync::Arc;

use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState, ContentRef};
use cov_core::graph::Graph;
use cov_core::ids::{DispatchId, Sha1Digest};
use cov_core::state::DispatchState;
use cov_core::status::Status;
use cov_engine::dispatch::Dispatch;
use cov_store::model::{Change, Functions, Registration, StoredDispatch, StoredNode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Error;
use crate::owner::load::{Loaded, put_together};
use crate::owner::{Purpose, spawn};
use crate::programs::StoredProgram;
use crate::service::Shared;

/// A dispatch on its way into the store.
#[derive(Debug)]
pub(crate) struct Newborn {
    pub(super) dispatch: Dispatch,
    pub(super) loaded: Loaded,
    /// What stores it, its registration first.
    pub(super) changes: Vec<Change>,
}

impl Newborn {
    /// The dispatch `id` as `changes`, the first of which registers it, will have stored it. `graph`
    /// is that of its nodes. Gives the changes back if assets are missing.
    ///
    /// # Errors
    /// The states of its nodes contradict each other.
    pub(crate) fn new(
        shared: &Shared,
        id: &DispatchId,
        graph: Graph,
        changes: Vec<Change>,
    ) -> Result<Result<Self, Vec<Change>>, Error> {
        let Some(Change::Register(registration)) = changes.first() else { return Ok(Err(changes)) };
        let Some(contents) = contents_of(registration, &changes) else { return Ok(Err(changes)) };
        let mut stored = StoredDispatch {
            dispatch: id.clone(),
            root: registration.root.clone(),
            parent: registration.parent.clone(),
            state: DispatchState::default(),
            graph,
            executors: registration.executors.clone(),
            nodes: registration
                .nodes
                .iter()
                .map(|node| StoredNode::new(node.executor, node.state))
                .collect(),
        };
        let (mut program, mut functions) = (None, Functions::default());
        for (address, content) in contents {
            match address.node.and_then(|node| stored.nodes.get_mut(node.index())) {
                Some(node) => node.contents.set(address.key, content, &mut functions),
                None if address.key == AssetKey::Program => program = Some(content),
                None => {}
            }
        }
        let (dispatch, mut loaded) = put_together(shared, stored)?;
        loaded.program = program.filter(|_| loaded.needs_program()).map(StoredProgram::new);
        Ok(Ok(Self { dispatch, loaded, changes }))
    }
}

/// Registers and starts a dispatch in one step. Returns its status in that step, or its changes if
/// a dispatch of this id has an owner: it is there, or somebody is just bringing it about.
///
/// # Errors
/// Nothing was stored, and nothing has run; with [`Error::Overloaded`], nobody knows yet.
pub(crate) async fn bear(
    shared: &Arc<Shared>,
    id: &DispatchId,
    newborn: Newborn,
) -> Result<Result<Status, Vec<Change>>, Error> {
    let (reply, answer) = oneshot::channel();
    let mut unborn = Some(Purpose::Bear(Box::new(newborn), reply));
    shared.registry.get_or_create(id, || {
        let purpose = unborn.take().unwrap_or(Purpose::Serve);
        spawn(shared, id.clone(), purpose)
    });
    if let Some(Purpose::Bear(newborn, _)) = unborn {
        return Ok(Err(newborn.changes));
    }
    match timeout(shared.options.reply_timeout, answer).await {
        Ok(Ok(outcome)) => outcome.map(Ok),
        Ok(Err(oneshot::error::RecvError { .. })) => Err(Error::Stopping),
        Err(_elapsed) => Err(Error::Overloaded),
    }
}

/// The content of every asset; `None` if one is missing.
fn contents_of(
    registration: &Registration,
    changes: &[Change],
) -> Option<Vec<(AssetAddress, ContentRef)>> {
    let brought = changes.iter().filter_map(|change| match change {
        Change::Asset { address, content, .. } => Some((*address, *content)),
        _ => None,
    });
    let brought: Vec<(AssetAddress, ContentRef)> = brought.collect();
    let by_digest: HashMap<(Sha1Digest, u64), ContentRef> =
        brought.iter().map(|(_, content)| ((content.sha1, content.size), *content)).collect();
    let content_of = |state: &AssetState| match state {
        AssetState::Present(content) => Some(*content),
        AssetState::Awaited(Announced { size, sha1 }) => by_digest.get(&((*sha1)?, *size)).copied(),
    };
    let assets = registration.assets.iter();
    let mut contents: Vec<_> = assets
        .map(|(address, state)| Some((*address, content_of(state)?)))
        .collect::<Option<_>>()?;
    contents.extend(brought);
    Some(contents)
}
