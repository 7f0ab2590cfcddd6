//! Runs the observing side of one trigger without a service: collects what it says, and keeps its
//! marks the way a store does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cov_core::time::{Clock, Timestamp};
use cov_triggers::observer::{Marks, Sighting};
use cov_triggers::{Error, Event, Observer, Trigger};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, also on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "files carry the time of the machine")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    }
}

/// A trigger that observes.
#[derive(Debug)]
pub(crate) struct Observing {
    sightings: mpsc::Receiver<Sighting>,
    /// As a store would have them if every event so far were decided.
    pub(crate) marks: Marks,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
    waiting: VecDeque<Event>,
}

impl Observing {
    /// Starts to observe from `marks`; nothing is awaited.
    pub(crate) fn start(trigger: &Arc<dyn Trigger>, marks: Marks) -> Self {
        Self::with_room(trigger, marks, 64)
    }

    /// Starts to observe, with room for so many sightings that nobody has taken.
    pub(crate) fn with_room(trigger: &Arc<dyn Trigger>, marks: Marks, room: usize) -> Self {
        let resumed = !marks.is_empty();
        Self::spawn(trigger, marks, resumed, room)
    }

    /// Starts to observe from marks that do not count: what they miss is no news.
    pub(crate) async fn anew(trigger: &Arc<dyn Trigger>, marks: Marks) -> Self {
        let mut observing = Self::spawn(trigger, marks, false, 64);
        observing.until_healthy().await;
        observing
    }

    fn spawn(trigger: &Arc<dyn Trigger>, marks: Marks, resumed: bool, room: usize) -> Self {
        let (sender, sightings) = mpsc::channel(room);
        let stop = CancellationToken::new();
        let mut observer = Observer::new(
            "t-1".parse().unwrap(),
            marks.clone(),
            resumed,
            sender,
            Arc::new(SystemClock),
            stop.clone(),
        );
        let trigger = Arc::clone(trigger);
        let task = tokio::spawn(async move { trigger.observe(&mut observer).await });
        Self { sightings, marks, stop, task, waiting: VecDeque::new() }
    }

    /// Starts to observe, and waits until that works.
    pub(crate) async fn healthy(trigger: &Arc<dyn Trigger>, marks: Marks) -> Self {
        let mut observing = Self::start(trigger, marks);
        observing.until_healthy().await;
        observing
    }

    /// Waits until observing works. Events on the way are kept for [`Observing::next`].
    pub(crate) async fn until_healthy(&mut self) {
        loop {
            match self.sighting().await {
                Some(Sighting::Healthy(_)) => return,
                Some(Sighting::Event(_, event)) => self.waiting.push_back(event),
                Some(Sighting::Marks(..)) => {}
                None => panic!("it ended: {:?}", self.sightings),
            }
        }
    }

    /// The next event; its marks are kept.
    pub(crate) async fn next(&mut self) -> Event {
        self.try_next().await.expect("it still observes")
    }

    /// The next event; `None` when it has ended.
    pub(crate) async fn try_next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if let Sighting::Event(_, event) = self.sighting().await? {
                return Some(event);
            }
        }
    }

    /// What the next event is about, for people.
    pub(crate) async fn next_detail(&mut self) -> String {
        self.next().await.detail
    }

    /// Stops it, and answers with the marks as they are then.
    pub(crate) async fn stop(self) -> Marks {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        self.marks
    }

    /// Waits until it ends by itself; answers with its error and the marks.
    pub(crate) async fn end(mut self) -> (Error, Marks) {
        while self.sighting().await.is_some() {}
        (self.task.await.unwrap().unwrap_err(), self.marks)
    }

    /// Waits until it ends by itself, or says that it works.
    pub(crate) async fn end_or_event(mut self) -> Option<Error> {
        match self.sighting().await {
            Some(_) => None,
            None => Some(self.task.await.unwrap().unwrap_err()),
        }
    }

    async fn sighting(&mut self) -> Option<Sighting> {
        let sighting = tokio::time::timeout(PATIENCE, self.sightings.recv()).await;
        let sighting = sighting.expect("something is said in time")?;
        let (Sighting::Event(_, Event { marks, .. }) | Sighting::Marks(_, marks)) = &sighting
        else {
            return Some(sighting);
        };
        for (name, value) in marks {
            match value {
                Some(value) => self.marks.insert(name.clone(), value.clone()),
                None => self.marks.remove(name),
            };
        }
        Some(sighting)
    }
}
