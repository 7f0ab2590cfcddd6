//! What survives a crash: dispatches as they were registered, and the batches that were
//! committed. Checks that nothing that was shown is ever unsaid.

use std::collections::VecDeque;

use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::state::{DispatchState, NodeState};
use cov_core::status::Status;
use cov_engine::dispatch::{Dispatch, Plan, RestoredNode};
use cov_engine::effect::Effect;
use cov_engine::machine::Step;

/// A dispatch as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) plan: Plan,
    /// The dispatch at the top of the hierarchy.
    pub(crate) root: usize,
    /// How deep below it.
    pub(crate) depth: usize,
    pub(crate) state: DispatchState,
    pub(crate) nodes: Vec<RestoredNode>,
    /// For each node, the latest attempt that an engine outside has or had.
    pub(crate) jobs: Vec<Option<AttemptId>>,
}

/// What one step stores, and what it asks for once it is stored.
#[derive(Debug)]
struct Batch {
    dispatch: usize,
    state: Option<DispatchState>,
    nodes: Vec<(NodeId, NodeState, Option<DispatchId>)>,
    job: Option<(NodeId, AttemptId)>,
    effects: Vec<Effect>,
}

/// The store: the truth, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) dispatches: Vec<Stored>,
    log: VecDeque<Batch>,
    pub(crate) commits: u64,
}

impl Store {
    /// Takes in what `step` changed in `dispatch`, to be committed later.
    pub(crate) fn append(
        &mut self,
        dispatch: usize,
        live: &Dispatch,
        step: &Step,
        effects: Vec<Effect>,
    ) {
        let nothing = step.changed_nodes.is_empty() && !step.dispatch_changed;
        if nothing && effects.is_empty() {
            return;
        }
        let row =
            |node: &NodeId| (*node, live.node_state(*node).unwrap(), live.child(*node).cloned());
        let nodes = step.changed_nodes.iter().map(row).collect();
        let state = step.dispatch_changed.then(|| live.state());
        self.log.push_back(Batch { dispatch, state, nodes, job: None, effects });
    }

    /// Takes in that an engine outside has an attempt.
    pub(crate) fn append_job(&mut self, dispatch: usize, node: NodeId, attempt: AttemptId) {
        let (nodes, effects) = (Vec::new(), Vec::new());
        let job = Some((node, attempt));
        self.log.push_back(Batch { dispatch, state: None, nodes, job, effects });
    }

    /// Whether something of `dispatch` waits to be committed.
    pub(crate) fn has_pending(&self, dispatch: usize) -> bool {
        self.log.iter().any(|batch| batch.dispatch == dispatch)
    }

    /// Commits the oldest batch. `None` when there is none, else whose it was and what it asks
    /// for now.
    pub(crate) fn commit(&mut self) -> Result<Option<(usize, Vec<Effect>)>, String> {
        let Some(batch) = self.log.pop_front() else { return Ok(None) };
        let Batch { dispatch, state, nodes, job, effects } = batch;
        let stored = &mut self.dispatches[dispatch];
        for (node, new, child) in nodes {
            let old = &mut stored.nodes[node.index()];
            may_follow(old.state.status, new.status, old.state == new)
                .map_err(|rule| format!("stored node {node} of d{dispatch} {rule}"))?;
            old.state = new;
            // As in the real store, a link is replaced by the next one, and never taken back.
            if child.is_some() {
                old.child = child;
            }
        }
        if let Some((node, attempt)) = job {
            stored.jobs[node.index()] = Some(attempt);
        }
        if let Some(new) = state {
            may_follow(stored.state.status, new.status, stored.state == new)
                .map_err(|rule| format!("stored d{dispatch} {rule}"))?;
            stored.state = new;
        }
        self.commits += 1;
        Ok(Some((dispatch, effects)))
    }

    /// Forgets everything that was not committed.
    pub(crate) fn crash(&mut self) {
        self.log.clear();
    }

    /// Forgets what was not committed of one dispatch.
    pub(crate) fn drop_pending(&mut self, dispatch: usize) {
        self.log.retain(|batch| batch.dispatch != dispatch);
    }
}

fn may_follow(old: Status, new: Status, same: bool) -> Result<(), String> {
    if old.is_terminal() && !same {
        return Err(format!("was shown as {old} and became something else ({new})"));
    }
    if old != new && !old.may_become(new) {
        return Err(format!("was shown as {old} and became {new}"));
    }
    Ok(())
}
