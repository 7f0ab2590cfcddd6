//! What everybody else asks of the service. A handle holds no state of triggers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Dictionary, Firing, Outcome, TriggerId, TriggerRecord, TriggerState};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::trigger::Schedule;
use crate::{Error, Event, Registry, Source, Trigger, TriggerExt, TriggerHost};

/// Most points of time that [`Triggers::next`] tells at once.
pub const NEXT_MAX: usize = 1_000;
/// The longest key that a caller may give to an event, in bytes.
pub const EVENT_KEY_BYTES_MAX: usize = 400;
/// How long the answer to a registration waits for the first look of an observer.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(2);
/// How many ticks [`Triggers::test`] tells.
const TEST_TICKS: usize = 5;

/// Talks to the running service. Cheap to clone. Every call is answered when what it asked for
/// is durable; a caller that leaves before that undoes nothing.
#[derive(Debug, Clone)]
pub struct Triggers {
    commands: mpsc::Sender<Command>,
    registry: Arc<Registry>,
    host: Arc<dyn TriggerHost>,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What the service is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Register(Box<TriggerRecord>, Arc<dyn Trigger>, Answer<Begun>),
    StopDispatches(Vec<DispatchId>, Answer<()>),
    SetState(TriggerId, TriggerState, Option<String>, Answer<()>),
    Delete(TriggerId, Answer<()>),
    Fire(TriggerId, Call, Answer<Firing>),
    Show(TriggerId, Answer<Shown>),
}

/// A trigger that was registered.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) record: TriggerRecord,
    /// Closed when its observer works, or has failed for the first time.
    pub(super) observes: oneshot::Receiver<()>,
}

/// An event that somebody calls for.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) event: Event,
    /// Whether a person asked for it: it fires then although the trigger is paused.
    pub(super) by_hand: bool,
}

/// A trigger for a look at it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) trigger: Option<Arc<dyn Trigger>>,
    pub(super) schedule: Option<Arc<dyn Schedule>>,
    pub(super) created_at: Timestamp,
}

/// A call of a trigger's address from outside.
#[derive(Debug, Clone, Default)]
pub struct WebhookCall {
    /// The signature, as it came.
    pub signature: Option<String>,
    /// The caller's name for the event: the same one fires once.
    pub idempotency_key: Option<String>,
    /// The body, unchanged.
    pub body: Bytes,
}

impl Triggers {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        registry: Arc<Registry>,
        host: Arc<dyn TriggerHost>,
    ) -> Self {
        Self { commands, registry, host }
    }

    /// The trigger types that can be registered.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What keeps the triggers and their history, to read from.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn TriggerHost> {
        &self.host
    }

    /// Registers a trigger and begins to watch: what happens after this returns is seen, unless
    /// its observer has trouble or needs more than two seconds for its first look.
    ///
    /// # Errors
    /// The dictionary describes no trigger, it is connected to no dispatch or to none that
    /// exists, it could never observe, or the host is unavailable. Nothing is registered then.
    pub async fn register(&self, dictionary: Dictionary) -> Result<TriggerRecord, Error> {
        let trigger: Arc<dyn Trigger> = Arc::from(self.registry.build(dictionary)?);
        let Some(original) = trigger.base().lattice_dispatch_id.clone() else {
            return Err(Error::NoDispatch { trigger: trigger.name().to_owned() });
        };
        trigger.check().await?;
        let now = self.host.now();
        let record = TriggerRecord {
            id: self.host.new_trigger_id(),
            name: trigger.name().to_owned(),
            lattice_dispatch_id: original,
            settings: trigger.to_dict(),
            state: TriggerState::Active,
            note: None,
            created_at: now,
            updated_at: now,
            decided_until: now,
            trouble: None,
            fired_count: 0,
        };
        let begun = self.ask(|answer| Command::Register(Box::new(record), trigger, answer)).await?;
        // Both a closed channel and the end of the time mean: answered now.
        drop(timeout(FIRST_LOOK_MAX, begun.observes).await);
        Ok(begun.record)
    }

    /// Stops all triggers of these dispatches for good. When this returns, none of them fires any
    /// more. Those that are stopped already stay so.
    ///
    /// # Errors
    /// No trigger was ever registered for one of the dispatches: nothing is stopped then. Or the
    /// host is unavailable.
    pub async fn stop_dispatches(&self, dispatches: &[DispatchId]) -> Result<(), Error> {
        for dispatch in dispatches {
            if !self.host.has_triggers(dispatch).await? {
                let text = format!("dispatch {dispatch} has no triggers");
                return Err(Error::NotFound(text));
            }
        }
        let dispatches = dispatches.to_vec();
        self.ask(|answer| Command::StopDispatches(dispatches, answer)).await
    }

    /// Pauses a trigger; a firing that has begun is finished. `note` says why, for people.
    ///
    /// # Errors
    /// There is no such trigger, it was stopped, or the host is unavailable.
    pub async fn pause(&self, trigger: &TriggerId, note: Option<String>) -> Result<(), Error> {
        let id = trigger.clone();
        self.ask(|answer| Command::SetState(id, TriggerState::Paused, note, answer)).await
    }

    /// Lets a paused trigger go on. What happened meanwhile follows its catch-up policy.
    ///
    /// # Errors
    /// There is no such trigger, it was stopped, or the host is unavailable.
    pub async fn resume(&self, trigger: &TriggerId) -> Result<(), Error> {
        let id = trigger.clone();
        self.ask(|answer| Command::SetState(id, TriggerState::Active, None, answer)).await
    }

    /// Stops a trigger for good and keeps its history. When this returns, it fires no more.
    ///
    /// # Errors
    /// There is no such trigger, or the host is unavailable.
    pub async fn stop(&self, trigger: &TriggerId) -> Result<(), Error> {
        let id = trigger.clone();
        self.ask(|answer| Command::SetState(id, TriggerState::Stopped, None, answer)).await
    }

    /// Stops a trigger and removes it with its history.
    ///
    /// # Errors
    /// There is no such trigger, or the host is unavailable.
    pub async fn delete(&self, trigger: &TriggerId) -> Result<(), Error> {
        let id = trigger.clone();
        self.ask(|answer| Command::Delete(id, answer)).await
    }

    /// Fires by hand, also while paused; the overlap policy holds. `event_key` names the event:
    /// the same one fires once. Without one, each call is an event of its own.
    ///
    /// # Errors
    /// There is no such trigger, it was stopped, or the host is unavailable.
    pub async fn fire(
        &self,
        trigger: &TriggerId,
        event_key: Option<String>,
        payload: Option<Bytes>,
    ) -> Result<Firing, Error> {
        let key = self.event_key("manual", event_key)?;
        let event = self.event(key, "fired by hand", payload);
        self.call(trigger, Call { event, by_hand: true }).await
    }

    /// Takes a call of the trigger's address.
    ///
    /// # Errors
    /// The signature is wrong, the trigger is not meant to be called, there is no such one, it
    /// was stopped, or the host is unavailable.
    pub async fn webhook(&self, trigger: &TriggerId, call: WebhookCall) -> Result<Firing, Error> {
        let shown = self.show(trigger).await?;
        let Some(kept) = shown.trigger else {
            let text = "a trigger with a schedule has no address to call";
            return Err(Error::Refused(text.to_owned()));
        };
        kept.admit(call.signature.as_deref(), &call.body)?;
        let key = self.event_key("webhook", call.idempotency_key)?;
        let event = self.event(key, "called from outside", Some(call.body));
        self.call(trigger, Call { event, by_hand: false }).await
    }

    /// What it would see if it looked now, a line each. Fires nothing.
    ///
    /// # Errors
    /// There is no such trigger, it was stopped, or what it watches cannot be watched now.
    pub async fn test(&self, trigger: &TriggerId) -> Result<Vec<String>, Error> {
        let shown = self.show(trigger).await?;
        if let Some(schedule) = shown.schedule {
            let ticks = ticks(&*schedule, shown.created_at, self.host.now(), TEST_TICKS);
            return Ok(ticks.iter().map(|tick| format!("would fire at {tick} UTC")).collect());
        }
        match shown.trigger {
            Some(trigger) if matches!(trigger.source(), Source::Observed) => {
                trigger.preview().await
            }
            Some(_) | None => Ok(vec!["fires when it is called".to_owned()]),
        }
    }

    /// Its next ticks, at most [`NEXT_MAX`]; none for a trigger without a schedule.
    ///
    /// # Errors
    /// There is no such trigger, or it was stopped.
    pub async fn next(&self, trigger: &TriggerId, count: usize) -> Result<Vec<Timestamp>, Error> {
        let shown = self.show(trigger).await?;
        let Some(schedule) = shown.schedule else {
            return Ok(Vec::new());
        };
        Ok(ticks(&*schedule, shown.created_at, self.host.now(), count.min(NEXT_MAX)))
    }

    async fn call(&self, trigger: &TriggerId, call: Call) -> Result<Firing, Error> {
        let known = self.host.firing(trigger, &call.event.key).await?;
        let for_good =
            |known: &Firing| known.outcome == Outcome::Failed && known.next_try.is_none();
        // What failed for good may be called for again.
        if let Some(known) = known.filter(|known| !for_good(known)) {
            return Ok(known);
        }
        let id = trigger.clone();
        self.ask(|answer| Command::Fire(id, call, answer)).await
    }

    async fn show(&self, trigger: &TriggerId) -> Result<Shown, Error> {
        let id = trigger.clone();
        self.ask(|answer| Command::Show(id, answer)).await
    }

    fn event_key(&self, kind: &str, key: Option<String>) -> Result<String, Error> {
        let key = match key {
            None => self.host.new_trigger_id().to_string(),
            Some(key) if key.len() <= EVENT_KEY_BYTES_MAX && !key.is_empty() => key,
            Some(_) => {
                let text = format!("a key of an event has 1 to {EVENT_KEY_BYTES_MAX} bytes");
                return Err(Error::Refused(text));
            }
        };
        Ok(format!("{kind}:{key}"))
    }

    fn event(&self, key: String, detail: &str, payload: Option<Bytes>) -> Event {
        let (at, detail) = (self.host.now(), detail.to_owned());
        Event { key, at, detail, marks: Vec::new(), payload }
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let stopped = || Error::Unavailable("the trigger service has stopped".to_owned());
        self.commands.send(command(answer)).await.map_err(|_closed| stopped())?;
        answered.await.map_err(|_dropped| stopped())?
    }
}

/// The next ticks after `now`.
fn ticks(
    schedule: &dyn Schedule,
    created_at: Timestamp,
    now: Timestamp,
    count: usize,
) -> Vec<Timestamp> {
    let first = schedule.next(created_at, now);
    std::iter::successors(first, |tick| schedule.next(created_at, *tick)).take(count).collect()
}
