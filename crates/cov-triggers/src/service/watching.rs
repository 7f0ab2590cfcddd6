//! The tasks that observe: one for each trigger that has to, started again after an error, later
//! and later, and never given up.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cov_core::time::Timestamp;
use cov_core::trigger::Trouble;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::jobs::{Done, guarded};
use super::{Number, State};
use crate::machine::{Input, Origin, backoff};
use crate::observer::{HostClock, Marks, Observer, Sighting};
use crate::{Error, Event, Trigger};

/// Reports that one observer is ahead of the service.
const SIGHTINGS_MAX: usize = 64;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// How long a stop waits for observers.
const FINISH_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest error that is kept of an observer, in characters.
const ERROR_CHARS_MAX: usize = 2_000;

/// What an observing task tells the service.
#[derive(Debug)]
pub(super) enum Seen {
    Event(Event),
    Healthy,
    Marks(Vec<(String, Option<bytes::Bytes>)>),
    /// It is over; nothing of it comes after this.
    Ended(Result<(), Error>),
}

/// Why an observer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// The trigger is new.
    New,
    /// The server was down, or the trigger was paused: the catch-up policy holds.
    AfterAbsence,
    /// It failed.
    Again,
}

/// The observing side of an entry.
#[derive(Debug)]
pub(super) struct Watch {
    /// Counts the beginnings, so that what an earlier task still says can be told apart.
    round: u64,
    pub(super) stop: CancellationToken,
    parent: CancellationToken,
    pub(super) gate: watch::Sender<bool>,
    /// When it begins again.
    pub(super) retry_at: Option<Timestamp>,
    tries: u32,
    pub(super) trouble: Option<Trouble>,
    pub(super) has_observed: bool,
    /// Dropped when the observer works for the first time, or fails.
    pub(super) first_look: Option<oneshot::Sender<()>>,
    /// Whether what happened before it begins has to be told.
    looks_back: bool,
    is_writing_trouble: bool,
    is_trouble_newer: bool,
}

impl Watch {
    pub(super) fn new(parent: CancellationToken) -> Self {
        Self {
            round: 0,
            stop: parent.child_token(),
            parent,
            gate: watch::Sender::new(true),
            retry_at: None,
            tries: 0,
            trouble: None,
            has_observed: false,
            first_look: None,
            looks_back: false,
            is_writing_trouble: false,
            is_trouble_newer: false,
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.retry_at.is_some_and(|at| at <= now)
    }
}

impl State {
    /// Begins to observe, if the trigger has to: reads its marks first.
    pub(super) fn begin_watch(&mut self, number: Number, begin: Begin) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let Some(watch) = &mut entry.watch else {
            return;
        };
        watch.stop.cancel();
        watch.stop = watch.parent.child_token();
        watch.round += 1;
        watch.retry_at = None;
        watch.looks_back &= begin == Begin::Again;
        watch.looks_back |= begin == Begin::AfterAbsence && entry.machine.looks_back();
        // Taken before the durable ones are read: what is decided in between is in both.
        let undecided = entry.machine.undecided_marks();
        let (round, id, host) = (watch.round, entry.id.clone(), Arc::clone(&self.host));
        self.jobs.spawn(async move {
            let marks = guarded(host.marks(&id)).await.map(|mut marks| {
                overlay(&mut marks, undecided);
                marks
            });
            Done::Marks(number, round, marks)
        });
    }

    /// Stops observing.
    pub(super) fn end_watch(&mut self, number: Number) {
        if let Some(entry) = self.entries.get_mut(&number)
            && let Some(watch) = &mut entry.watch
        {
            watch.stop.cancel();
            watch.round += 1;
            watch.retry_at = None;
        }
    }

    pub(super) fn marks_loaded(&mut self, number: Number, round: u64, marks: Result<Marks, Error>) {
        let Some(entry) = self.entries.get(&number) else {
            return;
        };
        let Some(watch) = entry.watch.as_ref().filter(|watch| watch.round == round) else {
            return;
        };
        let marks = match marks {
            Ok(marks) => marks,
            Err(error) => return self.observer_failed(number, error),
        };
        let resumed = watch.has_observed && watch.looks_back;
        let (sightings, reports) = mpsc::channel(SIGHTINGS_MAX);
        let clock = Arc::new(HostClock(Arc::clone(&self.host)));
        let stop = watch.stop.clone();
        let observer =
            Observer::new(entry.id.clone(), marks, resumed, sightings, clock, stop.clone());
        let forward = Forward { number, round, stop, to: self.reports.clone() };
        let gate = watch.gate.subscribe();
        let Some(trigger) = entry.trigger.clone() else {
            return;
        };
        self.observers.spawn(watch_over(trigger, observer, reports, gate, forward));
    }

    /// Something came from an observing task.
    pub(super) fn seen(&mut self, number: Number, round: u64, seen: Seen) {
        let entry = self.entries.get(&number);
        let current = entry.and_then(|entry| entry.watch.as_ref()).map(|watch| watch.round);
        if current != Some(round) {
            return;
        }
        match seen {
            Seen::Event(event) => {
                self.apply(number, Input::Happened(event, Origin::Observed));
            }
            Seen::Marks(marks) => self.apply(number, Input::Marks(marks)),
            Seen::Healthy => self.observer_works(number),
            Seen::Ended(Ok(())) => {
                let text = "observing ended by itself".to_owned();
                self.observer_failed(number, Error::Observe(text));
            }
            Seen::Ended(Err(error)) => self.observer_failed(number, error),
        }
    }

    fn observer_works(&mut self, number: Number) {
        self.apply(number, Input::CaughtUp);
        let Some(watch) = self.entries.get_mut(&number).and_then(|entry| entry.watch.as_mut())
        else {
            return;
        };
        watch.tries = 0;
        watch.first_look = None;
        let was_well = watch.has_observed && watch.trouble.is_none();
        watch.has_observed = true;
        watch.looks_back = true;
        watch.trouble = None;
        if !was_well {
            self.write_trouble(number);
        }
    }

    fn observer_failed(&mut self, number: Number, error: Error) {
        let now = self.host.now();
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let Some(watch) = &mut entry.watch else {
            return;
        };
        watch.tries = watch.tries.saturating_add(1);
        watch.first_look = None;
        let id = entry.id.as_str();
        let at = now.after(backoff(id, watch.tries, RETRY_FIRST, RETRY_LONGEST));
        watch.retry_at = Some(at);
        let since = watch.trouble.as_ref().map_or(now, |trouble| trouble.since);
        let text = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
        tracing::warn!(trigger.id = id, error = %error, next_try = %at, "a trigger cannot observe");
        watch.trouble = Some(Trouble { error: text, since, next_try: Some(at) });
        self.write_trouble(number);
        self.set_timer(number);
    }

    /// Makes the trouble durable, or its end. One at a time, so that the last one stays.
    fn write_trouble(&mut self, number: Number) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let Some(watch) = &mut entry.watch else {
            return;
        };
        if std::mem::replace(&mut watch.is_writing_trouble, true) {
            watch.is_trouble_newer = true;
            return;
        }
        self.jobs.set_trouble(number, entry.id.clone(), watch.trouble.clone());
    }

    pub(super) fn trouble_set(&mut self, number: Number) {
        let Some(watch) = self.entries.get_mut(&number).and_then(|entry| entry.watch.as_mut())
        else {
            return;
        };
        watch.is_writing_trouble = false;
        if std::mem::take(&mut watch.is_trouble_newer) {
            self.write_trouble(number);
        }
    }
}

/// Where an observing task reports to.
struct Forward {
    number: Number,
    round: u64,
    stop: CancellationToken,
    to: mpsc::Sender<(Number, u64, Seen)>,
}

impl Forward {
    async fn send(&self, seen: Seen) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            // A closed channel means that the service has stopped, and the token follows.
            sent = self.to.send((self.number, self.round, seen)) => drop(sent),
        }
    }
}

/// Observes until the end, an error or a panic, and passes on everything that was seen before it
/// says so.
async fn watch_over(
    trigger: Arc<dyn Trigger>,
    mut observer: Observer,
    mut reports: mpsc::Receiver<Sighting>,
    mut gate: watch::Receiver<bool>,
    forward: Forward,
) {
    let observing = async move {
        let caught = AssertUnwindSafe(trigger.observe(&mut observer)).catch_unwind().await;
        // The observer ends here, and with it the reports.
        caught.unwrap_or_else(|panic| Err(Error::Observe(told(&*panic))))
    };
    let passing = async {
        while let Some(sighting) = reports.recv().await {
            let open = async { gate.wait_for(|open| *open).await.is_ok() };
            let stopped = tokio::select! {
                () = forward.stop.cancelled() => true,
                open = open => !open,
            };
            if stopped {
                return;
            }
            forward.send(seen(sighting)).await;
        }
    };
    let (ended, ()) = tokio::join!(observing, passing);
    forward.send(Seen::Ended(ended)).await;
}

fn seen(sighting: Sighting) -> Seen {
    match sighting {
        Sighting::Event(_, event) => Seen::Event(event),
        Sighting::Healthy(_) => Seen::Healthy,
        Sighting::Marks(_, marks) => Seen::Marks(marks),
    }
}

fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("observing panicked: {}", text.unwrap_or_default())
}

fn overlay(marks: &mut Marks, newer: Vec<(String, Option<bytes::Bytes>)>) {
    for (name, value) in newer {
        match value {
            Some(value) => drop(marks.insert(name, value)),
            None => drop(marks.remove(&name)),
        }
    }
}

/// Waits until all observing tasks have ended.
pub(super) async fn finish(mut observers: JoinSet<()>) {
    let all = async { while observers.join_next().await.is_some() {} };
    if tokio::time::timeout(FINISH_TIME_MAX, all).await.is_err() {
        tracing::warn!("observers did not end in time");
        observers.shutdown().await;
    }
}
