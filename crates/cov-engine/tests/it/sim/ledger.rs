//! What the simulation remembers of every node, across crashes, and the rules that it judges by
//! without asking the engine.

use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::status::Status;
use cov_engine::invariants;

use super::world::{Attempt, World, index_of};

/// A dispatch's book.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) nodes: Vec<Entry>,
    /// How often it was loaded again.
    pub(crate) reloads: u32,
    /// The sub-dispatches that were linked to its nodes, each with its node.
    pub(crate) linked: Vec<(NodeId, usize)>,
    /// How many crashes there had been when it was registered.
    born_after: u32,
}

/// A node's line in it. Moments are step numbers; 0 is never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    pub(crate) attempts: u32,
    pub(crate) not_begun: u32,
    /// How often its attempt was taken up again after a crash.
    pub(crate) attached: u32,
    /// How often an executor said that its attempt is lost.
    pub(crate) lost: u32,
    /// When it was last handed to its executor.
    pub(crate) submitted: u64,
    /// When it last became FAILED or CANCELLED in memory.
    pub(crate) ended_badly: u64,
}

impl Ledger {
    pub(crate) fn new(nodes: usize, born_after: u32) -> Self {
        Self { nodes: vec![Entry::default(); nodes], reloads: 0, linked: Vec::new(), born_after }
    }
}

fn rule(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}

impl World {
    /// What must hold when a task is handed to its executor.
    pub(crate) fn check_submit(
        &self,
        dispatch: usize,
        node: NodeId,
        attempt: AttemptId,
    ) -> Result<(), String> {
        let Some(live) = &self.live[dispatch] else { return Err("submitted by nobody".into()) };
        let told = |what: &str| format!("d{dispatch}: submitted {node} as {attempt}, {what}");
        let graph = live.graph();
        let complete =
            |node| live.node_state(node).is_some_and(|state| state.status == Status::Completed);
        rule(graph.parents(node).all(complete), || told("but its inputs are not complete"))?;
        rule(graph.kind(node) != NodeKind::Parameter, || told("a parameter"))?;
        rule(live.state().status == Status::Running, || told("but the dispatch is not running"))?;
        let state = live.node_state(node).unwrap();
        rule(!state.cancel_requested, || told("but it was cancelled"))?;
        rule(state.attempt == Some(attempt), || told("which is not its attempt"))?;
        rule(attempt.epoch() == self.epoch, || told("an attempt of an older epoch"))?;
        let stored = &self.store.dispatches[dispatch];
        let shown = stored.nodes[node.index()].state.status;
        rule(!shown.is_terminal(), || told(&format!("but it was shown as {shown}")))?;
        rule(!stored.state.status.is_terminal(), || told("but the dispatch was shown as ended"))?;
        let holds = self.executors.iter().any(|executor| executor.holders.contains(&attempt));
        rule(holds, || told("without a slot"))?;
        let known = self.executors.iter().flat_map(|executor| &executor.attempts);
        let is_same = |other: &&Attempt| other.dispatch == dispatch && other.node == node;
        let mut living = known.filter(is_same).filter(|other| !other.is_killed);
        rule(living.next().is_none(), || told("while an earlier attempt lives"))
    }

    /// What must hold when an executor takes up an attempt of an earlier life of the server.
    pub(crate) fn check_attach(
        &self,
        dispatch: usize,
        node: NodeId,
        attempt: AttemptId,
    ) -> Result<(), String> {
        let told = |what: &str| format!("d{dispatch}: attached {node} as {attempt}, {what}");
        let stored = &self.store.dispatches[dispatch];
        let shown = stored.nodes[node.index()].state;
        rule(shown.status == Status::Running, || told(&format!("shown as {}", shown.status)))?;
        rule(shown.attempt == Some(attempt), || told("which is not its attempt"))?;
        rule(stored.jobs[node.index()].is_some(), || told("which no engine ever had"))?;
        rule(attempt.epoch() < self.epoch, || told("which this life began"))?;
        let known = self.executors.iter().flat_map(|executor| &executor.holders);
        rule(known.copied().all(|other| other != attempt), || told("again"))
    }

    /// What must hold when a sub-dispatch is started: the attempt that ended well made it.
    pub(crate) fn check_start_child(
        &self,
        dispatch: usize,
        node: NodeId,
        child: &DispatchId,
    ) -> Result<(), String> {
        let Some(live) = &self.live[dispatch] else { return Ok(()) };
        let attempt = live.node_state(node).and_then(|state| state.attempt);
        let builder = self.builders[index_of(child)];
        rule(builder.is_none() || builder == attempt, || {
            format!("d{dispatch}: {node} ran as {attempt:?} and starts {child} of {builder:?}")
        })
    }

    /// The sum over all nodes.
    pub(crate) fn sum(&self, of: impl Fn(&Entry) -> u32) -> u32 {
        self.ledgers.iter().flat_map(|ledger| &ledger.nodes).map(of).sum()
    }

    /// What must hold after every step, of what the engine does not know.
    pub(crate) fn check_executors(&self) -> Result<(), String> {
        for executor in &self.executors {
            let (taken, held) = (executor.scheduler.taken(), executor.holders.len());
            rule(taken == held, || format!("{taken} slots are taken, {held} are held"))?;
            // Each grant finds a free slot. Beyond them are only those that go on from before,
            // which never wait.
            let slots = self.mood.slots;
            let is_own = |attempt: &&AttemptId| attempt.epoch() == self.epoch;
            let own = executor.holders.iter().filter(is_own).count();
            rule(own <= slots, || format!("{own} slots of {slots} were granted"))?;
            let attached = held - own;
            rule(taken <= slots || taken - slots <= attached, || {
                format!("{taken} slots of {slots} are taken, {attached} of them from before")
            })?;
            let running = executor.attempts.len();
            rule(running <= taken, || format!("{running} tasks run in {taken} slots"))?;
            executor.attempts.iter().try_for_each(|attempt| self.check_kill(attempt))?;
        }
        Ok(())
    }

    /// Whoever is cancelled is being killed.
    fn check_kill(&self, attempt: &Attempt) -> Result<(), String> {
        let Some(live) = &self.live[attempt.dispatch] else { return Ok(()) };
        let Some(state) = live.node_state(attempt.node) else { return Ok(()) };
        let must_die = state.attempt == Some(attempt.id) && state.cancel_requested;
        rule(!must_die || attempt.is_killed, || {
            format!("d{}: {} is cancelled and lives", attempt.dispatch, attempt.node)
        })
    }

    /// What must hold when nothing is left to do.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        for executor in &self.executors {
            let (taken, queued) = (executor.scheduler.taken(), executor.scheduler.queued());
            rule((taken, queued) == (0, 0), || format!("at the end, {taken} run, {queued} wait"))?;
        }
        for dispatch in 0..self.store.dispatches.len() {
            self.check_dispatch(dispatch).map_err(|broken| format!("d{dispatch}: {broken}"))?;
        }
        Ok(())
    }

    fn check_dispatch(&self, dispatch: usize) -> Result<(), String> {
        let stored = &self.store.dispatches[dispatch];
        let status = stored.state.status;
        let is_untouched = status == Status::NewObject && !self.wanted[dispatch];
        rule(is_untouched || status.is_terminal(), || format!("ends as {status}"))?;
        if let Some(live) = &self.live[dispatch] {
            invariants::check(live)?;
            rule(live.state() == stored.state, || "its state was not stored".into())?;
        }
        for node in stored.plan.graph.nodes() {
            self.check_node(dispatch, node).map_err(|broken| format!("node {node} {broken}"))?;
        }
        self.check_linked(dispatch)?;
        let has = |status| stored.nodes.iter().any(|node| node.state.status == status);
        rule(self.mood.may_cancel || !has(Status::Cancelled), || {
            "something is CANCELLED, and nobody asked for it".into()
        })?;
        let expected = match (has(Status::Failed), has(Status::Cancelled)) {
            (true, _) => Status::Failed,
            (false, true) => Status::Cancelled,
            (false, false) => Status::Completed,
        };
        rule(is_untouched || status == expected, || format!("ends as {status}, not {expected}"))
    }

    fn check_node(&self, dispatch: usize, node: NodeId) -> Result<(), String> {
        let (stored, ledger) = (&self.store.dispatches[dispatch], &self.ledgers[dispatch]);
        let (shown, entry) = (&stored.nodes[node.index()], &ledger.nodes[node.index()]);
        let status = shown.state.status;
        if let Some(live) = &self.live[dispatch] {
            let state = live.node_state(node);
            rule(state == Some(shown.state), || format!("is {state:?} and was not stored"))?;
        }
        let retries = stored.plan.policies[stored.plan.executor_of[node.index()] as usize].retries;
        let crashes = self.mood.crashes_seen - ledger.born_after;
        rule(entry.attached <= crashes, || format!("was taken up {} times", entry.attached))?;
        // A crash costs no run of what goes on outside.
        let repeated = crashes - entry.attached + entry.lost;
        let most = 1 + retries + repeated + ledger.reloads + entry.not_begun;
        rule(entry.attempts <= most, || format!("had {} attempts of {most}", entry.attempts))?;
        let is_open = |status| matches!(status, Status::NewObject | Status::PendingReuse);
        let status_of = |node: NodeId| stored.nodes[node.index()].state.status;
        let ready =
            stored.plan.graph.parents(node).all(|node| status_of(node) == Status::Completed);
        let ran = stored.state.status.is_terminal();
        rule(!ran || ready != is_open(status), || {
            format!("is {status}; inputs complete: {ready}")
        })?;
        if matches!(status, Status::Failed | Status::Cancelled) {
            self.check_below(dispatch, node)?;
        }
        match &shown.child {
            Some(child) => {
                let child = self.store.dispatches[index_of(child)].state.status;
                // A sub-dispatch that its builder did not live to hand over never started.
                let is_settled = child.is_terminal() || status == Status::Completed;
                rule(!is_settled || child == status, || {
                    format!("is {status}, its sub-dispatch {child}")
                })
            }
            None => Ok(()),
        }
    }

    /// A linked sub-dispatch was either started or cancelled; after a crash or a reload it may
    /// have been forgotten, but then it never started.
    fn check_linked(&self, dispatch: usize) -> Result<(), String> {
        let ledger = &self.ledgers[dispatch];
        for (node, child) in &ledger.linked {
            let state = self.store.dispatches[*child].state;
            let is_settled = state.status.is_terminal() || state.cancel_requested;
            let was_lost = self.mood.crashes_seen > ledger.born_after
                || ledger.reloads + self.ledgers[*child].reloads > 0;
            rule(is_settled || was_lost, || {
                format!("d{child} of node {node} is {}", state.status)
            })?;
        }
        Ok(())
    }

    /// Nothing below a node was started after the node ended badly.
    fn check_below(&self, dispatch: usize, top: NodeId) -> Result<(), String> {
        let graph = &self.store.dispatches[dispatch].plan.graph;
        let entries = &self.ledgers[dispatch].nodes;
        let ended = entries[top.index()].ended_badly;
        let mut seen = vec![false; graph.len()];
        let mut below = vec![top];
        while let Some(node) = below.pop() {
            for child in graph.children(node) {
                if std::mem::replace(&mut seen[child.index()], true) {
                    continue;
                }
                let submitted = entries[child.index()].submitted;
                rule(submitted < ended, || {
                    format!("ended badly at step {ended}, {child} below it ran at {submitted}")
                })?;
                below.push(*child);
            }
        }
        Ok(())
    }
}
