//! One step of an owner: a message becomes an event, the engine says what follows, and it is
//! written down for the next commit or performed at once.

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey, ContentRef};
use cov_core::error::Fault;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::status::Status;
use cov_engine::effect::Effect;
use cov_engine::event::{Event, Outcome};
use cov_engine::machine::{Reject, Step, apply};
use cov_engine::phase::{End, Phase};
use cov_store::Staged;
use cov_store::model::{Change, ChangeSet};

use crate::Error;
use crate::admission::Work;
use crate::effects;
use crate::executors::Slot;
use crate::options::{CHANGES_AHEAD_MAX, REPLIES_MAX};
use crate::owner::pending::{Pending, Reply};
use crate::owner::{ChildOutcome, Delivery, Message, Owner, Timer};
use crate::reports::{Stopping, stage_patiently};
use crate::service::Shared;

/// Why a node failed whose attempt is lost.
const LOST_TEXT: &str = "The attempt is lost: what ran it went away, and nobody can tell what became \
                         of it. It may have run.";

impl Owner {
    /// Takes one message.
    pub(super) fn receive(&mut self, message: Message) {
        self.pending.messages += 1;
        match message {
            Message::Start(reply) => self.start(reply),
            Message::Cancel(nodes, reply) => self.command(Event::Cancel { nodes }, reply),
            Message::Link { node, child, reply } => self.link(node, child, reply),
            Message::Granted { node, slot } => self.granted(node, slot),
            Message::Accepted { node, attempt, staged } => self.accepted(node, attempt, staged),
            Message::Ended(delivery) => self.ended(delivery),
            Message::ChildEnded(outcome) => self.child_ended(outcome),
            Message::Imported { node, outcome } => self.imported(node, outcome),
            Message::Event(event) => {
                if let Event::NotBegun { attempt, .. } | Event::Lost { attempt, .. } = &event {
                    self.timers.remove(attempt);
                }
                let lost = if let Event::Lost { node, .. } = &event { Some(*node) } else { None };
                if self.apply(event) {
                    lost.into_iter().for_each(|node| self.note_lost(node));
                }
            }
        }
    }

    /// What was uploaded since the dispatch was loaded is not known here; the caller, who sees a
    /// closed channel, asks the next owner.
    fn start(&mut self, reply: Reply) {
        if self.fresh || self.dispatch.state().status != Status::NewObject {
            self.command(Event::Start, reply);
        }
    }

    /// Applies an event. Returns whether it changed anything.
    pub(super) fn apply(&mut self, event: Event) -> bool {
        match apply(&mut self.dispatch, event, self.shared.clock.now()) {
            Ok(step) => {
                self.follow(step);
                true
            }
            Err(rejected) => {
                tracing::debug!(reason = %rejected, "an event changed nothing");
                false
            }
        }
    }

    /// An event that somebody waits for: answered when its changes are durable.
    fn command(&mut self, event: Event, reply: Reply) {
        if self.pending.replies.len() >= REPLIES_MAX {
            reply.send(Err(Error::Overloaded)).ok();
            return;
        }
        match apply(&mut self.dispatch, event, self.shared.clock.now()) {
            Ok(step) => {
                self.follow(step);
                self.pending.replies.push(reply);
            }
            // What was done before may still be on its way to the store.
            Err(Reject::Duplicate) => self.pending.replies.push(reply),
            Err(rejected) => {
                reply.send(Err(self.error_of(&rejected))).ok();
            }
        }
    }

    fn error_of(&self, rejected: &Reject) -> Error {
        match rejected {
            Reject::UnknownNode { node } => {
                Error::NodeNotFound { dispatch: self.id.clone(), node: *node }
            }
            Reject::Duplicate | Reject::Stale { .. } | Reject::Illegal { .. } => {
                Error::IllegalState { what: rejected.to_string() }
            }
        }
    }

    fn follow(&mut self, step: Step) {
        #[cfg(debug_assertions)]
        self.check_invariants();
        self.pending.nodes.extend(step.changed_nodes);
        self.pending.dispatch_changed |= step.dispatch_changed;
        let mut works = Vec::new();
        for effect in step.effects {
            match effect {
                Effect::Enqueue { node, .. } => {
                    let slot = self.loaded.slot(node);
                    works.push(Work { mailbox: self.mailbox.clone(), node, slot });
                }
                Effect::Finish { end } => self.pending.finished = Some(end),
                effect if effect.may_precede_commit() && self.unborn.is_none() => {
                    self.perform(effect);
                }
                effect => self.pending.effects.push(effect),
            }
        }
        if !works.is_empty() {
            self.shared.admission.enqueue(&self.loaded.root, works);
        }
    }

    #[cfg(debug_assertions)]
    fn check_invariants(&self) {
        // Checking is linear in the nodes, so large graphs are left to the simulation.
        const NODES_MAX: usize = 200;
        if self.dispatch.graph().len() > NODES_MAX {
            return;
        }
        if let Err(broken) = cov_engine::invariants::check(&self.dispatch) {
            tracing::error!(rule = broken, "an invariant is broken");
            debug_assert!(false, "dispatch {}: {broken}", self.id);
        }
    }

    pub(super) fn granted(&mut self, node: NodeId, slot: Slot) {
        if self.in_flight.is_some() && self.pending.changes.len() >= CHANGES_AHEAD_MAX {
            self.held.push((node, slot));
            return;
        }
        let attempt = self.shared.next_attempt();
        let work = Work { mailbox: self.mailbox.clone(), node, slot };
        if !self.shared.admission.begin(attempt, work) {
            self.shared.admission.decline(slot);
            return;
        }
        if !self.apply(Event::Granted { node, attempt }) {
            // The node was cancelled while it waited; its slot goes to the next.
            drop(self.shared.admission.end(attempt));
        }
    }

    /// An engine outside has the task. That is kept, so that the next life of the server finds it
    /// there.
    fn accepted(&mut self, node: NodeId, attempt: AttemptId, staged: Staged) {
        if self.phase_attempt(node) == Some(attempt) {
            self.store_asset(node, AssetKey::Job, staged);
            self.pending.is_pressing = true;
        }
    }

    fn ended(&mut self, delivery: Delivery) {
        let Delivery { node, attempt, outcome, assets, failure } = delivery;
        self.timers.remove(&attempt);
        if self.phase_attempt(node) != Some(attempt) {
            return;
        }
        let built = self.dispatch.graph().kind(node) == NodeKind::Sublattice;
        if !self.apply(Event::Ended { node, attempt, outcome }) {
            return;
        }
        if matches!(self.dispatch.phase(node), Some(Phase::Backoff)) {
            let reason = failure.as_deref().and_then(|text| text.trim_end().lines().last());
            tracing::info!(node.id = %node, %attempt, reason, "an attempt failed and is made again");
            return;
        }
        for (key, staged) in assets {
            match key {
                AssetKey::Output if built => {
                    self.store_asset(node, AssetKey::SublatticeManifest, staged);
                }
                AssetKey::Output => {
                    self.set_output(node, staged.content);
                    self.store_asset(node, key, staged);
                }
                _ => self.store_asset(node, key, staged),
            }
        }
        if outcome != Outcome::Completed {
            self.note_failure(node, failure);
        }
    }

    pub(super) fn phase_attempt(&self, node: NodeId) -> Option<AttemptId> {
        match self.dispatch.phase(node)? {
            Phase::Running { attempt, .. } => Some(*attempt),
            Phase::Waiting { .. }
            | Phase::Ready
            | Phase::Backoff
            | Phase::Dispatching { .. }
            | Phase::Ended(_) => None,
        }
    }

    fn child_ended(&mut self, outcome: ChildOutcome) {
        let ChildOutcome { node, child, end, output, error } = outcome;
        // The output has to be known before the step hands it to the nodes below.
        let before = self.loaded.node(node).and_then(|contents| contents.output);
        if let Some(content) = output {
            self.set_output(node, content);
        }
        if !self.apply(Event::ChildEnded { node, child, end }) {
            self.loaded.contents.get_mut(node.index()).into_iter().for_each(|contents| {
                contents.output = before;
            });
            return;
        }
        let aliases = [(AssetKey::Output, output), (AssetKey::Error, error)];
        for (key, content) in aliases {
            if let Some(content) = content {
                self.store_asset(node, key, Staged { content, small: None });
            }
        }
    }

    fn imported(&mut self, node: NodeId, outcome: Result<DispatchId, String>) {
        match outcome {
            Ok(child) => {
                let change = Change::Link { node, child: child.clone() };
                if self.apply(Event::Linked { node, child }) {
                    self.pending.changes.push(change);
                }
            }
            Err(reason) => {
                if self.apply(Event::BuildRefused { node }) {
                    self.note_failure(node, Some(reason));
                }
            }
        }
    }

    fn link(&mut self, node: NodeId, child: DispatchId, reply: Reply) {
        if !self.dispatch.is_under_way() {
            let status = self.dispatch.state().status;
            reply.send(Err(Error::not_running(&self.id, status))).ok();
            return;
        }
        self.pending.changes.push(Change::Link { node, child: child.clone() });
        let changes = self.pending.changes.len();
        match apply(&mut self.dispatch, Event::Linked { node, child }, self.shared.clock.now()) {
            Ok(step) => {
                self.follow(step);
                self.pending.replies.push(reply);
            }
            Err(Reject::Duplicate) => {
                self.pending.changes.truncate(changes - 1);
                self.pending.replies.push(reply);
            }
            Err(rejected) => {
                self.pending.changes.truncate(changes - 1);
                reply.send(Err(self.error_of(&rejected))).ok();
            }
        }
    }

    fn set_output(&mut self, node: NodeId, content: ContentRef) {
        if let Some(contents) = self.loaded.contents.get_mut(node.index()) {
            contents.output = Some(content);
        }
    }

    fn store_asset(&mut self, node: NodeId, key: AssetKey, staged: Staged) {
        let address = AssetAddress::of_node(node, key);
        let Staged { content, small } = staged;
        if let Some(bytes) = &small {
            self.pending.fresh.insert(content.id, bytes.clone());
        }
        self.pending.changes.push(Change::Asset { address, content, small });
    }

    /// Keeps why a node failed for good, as its error text.
    fn note_failure(&mut self, node: NodeId, message: Option<String>) {
        if self.dispatch.phase(node) != Some(&Phase::Ended(End::Failed)) {
            return;
        }
        let fault = self.dispatch.node_state(node).and_then(|state| state.fault);
        let text = match (fault, message) {
            (Some(Fault::Timeout), _) => self.timeout_text(node),
            (_, Some(message)) => message,
            (_, None) => "the task failed and left no message".to_owned(),
        };
        self.pending.failures.push((node, text));
    }

    /// Keeps why a node failed whose attempt is lost, if it did: nobody else could tell.
    pub(super) fn note_lost(&mut self, node: NodeId) {
        self.note_failure(node, Some(LOST_TEXT.to_owned()));
    }

    fn timeout_text(&self, node: NodeId) -> String {
        let limit = self.dispatch.policy(node).time_limit.unwrap_or_default();
        format!(
            "the task ran longer than its time limit of {} s and was ended",
            limit.as_secs_f64()
        )
    }

    /// Everything to store, as one set; `None` when there is nothing.
    ///
    /// # Errors
    /// The server stops.
    pub(super) async fn change_set(
        &mut self,
        pending: &mut Pending,
    ) -> Result<Option<ChangeSet>, Stopping> {
        let mut changes = std::mem::take(&mut pending.changes);
        for (node, text) in std::mem::take(&mut pending.failures) {
            let address = AssetAddress::of_node(node, AssetKey::Error);
            changes.extend(self.text_asset(address, text).await?);
        }
        if pending.finished == Some(End::Failed) {
            let text = effects::failure_summary(&self.shared, &self.id, &self.dispatch).await;
            let address = AssetAddress::of_dispatch(AssetKey::Error);
            changes.extend(self.text_asset(address, text).await?);
        }
        pending.nodes.sort_unstable();
        pending.nodes.dedup();
        changes.extend(self.forwarded(&pending.nodes));
        for node in pending.nodes.drain(..) {
            if let Some(state) = self.dispatch.node_state(node) {
                changes.push(Change::Node { node, state });
            }
        }
        if std::mem::take(&mut pending.dispatch_changed) {
            changes.push(Change::Dispatch(self.dispatch.state()));
        }
        let at = self.shared.clock.now();
        let dispatch = self.id.clone();
        Ok((!changes.is_empty()).then(|| ChangeSet { dispatch, at, changes }))
    }

    /// The output of the node that hands on another's, if it is among those that changed and has
    /// not got it yet.
    fn forwarded(&mut self, changed: &[NodeId]) -> Option<Change> {
        let graph = self.dispatch.graph();
        let is_forward = |node: &NodeId| graph.kind(*node) == NodeKind::Forward;
        let node = changed.iter().copied().find(is_forward)?;
        if self.dispatch.phase(node) != Some(&Phase::Ended(End::Completed))
            || self.loaded.node(node)?.output.is_some()
        {
            return None;
        }
        let source = graph.inputs(node).args.first().copied()?;
        let content = self.loaded.node(source)?.output?;
        self.set_output(node, content);
        let address = AssetAddress::of_node(node, AssetKey::Output);
        Some(Change::Asset { address, content, small: None })
    }

    /// `None` when the text cannot be stored.
    async fn text_asset(
        &self,
        address: AssetAddress,
        text: String,
    ) -> Result<Option<Change>, Stopping> {
        let Shared { contents, stopping, .. } = &*self.shared;
        let staged = stage_patiently(&**contents, Bytes::from(text), stopping).await?;
        Ok(staged.ok().map(|Staged { content, small }| Change::Asset { address, content, small }))
    }

    /// Performs an effect.
    pub(super) fn perform(&mut self, effect: Effect) {
        let (shared, mailbox) = (&self.shared, &self.mailbox);
        match effect {
            Effect::Submit { node, attempt } => self.submit(node, attempt),
            Effect::Attach { node, attempt } => self.attach(node, attempt),
            Effect::Kill { attempt } => effects::kill(shared, attempt),
            Effect::StartTimer { node, attempt, limit } => {
                let event = Event::TimeLimit { node, attempt };
                let timer = effects::send_after(shared, mailbox, limit, event);
                self.timers.insert(attempt, Timer(timer));
            }
            Effect::Retry { node, delay } => {
                effects::send_after(shared, mailbox, delay, Event::RetryDue { node });
            }
            Effect::StartChild { node, child } => {
                effects::watch_child(shared, mailbox, &self.id, node, child);
            }
            Effect::ImportChild { node } => {
                effects::import_child(shared, mailbox, &self.id, node);
            }
            Effect::CancelChild { child } => effects::cancel_child(shared, child),
            // Queued together by the step, and noted for the commit.
            Effect::Enqueue { .. } | Effect::Finish { .. } => {}
        }
    }
}
