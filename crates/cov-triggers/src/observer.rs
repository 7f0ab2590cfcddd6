//! What an observing task gets: a way to say what it saw, what was seen before, and when to stop.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cov_core::time::{Clock, Timestamp};
use cov_core::trigger::TriggerId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::host::TriggerHost;

/// Small facts that a trigger keeps between runs of the server, by name, like the files that it
/// has seen. They become durable together with the decision about the event that brought them.
pub type Marks = HashMap<String, Bytes>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Names the event among those of its trigger; each key is decided once. At most 512 bytes.
    pub key: String,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, for people.
    pub detail: String,
    /// Marks to set, or to remove, when the event is decided.
    pub marks: Vec<(String, Option<Bytes>)>,
    /// What came with the event.
    pub payload: Option<Bytes>,
}

/// What observers send to the service.
#[derive(Debug)]
pub enum Sighting {
    /// Something happened.
    Event(TriggerId, Event),
    /// Observing works.
    Healthy(TriggerId),
    /// Marks changed that no event is about.
    Marks(TriggerId, Vec<(String, Option<Bytes>)>),
}

/// The observing side of one trigger.
#[derive(Debug)]
pub struct Observer {
    trigger: TriggerId,
    marks: Marks,
    /// Whether the server was up while these marks were made, so that nothing was missed since.
    resumed: bool,
    sightings: mpsc::Sender<Sighting>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
}

/// The time as a host tells it.
#[derive(Debug, Clone)]
pub struct HostClock(pub Arc<dyn TriggerHost>);

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Observer {
    /// An observer for `trigger` that starts from `marks`. `resumed` says that the trigger has
    /// observed before: what differs from the marks has happened in between.
    #[must_use]
    pub fn new(
        trigger: TriggerId,
        marks: Marks,
        resumed: bool,
        sightings: mpsc::Sender<Sighting>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Self {
        Self { trigger, marks, resumed, sightings, clock, stop }
    }

    /// The present moment, for [`Event::at`].
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The trigger.
    #[must_use]
    pub fn trigger(&self) -> &TriggerId {
        &self.trigger
    }

    /// The marks as of the last decision before this observer began.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Takes the marks out, to keep them up to date in the trigger's own form.
    pub fn take_marks(&mut self) -> Marks {
        std::mem::take(&mut self.marks)
    }

    /// Whether it has observed before.
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Says that something happened. Waits while the service is behind. An event that is sent
    /// after the stop is dropped.
    pub async fn event(&self, event: Event) {
        self.send(Sighting::Event(self.trigger.clone(), event)).await;
    }

    /// Says that observing works, which ends a trouble.
    pub async fn healthy(&self) {
        self.send(Sighting::Healthy(self.trigger.clone())).await;
    }

    /// Changes marks without an event, like the first look at a directory.
    pub async fn set_marks(&self, marks: Vec<(String, Option<Bytes>)>) {
        self.send(Sighting::Marks(self.trigger.clone(), marks)).await;
    }

    /// Returns when it has to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// A token that is cancelled when it has to stop.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    async fn send(&self, sighting: Sighting) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            // A closed channel means that the service has stopped, and the token follows.
            sent = self.sightings.send(sighting) => drop(sent),
        }
    }
}
