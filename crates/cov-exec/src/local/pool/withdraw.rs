//! Tasks that somebody wants back: they are killed, or go to others since the one before them is
//! long.

use std::sync::Arc;

use cov_core::ids::AttemptId;
use tokio::time::Instant;

use super::state::State;
use super::{Pool, Request, send};
use crate::Outcome;
use crate::local::runner::Order;

/// What becomes of tasks that a runner was handed and did not take.
#[derive(Debug, Default)]
pub(in crate::local) struct TakenBack {
    /// They can be submitted again.
    pub(in crate::local) not_begun: Vec<AttemptId>,
    /// They were to be killed.
    pub(in crate::local) killed: Vec<AttemptId>,
}

impl Pool {
    pub(in crate::local) fn kill(self: &Arc<Self>, attempt: AttemptId) {
        let waiting = {
            let mut state = self.state();
            let place = state.queue.iter().position(|task| task.attempt == attempt);
            match place {
                Some(place) => state.queue.remove(place).is_some(),
                None => {
                    self.kill_handed(&mut state, attempt);
                    false
                }
            }
        };
        if waiting {
            // Not awaited: whoever calls may be the one that takes the reports.
            let pool = Arc::clone(self);
            self.common.tasks.spawn(async move {
                pool.common.report_end(attempt, Outcome::Killed, <_>::default()).await;
            });
        }
    }

    fn kill_handed(self: &Arc<Self>, state: &mut State, attempt: AttemptId) {
        let Some(number) = state.running.get(&attempt).copied() else { return };
        let Some(runner) = state.runners.get_mut(&number) else { return };
        if runner.tasks.front() == Some(&attempt) {
            return self.kill_running(state, number);
        }
        if !runner.unwanted.contains(&attempt) {
            runner.unwanted.push(attempt);
            runner.tell(Order::TakeBack);
        }
    }

    /// Kills the task that a runner is at, and with it the runner.
    pub(super) fn kill_running(self: &Arc<Self>, state: &mut State, number: u64) {
        let Some(runner) = state.runners.get_mut(&number) else { return };
        if runner.killed {
            return;
        }
        runner.killed = true;
        runner.ending = true;
        if runner.tasks.len() > 1 {
            // They need not wait until it has gone.
            runner.tell(Order::TakeBack);
        }
        let grace = self.common.options.kill_grace;
        send(&state.maker, Request::Kill { runner: number, grace });
        self.pump(state);
    }

    /// The runner has not taken these, and will not. Says what becomes of each.
    pub(in crate::local) fn taken_back(
        self: &Arc<Self>,
        number: u64,
        attempts: &[AttemptId],
    ) -> TakenBack {
        let mut state = self.state();
        let mut back = TakenBack::default();
        let Some(runner) = state.runners.get_mut(&number) else { return back };
        for attempt in attempts {
            // The one that it is killed for ends with it.
            let is_killed = runner.killed && runner.tasks.front() == Some(attempt);
            if is_killed || !runner.forget(*attempt) {
                continue;
            }
            let unwanted = runner.unwanted.iter().position(|unwanted| unwanted == attempt);
            match unwanted {
                Some(place) => {
                    runner.unwanted.swap_remove(place);
                    back.killed.push(*attempt);
                }
                None => back.not_begun.push(*attempt),
            }
        }
        let rests = runner.tasks.is_empty() && !runner.ending;
        for attempt in back.killed.iter().chain(&back.not_begun) {
            state.running.remove(attempt);
        }
        if rests {
            state.idle.push((number, Instant::now()));
        }
        self.pump(&mut state);
        back
    }

    /// A task is longer than those before it were: nothing goes ahead any more. Returns the tasks
    /// that wait beyond what the workers can take, and were to be next.
    pub(in crate::local) fn stumbled(&self) -> Vec<AttemptId> {
        let mut state = self.state();
        state.pace.stumble();
        state.queue.drain(..).map(|task| task.attempt).collect()
    }
}
