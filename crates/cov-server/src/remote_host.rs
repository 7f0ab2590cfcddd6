//! What triggers need when their dispatches live on another server: records in a store of their
//! own, dispatches over HTTP. The id of a dispatch is chosen and stored before the call that
//! makes it, so that the call can be repeated after anything and makes one dispatch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cov_client::{Client, Kind, Redispatch};
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::time::{Clock, Timestamp};
use cov_core::trigger::{Firing, Outcome, TriggerId, TriggerRecord, TriggerState, Trouble};
use cov_store::triggers::{Decision, TriggerChange, TriggerQuery};
use cov_store::{Error as StoreError, TriggerStore};
use cov_triggers::host::{Claim, Loaded, Situation};
use cov_triggers::observer::Marks;
use cov_triggers::{Error, TriggerHost};

/// How many of the dispatches that a trigger made before the start may still run.
const MADE_MAX: u32 = 16;
/// Pauses between two looks at a dispatch whose end is awaited.
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// When a firing is tried again whose call was cut off by the end of the process.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The host of triggers on a server of their own.
#[derive(Debug)]
pub(crate) struct RemoteHost {
    store: Arc<dyn TriggerStore>,
    client: Client,
    clock: Arc<dyn Clock>,
    /// What each trigger has made and what may still run, oldest first.
    made: Mutex<HashMap<TriggerId, Vec<DispatchId>>>,
}

impl RemoteHost {
    pub(crate) fn new(store: Arc<dyn TriggerStore>, client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { store, client, clock, made: Mutex::default() }
    }

    async fn change(&self, change: TriggerChange) -> Result<(), Error> {
        self.store.change_triggers(&[change]).await.map_err(store_error)
    }

    async fn status(&self, dispatch: &DispatchId) -> Result<Status, Error> {
        let found = self.client.summary(dispatch, false).await.map_err(client_error)?;
        Ok(found.status)
    }

    /// Those of `dispatches` that have not ended.
    async fn not_ended(&self, dispatches: Vec<DispatchId>) -> Result<Vec<DispatchId>, Error> {
        let mut running = Vec::new();
        for dispatch in dispatches {
            match self.status(&dispatch).await {
                Ok(status) if status.is_terminal() => {}
                Err(Error::NotFound(_)) => {}
                Ok(_) => running.push(dispatch),
                Err(error) => return Err(error),
            }
        }
        Ok(running)
    }

    async fn made_before(&self, trigger: &TriggerId) -> Result<Vec<DispatchId>, Error> {
        let known = self.lock().get(trigger).cloned();
        if let Some(made) = known {
            return Ok(made);
        }
        let mut made = self.store.made_by(trigger, MADE_MAX).await.map_err(store_error)?;
        made.reverse();
        Ok(made)
    }

    /// The dispatch for an event: the one that was chosen before, or a new choice.
    async fn choose(
        &self,
        earlier: Option<DispatchId>,
        original: &DispatchId,
    ) -> Result<DispatchId, Error> {
        if let Some(chosen) = earlier {
            return Ok(chosen);
        }
        match self.status(original).await? {
            status if status.is_terminal() => Ok(new_id()),
            Status::NewObject | Status::PendingReuse | Status::PendingReplacement => {
                Ok(original.clone())
            }
            _ => {
                let said =
                    format!("dispatch {original} is under way and is run again after its end");
                Err(Error::Unavailable(said))
            }
        }
    }

    async fn make(&self, original: &DispatchId, chosen: &DispatchId) -> Result<(), Error> {
        if chosen == original {
            return self.client.start(original).await.map(drop).map_err(client_error);
        }
        let how = Redispatch { dispatch_id: Some(chosen.clone()), reuse: false, start: true };
        self.client.redispatch(original, &how).await.map(drop).map_err(client_error)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TriggerId, Vec<DispatchId>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TriggerHost for RemoteHost {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn new_trigger_id(&self) -> TriggerId {
        #[expect(clippy::expect_used, reason = "a UUID is made of characters that ids may have")]
        uuid::Uuid::new_v4().to_string().parse().expect("a UUID is a trigger id")
    }

    async fn load(&self) -> Result<Vec<Loaded>, Error> {
        let live = self.store.live_triggers().await.map_err(store_error)?;
        let loaded = live.into_iter().map(|one| Loaded {
            record: one.record,
            waiting: one.waiting,
            has_observed: one.has_observed,
        });
        Ok(loaded.collect())
    }

    async fn register(&self, record: &TriggerRecord) -> Result<(), Error> {
        self.status(&record.lattice_dispatch_id).await?;
        let record = Box::new(record.clone());
        self.change(TriggerChange::Register { record, dispatch_is_here: false }).await
    }

    async fn set_state(
        &self,
        trigger: &TriggerId,
        state: TriggerState,
        note: Option<&str>,
    ) -> Result<(), Error> {
        let (trigger, note, at) = (trigger.clone(), note.map(str::to_owned), self.now());
        self.change(TriggerChange::State { trigger, state, note, at }).await
    }

    async fn delete(&self, trigger: &TriggerId) -> Result<(), Error> {
        self.lock().remove(trigger);
        self.change(TriggerChange::Delete { trigger: trigger.clone() }).await
    }

    async fn set_trouble(
        &self,
        trigger: &TriggerId,
        trouble: Option<&Trouble>,
    ) -> Result<(), Error> {
        let trigger = trigger.clone();
        self.change(TriggerChange::Trouble { trigger, trouble: trouble.cloned() }).await
    }

    async fn set_marks(
        &self,
        trigger: &TriggerId,
        marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), Error> {
        self.change(TriggerChange::Marks { trigger: trigger.clone(), marks }).await
    }

    async fn marks(&self, trigger: &TriggerId) -> Result<Marks, Error> {
        let marks = self.store.trigger_marks(trigger).await.map_err(store_error)?;
        Ok(marks.into_iter().collect())
    }

    async fn record(&self, trigger: &TriggerId) -> Result<Option<TriggerRecord>, Error> {
        match self.store.trigger(trigger).await {
            Ok(record) => Ok(Some(record)),
            Err(StoreError::TriggerGone { .. }) => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    async fn has_triggers(&self, dispatch: &DispatchId) -> Result<bool, Error> {
        let dispatch = Some(dispatch.clone());
        let query = TriggerQuery { dispatch, state: None, after: None, limit: 1 };
        Ok(!self.store.triggers(&query).await.map_err(store_error)?.triggers.is_empty())
    }

    async fn firing(&self, trigger: &TriggerId, event_key: &str) -> Result<Option<Firing>, Error> {
        self.store.firing(trigger, event_key).await.map_err(store_error)
    }

    async fn situation(&self, trigger: &TriggerId) -> Result<Situation, Error> {
        let record = self.store.trigger(trigger).await.map_err(store_error)?;
        let status = self.status(&record.lattice_dispatch_id).await?;
        let running = self.not_ended(self.made_before(trigger).await?).await?;
        self.lock().insert(trigger.clone(), running.clone());
        let original_pending = status == Status::NewObject;
        let original_running = !original_pending && !status.is_terminal();
        Ok(Situation { original_pending, original_running, running })
    }

    async fn fire(&self, claim: Claim) -> Result<DispatchId, Error> {
        let record = self.store.trigger(&claim.trigger).await.map_err(store_error)?;
        let original = record.lattice_dispatch_id;
        let earlier = self.firing(&claim.trigger, &claim.firing.event_key).await?;
        let (outcome, chosen) =
            earlier.map_or((None, None), |earlier| (Some(earlier.outcome), earlier.dispatch));
        match (outcome, chosen) {
            (Some(Outcome::Fired), Some(made)) => Ok(made),
            (Some(Outcome::Fired | Outcome::Skipped), _) => {
                Err(Error::Refused("the event was skipped before".to_owned()))
            }
            (Some(Outcome::Queued | Outcome::Failed) | None, chosen) => {
                let chosen = self.choose(chosen, &original).await?;
                self.make_durably(claim, &original, chosen).await
            }
        }
    }

    async fn decide(&self, decisions: Vec<Claim>) -> Result<(), Error> {
        let kept = |claim| TriggerChange::Decision(Box::new(decision(claim)));
        let changes: Vec<TriggerChange> = decisions.into_iter().map(kept).collect();
        self.store.change_triggers(&changes).await.map_err(store_error)
    }

    async fn ended(&self, dispatch: &DispatchId) -> Result<(), Error> {
        let mut pause = LOOK_FIRST;
        loop {
            match self.status(dispatch).await {
                Ok(status) if status.is_terminal() => return Ok(()),
                // Purged, so it has ended.
                Err(Error::NotFound(_)) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    async fn cancel(&self, dispatch: &DispatchId) -> Result<(), Error> {
        match self.client.cancel(dispatch, &[]).await.map_err(client_error) {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl RemoteHost {
    async fn make_durably(
        &self,
        claim: Claim,
        original: &DispatchId,
        chosen: DispatchId,
    ) -> Result<DispatchId, Error> {
        let mut begun = decision(claim);
        begun.firing.dispatch = Some(chosen.clone());
        let fired = begun.clone();
        begun.firing.outcome = Outcome::Failed;
        "the dispatch is being made".clone_into(&mut begun.firing.reason);
        begun.firing.next_try = Some(self.now().after(TRY_AGAIN));
        self.change(TriggerChange::Decision(Box::new(begun))).await?;
        self.make(original, &chosen).await?;
        let Decision { trigger, mut firing, marks, decided_until } = fired;
        firing.outcome = Outcome::Fired;
        firing.next_try = None;
        let id = trigger.clone();
        let fired = Decision { trigger, firing, marks, decided_until };
        self.change(TriggerChange::Decision(Box::new(fired))).await?;
        if chosen != *original {
            self.lock().entry(id).or_default().push(chosen.clone());
        }
        Ok(chosen)
    }
}

fn new_id() -> DispatchId {
    #[expect(clippy::expect_used, reason = "a UUID is made of characters that ids may have")]
    uuid::Uuid::new_v4().to_string().parse().expect("a UUID is a dispatch id")
}

fn decision(claim: Claim) -> Decision {
    let Claim { trigger, firing, marks, decided_until } = claim;
    Decision { trigger, firing, marks, decided_until }
}

fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::TriggerGone { .. } => Error::NotFound(error.to_string()),
        error => Error::Unavailable(error.to_string()),
    }
}

fn client_error(error: cov_client::Error) -> Error {
    match error.kind() {
        Kind::NotFound => Error::NotFound(error.to_string()),
        _ => Error::Unavailable(error.to_string()),
    }
}
