//! Engines outside the server: what they have goes on while the server is away, and is taken up
//! again by the next one, unless they forgot it.

use cov_core::ids::{AttemptId, NodeId};
use cov_core::status::Status;
use cov_engine::event::Event;
use cov_engine::phase::Phase;

use super::world::{Attempt, Message, World};

impl World {
    /// An engine outside has the attempt, which is stored if it is still the node's.
    pub(crate) fn accept(&mut self, attempt: &Attempt) {
        let Attempt { id, dispatch, node, .. } = *attempt;
        let phase = self.live[dispatch].as_ref().and_then(|live| live.phase(node));
        if matches!(phase, Some(Phase::Running { attempt, .. }) if *attempt == id) {
            self.store.append_job(dispatch, node, id);
        }
    }

    /// The engine outside remembers how an attempt ended, for those who ask again.
    pub(crate) fn remember(&mut self, attempt: Attempt, report: Event) {
        if attempt.is_outside && matches!(report, Event::Ended { .. }) {
            self.outside.push(Attempt { last: Some(report), ..attempt });
        }
    }

    /// What an executor says of an attempt of which nobody knows.
    pub(crate) fn lost(&self, attempt: &Attempt) -> Event {
        let Attempt { id, node, .. } = *attempt;
        Event::Lost { node, attempt: id, on_restart: self.on_restart() }
    }

    /// The nodes that a restarted server asks engines outside about.
    pub(crate) fn attachable(&self, dispatch: usize) -> Vec<NodeId> {
        let stored = &self.store.dispatches[dispatch];
        let has_job = |node: &NodeId| stored.jobs[node.index()].is_some();
        stored.plan.graph.nodes().filter(has_job).collect()
    }

    /// Whether the next server will ask for this attempt.
    fn will_attach(&self, dispatch: usize, node: NodeId, attempt: AttemptId) -> bool {
        let stored = &self.store.dispatches[dispatch];
        let state = stored.nodes[node.index()].state;
        let is_it = state.status == Status::Running && state.attempt == Some(attempt);
        is_it && stored.jobs[node.index()].is_some()
    }

    /// Whether the message tells of an attempt that will be asked for: it is told again then.
    pub(crate) fn will_attach_for(&self, message: &Message) -> bool {
        match message.event {
            Event::Begun { node, attempt }
            | Event::NotBegun { node, attempt }
            | Event::Lost { node, attempt, .. }
            | Event::Ended { node, attempt, .. } => {
                self.will_attach(message.dispatch, node, attempt)
            }
            _ => false,
        }
    }

    /// The server died: engines outside go on with some of what it had, and forget the rest.
    /// Returns the attempts that die late, and may tell of themselves, though nobody asks.
    pub(crate) fn leave_outside(&mut self) -> Vec<Attempt> {
        let executors = self.executors.iter_mut();
        let running: Vec<Attempt> =
            executors.flat_map(|executor| executor.attempts.drain(..)).collect();
        let ended = std::mem::take(&mut self.outside);
        let mut unasked = Vec::new();
        for attempt in running.into_iter().chain(ended) {
            let Attempt { id, dispatch, node, is_outside, .. } = attempt;
            let handle = self.store.dispatches[dispatch].jobs[node.index()];
            let is_kept = is_outside && handle == Some(id) && self.rng.chance(self.mood.survivors);
            match self.will_attach(dispatch, node, id) {
                true if is_kept => {
                    let attempt = self.go_on_alone(attempt);
                    self.outside.push(attempt);
                }
                true => {}
                false if attempt.last.is_none() => unasked.push(attempt),
                false => {}
            }
        }
        unasked
    }

    /// While the server is away, an attempt may end, and nobody hears of it.
    fn go_on_alone(&mut self, mut attempt: Attempt) -> Attempt {
        while attempt.last.is_none() && self.rng.chance(40) {
            // Nobody answers those who want to link a sub-dispatch.
            let has_linked = std::mem::replace(&mut attempt.has_linked, true);
            let report = self.next_report(&mut attempt);
            attempt.has_linked = has_linked;
            attempt.last = report.filter(|(_, is_over)| *is_over).map(|(report, _)| report);
        }
        attempt
    }

    /// Takes up what an engine outside went on with, or says that it is lost.
    pub(crate) fn attach(
        &mut self,
        dispatch: usize,
        node: NodeId,
        id: AttemptId,
    ) -> Result<(), String> {
        self.check_attach(dispatch, node, id)?;
        self.ledgers[dispatch].nodes[node.index()].attached += 1;
        let found = self.outside.iter().position(|known| known.id == id);
        let attempt = match found.map(|index| self.outside.swap_remove(index)) {
            Some(attempt) => Attempt { has_begun: false, is_killed: false, ..attempt },
            None => {
                let attempt = Attempt::new(id, dispatch, node);
                Attempt { last: Some(self.lost(&attempt)), ..attempt }
            }
        };
        let index = self.store.dispatches[dispatch].plan.executor_of[node.index()];
        let executor = &mut self.executors[index as usize];
        executor.scheduler.take();
        executor.holders.push(id);
        executor.attempts.push(attempt);
        Ok(())
    }

    /// After a restart, everything that goes on outside is taken up again.
    pub(crate) fn check_found(&self) -> Result<(), String> {
        match self.outside.first() {
            Some(Attempt { id, dispatch, node, .. }) => {
                Err(format!("d{dispatch}: {id} of {node} goes on outside, and nobody asks for it"))
            }
            None => Ok(()),
        }
    }
}
