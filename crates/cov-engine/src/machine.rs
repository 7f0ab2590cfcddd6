//! The life of a dispatch: `apply(dispatch, event, now)` changes it and says what was changed and
//! what shall happen. Outside events never panic: late, repeated and impossible ones are
//! rejected by name.

mod sublattice;

use std::collections::HashSet;

use cov_core::error::Fault;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, NodeId};
use cov_core::status::Status;
use cov_core::time::Timestamp;

use crate::dispatch::{Dispatch, Node};
use crate::effect::Effect;
use crate::event::{Event, OnRestart, Outcome};
use crate::phase::{End, KillReason, Phase};
use crate::retry;

/// What followed from an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// The nodes whose state changed. A node may be named twice.
    pub changed_nodes: Vec<NodeId>,
    /// Whether the dispatch's own state changed.
    pub dispatch_changed: bool,
    /// What shall happen, in this order.
    pub effects: Vec<Effect>,
}

/// Why an event changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// It was applied before.
    #[error("this was done before")]
    Duplicate,
    /// It speaks of an attempt or a sub-dispatch that is not the present one.
    #[error("node {node}: this report is not of its present attempt")]
    Stale {
        /// The node.
        node: NodeId,
    },
    /// The dispatch has no such node.
    #[error("there is no node {node}")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// The states do not allow it.
    #[error("node {node} is {from} and cannot become {to}")]
    Illegal {
        /// The node.
        node: NodeId,
        /// Its status.
        from: Status,
        /// The status that it was to get.
        to: Status,
    },
}

/// Applies one event.
///
/// # Errors
/// The event changed nothing; see [`Reject`]. Late and repeated messages are normal.
pub fn apply(dispatch: &mut Dispatch, event: Event, now: Timestamp) -> Result<Step, Reject> {
    let mut machine = Machine { dispatch, now, step: Step::default() };
    match event {
        Event::Start => machine.start()?,
        Event::Restarted { on_restart, attachable } => {
            machine.restarted(on_restart, &attachable)?
        }
        Event::Granted { node, attempt } => machine.granted(node, attempt)?,
        Event::Begun { node, attempt } => machine.begun(node, attempt)?,
        Event::NotBegun { node, attempt } => machine.not_begun(node, attempt)?,
        Event::Lost { node, attempt, on_restart } => machine.lost(node, attempt, on_restart)?,
        Event::Ended { node, attempt, outcome } => machine.ended(node, attempt, outcome)?,
        Event::TimeLimit { node, attempt } => machine.time_limit(node, attempt)?,
        Event::RetryDue { node } => machine.retry_due(node)?,
        Event::Cancel { nodes } => machine.cancel(&nodes)?,
        Event::Linked { node, child } => machine.linked(node, child)?,
        Event::BuildRefused { node } => machine.build_refused(node)?,
        Event::ChildEnded { node, child, end } => machine.child_ended(node, &child, end)?,
    }
    machine.finish_if_idle();
    Ok(machine.step)
}

struct Machine<'a> {
    dispatch: &'a mut Dispatch,
    now: Timestamp,
    step: Step,
}

impl Machine<'_> {
    fn start(&mut self) -> Result<(), Reject> {
        if self.dispatch.state.status != Status::NewObject {
            return Err(Reject::Duplicate);
        }
        self.dispatch.state.status = Status::Running;
        self.dispatch.state.started_at = Some(self.now);
        self.step.dispatch_changed = true;
        self.reach_all_without_pending();
        Ok(())
    }

    fn restarted(&mut self, on_restart: OnRestart, attachable: &[NodeId]) -> Result<(), Reject> {
        match self.dispatch.state.status {
            Status::Starting => {
                self.dispatch.state.status = Status::Running;
                self.dispatch.state.started_at.get_or_insert(self.now);
                self.step.dispatch_changed = true;
            }
            Status::Running => {}
            Status::NewObject
            | Status::PendingReuse
            | Status::PendingReplacement
            | Status::Dispatching
            | Status::Postprocessing
            | Status::Completed
            | Status::Failed
            | Status::Cancelled => return Err(Reject::Duplicate),
        }
        let attachable: HashSet<NodeId> = attachable.iter().copied().collect();
        for node in self.dispatch.plan.graph.nodes() {
            if !attachable.contains(&node) || !self.attach(node) {
                self.resume(node, on_restart);
            }
        }
        self.reach_all_without_pending();
        Ok(())
    }

    /// Goes on with the node's attempt. False when it has none under way.
    fn attach(&mut self, id: NodeId) -> bool {
        let Some(node) = self.dispatch.nodes.get_mut(id.index()) else { return false };
        let Phase::Running { attempt, .. } = node.phase else { return false };
        node.begun = false;
        node.attached = true;
        self.step.effects.push(Effect::Attach { node: id, attempt });
        if node.state.cancel_requested {
            let kill = Some(KillReason::Cancel);
            self.set_phase(id, Phase::Running { attempt, kill });
            self.step.effects.push(Effect::Kill { attempt });
        }
        true
    }

    /// Decides what becomes of a node that was under way when the server stopped.
    fn resume(&mut self, id: NodeId, on_restart: OnRestart) {
        let Some(node) = self.dispatch.nodes.get_mut(id.index()) else { return };
        match &node.phase {
            Phase::Running { .. } => {
                let kill = node.state.cancel_requested.then_some(KillReason::Cancel);
                self.forget_attempt(id, kill, on_restart);
            }
            // No attempt of theirs was under way, so none is lost.
            Phase::Ready | Phase::Backoff if node.state.cancel_requested => {
                self.set_end(id, End::Cancelled, None);
            }
            Phase::Ready | Phase::Backoff => self.make_ready(id),
            Phase::Dispatching { child: Some(child) } => {
                let (child, cancelled) = (child.clone(), node.state.cancel_requested);
                self.start_child(id, child, cancelled);
            }
            Phase::Dispatching { child: None } => {
                self.step.effects.push(Effect::ImportChild { node: id });
            }
            Phase::Waiting { .. } | Phase::Ended(_) => {}
        }
    }

    fn reach_all_without_pending(&mut self) {
        let graph = &self.dispatch.plan.graph;
        let reached: Vec<NodeId> = graph
            .nodes()
            .filter(|node| {
                matches!(self.dispatch.phase(*node), Some(Phase::Waiting { pending: 0, .. }))
            })
            .collect();
        self.reach(reached);
    }

    /// Nodes whose inputs are complete go on their way, in the order in which they were reached;
    /// what completes at once reaches others.
    fn reach(&mut self, mut reached: Vec<NodeId>) {
        let mut next = 0;
        while let Some(id) = reached.get(next).copied() {
            next += 1;
            let Some(node) = self.dispatch.nodes.get(id.index()) else { continue };
            let Phase::Waiting { reuse, .. } = node.phase else { continue };
            let (cancelled, kind) = (node.state.cancel_requested, self.dispatch.kind(id));
            if reuse {
                self.take_over(id);
                self.release_children(id, &mut reached);
            } else if cancelled && kind != NodeKind::Parameter {
                self.set_end(id, End::Cancelled, None);
            } else if kind.runs() {
                self.make_ready(id);
            } else {
                self.start_now(id);
                self.set_end(id, End::Completed, None);
                self.release_children(id, &mut reached);
            }
        }
    }

    fn release_children(&mut self, id: NodeId, reached: &mut Vec<NodeId>) {
        let Dispatch { plan, nodes, .. } = &mut *self.dispatch;
        for child in plan.graph.children(id) {
            let Some(node) = nodes.get_mut(child.index()) else { continue };
            let Phase::Waiting { pending, .. } = &mut node.phase else { continue };
            *pending = pending.saturating_sub(1);
            if *pending == 0 {
                reached.push(*child);
            }
        }
    }

    fn granted(&mut self, id: NodeId, attempt: AttemptId) -> Result<(), Reject> {
        let node = self.node(id)?;
        let from = node.phase.status();
        let is_new = node.state.attempt.is_none_or(|latest| latest < attempt);
        match node.phase {
            Phase::Ready if is_new => {
                node.state.attempt = Some(attempt);
                node.begun = false;
                node.attached = false;
                self.start_now(id);
                self.set_phase(id, Phase::Running { attempt, kill: None });
                self.step.effects.push(Effect::Submit { node: id, attempt });
                Ok(())
            }
            Phase::Running { attempt: present, .. } if present == attempt => Err(Reject::Duplicate),
            Phase::Ready | Phase::Ended(_) => Err(Reject::Stale { node: id }),
            Phase::Waiting { .. }
            | Phase::Running { .. }
            | Phase::Backoff
            | Phase::Dispatching { .. } => {
                Err(Reject::Illegal { node: id, from, to: Status::Running })
            }
        }
    }

    fn begun(&mut self, id: NodeId, attempt: AttemptId) -> Result<(), Reject> {
        self.present_attempt(id, attempt)?;
        let node = self.node(id)?;
        if std::mem::replace(&mut node.begun, true) {
            return Err(Reject::Duplicate);
        }
        if let Some(limit) = self.dispatch.policy(id).time_limit {
            self.step.effects.push(Effect::StartTimer { node: id, attempt, limit });
        }
        Ok(())
    }

    fn not_begun(&mut self, id: NodeId, attempt: AttemptId) -> Result<(), Reject> {
        let kill = self.present_attempt(id, attempt)?;
        self.drop_built(id);
        if let Some(node) = self.dispatch.nodes.get_mut(id.index()) {
            node.state.started_at = None;
        }
        match kill {
            Some(KillReason::Cancel) => self.set_end(id, End::Cancelled, None),
            Some(KillReason::Timeout) | None => self.make_ready(id),
        }
        Ok(())
    }

    fn lost(
        &mut self,
        id: NodeId,
        attempt: AttemptId,
        on_restart: OnRestart,
    ) -> Result<(), Reject> {
        let kill = self.present_attempt(id, attempt)?;
        self.forget_attempt(id, kill, on_restart);
        Ok(())
    }

    /// Nobody knows how far the attempt of a running node came.
    fn forget_attempt(&mut self, id: NodeId, kill: Option<KillReason>, on_restart: OnRestart) {
        self.drop_built(id);
        match (kill, on_restart) {
            (Some(KillReason::Cancel), _) => self.set_end(id, End::Cancelled, None),
            (Some(KillReason::Timeout), _) => self.failed(id, Fault::Timeout),
            (None, OnRestart::Rerun) => self.make_ready(id),
            (None, OnRestart::Fail) => self.set_end(id, End::Failed, Some(Fault::Lost)),
        }
    }

    fn ended(&mut self, id: NodeId, attempt: AttemptId, outcome: Outcome) -> Result<(), Reject> {
        let kill = self.present_attempt(id, attempt)?;
        match (outcome, kill) {
            (Outcome::Completed, _) if self.dispatch.kind(id) == NodeKind::Sublattice => {
                self.built(id);
            }
            (Outcome::Completed, _) => self.complete(id),
            (Outcome::Failed(_) | Outcome::Killed, Some(KillReason::Timeout)) => {
                self.failed(id, Fault::Timeout);
            }
            (Outcome::Killed, None) if self.may_have_been_too_long(id) => {
                self.failed(id, Fault::Timeout);
            }
            (Outcome::Killed, Some(KillReason::Cancel) | None) => {
                self.drop_built(id);
                self.set_end(id, End::Cancelled, None);
            }
            (Outcome::Failed(fault), Some(KillReason::Cancel) | None) => self.failed(id, fault),
        }
        Ok(())
    }

    /// An earlier life of the server may have killed the attempt for its time limit, and why it
    /// did is not stored.
    fn may_have_been_too_long(&self, id: NodeId) -> bool {
        let limit = self.dispatch.policy(id).time_limit;
        let Some(node) = self.dispatch.nodes.get(id.index()) else { return false };
        let began = node.state.started_at.filter(|_| node.attached);
        began.zip(limit).is_some_and(|(began, limit)| began.after(limit) <= self.now)
    }

    fn failed(&mut self, id: NodeId, fault: Fault) {
        self.drop_built(id);
        let policy = self.dispatch.policy(id);
        let Some(node) = self.dispatch.nodes.get_mut(id.index()) else { return };
        node.state.failed_attempts = node.state.failed_attempts.saturating_add(1);
        let wanted = !node.state.cancel_requested;
        match retry::next_attempt(policy, node.state.failed_attempts, fault) {
            Some(delay) if wanted => {
                self.set_phase(id, Phase::Backoff);
                self.step.effects.push(Effect::Retry { node: id, delay });
            }
            Some(_) | None => self.set_end(id, End::Failed, Some(fault)),
        }
    }

    fn time_limit(&mut self, id: NodeId, attempt: AttemptId) -> Result<(), Reject> {
        if self.present_attempt(id, attempt)?.is_some() {
            return Err(Reject::Duplicate);
        }
        self.set_phase(id, Phase::Running { attempt, kill: Some(KillReason::Timeout) });
        self.step.effects.push(Effect::Kill { attempt });
        Ok(())
    }

    fn retry_due(&mut self, id: NodeId) -> Result<(), Reject> {
        if self.node(id)?.phase != Phase::Backoff {
            return Err(Reject::Stale { node: id });
        }
        self.make_ready(id);
        Ok(())
    }

    fn cancel(&mut self, nodes: &[NodeId]) -> Result<(), Reject> {
        if let Some(unknown) = nodes.iter().find(|node| !self.dispatch.graph().contains(**node)) {
            return Err(Reject::UnknownNode { node: *unknown });
        }
        if self.dispatch.state.status.is_terminal() {
            return Err(Reject::Duplicate);
        }
        if nodes.is_empty() {
            self.step.dispatch_changed |= !self.dispatch.state.cancel_requested;
            self.dispatch.state.cancel_requested = true;
            for node in self.dispatch.plan.graph.nodes() {
                self.cancel_node(node);
            }
        }
        nodes.iter().for_each(|node| self.cancel_node(*node));
        if !self.step.dispatch_changed && self.step.changed_nodes.is_empty() {
            return Err(Reject::Duplicate);
        }
        Ok(())
    }

    fn cancel_node(&mut self, id: NodeId) {
        let Some(node) = self.dispatch.nodes.get_mut(id.index()) else { return };
        if matches!(node.phase, Phase::Ended(_)) || node.state.cancel_requested {
            return;
        }
        node.state.cancel_requested = true;
        self.step.changed_nodes.push(id);
        match &node.phase {
            Phase::Waiting { .. } | Phase::Ended(_) => {}
            Phase::Ready | Phase::Backoff => self.set_end(id, End::Cancelled, None),
            Phase::Running { attempt, kill } => {
                let (attempt, kill) = (*attempt, *kill);
                if kill.is_none() {
                    self.step.effects.push(Effect::Kill { attempt });
                }
                self.set_phase(id, Phase::Running { attempt, kill: Some(KillReason::Cancel) });
            }
            Phase::Dispatching { child: Some(child) } => {
                let child = child.clone();
                self.step.effects.push(Effect::CancelChild { child });
            }
            // The sub-dispatch is cancelled when it is known.
            Phase::Dispatching { child: None } => {}
        }
    }

    fn complete(&mut self, id: NodeId) {
        self.set_end(id, End::Completed, None);
        let mut reached = Vec::new();
        self.release_children(id, &mut reached);
        self.reach(reached);
    }

    fn set_end(&mut self, id: NodeId, end: End, fault: Option<Fault>) {
        let now = self.now;
        if let Some(node) = self.dispatch.nodes.get_mut(id.index()) {
            node.state.ended_at = Some(now);
            node.state.fault = fault;
        }
        self.set_phase(id, Phase::Ended(end));
    }

    /// An earlier result stands for the node, with the times in which it was made.
    fn take_over(&mut self, id: NodeId) {
        let now = self.now;
        if let Some(node) = self.dispatch.nodes.get_mut(id.index()) {
            node.state.started_at.get_or_insert(now);
            node.state.ended_at.get_or_insert(now);
        }
        self.set_phase(id, Phase::Ended(End::Completed));
    }

    fn start_now(&mut self, id: NodeId) {
        let now = self.now;
        if let Some(node) = self.dispatch.nodes.get_mut(id.index()) {
            node.state.started_at = Some(now);
        }
    }

    fn make_ready(&mut self, id: NodeId) {
        self.set_phase(id, Phase::Ready);
        let executor = self.dispatch.executor(id);
        self.step.effects.push(Effect::Enqueue { node: id, executor });
    }

    /// The one place where a phase changes, so that counter, status and change list keep up.
    fn set_phase(&mut self, id: NodeId, phase: Phase) {
        let Dispatch { nodes, active, .. } = &mut *self.dispatch;
        let Some(node) = nodes.get_mut(id.index()) else { return };
        *active -= usize::from(node.phase.is_active());
        *active += usize::from(phase.is_active());
        // To be queued or killed is not stored: a start of ten thousand nodes writes no row.
        if node.state.status != phase.status() {
            self.step.changed_nodes.push(id);
        }
        node.state.status = phase.status();
        node.phase = phase;
    }

    fn node(&mut self, id: NodeId) -> Result<&mut Node, Reject> {
        self.dispatch.nodes.get_mut(id.index()).ok_or(Reject::UnknownNode { node: id })
    }

    /// Whether `attempt` is the one that runs, and why it is being killed, if it is.
    fn present_attempt(
        &mut self,
        id: NodeId,
        attempt: AttemptId,
    ) -> Result<Option<KillReason>, Reject> {
        let node = self.node(id)?;
        match node.phase {
            Phase::Running { attempt: present, kill } if present == attempt => Ok(kill),
            Phase::Ended(_) | Phase::Dispatching { .. } | Phase::Backoff
                if node.state.attempt == Some(attempt) =>
            {
                Err(Reject::Duplicate)
            }
            Phase::Waiting { .. }
            | Phase::Ready
            | Phase::Running { .. }
            | Phase::Backoff
            | Phase::Dispatching { .. }
            | Phase::Ended(_) => Err(Reject::Stale { node: id }),
        }
    }

    fn finish_if_idle(&mut self) {
        if self.dispatch.active > 0 || self.dispatch.state.status != Status::Running {
            return;
        }
        let end = self.dispatch.end();
        self.dispatch.state.status = end.status();
        self.dispatch.state.ended_at = Some(self.now);
        self.step.dispatch_changed = true;
        self.step.effects.push(Effect::Finish { end });
    }
}
