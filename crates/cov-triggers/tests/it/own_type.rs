//! What a program does that brings a trigger type of its own, and holds its triggers as objects.

use std::sync::Arc;
use std::time::Duration;

use cov_core::trigger::{Dictionary, Outcome};
use cov_triggers::memory::{MemoryHost, Run};
use cov_triggers::trigger::Schedule;
use cov_triggers::{
    Base, Error, Fields, Registry, Service, Source, TimeTrigger, Trigger, TriggerExt as _,
    TriggerHost,
};

/// Fires at the seconds since 1970 that are squares.
#[derive(Debug, Default)]
struct SquareTrigger {
    base: Base,
}

#[derive(Debug)]
struct Squares;

impl Schedule for Squares {
    fn next(
        &self,
        _created_at: cov_core::time::Timestamp,
        after: cov_core::time::Timestamp,
    ) -> Option<cov_core::time::Timestamp> {
        let root = (after.as_micros() / 1_000_000).isqrt() + 1;
        Some(cov_core::time::Timestamp::from_micros(root * root * 1_000_000))
    }
}

impl Trigger for SquareTrigger {
    fn name(&self) -> &str {
        "SquareTrigger"
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn own_fields(&self, _fields: &mut Dictionary) {}

    fn source(&self) -> Source {
        Source::Ticks(Arc::new(Squares))
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_of_ones_own_is_registered_fired_and_stopped() {
    let host = Arc::new(MemoryHost::new());
    let original = host.add_dispatch("original", Run::Pending);
    host.set_dispatches_end_at_once(true);
    let mut registry = Registry::empty();
    registry.register("SquareTrigger", |_: &mut Fields| Ok(SquareTrigger::default()));
    let kept: Arc<dyn TriggerHost> = Arc::<MemoryHost>::clone(&host);
    let (triggers, service) = Service::start(kept, registry).await.unwrap();

    let alone = SquareTrigger::default().register(&triggers).await.unwrap_err();
    assert!(alone.to_string().contains("connected to no dispatch"), "{alone}");
    let foreign = TimeTrigger::new(Duration::from_secs(1)).connected_to(original.clone());
    let foreign = foreign.register(&triggers).await.unwrap_err();
    assert!(matches!(foreign, Error::UnknownType { .. }));

    let trigger = SquareTrigger::default().connected_to(original.clone()).with("overlap", "skip");
    let mut registered = trigger.register(&triggers).await.unwrap();
    let first = registered.trigger().await.unwrap();
    assert_eq!(first.dispatch, Some(original));
    assert!(registered.get().base().new_dispatch_ids.is_empty(), "the original is none");
    let second = registered.trigger().await.unwrap();
    assert_eq!(registered.get().base().new_dispatch_ids, [second.dispatch.unwrap()]);
    host.until(|host| host.count(registered.id(), Outcome::Fired) > 2).await;
    registered.stop().await.unwrap();
    assert!(matches!(registered.trigger().await, Err(Error::Conflict(_))));
    service.stop().await;
}
