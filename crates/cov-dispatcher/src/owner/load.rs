//! Loads a dispatch from the store into its owner's hands.

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_engine::dispatch::{Dispatch, Plan, RestoredNode};
use cov_exec::Lane;
use cov_store::model::{NodeContents, Query, StoredDispatch, StoredNode};
use tokio::time::sleep;

use crate::Error;
use crate::executors::{Pool, Slot};
use crate::options::{COMMIT_RETRY_FIRST, COMMIT_RETRY_MAX};
use crate::programs::StoredProgram;
use crate::service::Shared;
use crate::target::{Target, TargetRuntime};

/// How often a dispatch is loaded again because its steps could not be stored.
pub(super) const RELOADS_MAX: u32 = 3;

/// What an owner knows beside the engine's state: where things are.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The dispatch at the top of the hierarchy: whose turn it is in admission.
    pub(crate) root: DispatchId,
    /// Where the tasks of each executor go.
    pub(crate) targets: Vec<Target>,
    /// For each node, the index of its executor.
    pub(crate) executor_of: Vec<u32>,
    /// The program that comes with the dispatch, if one of the executors needs it.
    pub(crate) program: Option<StoredProgram>,
    /// The contents of each node.
    pub(crate) contents: Vec<NodeContents>,
}

impl Loaded {
    pub(crate) fn node(&self, node: NodeId) -> Option<&NodeContents> {
        self.contents.get(node.index())
    }

    /// Whether one of the executors runs the program that comes with the dispatch.
    pub(super) fn needs_program(&self) -> bool {
        let needs_it = |target: &Target| matches!(target.runtime, TargetRuntime::Program { .. });
        self.targets.iter().any(needs_it)
    }

    /// The slot that a node asks for.
    pub(crate) fn slot(&self, node: NodeId) -> Slot {
        let nothing = Slot { pool: Pool::BUILTIN, lane: Lane::Other };
        self.target(node).map_or(nothing, Target::slot)
    }

    pub(crate) fn target(&self, node: NodeId) -> Option<&Target> {
        self.targets.get(*self.executor_of.get(node.index())? as usize)
    }
}

/// Loads the dispatch. A store that does not answer is asked again when `patient`: then nobody
/// waits who could be told. With `attaches`, attempts may go on that an earlier life of the server
/// began.
///
/// # Errors
/// There is no such dispatch, it does not pass its check, or the server is stopping.
pub(super) async fn load_patiently(
    shared: &Shared,
    id: &DispatchId,
    patient: bool,
    attaches: bool,
) -> Result<(Dispatch, Loaded), Error> {
    let mut pause = COMMIT_RETRY_FIRST;
    loop {
        let loaded = {
            // The store reads only so many at a time; the rest had better wait here.
            let _turn = shared.loads.acquire().await;
            load(shared, id, attaches).await
        };
        match loaded {
            Err(error) if patient && error.is_passing() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a load is tried again");
            }
            outcome => return outcome,
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(COMMIT_RETRY_MAX),
            () = shared.stopping.cancelled() => return Err(Error::Stopping),
        }
    }
}

async fn load(
    shared: &Shared,
    id: &DispatchId,
    attaches: bool,
) -> Result<(Dispatch, Loaded), Error> {
    let mut stored = shared.store.load(id).await?;
    if attaches {
        part_from_earlier_links(shared, &mut stored.nodes).await?;
    }
    let (dispatch, mut loaded) = put_together(shared, stored)?;
    loaded.program = program_of(shared, id, &loaded).await?;
    Ok((dispatch, loaded))
}

/// What an owner works with, but for the program.
///
/// # Errors
/// The states contradict each other.
pub(super) fn put_together(
    shared: &Shared,
    stored: StoredDispatch,
) -> Result<(Dispatch, Loaded), Error> {
    let StoredDispatch { dispatch: id, root, state, graph, executors, nodes, .. } = stored;
    let executor_of: Vec<u32> = nodes.iter().map(|node| node.executor).collect();
    let policies = executors.iter().map(|spec| spec.policy()).collect();
    let targets: Vec<Target> = {
        let known = shared.admission.executors();
        executors.iter().map(|spec| Target::of(spec, known)).collect()
    };
    let (restored, contents) = nodes
        .into_iter()
        .map(|node| (RestoredNode { state: node.state, child: node.sub_dispatch }, node.contents))
        .unzip();
    let plan = Plan { graph, executor_of: executor_of.clone(), policies };
    let dispatch = Dispatch::restore(plan, state, restored).map_err(|reason| {
        cov_store::Error::Corrupt { what: format!("dispatch {id}"), reason: reason.to_string() }
    })?;
    Ok((dispatch, Loaded { root, targets, executor_of, program: None, contents }))
}

/// A link outlasts the attempt that made it. An attempt that goes on is not to be given what an
/// earlier one linked: that was registered before the present one had its turn.
async fn part_from_earlier_links(shared: &Shared, nodes: &mut [StoredNode]) -> Result<(), Error> {
    let goes_on = |node: &&mut StoredNode| {
        node.contents.job.is_some() && node.state.status == Status::Running
    };
    for node in nodes.iter_mut().filter(goes_on) {
        let (Some(child), Some(turn)) = (&node.sub_dispatch, node.state.started_at) else {
            continue;
        };
        let query = Query { ids: vec![child.clone()], limit: 1, ..Query::default() };
        let child = shared.store.summaries(&query).await?.pop();
        if child.is_none_or(|child| child.created_at < turn) {
            node.sub_dispatch = None;
        }
    }
    Ok(())
}

async fn program_of(
    shared: &Shared,
    id: &DispatchId,
    loaded: &Loaded,
) -> Result<Option<StoredProgram>, Error> {
    if !loaded.needs_program() {
        return Ok(None);
    }
    let program = shared.store.asset(id, AssetAddress::of_dispatch(AssetKey::Program)).await?;
    Ok(program.and_then(|state| state.content().copied()).map(StoredProgram::new))
}
