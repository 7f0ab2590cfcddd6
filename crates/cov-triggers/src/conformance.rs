//! The behaviours of every trigger type, over the host in memory. A type brings a [`Fixture`]
//! that can make its event happen; [`trigger_conformance!`](crate::trigger_conformance) makes one
//! test of each behaviour. Waits for events, never for time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cov_core::ids::DispatchId;
use cov_core::trigger::{Dictionary, Outcome, TriggerId, TriggerState};
use serde_json::Value;

use crate::memory::{MemoryHost, Run};
use crate::{Error, Registry, Service, TriggerExt, TriggerHost, Triggers};

/// Longer than anything here takes, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the suite needs to know of a trigger type.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The types, with the one that is tried.
    fn registry(&self) -> Registry {
        Registry::builtin()
    }

    /// A dictionary of the type, with its `name` and its own fields.
    fn dictionary(&self) -> Dictionary;

    /// A field of the type, and a value that is refused.
    fn wrong(&self) -> (&'static str, Value);

    /// Makes one event happen for every trigger of this dictionary. `trigger` is one of them, for
    /// types that are called.
    async fn cause(&self, triggers: &Triggers, trigger: &TriggerId);

    /// Whether what happens while the server is down is found out afterwards, as long as
    /// `catch_up` is left open.
    fn remembers(&self) -> bool {
        false
    }

    /// Called when the trigger's observer is known to work, before the first event. Types that
    /// need a moment to be ready can wait here.
    async fn ready(&self, _triggers: &Triggers, _trigger: &TriggerId) {}
}

/// A service over a host in memory.
struct World<'a> {
    fixture: &'a dyn Fixture,
    host: Arc<MemoryHost>,
    original: DispatchId,
    triggers: Triggers,
    service: Service,
}

#[expect(clippy::expect_used, reason = "a suite fails by panicking")]
impl<'a> World<'a> {
    async fn new(fixture: &'a dyn Fixture) -> Self {
        let host = Arc::new(MemoryHost::new());
        let original = host.add_dispatch("original", Run::Ended);
        host.set_dispatches_end_at_once(true);
        let (triggers, service) = begin(&host, fixture).await;
        Self { fixture, host, original, triggers, service }
    }

    async fn restart_after(self, meanwhile: impl AsyncFnOnce(&Triggers)) -> Self {
        self.service.stop().await;
        meanwhile(&self.triggers).await;
        let (triggers, service) = begin(&self.host, self.fixture).await;
        Self { triggers, service, ..self }
    }

    /// Registers a trigger and waits until its observer works, if it has one.
    async fn register(&self) -> TriggerId {
        let mut dictionary = self.fixture.dictionary();
        dictionary.insert("lattice_dispatch_id".to_owned(), self.original.as_str().into());
        let record = self.triggers.register(dictionary).await.expect("registered");
        self.observing(&record.id).await;
        record.id
    }

    async fn observing(&self, id: &TriggerId) {
        let record = self.host.kept_record(id).expect("kept");
        let built = self.fixture.registry().build(record.settings).expect("built again");
        if matches!(built.source(), crate::Source::Observed) {
            let works = self.host.until(|host| host.has_observed(id));
            tokio::time::timeout(PATIENCE, works).await.expect("the observer works");
        }
        self.fixture.ready(&self.triggers, id).await;
    }

    /// Makes an event happen and waits until the trigger has fired more often than before.
    async fn fires(&self, id: &TriggerId) {
        let before = self.host.count(id, Outcome::Fired);
        self.fixture.cause(&self.triggers, id).await;
        self.has_fired(id, before + 1).await;
    }

    async fn has_fired(&self, id: &TriggerId, count: usize) {
        let fired = self.host.until(|host| host.count(id, Outcome::Fired) >= count);
        let fired = tokio::time::timeout(PATIENCE, fired).await;
        fired.unwrap_or_else(|_late| panic_with(&self.host, id, count));
    }
}

#[expect(clippy::panic, reason = "a suite fails by panicking")]
fn panic_with(host: &MemoryHost, id: &TriggerId, count: usize) {
    let trouble = host.kept_record(id).and_then(|record| record.trouble);
    panic!("not fired {count} times: {:?}, {trouble:?}", host.firings(id));
}

#[expect(clippy::expect_used, reason = "a suite fails by panicking")]
async fn begin(host: &Arc<MemoryHost>, fixture: &dyn Fixture) -> (Triggers, Service) {
    let host: Arc<dyn TriggerHost> = Arc::<MemoryHost>::clone(host);
    Service::start(host, fixture.registry()).await.expect("started")
}

/// Its dictionary comes back unchanged, with all attributes that triggers have in common.
#[expect(clippy::expect_used, reason = "a suite fails by panicking")]
pub async fn its_dictionary_comes_back(fixture: &dyn Fixture) {
    let written = fixture.dictionary();
    let built = fixture.registry().build(written.clone()).expect("built").to_dict();
    for (field, value) in &written {
        assert_eq!(built.get(field), Some(value), "field {field}");
    }
    for field in ["lattice_dispatch_id", "new_dispatch_ids", "event_loop", "stop_flag"] {
        assert!(built.contains_key(field), "field {field}");
    }
    let again = fixture.registry().build(built.clone()).expect("built again").to_dict();
    assert_eq!(again, built);
}

/// A wrong value is refused at registration by an error that names the field.
pub async fn a_wrong_field_is_named(fixture: &dyn Fixture) {
    let world = World::new(fixture).await;
    let (field, value) = fixture.wrong();
    let mut dictionary = fixture.dictionary();
    dictionary.insert("lattice_dispatch_id".to_owned(), world.original.as_str().into());
    dictionary.insert(field.to_owned(), value);
    match world.triggers.register(dictionary).await {
        Err(error) => assert!(error.to_string().contains(field), "{error}"),
        Ok(record) => assert_eq!(record.id.as_str(), "", "it was registered"),
    }
    world.service.stop().await;
}

/// Without a dispatch there is nothing to run, and it says so.
pub async fn without_a_dispatch_it_is_refused(fixture: &dyn Fixture) {
    let world = World::new(fixture).await;
    let refused = world.triggers.register(fixture.dictionary()).await;
    assert!(matches!(refused, Err(Error::NoDispatch { .. })), "{refused:?}");
    world.service.stop().await;
}

/// An event fires, and each firing has a row of its own that names its dispatch.
pub async fn an_event_fires(fixture: &dyn Fixture) {
    let world = World::new(fixture).await;
    let id = world.register().await;
    world.fires(&id).await;
    world.fires(&id).await;
    let rows = world.host.firings(&id);
    let keys: HashSet<&String> = rows.iter().map(|row| &row.event_key).collect();
    assert_eq!(keys.len(), rows.len());
    let fired = rows.iter().filter(|row| row.outcome == Outcome::Fired);
    let made: Vec<_> = fired.map(|row| row.dispatch.clone()).collect();
    assert!(made.iter().all(Option::is_some));
    assert_eq!(made.iter().collect::<HashSet<_>>().len(), made.len());
    assert!(rows.iter().all(|row| !row.reason.is_empty() && row.event_key.len() <= 512));
    world.service.stop().await;
}

/// The first firing of a dispatch that never ran starts it.
pub async fn the_first_firing_starts_the_original(fixture: &dyn Fixture) {
    let world = World::new(fixture).await;
    world.host.set_run(&world.original, Run::Pending);
    let id = world.register().await;
    world.fires(&id).await;
    world.fires(&id).await;
    let rows = world.host.firings(&id);
    let made = rows.iter().filter_map(|row| row.dispatch.clone());
    let made: Vec<DispatchId> = made.collect();
    assert_eq!(made.first(), Some(&world.original));
    assert!(!made.iter().skip(1).any(|id| *id == world.original), "{made:?}");
    world.service.stop().await;
}

/// After stop nothing fires, while another trigger of the same kind does.
#[expect(clippy::expect_used, reason = "a suite fails by panicking")]
pub async fn after_stop_it_does_not_fire(fixture: &dyn Fixture) {
    let world = World::new(fixture).await;
    let id = world.register().await;
    world.fires(&id).await;
    world.triggers.stop(&id).await.expect("stopped");
    let fired = world.host.count(&id, Outcome::Fired);
    let other = world.register().await;
    world.fires(&other).await;
    assert_eq!(world.host.count(&id, Outcome::Fired), fired);
    let state = world.host.kept_record(&id).map(|record| record.state);
    assert_eq!(state, Some(TriggerState::Stopped));
    world.service.stop().await;
}

/// While it is paused nothing fires, while another trigger of the same kind does; afterwards it
/// goes on.
#[expect(clippy::expect_used, reason = "a suite fails by panicking")]
pub async fn a_pause_holds_it_and_resume_lets_it_go_on(fixture: &dyn Fixture) {
    let world = World::new(fixture).await;
    let id = world.register().await;
    world.fires(&id).await;
    world.triggers.pause(&id, Some("for a test".to_owned())).await.expect("paused");
    let other = world.register().await;
    let fired = world.host.count(&id, Outcome::Fired);
    world.fires(&other).await;
    assert_eq!(world.host.count(&id, Outcome::Fired), fired);
    let note = world.host.kept_record(&id).and_then(|record| record.note);
    assert_eq!(note.as_deref(), Some("for a test"));
    world.triggers.resume(&id).await.expect("resumed");
    if fixture.remembers() {
        world.has_fired(&id, fired + 1).await;
    } else {
        world.fires(&id).await;
    }
    world.service.stop().await;
}

/// It comes back with the server, reports nothing twice, and what it missed follows its catch-up
/// policy.
pub async fn it_comes_back_after_a_restart(fixture: &dyn Fixture) {
    let world = World::new(fixture).await;
    let id = world.register().await;
    world.fires(&id).await;
    let fired = world.host.count(&id, Outcome::Fired);
    let meanwhile = async |triggers: &Triggers| {
        if fixture.remembers() {
            fixture.cause(triggers, &id).await;
        }
    };
    let world = world.restart_after(meanwhile).await;
    if fixture.remembers() {
        world.has_fired(&id, fired + 1).await;
    }
    world.observing(&id).await;
    world.fires(&id).await;
    let rows = world.host.firings(&id);
    let keys: HashSet<&String> = rows.iter().map(|row| &row.event_key).collect();
    assert_eq!(keys.len(), rows.len());
    world.service.stop().await;
}

/// A firing that fails has a row that says so, and is tried again.
pub async fn a_failed_firing_is_tried_again(fixture: &dyn Fixture) {
    let world = World::new(fixture).await;
    let id = world.register().await;
    world.host.fail_fires(1);
    world.fires(&id).await;
    // A later event may have fired meanwhile.
    let is_retried =
        |host: &MemoryHost| host.firings(&id).iter().any(|row| row.reason.contains("; try 2"));
    let retried = tokio::time::timeout(PATIENCE, world.host.until(is_retried)).await;
    assert!(retried.is_ok(), "{:?}", world.host.firings(&id));
    world.service.stop().await;
}

/// Makes a module with one test of each behaviour. The attribute makes the tests async; the
/// expression makes a fixture.
///
/// ```text
/// trigger_conformance!(time, #[tokio::test(start_paused = true)], TimeFixture::new());
/// ```
#[macro_export]
macro_rules! trigger_conformance {
    ($module:ident, #[$attribute:meta], $fixture:expr) => {
        $crate::trigger_conformance!(@ $module, $attribute, $fixture;
            its_dictionary_comes_back, a_wrong_field_is_named, without_a_dispatch_it_is_refused,
            an_event_fires, the_first_firing_starts_the_original, after_stop_it_does_not_fire,
            a_pause_holds_it_and_resume_lets_it_go_on, it_comes_back_after_a_restart,
            a_failed_firing_is_tried_again);
    };
    (@ $module:ident, $attribute:meta, $fixture:expr; $($behaviour:ident),*) => {
        mod $module {
            use super::*;
            $(
                #[$attribute]
                async fn $behaviour() {
                    let fixture = $fixture;
                    $crate::conformance::$behaviour(&fixture).await;
                }
            )*
        }
    };
}
