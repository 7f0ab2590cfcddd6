//! What a trigger costs in memory: ten thousand TimeTriggers, each of which has fired, with
//! everything that the service keeps of them.

#![expect(clippy::unwrap_used, reason = "the fake's texts are ids and its numbers are small")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, TriggerId, TriggerRecord, TriggerState, Trouble};
use cov_triggers::host::{Claim, Loaded, Situation};
use cov_triggers::observer::Marks;
use cov_triggers::{
    Error, Registry, Service, TimeTrigger, Trigger as _, TriggerExt as _, TriggerHost,
};
use peak_alloc::PeakAlloc;
use tokio::sync::Notify;
use tokio::time::Instant;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const TRIGGERS: usize = 10_000;
const BYTES_MAX: usize = 1_024;

/// A host that keeps nothing, so that what is measured is the service alone.
#[derive(Debug)]
struct Forgetful {
    began: Instant,
    fired: AtomicUsize,
    all_fired: Notify,
}

#[async_trait]
impl TriggerHost for Forgetful {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).after(self.began.elapsed())
    }

    fn new_trigger_id(&self) -> TriggerId {
        "trigger".parse().unwrap()
    }

    async fn load(&self) -> Result<Vec<Loaded>, Error> {
        Ok((0..TRIGGERS).map(loaded).collect())
    }

    async fn register(&self, _record: &TriggerRecord) -> Result<(), Error> {
        Ok(())
    }

    async fn set_state(
        &self,
        _trigger: &TriggerId,
        _state: TriggerState,
        _note: Option<&str>,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn delete(&self, _trigger: &TriggerId) -> Result<(), Error> {
        Ok(())
    }

    async fn set_trouble(
        &self,
        _trigger: &TriggerId,
        _trouble: Option<&Trouble>,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn set_marks(
        &self,
        _trigger: &TriggerId,
        _marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn marks(&self, _trigger: &TriggerId) -> Result<Marks, Error> {
        Ok(Marks::new())
    }

    async fn record(&self, _trigger: &TriggerId) -> Result<Option<TriggerRecord>, Error> {
        Ok(None)
    }

    async fn has_triggers(&self, _dispatch: &DispatchId) -> Result<bool, Error> {
        Ok(true)
    }

    async fn firing(&self, _trigger: &TriggerId, _key: &str) -> Result<Option<Firing>, Error> {
        Ok(None)
    }

    async fn situation(&self, _trigger: &TriggerId) -> Result<Situation, Error> {
        Ok(Situation::default())
    }

    async fn fire(&self, claim: Claim) -> Result<DispatchId, Error> {
        drop(claim);
        if self.fired.fetch_add(1, Ordering::Relaxed) + 1 == TRIGGERS {
            self.all_fired.notify_one();
        }
        Ok("made".parse().unwrap())
    }

    async fn decide(&self, _decisions: Vec<Claim>) -> Result<(), Error> {
        Ok(())
    }

    async fn ended(&self, _dispatch: &DispatchId) -> Result<(), Error> {
        Ok(())
    }

    async fn cancel(&self, _dispatch: &DispatchId) -> Result<(), Error> {
        Ok(())
    }
}

/// A trigger with ids as long as those of a server.
fn loaded(index: usize) -> Loaded {
    let original: DispatchId = format!("6f1c1b9e-2c57-4a4b-8f0e-{index:012}").parse().unwrap();
    let mut trigger = TimeTrigger::new(std::time::Duration::from_secs(60));
    trigger.base_mut().lattice_dispatch_id = Some(original.clone());
    let record = TriggerRecord {
        id: format!("0a4b1b9e-2c57-4a4b-8f0e-{index:012}").parse().unwrap(),
        name: TimeTrigger::NAME.to_owned(),
        lattice_dispatch_id: original,
        settings: trigger.to_dict(),
        state: TriggerState::Active,
        note: None,
        created_at: Timestamp::from_micros(i64::try_from(index).unwrap()),
        updated_at: Timestamp::from_micros(0),
        decided_until: Timestamp::from_micros(0),
        trouble: None,
        fired_count: 0,
    };
    Loaded { record, waiting: Vec::new(), has_observed: false }
}

#[tokio::test(start_paused = true)]
async fn a_time_trigger_costs_at_most_a_kibibyte() {
    let host = Arc::new(Forgetful {
        began: Instant::now(),
        fired: AtomicUsize::new(0),
        all_fired: Notify::new(),
    });
    let kept: Arc<dyn TriggerHost> = Arc::<Forgetful>::clone(&host);
    let before = ALLOCATED.current_usage();
    let (triggers, service) = Service::start(kept, Registry::builtin()).await.unwrap();
    host.all_fired.notified().await;
    // An answer of the service says that it has dealt with the firings before.
    let missing = triggers.next(&host.new_trigger_id(), 1).await;
    assert!(matches!(missing, Err(Error::NotFound(_))));
    let each = (ALLOCATED.current_usage() - before) / TRIGGERS;
    println!("{each} bytes for each trigger, {} for {TRIGGERS}", each * TRIGGERS);
    assert!(each <= BYTES_MAX, "{each} bytes for each trigger");
    service.stop().await;
}
