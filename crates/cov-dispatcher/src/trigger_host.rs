//! What triggers need of this server: durable records over its store, dispatches through its
//! committer and owners. A firing is claimed in the transaction that makes its dispatch. Decides
//! nothing about events: that is the triggers' own machine.

mod templates;
mod tracked;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, Outcome, TriggerId, TriggerRecord, TriggerState, Trouble};
use cov_store::model::{Change, ChangeSet, DispatchState};
use cov_store::triggers::{Decision, TriggerChange, TriggerQuery};
use cov_store::{Error as StoreError, TriggerStore};
use cov_triggers::host::{Claim, Loaded, Situation};
use cov_triggers::observer::Marks;
use cov_triggers::{Error as TriggerError, TriggerHost};
use tokio::time::sleep;

use crate::effects::is_registered_only;
use crate::handle::Handle;
use crate::options::{COMMIT_RETRY_FIRST, COMMIT_RETRY_MAX};
use crate::trigger_host::templates::Templates;
use crate::trigger_host::tracked::Tracked;
use crate::{Error, owner};

/// The longest pause between two looks at a dispatch that has no owner and has not ended.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// The host of triggers whose dispatches are on the same server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalHost {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    handle: Handle,
    store: Arc<dyn TriggerStore>,
    tracked: Tracked,
    templates: Templates,
    /// Held while a dispatch that never ran is claimed and started.
    starting: tokio::sync::Mutex<()>,
}

/// Where a trigger's original stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Pending,
    Running,
    Ended,
}

impl LocalHost {
    /// A host over the dispatcher behind `handle` and the store that it uses.
    #[must_use]
    pub fn new(handle: Handle, store: Arc<dyn TriggerStore>) -> Self {
        let inner = Inner {
            handle,
            store,
            tracked: Tracked::default(),
            templates: Templates::default(),
            starting: tokio::sync::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    async fn change(&self, change: TriggerChange) -> Result<(), TriggerError> {
        self.inner.store.change_triggers(&[change]).await.map_err(store_error)
    }
}

impl Inner {
    async fn original_of(&self, trigger: &TriggerId) -> Result<DispatchId, TriggerError> {
        if let Some(original) = self.tracked.original(trigger) {
            return Ok(original);
        }
        let record = self.store.trigger(trigger).await.map_err(store_error)?;
        Ok(record.lattice_dispatch_id)
    }

    async fn phase(&self, original: &DispatchId) -> Result<Phase, Error> {
        if self.tracked.has_ended(original) {
            return Ok(Phase::Ended);
        }
        let status = self.handle.summary(original).await?.status;
        if status.is_terminal() {
            self.tracked.note_end(original);
        }
        Ok(match status {
            status if status.is_terminal() => Phase::Ended,
            status if is_registered_only(status) => Phase::Pending,
            _ => Phase::Running,
        })
    }

    async fn fire(self: &Arc<Self>, claim: Claim) -> Result<DispatchId, TriggerError> {
        let original = self.original_of(&claim.trigger).await?;
        match self.phase(&original).await.map_err(host_error)? {
            Phase::Ended => self.redispatch(claim, original).await,
            Phase::Pending => self.start_original(claim, original).await,
            Phase::Running => {
                let key = &claim.firing.event_key;
                match self.store.firing(&claim.trigger, key).await.map_err(store_error)? {
                    Some(earlier) if is_final(&earlier) => decided(earlier.dispatch),
                    _ => Err(TriggerError::Unavailable(format!(
                        "dispatch {original} is under way and is run again after its end"
                    ))),
                }
            }
        }
    }

    /// Makes a dispatch like the original and claims the event, in one transaction. It is stored
    /// as begun, so that a death right after that costs nothing: its owner goes on with it then.
    async fn redispatch(
        self: &Arc<Self>,
        claim: Claim,
        original: DispatchId,
    ) -> Result<DispatchId, TriggerError> {
        let shared = self.handle.shared();
        let mut is_first_try = true;
        loop {
            let template = self.templates.of(shared, &original).await.map_err(host_error)?;
            let dispatch = shared.new_dispatch_id();
            let at = shared.clock.now();
            let mut changes = template.changes(&dispatch);
            changes.push(Change::Dispatch(begun(at)));
            changes.push(fired(claim.clone(), &dispatch));
            let set = ChangeSet { dispatch: dispatch.clone(), at, changes };
            match shared.committer.commit(set).await {
                Ok(()) => {
                    let spawn = || owner::spawn(shared, dispatch.clone(), owner::Purpose::Resume);
                    shared.registry.get_or_create(&dispatch, spawn);
                    self.tracked.made(&claim.trigger, &dispatch, &shared.registry);
                    return Ok(dispatch);
                }
                // What it would share is gone since it was looked up, or is damaged.
                Err(Error::Store(StoreError::Corrupt { .. })) if is_first_try => {
                    is_first_try = false;
                    self.templates.forget(&original);
                }
                Err(error) => return refused(error),
            }
        }
    }

    /// Claims the event for the original, which never ran, and starts it.
    async fn start_original(
        self: &Arc<Self>,
        claim: Claim,
        original: DispatchId,
    ) -> Result<DispatchId, TriggerError> {
        let _one_at_a_time = self.starting.lock().await;
        if self.phase(&original).await.map_err(host_error)? != Phase::Pending {
            let reason = format!("dispatch {original} has begun to run meanwhile");
            return Err(TriggerError::Unavailable(reason));
        }
        self.handle.complete_assets(&original).await.map_err(host_error)?;
        let shared = self.handle.shared();
        let changes = vec![fired(claim, &original)];
        let set = ChangeSet { dispatch: original.clone(), at: shared.clock.now(), changes };
        if let Err(error) = shared.committer.commit(set).await {
            return refused(error);
        }
        if let Err(error) = self.handle.start(&original).await {
            tracing::warn!(dispatch.id = %original, %error, "a fired dispatch is started later");
            self.start_later(original.clone());
        }
        Ok(original)
    }

    /// Starts a dispatch that was claimed, when the store answers again.
    fn start_later(self: &Arc<Self>, dispatch: DispatchId) {
        let inner = Arc::clone(self);
        self.handle.shared().tasks.spawn(async move {
            let shared = inner.handle.shared();
            let mut pause = COMMIT_RETRY_FIRST;
            while let Err(error) = inner.handle.start(&dispatch).await {
                // The next start of the server finds it.
                if matches!(error, Error::Stopping) {
                    return;
                }
                if !error.is_passing() {
                    tracing::error!(dispatch.id = %dispatch, %error, "a fired dispatch cannot be started");
                    return;
                }
                tokio::select! {
                    () = sleep(pause) => pause = (pause * 2).min(COMMIT_RETRY_MAX),
                    () = shared.stopping.cancelled() => return,
                }
            }
        });
    }

    /// Waits until a dispatch has no owner and is seen to have ended.
    async fn ended(&self, dispatch: &DispatchId) -> Result<(), Error> {
        let shared = self.handle.shared();
        let mut pause = COMMIT_RETRY_FIRST;
        loop {
            if let Some(live) = shared.registry.get(dispatch) {
                tokio::select! {
                    () = live.retired.cancelled() => {}
                    () = shared.closing.cancelled() => return Err(Error::Stopping),
                }
            }
            match self.handle.summary(dispatch).await {
                Ok(summary) if summary.status.is_terminal() => return Ok(()),
                // Purged, so it has ended.
                Err(Error::DispatchNotFound { .. }) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LOOK_AGAIN_MAX),
                () = shared.closing.cancelled() => return Err(Error::Stopping),
            }
        }
    }
}

#[async_trait]
impl TriggerHost for LocalHost {
    fn now(&self) -> Timestamp {
        self.inner.handle.shared().clock.now()
    }

    fn new_trigger_id(&self) -> TriggerId {
        #[expect(clippy::expect_used, reason = "a UUID is made of characters that ids may have")]
        uuid::Uuid::new_v4().to_string().parse().expect("a UUID is a trigger id")
    }

    async fn load(&self) -> Result<Vec<Loaded>, TriggerError> {
        let inner = &self.inner;
        let live = inner.store.live_triggers().await.map_err(store_error)?;
        live.iter().for_each(|one| inner.tracked.add(&one.record));
        for (trigger, dispatch, status) in inner.store.unsettled().await.map_err(store_error)? {
            // Claimed, and then the server died before it could start it.
            if is_registered_only(status) {
                inner.start_later(dispatch);
            } else {
                inner.tracked.made(&trigger, &dispatch, &inner.handle.shared().registry);
            }
        }
        let loaded = live.into_iter().map(|one| Loaded {
            record: one.record,
            waiting: one.waiting,
            has_observed: one.has_observed,
        });
        Ok(loaded.collect())
    }

    async fn register(&self, record: &TriggerRecord) -> Result<(), TriggerError> {
        let kept = Box::new(record.clone());
        self.change(TriggerChange::Register { record: kept, dispatch_is_here: true }).await?;
        self.inner.tracked.add(record);
        Ok(())
    }

    async fn set_state(
        &self,
        trigger: &TriggerId,
        state: TriggerState,
        note: Option<&str>,
    ) -> Result<(), TriggerError> {
        let (trigger, note, at) = (trigger.clone(), note.map(str::to_owned), self.now());
        let change = TriggerChange::State { trigger: trigger.clone(), state, note, at };
        self.change(change).await?;
        if state == TriggerState::Stopped {
            self.inner.tracked.forget(&trigger);
        }
        Ok(())
    }

    async fn delete(&self, trigger: &TriggerId) -> Result<(), TriggerError> {
        self.change(TriggerChange::Delete { trigger: trigger.clone() }).await?;
        self.inner.tracked.forget(trigger);
        Ok(())
    }

    async fn set_trouble(
        &self,
        trigger: &TriggerId,
        trouble: Option<&Trouble>,
    ) -> Result<(), TriggerError> {
        let trigger = trigger.clone();
        self.change(TriggerChange::Trouble { trigger, trouble: trouble.cloned() }).await
    }

    async fn set_marks(
        &self,
        trigger: &TriggerId,
        marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), TriggerError> {
        self.change(TriggerChange::Marks { trigger: trigger.clone(), marks }).await
    }

    async fn marks(&self, trigger: &TriggerId) -> Result<Marks, TriggerError> {
        let marks = self.inner.store.trigger_marks(trigger).await.map_err(store_error)?;
        Ok(marks.into_iter().collect())
    }

    async fn record(&self, trigger: &TriggerId) -> Result<Option<TriggerRecord>, TriggerError> {
        match self.inner.store.trigger(trigger).await {
            Ok(record) => Ok(Some(record)),
            Err(StoreError::TriggerGone { .. }) => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    async fn has_triggers(&self, dispatch: &DispatchId) -> Result<bool, TriggerError> {
        let dispatch = Some(dispatch.clone());
        let query = TriggerQuery { dispatch, state: None, after: None, limit: 1 };
        let page = self.inner.store.triggers(&query).await.map_err(store_error)?;
        Ok(!page.triggers.is_empty())
    }

    async fn firing(
        &self,
        trigger: &TriggerId,
        event_key: &str,
    ) -> Result<Option<Firing>, TriggerError> {
        self.inner.store.firing(trigger, event_key).await.map_err(store_error)
    }

    async fn situation(&self, trigger: &TriggerId) -> Result<Situation, TriggerError> {
        let original = self.inner.original_of(trigger).await?;
        let phase = self.inner.phase(&original).await.map_err(host_error)?;
        Ok(Situation {
            original_pending: phase == Phase::Pending,
            original_running: phase == Phase::Running,
            running: self.inner.tracked.running(trigger, &self.inner.handle.shared().registry),
        })
    }

    async fn fire(&self, claim: Claim) -> Result<DispatchId, TriggerError> {
        if !self.inner.handle.is_ready() {
            return Err(host_error(Error::Stopping));
        }
        // Goes on when its caller goes away: what is claimed gets its owner.
        let inner = Arc::clone(&self.inner);
        let firing = async move { inner.fire(claim).await };
        match self.inner.handle.shared().tasks.spawn(firing).await {
            Ok(outcome) => outcome,
            Err(error) => Err(TriggerError::Unavailable(format!("firing ended badly: {error}"))),
        }
    }

    async fn decide(&self, decisions: Vec<Claim>) -> Result<(), TriggerError> {
        let kept = |claim| TriggerChange::Decision(Box::new(decision(claim)));
        let changes: Vec<TriggerChange> = decisions.into_iter().map(kept).collect();
        self.inner.store.change_triggers(&changes).await.map_err(store_error)
    }

    async fn ended(&self, dispatch: &DispatchId) -> Result<(), TriggerError> {
        self.inner.ended(dispatch).await.map_err(host_error)
    }

    async fn cancel(&self, dispatch: &DispatchId) -> Result<(), TriggerError> {
        match self.inner.handle.cancel(dispatch, &[]).await {
            Ok(_) | Err(Error::DispatchNotFound { .. }) => Ok(()),
            Err(error) => Err(host_error(error)),
        }
    }
}

fn decision(claim: Claim) -> Decision {
    let Claim { trigger, firing, marks, decided_until } = claim;
    Decision { trigger, firing, marks, decided_until }
}

/// The change that claims an event for `dispatch`.
fn fired(mut claim: Claim, dispatch: &DispatchId) -> Change {
    claim.firing.outcome = Outcome::Fired;
    claim.firing.dispatch = Some(dispatch.clone());
    claim.firing.next_try = None;
    Change::Firing(Box::new(decision(claim)))
}

/// The state of a dispatch that was started at `at` and in which nothing has happened.
fn begun(at: Timestamp) -> DispatchState {
    DispatchState { status: Status::Running, started_at: Some(at), ..DispatchState::default() }
}

fn is_final(firing: &Firing) -> bool {
    matches!(firing.outcome, Outcome::Fired | Outcome::Skipped)
}

/// The answer about an event that was decided before.
fn decided(dispatch: Option<DispatchId>) -> Result<DispatchId, TriggerError> {
    dispatch.ok_or_else(|| TriggerError::Refused("the event was skipped before".to_owned()))
}

fn refused(error: Error) -> Result<DispatchId, TriggerError> {
    match error {
        Error::Store(StoreError::Claimed { dispatch, .. }) => decided(dispatch),
        Error::Store(error) => Err(store_error(error)),
        error => Err(host_error(error)),
    }
}

fn store_error(error: StoreError) -> TriggerError {
    match error {
        StoreError::TriggerGone { .. } => TriggerError::NotFound(error.to_string()),
        StoreError::NotFound { dispatch } => host_error(Error::DispatchNotFound { dispatch }),
        error => TriggerError::Unavailable(error.to_string()),
    }
}

fn host_error(error: Error) -> TriggerError {
    match error {
        Error::DispatchNotFound { .. } => TriggerError::NotFound(error.to_string()),
        error => TriggerError::Unavailable(error.to_string()),
    }
}
