//! The service over the host in memory, on a clock that is advanced by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cov_core::ids::DispatchId;
use cov_core::trigger::{Dictionary, Outcome, TriggerId, TriggerState};
use serde_json::{Value, json};

use super::{Service, Triggers, WebhookCall};
use crate::memory::{MemoryHost, Run};
use crate::{
    Base, Error, Event, Observer, Registry, Source, TimeTrigger, Trigger, TriggerHost,
    WebhookTrigger,
};

struct World {
    host: Arc<MemoryHost>,
    triggers: Triggers,
    service: Service,
    original: DispatchId,
}

fn registry() -> Registry {
    let mut registry = Registry::builtin();
    registry.register(TimeTrigger::NAME, TimeTrigger::from_fields);
    registry.register(WebhookTrigger::NAME, WebhookTrigger::from_fields);
    registry.register("Moody", Moody::from_fields);
    registry
}

async fn world() -> World {
    let host = Arc::new(MemoryHost::new());
    let original = host.add_dispatch("original", Run::Ended);
    host.set_dispatches_end_at_once(true);
    let (triggers, service) = begin(&host).await;
    World { host, triggers, service, original }
}

async fn begin(host: &Arc<MemoryHost>) -> (Triggers, Service) {
    let host: Arc<dyn TriggerHost> = Arc::<MemoryHost>::clone(host);
    Service::start(host, registry()).await.unwrap()
}

fn dictionary(value: Value) -> Dictionary {
    let mut dictionary = value.as_object().unwrap().clone();
    dictionary.entry("lattice_dispatch_id").or_insert_with(|| "original".into());
    dictionary
}

impl World {
    async fn register(&self, value: Value) -> TriggerId {
        self.triggers.register(dictionary(value)).await.unwrap().id
    }

    async fn rows(&self, id: &TriggerId, outcome: Outcome, count: usize) {
        self.host.until(|host| host.count(id, outcome) >= count).await;
    }

    async fn restart(self) -> Self {
        self.service.stop().await;
        let (triggers, service) = begin(&self.host).await;
        Self { triggers, service, ..self }
    }
}

/// A trigger type that does what its settings say: it reports files, fails, or panics.
#[derive(Debug)]
struct Moody {
    base: Base,
    mood: String,
    begun: AtomicU32,
}

impl Moody {
    fn from_fields(fields: &mut crate::Fields) -> Result<Self, Error> {
        let mood = fields.text("mood")?;
        Ok(Self { base: Base::default(), mood, begun: AtomicU32::new(0) })
    }
}

#[async_trait]
impl Trigger for Moody {
    fn name(&self) -> &str {
        "Moody"
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn own_fields(&self, fields: &mut Dictionary) {
        fields.insert("mood".to_owned(), self.mood.as_str().into());
    }

    fn source(&self) -> Source {
        Source::Observed
    }

    async fn observe(&self, observer: &mut Observer) -> Result<(), Error> {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        match self.mood.as_str() {
            "panics once" if begun == 0 => panic!("a bad day"),
            "fails always" => return Err(Error::Observe("no such table: t".to_owned())),
            _ => {}
        }
        // Five files are there; those with a mark were reported before.
        for file in ["a", "b", "c", "d", "e"] {
            if !observer.marks().contains_key(file) {
                let event = Event {
                    key: format!("file:{file}"),
                    at: observer.now(),
                    detail: format!("{file} was created"),
                    marks: vec![(file.to_owned(), Some("seen".into()))],
                    payload: None,
                };
                observer.event(event).await;
            }
        }
        observer.healthy().await;
        observer.stopped().await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_fires_and_a_restart_neither_loses_nor_doubles_one() {
    let world = world().await;
    let id = world.register(json!({"name": "TimeTrigger", "time_gap": 2, "catch_up": "all"})).await;
    world.rows(&id, Outcome::Fired, 3).await;
    let world = world.restart().await;
    world.rows(&id, Outcome::Fired, 5).await;
    let keys: Vec<i64> = world.host.firings(&id).iter().map(|row| row.due_at.as_micros()).collect();
    let created = world.host.kept_record(&id).unwrap().created_at.as_micros();
    let expected: Vec<i64> = (1..=5).map(|n| created + n * 2_000_000).collect();
    assert_eq!(keys, expected);
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_firing_starts_the_original_and_later_ones_wait_for_its_end() {
    let world = world().await;
    world.host.set_run(&world.original, Run::Pending);
    world.host.set_dispatches_end_at_once(false);
    let id = world.register(json!({"name": "TimeTrigger", "time_gap": 1})).await;
    world.rows(&id, Outcome::Skipped, 1).await;
    let rows = world.host.firings(&id);
    assert_eq!(rows[0].dispatch.as_ref(), Some(&world.original));
    assert_eq!((rows[1].outcome, rows[2].outcome), (Outcome::Queued, Outcome::Skipped));
    world.host.set_run(&world.original, Run::Ended);
    world.rows(&id, Outcome::Fired, 2).await;
    let second = world.host.firings(&id)[1].clone();
    assert_eq!(second.outcome, Outcome::Fired);
    assert_ne!(second.dispatch.as_ref(), Some(&world.original));
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_stop_nothing_fires() {
    let world = world().await;
    let id = world.register(json!({"name": "TimeTrigger", "time_gap": 1})).await;
    world.rows(&id, Outcome::Fired, 1).await;
    world.triggers.stop_dispatches(std::slice::from_ref(&world.original)).await.unwrap();
    let fired = world.host.count(&id, Outcome::Fired);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(world.host.count(&id, Outcome::Fired), fired);
    assert_eq!(world.host.kept_record(&id).unwrap().state, TriggerState::Stopped);

    world.triggers.stop_dispatches(std::slice::from_ref(&world.original)).await.unwrap();
    let foreign = "nobody".parse().unwrap();
    let error = world.triggers.stop_dispatches(&[foreign]).await.unwrap_err();
    assert_eq!(error.to_string(), "dispatch nobody has no triggers");
    assert!(matches!(world.triggers.resume(&id).await, Err(Error::Conflict(_))));
    assert!(matches!(world.triggers.fire(&id, None, None).await, Err(Error::Conflict(_))));
    world.triggers.stop(&id).await.unwrap();
    let world = world.restart().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(world.host.count(&id, Outcome::Fired), fired);
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_a_firing_that_has_begun() {
    let world = world().await;
    let id = world.register(json!({"name": "BaseTrigger"})).await;
    world.host.hold_fires(true);
    let calls = world.triggers.clone();
    let called = id.clone();
    let fired = tokio::spawn(async move { calls.fire(&called, None, None).await });
    tokio::time::advance(Duration::from_secs(1)).await;
    let stops = world.triggers.clone();
    let stopped_id = id.clone();
    let stopped = tokio::spawn(async move { stops.stop(&stopped_id).await });
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!stopped.is_finished(), "the firing is not decided yet");
    world.host.hold_fires(false);
    stopped.await.unwrap().unwrap();
    let settled = fired.await.unwrap();
    let rows = world.host.firings(&id);
    assert!(rows.iter().all(|row| row.outcome != Outcome::Queued), "{rows:?} {settled:?}");
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_holds_up_no_other() {
    let world = world().await;
    let stuck = world.register(json!({"name": "Moody", "mood": "fails always"})).await;
    let panics = world.register(json!({"name": "Moody", "mood": "panics once"})).await;
    let mut ticking = Vec::new();
    for _ in 0..100 {
        ticking.push(world.register(json!({"name": "TimeTrigger", "time_gap": 1})).await);
    }
    for id in &ticking {
        world.rows(id, Outcome::Fired, 2).await;
    }
    let trouble = world.host.kept_record(&stuck).unwrap().trouble.unwrap();
    assert_eq!(trouble.error, "no such table: t");
    assert!(trouble.next_try.is_some());
    world.rows(&panics, Outcome::Fired, 5).await;
    world.host.until(|host| host.kept_record(&panics).unwrap().trouble.is_none()).await;
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_observer_is_a_trouble_that_ends() {
    let world = world().await;
    let id = world.register(json!({"name": "Moody", "mood": "panics once"})).await;
    world.host.until(|host| host.kept_record(&id).unwrap().trouble.is_some()).await;
    let trouble = world.host.kept_record(&id).unwrap().trouble.unwrap();
    assert_eq!(trouble.error, "observing panicked: a bad day");
    world.host.until(|host| host.kept_record(&id).unwrap().trouble.is_none()).await;
    world.rows(&id, Outcome::Fired, 5).await;
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_observed_is_reported_once_over_restarts_and_pauses() {
    let world = world().await;
    let id = world.register(json!({"name": "Moody", "mood": "calm"})).await;
    world.rows(&id, Outcome::Fired, 5).await;
    let world = world.restart().await;
    world.triggers.pause(&id, Some("lunch".to_owned())).await.unwrap();
    assert_eq!(world.host.kept_record(&id).unwrap().note.as_deref(), Some("lunch"));
    world.triggers.resume(&id).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(world.host.firings(&id).len(), 5);
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again() {
    let world = world().await;
    let id = world.register(json!({"name": "TimeTrigger", "time_gap": 3600})).await;
    world.host.fail_fires(3);
    world.rows(&id, Outcome::Failed, 1).await;
    world.rows(&id, Outcome::Fired, 1).await;
    assert!(world.host.firings(&id)[0].reason.ends_with("try 4"));

    world.host.set_down(true);
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::advance(Duration::from_secs(30)).await;
    world.host.set_down(false);
    world.rows(&id, Outcome::Fired, 2).await;
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn webhooks_prove_who_they_are_and_fire_once_per_key() {
    let world = world().await;
    let id = world.register(json!({"name": "WebhookTrigger", "secret": "very secret"})).await;
    let signer = WebhookTrigger::new("very secret").unwrap();
    let call = |body: &'static str, key: Option<&str>| WebhookCall {
        signature: Some(signer.sign(body.as_bytes())),
        idempotency_key: key.map(ToOwned::to_owned),
        body: body.into(),
    };
    let first = world.triggers.webhook(&id, call("one", Some("k"))).await.unwrap();
    let again = world.triggers.webhook(&id, call("one", Some("k"))).await.unwrap();
    assert_eq!((first.dispatch.clone(), first.outcome), (again.dispatch, again.outcome));
    let other = world.triggers.webhook(&id, call("two", None)).await.unwrap();
    assert_ne!(first.dispatch, other.dispatch);
    assert_eq!(world.host.firings(&id)[0].payload.as_deref(), Some(&b"one"[..]));

    let forged = WebhookCall { body: "three".into(), ..call("two", None) };
    assert!(matches!(world.triggers.webhook(&id, forged).await, Err(Error::Forbidden(_))));
    let base = world.register(json!({"name": "BaseTrigger"})).await;
    let refused = world.triggers.webhook(&base, call("one", None)).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refusals_at_registration_keep_nothing() {
    let world = world().await;
    for (value, expected) in [
        (json!({"name": "Nope"}), "no trigger type `Nope`"),
        (json!({"name": "TimeTrigger"}), "field `time_gap` is missing"),
        (json!({"name": "BaseTrigger", "lattice_dispatch_id": null}), "connected to no dispatch"),
        (json!({"name": "BaseTrigger", "lattice_dispatch_id": "x"}), "there is no dispatch x"),
    ] {
        let error = world.triggers.register(dictionary(value)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(world.host.load().await.unwrap().is_empty());
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn looking_ahead_and_deleting() {
    let world = world().await;
    let id = world.register(json!({"name": "TimeTrigger", "time_gap": 10})).await;
    let created = world.host.kept_record(&id).unwrap().created_at;
    let next = world.triggers.next(&id, 3).await.unwrap();
    let expected: Vec<_> = (1..=3).map(|n| created.after(Duration::from_secs(10 * n))).collect();
    assert_eq!(next, expected);
    assert_eq!(world.triggers.test(&id).await.unwrap().len(), 5);
    world.triggers.delete(&id).await.unwrap();
    assert!(world.host.kept_record(&id).is_none());
    assert!(matches!(world.triggers.next(&id, 1).await, Err(Error::NotFound(_))));
    assert!(matches!(world.triggers.delete(&id).await, Err(Error::NotFound(_))));
    world.service.stop().await;
    assert!(matches!(world.triggers.next(&id, 1).await, Err(Error::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_silences_nothing() {
    let world = world().await;
    let id = world.register(json!({"name": "TimeTrigger", "time_gap": 2})).await;
    world.rows(&id, Outcome::Fired, 1).await;
    world.host.set_clock_by(-3_600 * 1_000_000);
    world.rows(&id, Outcome::Fired, 3).await;
    world.service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_type_that_is_gone_is_shown_and_can_be_stopped() {
    let world = world().await;
    let id = world.register(json!({"name": "Moody", "mood": "calm"})).await;
    world.rows(&id, Outcome::Fired, 5).await;
    world.service.stop().await;
    let host: Arc<dyn TriggerHost> = Arc::<MemoryHost>::clone(&world.host);
    let (triggers, service) = Service::start(host, Registry::builtin()).await.unwrap();
    world.host.until(|host| host.kept_record(&id).unwrap().trouble.is_some()).await;
    let trouble = world.host.kept_record(&id).unwrap().trouble.unwrap();
    assert!(trouble.error.contains("no trigger type `Moody`"), "{trouble:?}");
    triggers.stop(&id).await.unwrap();
    service.stop().await;
}
