//! A whole server in one value: live dispatches, the store, executors with slots, and messages
//! under way. Performs what the engine asks for and believes none of it without a check.

use std::collections::VecDeque;

use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_engine::dispatch::{Dispatch, Plan};
use cov_engine::effect::Effect;
use cov_engine::event::{Event, OnRestart, Outcome};
use cov_engine::invariants;
use cov_engine::machine::{Step, apply};
use cov_engine::phase::End;
use cov_engine::scheduler::Scheduler;

use super::graphs;
use super::ledger::Ledger;
use super::profile::Mood;
use super::rng::Rng;
use super::store::{Store, Stored};
use super::trace::Trace;

/// Sub-dispatches are not registered beyond this many dispatches.
const DISPATCHES_MAX: usize = 40;

/// A message on its way to a dispatch.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) dispatch: usize,
    pub(crate) event: Event,
    /// Whether a task's process sent it, so that it may arrive after a crash of the server.
    pub(crate) is_report: bool,
}

/// A task in the hands of its executor.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) dispatch: usize,
    pub(crate) node: NodeId,
    pub(crate) has_begun: bool,
    pub(crate) is_killed: bool,
    pub(crate) has_linked: bool,
    /// Whether an engine outside runs it, so that it may outlive the server.
    pub(crate) is_outside: bool,
    /// What is left to say of it: it ended, or was lost, while the server was away.
    pub(crate) last: Option<Event>,
}

impl Attempt {
    pub(crate) fn new(id: AttemptId, dispatch: usize, node: NodeId) -> Self {
        Self {
            id,
            dispatch,
            node,
            has_begun: false,
            is_killed: false,
            has_linked: false,
            is_outside: false,
            last: None,
        }
    }
}

/// An executor: who waits for it, what it runs, and who holds its slots.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) scheduler: Scheduler<usize, (usize, NodeId)>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) holders: Vec<AttemptId>,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) mood: Mood,
    pub(crate) steps: u64,
    pub(crate) epoch: u32,
    attempts: u32,
    pub(crate) store: Store,
    pub(crate) live: Vec<Option<Dispatch>>,
    ids: Vec<DispatchId>,
    /// Who started a dispatch and will ask again if the server forgets: its user.
    pub(crate) wanted: Vec<bool>,
    pub(crate) ledgers: Vec<Ledger>,
    /// The attempt that registered a sub-dispatch itself.
    pub(crate) builders: Vec<Option<AttemptId>>,
    /// Nodes that are to be told of a dispatch's end.
    watchers: Vec<Vec<(usize, NodeId)>>,
    pub(crate) messages: Vec<Message>,
    /// What is committed and not yet performed.
    pub(crate) released: VecDeque<(usize, Effect)>,
    pub(crate) executors: Vec<Executor>,
    /// What engines outside know of attempts that no executor of this server has.
    pub(crate) outside: Vec<Attempt>,
    pub(crate) trace: Trace,
}

impl World {
    pub(crate) fn new(rng: Rng, mood: Mood, trace: Trace) -> Self {
        let mut world = Self {
            rng,
            mood,
            steps: 0,
            epoch: 1,
            attempts: 0,
            store: Store::default(),
            live: Vec::new(),
            ids: Vec::new(),
            wanted: Vec::new(),
            ledgers: Vec::new(),
            builders: Vec::new(),
            watchers: Vec::new(),
            messages: Vec::new(),
            released: VecDeque::new(),
            executors: Vec::new(),
            outside: Vec::new(),
            trace,
        };
        world.open_executors();
        for nodes in world.mood.nodes.clone() {
            let plan =
                graphs::plan(&mut world.rng, nodes, world.mood.executors, world.mood.nesting);
            let index = world.register(plan, None);
            world.wanted[index] = true;
            world.send(index, Event::Start);
        }
        world
    }

    pub(crate) fn open_executors(&mut self) {
        let open = |_| Executor {
            scheduler: Scheduler::new(self.mood.slots),
            attempts: Vec::new(),
            holders: Vec::new(),
        };
        self.executors = (0..self.mood.executors).map(open).collect();
    }

    /// Registers a dispatch, which is durable at once.
    fn register(&mut self, plan: Plan, parent: Option<usize>) -> usize {
        let index = self.store.dispatches.len();
        let (root, depth) = parent.map_or((index, 0), |parent| {
            let parent = &self.store.dispatches[parent];
            (parent.root, parent.depth + 1)
        });
        let nodes = graphs::registered(&mut self.rng, &plan);
        self.ledgers.push(Ledger::new(plan.graph.len(), self.mood.crashes_seen));
        let jobs = vec![None; nodes.len()];
        let state = Default::default();
        self.store.dispatches.push(Stored { plan, root, depth, state, nodes, jobs });
        self.live.push(None);
        self.ids.push(format!("d{index}").parse().unwrap());
        self.wanted.push(false);
        self.builders.push(None);
        self.watchers.push(Vec::new());
        index
    }

    /// Registers a sub-dispatch for a node of `parent`, unless there are many.
    pub(crate) fn register_child(
        &mut self,
        parent: usize,
        builder: Option<AttemptId>,
    ) -> Option<DispatchId> {
        if self.ids.len() >= DISPATCHES_MAX {
            return None;
        }
        let nesting = if self.store.dispatches[parent].depth < 2 { 4 } else { 0 };
        let nodes = self.rng.between(1, 6);
        let plan = graphs::plan(&mut self.rng, nodes, self.mood.executors, nesting);
        let child = self.register(plan, Some(parent));
        self.builders[child] = builder;
        Some(self.ids[child].clone())
    }

    /// Puts a message of the server itself, or of a user, on its way.
    pub(crate) fn send(&mut self, dispatch: usize, event: Event) {
        self.messages.push(Message { dispatch, event, is_report: false });
    }

    /// Grants a slot, if there is work and a slot.
    pub(crate) fn grant(&mut self, executor: usize) -> Result<bool, String> {
        let is_free = self.executors[executor].scheduler.taken() < self.mood.slots;
        let Some((dispatch, node)) = self.executors[executor].scheduler.grant() else {
            return Ok(false);
        };
        if !is_free {
            return Err(format!("d{dispatch}: {node} was granted a slot, and none was free"));
        }
        self.attempts += 1;
        let attempt = AttemptId::new(self.epoch, self.attempts);
        self.executors[executor].holders.push(attempt);
        if !self.deliver(dispatch, Event::Granted { node, attempt })? {
            self.give_back(attempt);
        }
        Ok(true)
    }

    fn give_back(&mut self, attempt: AttemptId) {
        for executor in &mut self.executors {
            if let Some(index) = executor.holders.iter().position(|holder| *holder == attempt) {
                executor.holders.swap_remove(index);
                executor.scheduler.release();
            }
        }
    }

    /// Hands an event to its dispatch. Says whether it was applied.
    pub(crate) fn deliver(&mut self, dispatch: usize, event: Event) -> Result<bool, String> {
        if let Event::Ended { attempt, .. }
        | Event::NotBegun { attempt, .. }
        | Event::Lost { attempt, .. } = event
        {
            self.give_back(attempt);
        }
        if self.live[dispatch].is_none() {
            self.load(dispatch, Vec::new())?;
        }
        if self.is_of_dead_builder(dispatch, &event) {
            return Ok(false);
        }
        self.apply(dispatch, event)
    }

    /// A link names no attempt: it comes over a connection that ends with the builder's process.
    fn is_of_dead_builder(&self, dispatch: usize, event: &Event) -> bool {
        let (Event::Linked { node, child }, Some(live)) = (event, &self.live[dispatch]) else {
            return false;
        };
        let builder = self.builders[index_of(child)];
        builder.is_some() && builder != live.node_state(*node).and_then(|state| state.attempt)
    }

    /// Loads a dispatch as the store has it.
    pub(crate) fn load(&mut self, dispatch: usize, attachable: Vec<NodeId>) -> Result<(), String> {
        let Stored { plan, state, nodes, .. } = &self.store.dispatches[dispatch];
        let mut nodes = nodes.clone();
        for node in &attachable {
            let node = &mut nodes[node.index()];
            // The links of earlier attempts are still stored.
            let attempt = node.state.attempt;
            let is_running = node.state.status == Status::Running;
            node.child.take_if(|child| is_running && self.builders[index_of(child)] != attempt);
        }
        let live = Dispatch::restore(plan.clone(), *state, nodes)
            .map_err(|error| format!("d{dispatch} cannot be restored: {error}"))?;
        let (is_under_way, is_new) = (live.is_under_way(), state.status == Status::NewObject);
        self.live[dispatch] = Some(live);
        let restarted = Event::Restarted { on_restart: self.on_restart(), attachable };
        if self.apply(dispatch, restarted)? != is_under_way {
            return Err(format!("d{dispatch}: is it under way? {is_under_way}"));
        }
        if is_new && (self.wanted[dispatch] || !self.watchers[dispatch].is_empty()) {
            self.send(dispatch, Event::Start);
        }
        Ok(())
    }

    pub(crate) fn on_restart(&self) -> OnRestart {
        if self.mood.fail_on_restart { OnRestart::Fail } else { OnRestart::Rerun }
    }

    fn apply(&mut self, dispatch: usize, event: Event) -> Result<bool, String> {
        self.steps += 1;
        let Some(live) = self.live[dispatch].as_mut() else { return Ok(false) };
        let now = Timestamp::from_micros(i64::try_from(self.steps).unwrap() * 1_000_000);
        let outcome = apply(live, event.clone(), now);
        self.trace.step(self.steps, dispatch, &event, &outcome);
        if self.steps.is_multiple_of(self.mood.check_every) {
            invariants::check(live).map_err(|rule| format!("d{dispatch}, {event:?}: {rule}"))?;
        }
        let Ok(step) = outcome else { return Ok(false) };
        self.note(dispatch, &event, &step);
        let late = |effect: &Effect| !effect.may_precede_commit();
        let effects = step.effects.iter().filter(|effect| late(effect)).cloned().collect();
        if let Some(live) = &self.live[dispatch] {
            self.store.append(dispatch, live, &step, effects);
        }
        for effect in step.effects.into_iter().filter(|effect| !late(effect)) {
            self.perform(dispatch, effect)?;
        }
        Ok(true)
    }

    fn note(&mut self, dispatch: usize, event: &Event, step: &Step) {
        let ledger = &mut self.ledgers[dispatch];
        if let Event::NotBegun { node, .. } = event {
            ledger.nodes[node.index()].not_begun += 1;
        }
        if let Event::Lost { node, .. } = event {
            ledger.nodes[node.index()].lost += 1;
        }
        if let Event::Linked { node, child } = event {
            ledger.linked.push((*node, index_of(child)));
        }
        let Some(live) = &self.live[dispatch] else { return };
        for node in &step.changed_nodes {
            let status = live.node_state(*node).map(|state| state.status);
            if matches!(status, Some(Status::Failed | Status::Cancelled)) {
                ledger.nodes[node.index()].ended_badly = self.steps;
            }
        }
    }

    /// Makes an effect happen.
    pub(crate) fn perform(&mut self, dispatch: usize, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Enqueue { node, executor } => {
                let root = self.store.dispatches[dispatch].root;
                let scheduler = &mut self.executors[executor as usize].scheduler;
                scheduler.enqueue(root, (dispatch, node));
            }
            Effect::Submit { node, attempt } => self.submit(dispatch, node, attempt)?,
            Effect::Attach { node, attempt } => self.attach(dispatch, node, attempt)?,
            Effect::Kill { attempt } => {
                let attempts =
                    self.executors.iter_mut().flat_map(|executor| &mut executor.attempts);
                attempts
                    .filter(|known| known.id == attempt)
                    .for_each(|known| known.is_killed = true);
            }
            Effect::StartTimer { node, attempt, .. } => {
                if self.rng.below(1_000) < self.mood.timeouts {
                    self.send(dispatch, Event::TimeLimit { node, attempt });
                }
            }
            Effect::Retry { node, .. } => self.send(dispatch, Event::RetryDue { node }),
            Effect::StartChild { node, child } => {
                self.check_start_child(dispatch, node, &child)?;
                self.start_child(dispatch, node, &child);
            }
            Effect::ImportChild { node } => {
                let child = if self.rng.below(1_000) < self.mood.failures {
                    None
                } else {
                    self.register_child(dispatch, None)
                };
                self.send(
                    dispatch,
                    match child {
                        Some(child) => Event::Linked { node, child },
                        None => Event::BuildRefused { node },
                    },
                );
            }
            Effect::CancelChild { child } => {
                self.send(index_of(&child), Event::Cancel { nodes: Vec::new() });
            }
            Effect::Finish { end } => self.finish(dispatch, end)?,
        }
        Ok(())
    }

    fn submit(&mut self, dispatch: usize, node: NodeId, id: AttemptId) -> Result<(), String> {
        self.check_submit(dispatch, node, id)?;
        let entry = &mut self.ledgers[dispatch].nodes[node.index()];
        entry.attempts += 1;
        entry.submitted = self.steps;
        let executor = self.store.dispatches[dispatch].plan.executor_of[node.index()];
        let is_outside = self.rng.chance(self.mood.outside);
        let attempt = Attempt { is_outside, ..Attempt::new(id, dispatch, node) };
        self.executors[executor as usize].attempts.push(attempt);
        Ok(())
    }

    fn start_child(&mut self, dispatch: usize, node: NodeId, child: &DispatchId) {
        let index = index_of(child);
        if !self.watchers[index].contains(&(dispatch, node)) {
            self.watchers[index].push((dispatch, node));
        }
        let status = self.store.dispatches[index].state.status;
        let event = match End::of(status) {
            Some(end) => {
                let child = child.clone();
                return self.send(dispatch, Event::ChildEnded { node, child, end });
            }
            None => Event::Start,
        };
        self.send(index, event);
    }

    fn finish(&mut self, dispatch: usize, end: End) -> Result<(), String> {
        let shown = self.store.dispatches[dispatch].state.status;
        if shown != end.status() {
            return Err(format!("d{dispatch} finished as {end:?} while {shown} is stored"));
        }
        for (parent, node) in self.watchers[dispatch].clone() {
            let child = self.ids[dispatch].clone();
            self.send(parent, Event::ChildEnded { node, child, end });
        }
        if self.rng.chance(50) && !self.store.has_pending(dispatch) {
            self.live[dispatch] = None;
        }
        Ok(())
    }

    /// Loses everything that is in memory.
    pub(crate) fn forget(&mut self) {
        self.store.crash();
        self.released.clear();
        self.watchers.iter_mut().for_each(Vec::clear);
        self.live.iter_mut().for_each(|live| *live = None);
        self.epoch += 1;
        self.attempts = 0;
    }
}

/// Which dispatch an id names.
pub(crate) fn index_of(id: &DispatchId) -> usize {
    id.as_str().trim_start_matches('d').parse().unwrap()
}

/// How `attempt` may end.
pub(crate) fn ended(attempt: &Attempt, outcome: Outcome) -> Event {
    Event::Ended { node: attempt.node, attempt: attempt.id, outcome }
}
