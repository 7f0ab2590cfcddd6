//! What happens next: one random action after another, until nothing is left to do.

use cov_core::error::Fault;
use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::status::Status;
use cov_engine::event::{Event, Outcome};

use super::world::{Attempt, Message, World, ended};

/// Steps for each expected one before a simulation is said to run for ever.
const PATIENCE: u64 = 100;

impl World {
    /// Runs until nothing is left to do, then judges.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let most = PATIENCE * (self.mood.steps_expected as u64 + 1_000);
        while self.act()? {
            self.check_executors()?;
            if self.steps > most {
                return Err(format!("{most} steps, and no end"));
            }
        }
        self.check_end()
    }

    /// Does one thing. False if there is nothing to do.
    fn act(&mut self) -> Result<bool, String> {
        if self.disturb()? {
            return Ok(true);
        }
        let weights = self.mood.weights;
        let mut point = self.rng.below(weights.iter().sum());
        let mut first = 0;
        while point >= weights[first] {
            point -= weights[first];
            first += 1;
        }
        for action in (first..first + weights.len()).map(|action| action % weights.len()) {
            let acted = match action {
                0 => self.pass_message()?,
                1 => self.grant_somewhere()?,
                2 => self.work(),
                3 => self.commit()?,
                _ => self.perform_released()?,
            };
            if acted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Any message may be the next, and may come again.
    fn pass_message(&mut self) -> Result<bool, String> {
        let Some(message) = self.rng.take(&mut self.messages) else { return Ok(false) };
        // The server's own timers fire once.
        let is_timer = matches!(message.event, Event::RetryDue { .. });
        if !is_timer && self.rng.chance(self.mood.duplicates) {
            self.messages.push(message.clone());
        }
        self.deliver(message.dispatch, message.event)?;
        Ok(true)
    }

    fn grant_somewhere(&mut self) -> Result<bool, String> {
        let first = self.rng.below(self.executors.len());
        for offset in 0..self.executors.len() {
            if self.grant((first + offset) % self.executors.len())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Some task of some executor goes on a little.
    fn work(&mut self) -> bool {
        let first = self.rng.below(self.executors.len());
        let count = self.executors.len();
        let busy = (0..count)
            .map(|offset| (first + offset) % count)
            .find(|executor| !self.executors[*executor].attempts.is_empty());
        let Some(executor) = busy else { return false };
        let Some(mut attempt) = self.rng.take(&mut self.executors[executor].attempts) else {
            return false;
        };
        if attempt.is_outside && self.rng.chance(40) {
            self.accept(&attempt);
        }
        match self.next_report(&mut attempt) {
            Some((report, is_over)) => {
                self.report(attempt.dispatch, report.clone());
                if is_over {
                    self.remember(attempt, report);
                } else {
                    self.executors[executor].attempts.push(attempt);
                }
            }
            None => self.executors[executor].attempts.push(attempt),
        }
        true
    }

    fn report(&mut self, dispatch: usize, event: Event) {
        self.messages.push(Message { dispatch, event, is_report: true });
    }

    /// What a task does next, and whether it is then over.
    pub(crate) fn next_report(&mut self, attempt: &mut Attempt) -> Option<(Event, bool)> {
        let (node, id) = (attempt.node, attempt.id);
        if let Some(last) = attempt.last.take() {
            return Some((last, true));
        }
        if attempt.is_outside && self.mood.lost > 0 && self.rng.chance(5) {
            self.mood.lost -= 1;
            return Some((self.lost(attempt), true));
        }
        if attempt.is_killed {
            let outcome = self.dying();
            return Some((ended(attempt, outcome), true));
        }
        if !attempt.has_begun {
            if self.mood.not_begun > 0 && self.rng.chance(10) {
                self.mood.not_begun -= 1;
                return Some((Event::NotBegun { node, attempt: id }, true));
            }
            attempt.has_begun = true;
            return Some((Event::Begun { node, attempt: id }, false));
        }
        let kind = self.store.dispatches[attempt.dispatch].plan.graph.kind(node);
        if kind == NodeKind::Sublattice && !attempt.has_linked && self.rng.chance(60) {
            attempt.has_linked = true;
            let child = self.register_child(attempt.dispatch, Some(id))?;
            return Some((Event::Linked { node, child }, false));
        }
        let outcome = self.outcome();
        Some((ended(attempt, outcome), true))
    }

    fn dying(&mut self) -> Outcome {
        match self.rng.below(10) {
            0 => Outcome::Completed,
            1 => Outcome::Failed(Fault::Runner),
            _ => Outcome::Killed,
        }
    }

    fn outcome(&mut self) -> Outcome {
        if self.rng.below(1_000) >= self.mood.failures {
            return Outcome::Completed;
        }
        let faults = [
            Fault::Task,
            Fault::Task,
            Fault::Task,
            Fault::Runner,
            Fault::Executor,
            Fault::Timeout,
            Fault::Lost,
            Fault::Server,
        ];
        match self.rng.below(faults.len() + 1) {
            0 => Outcome::Killed,
            fault => Outcome::Failed(faults[fault - 1]),
        }
    }

    /// Commits a few batches. What they ask for is released, unless the server dies first.
    fn commit(&mut self) -> Result<bool, String> {
        for number in 0..self.rng.between(1, 8) {
            let Some((dispatch, effects)) = self.store.commit()? else { return Ok(number > 0) };
            if self.mood.crash_after == Some(self.store.commits) {
                self.crash()?;
                return Ok(true);
            }
            self.released.extend(effects.into_iter().map(|effect| (dispatch, effect)));
        }
        Ok(true)
    }

    fn perform_released(&mut self) -> Result<bool, String> {
        let Some((dispatch, effect)) = self.released.pop_front() else { return Ok(false) };
        self.perform(dispatch, effect)?;
        Ok(true)
    }

    /// Now and then something goes wrong, or somebody changes their mind.
    fn disturb(&mut self) -> Result<bool, String> {
        let point = self.rng.below(self.mood.steps_expected);
        let (crashes, reloads) = (self.mood.crashes, self.mood.crashes + self.mood.reloads);
        if point >= reloads + self.mood.cancels {
            return Ok(false);
        }
        if point < crashes {
            self.mood.crashes -= 1;
            self.crash()?;
        } else if point < reloads {
            self.mood.reloads -= 1;
            self.reload()?;
        } else {
            self.mood.cancels -= 1;
            self.cancel()?;
        }
        Ok(true)
    }

    fn cancel(&mut self) -> Result<(), String> {
        let dispatch = self.rng.below(self.store.dispatches.len());
        let count = self.store.dispatches[dispatch].nodes.len();
        let chosen =
            if self.rng.chance(self.mood.cancels_all) { 0 } else { self.rng.between(1, 3) };
        let nodes = (0..chosen).map(|_| NodeId(u32::try_from(self.rng.below(count)).unwrap()));
        let nodes = nodes.collect();
        self.deliver(dispatch, Event::Cancel { nodes })?;
        Ok(())
    }

    /// Kills the server and starts it again. Old tasks may still tell of themselves.
    fn crash(&mut self) -> Result<(), String> {
        self.mood.crashes_seen += 1;
        self.trace.mix(u64::from(self.mood.crashes_seen));
        self.trace.line(|| "crash".into());
        let mut messages = std::mem::take(&mut self.messages);
        messages.retain(|message| {
            message.is_report && !self.will_attach_for(message) && self.rng.chance(50)
        });
        self.messages = messages;
        for mut attempt in self.leave_outside() {
            while self.rng.chance(50) {
                if let Some((report, _)) = self.next_report(&mut attempt) {
                    self.report(attempt.dispatch, report);
                }
            }
        }
        self.forget();
        self.open_executors();
        for dispatch in 0..self.store.dispatches.len() {
            let status = self.store.dispatches[dispatch].state.status;
            let is_forgotten = status == Status::NewObject && self.wanted[dispatch];
            if !status.is_terminal() && (status != Status::NewObject || is_forgotten) {
                self.load(dispatch, self.attachable(dispatch))?;
            }
            if self.rng.chance(20) {
                self.grant_somewhere()?;
            }
        }
        self.check_found()
    }

    /// A step of one dispatch could not be stored: it is loaded again, while the server goes on.
    fn reload(&mut self) -> Result<(), String> {
        let dispatch = self.rng.below(self.store.dispatches.len());
        if self.live[dispatch].take().is_none() {
            return Ok(());
        }
        self.ledgers[dispatch].reloads += 1;
        self.trace.line(|| format!("reload of d{dispatch}"));
        self.store.drop_pending(dispatch);
        let attempts = self.executors.iter_mut().flat_map(|executor| &mut executor.attempts);
        attempts
            .filter(|known| known.dispatch == dispatch)
            .for_each(|known| known.is_killed = true);
        // What was under way is killed, so there is nothing to take up.
        self.load(dispatch, Vec::new())
    }
}
