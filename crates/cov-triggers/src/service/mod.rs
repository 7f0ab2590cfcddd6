//! The service: one task that owns every trigger's machine, with one timer for all of them.
//!
//! The task waits for nothing but its next input. What takes time runs beside it: questions to
//! the host, and one task for each trigger that observes. So no trigger can hold up another:
//! a host that is slow for one, an observer that fails or panics, a trigger that is always busy.

mod broken;
mod changes;
mod entry;
mod handle;
mod jobs;
#[cfg(test)]
mod tests;
mod watching;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, TriggerId};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::machine::{Effect, Input};
use crate::{Error, Metrics, Policies, Registry, TriggerHost};
use changes::Closing;
use entry::Entry;
use handle::{Answer, Command};
pub use handle::{EVENT_KEY_BYTES_MAX, NEXT_MAX, Triggers, WebhookCall};
use jobs::{Done, Jobs};
use watching::{Begin, Seen};

/// Calls that wait for the service.
const COMMANDS_MAX: usize = 1_024;
/// Reports of observers that wait for the service.
const SEEN_MAX: usize = 1_024;
/// Triggers that are woken before anything else gets its turn.
const WAKE_MAX: usize = 256;
/// The clock is looked at so often while something is due: a machine that slept, or a clock that
/// was set, shows no other sign.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// A clock that was set back by less is followed without a word.
const SET_BACK_MIN: Duration = Duration::from_secs(1);

/// Names an entry while the service runs. Never used again, so that late answers meet nothing.
type Number = u64;

/// The running service. Dropping it stops it at once; [`Service::stop`] does it in order.
#[derive(Debug)]
pub struct Service {
    task: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Service {
    /// Takes up every trigger that the host has kept, and begins.
    ///
    /// # Errors
    /// The host cannot tell what it has kept.
    pub async fn start(
        host: Arc<dyn TriggerHost>,
        registry: Registry,
    ) -> Result<(Triggers, Self), Error> {
        Self::start_measured(host, registry, Metrics::default()).await
    }

    /// As [`Service::start`], and counts decisions.
    ///
    /// # Errors
    /// The host cannot tell what it has kept.
    pub async fn start_measured(
        host: Arc<dyn TriggerHost>,
        registry: Registry,
        metrics: Metrics,
    ) -> Result<(Triggers, Self), Error> {
        let registry = Arc::new(registry);
        let loaded = host.load().await?;
        let (commands, calls) = mpsc::channel(COMMANDS_MAX);
        let (reports, seen) = mpsc::channel(SEEN_MAX);
        let triggers = Triggers::new(commands, Arc::clone(&registry), Arc::clone(&host));
        let stop = CancellationToken::new();
        let mut state = State::new(host, reports, stop.clone(), metrics);
        for loaded in loaded {
            state.take_up(loaded, &registry);
        }
        let task = tokio::spawn(state.run(calls, seen));
        Ok((triggers, Self { task: Some(task), stop }))
    }

    /// Takes no more calls, stops the observers and finishes the firings that have begun. What
    /// waits is taken up by the next start.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(error = %error, "the trigger service has failed");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Everything that the task owns.
#[derive(Debug)]
struct State {
    host: Arc<dyn TriggerHost>,
    stop: CancellationToken,
    entries: HashMap<Number, Box<Entry>>,
    numbers: HashMap<TriggerId, Number>,
    by_dispatch: BTreeSet<(DispatchId, Number)>,
    /// Most triggers have no policies of their own, and share these.
    default_policies: Arc<Policies>,
    entries_made: Number,
    timer: BTreeSet<(Timestamp, Number)>,
    jobs: Jobs,
    observers: JoinSet<()>,
    reports: mpsc::Sender<(Number, u64, Seen)>,
    callers: HashMap<(Number, String), Vec<Answer<Firing>>>,
    closings: HashMap<u64, Closing>,
    closings_made: u64,
    clock: (Timestamp, Instant),
    metrics: Metrics,
}

impl State {
    fn new(
        host: Arc<dyn TriggerHost>,
        reports: mpsc::Sender<(Number, u64, Seen)>,
        stop: CancellationToken,
        metrics: Metrics,
    ) -> Self {
        let clock = (host.now(), Instant::now());
        Self {
            jobs: Jobs::new(Arc::clone(&host)),
            host,
            stop,
            entries: HashMap::new(),
            numbers: HashMap::new(),
            by_dispatch: BTreeSet::new(),
            default_policies: Arc::default(),
            entries_made: 0,
            timer: BTreeSet::new(),
            observers: JoinSet::new(),
            reports,
            callers: HashMap::new(),
            closings: HashMap::new(),
            closings_made: 0,
            clock,
            metrics,
        }
    }

    async fn run(
        mut self,
        mut calls: mpsc::Receiver<Command>,
        mut seen: mpsc::Receiver<(Number, u64, Seen)>,
    ) {
        let stop = self.stop.clone();
        loop {
            self.watch_the_clock();
            self.wake_due();
            self.jobs.pump();
            let pause = self.pause();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(command) = calls.recv() => self.command(command),
                Some((number, watch, seen)) = seen.recv() => self.seen(number, watch, seen),
                Some(done) = self.jobs.next() => self.done(done),
                Some(_ended) = self.observers.join_next() => {}
                // A sleep of no length would still last until the runtime's next tick.
                () = tokio::task::yield_now(), if pause.is_zero() => {}
                () = tokio::time::sleep(pause), if !pause.is_zero() => {}
            }
        }
        // Calls that come from here on are answered with an error, since nobody holds the other
        // end any more.
        drop((calls, seen));
        self.close().await;
    }

    /// How long nothing is due.
    fn pause(&self) -> Duration {
        match self.timer.first() {
            None => Duration::from_secs(3_600),
            Some((at, _)) => at.since(self.host.now()).min(CLOCK_INTERVAL),
        }
    }

    fn watch_the_clock(&mut self) {
        let (now, instant) = (self.host.now(), Instant::now());
        let expected = self.clock.0.after(instant.saturating_duration_since(self.clock.1));
        self.clock = (now, instant);
        if expected.since(now) < SET_BACK_MIN {
            return;
        }
        tracing::warn!(now = %now, expected = %expected, "the clock was set back");
        let numbers: Vec<Number> = self.entries.keys().copied().collect();
        for number in numbers {
            self.apply(number, Input::ClockSetBack);
        }
    }

    fn wake_due(&mut self) {
        let now = self.host.now();
        for _ in 0..WAKE_MAX {
            match self.timer.first() {
                Some(&(at, number)) if at <= now => {
                    self.timer.pop_first();
                    self.woken(number, now);
                }
                Some(_) | None => return,
            }
        }
    }

    fn woken(&mut self, number: Number, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.timer_at = None;
        if entry.watch.as_ref().is_some_and(|watch| watch.is_due(now)) {
            self.begin_watch(number, Begin::Again);
        }
        self.apply(number, Input::Wake);
    }

    /// Tells a machine something and does what it asks for.
    fn apply(&mut self, number: Number, input: Input) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let mut effects = Vec::new();
        entry.machine.apply(input, self.host.now(), &mut effects);
        entry.open_or_close_gate();
        for effect in effects {
            self.perform(number, effect);
        }
        self.set_timer(number);
        self.remove_if_at_rest(number);
    }

    fn perform(&mut self, number: Number, effect: Effect) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        match effect {
            Effect::Look => self.jobs.look(number, entry.id.clone()),
            Effect::Fire(claim) => self.jobs.fire(number, claim),
            Effect::Decide(claims) => self.jobs.decide(number, claims),
            Effect::SetMarks(marks) => self.jobs.set_marks(number, entry.id.clone(), marks),
            Effect::Await(dispatch) => {
                entry.wait = Some(self.jobs.wait(number, dispatch));
            }
            Effect::Cancel(dispatches) => self.jobs.cancel(number, dispatches),
            Effect::Settled(firing) => self.settled(number, firing),
            Effect::Refused(key, error) => self.answer(number, &key, &Err(error)),
        }
    }

    fn settled(&mut self, number: Number, firing: Firing) {
        let id = self.entries.get(&number).map(|entry| entry.id.as_str());
        tracing::debug!(
            trigger.id = id, event.key = firing.event_key, outcome = ?firing.outcome,
            reason = firing.reason, "decided"
        );
        self.metrics.decided(&firing);
        let key = firing.event_key.clone();
        self.answer(number, &key, &Ok(firing));
    }

    fn answer(&mut self, number: Number, key: &str, answer: &Result<Firing, Error>) {
        if self.callers.is_empty() {
            return;
        }
        let key = (number, key.to_owned());
        for caller in self.callers.remove(&key).unwrap_or_default() {
            // The caller may have left.
            drop(caller.send(answer.clone()));
        }
    }

    fn set_timer(&mut self, number: Number) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let deadline = entry.deadline();
        if deadline == entry.timer_at {
            return;
        }
        if let Some(at) = entry.timer_at {
            self.timer.remove(&(at, number));
        }
        entry.timer_at = deadline;
        self.timer.extend(deadline.map(|at| (at, number)));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Looked(number, looked) => self.apply(number, Input::Looked(looked)),
            Done::Fired(number, fired) => self.apply(number, Input::Fired(fired)),
            Done::Decided(decided) => {
                for (number, decided) in decided {
                    self.apply(number, Input::Decided(decided));
                }
            }
            Done::MarksSet(number, set) => self.apply(number, Input::MarksSet(set)),
            Done::Ended(number, ended) => self.apply(number, Input::Ended(ended)),
            Done::Registered(registered) => self.registered(*registered),
            Done::StateSet(number, change, set) => self.changed(number, change, set),
            Done::Marks(number, watch, marks) => self.marks_loaded(number, watch, marks),
            Done::TroubleSet(number) => self.trouble_set(number),
            Done::Cancelled | Done::Nothing => {}
        }
    }

    /// Ends what runs beside the task.
    async fn close(mut self) {
        for entry in self.entries.values() {
            entry.stop_watching();
        }
        self.jobs.finish().await;
        watching::finish(self.observers).await;
        tracing::debug!("the trigger service has stopped");
    }
}
