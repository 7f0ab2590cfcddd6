//! What the service needs of its surroundings: durable records, and dispatches to act on.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, TriggerId, TriggerRecord, TriggerState, Trouble};

use crate::Error;
use crate::observer::Marks;

/// Keeps triggers and acts on dispatches. A server implements it over its store and its
/// dispatcher; a stand-alone trigger server over its store and a client.
///
/// What returns `Ok` is durable.
#[async_trait]
pub trait TriggerHost: Debug + Send + Sync + 'static {
    /// Tells the time.
    fn now(&self) -> Timestamp;

    /// A new, random id.
    fn new_trigger_id(&self) -> TriggerId;

    /// Every trigger that is not stopped, with what is unsettled about it.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn load(&self) -> Result<Vec<Loaded>, Error>;

    /// Keeps a new trigger.
    ///
    /// # Errors
    /// There is no such dispatch, or the store is unavailable; nothing is kept.
    async fn register(&self, record: &TriggerRecord) -> Result<(), Error>;

    /// Changes state and note.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn set_state(
        &self,
        trigger: &TriggerId,
        state: TriggerState,
        note: Option<&str>,
    ) -> Result<(), Error>;

    /// Removes a trigger with its history.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn delete(&self, trigger: &TriggerId) -> Result<(), Error>;

    /// Notes what the observer suffers from, or that it is well. The latter also notes that it
    /// has observed: see [`Loaded::has_observed`].
    ///
    /// # Errors
    /// The store is unavailable.
    async fn set_trouble(
        &self,
        trigger: &TriggerId,
        trouble: Option<&Trouble>,
    ) -> Result<(), Error>;

    /// Changes marks that belong to no decision.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn set_marks(
        &self,
        trigger: &TriggerId,
        marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), Error>;

    /// The marks of a trigger.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn marks(&self, trigger: &TriggerId) -> Result<Marks, Error>;

    /// A trigger, whatever its state; `None` if there is none of this id.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn record(&self, trigger: &TriggerId) -> Result<Option<TriggerRecord>, Error>;

    /// Whether a trigger was ever registered for this dispatch, those that are stopped included.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn has_triggers(&self, dispatch: &DispatchId) -> Result<bool, Error>;

    /// How an event was decided; `None` if it was not.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn firing(&self, trigger: &TriggerId, event_key: &str) -> Result<Option<Firing>, Error>;

    /// What is under way of a trigger's dispatches.
    ///
    /// # Errors
    /// The store or the dispatcher is unavailable.
    async fn situation(&self, trigger: &TriggerId) -> Result<Situation, Error>;

    /// Claims the event and makes its dispatch, in one transaction; then starts the dispatch. If
    /// the original never ran, it is started itself and no other one made. An event that was
    /// claimed before, also by a crash of long ago, makes nothing and answers with the dispatch
    /// of then. A row that waited keeps its payload if the claim brings none.
    ///
    /// # Errors
    /// Nothing was claimed, or what was claimed is started later. [`Error::Refused`] and
    /// [`Error::NotFound`] are final: the event was skipped before, or there is no such dispatch
    /// any more. Others are tried again; [`Error::Unavailable`] also says that the original has
    /// begun to run meanwhile.
    async fn fire(&self, claim: Claim) -> Result<DispatchId, Error>;

    /// Keeps decisions that make no dispatch, all in one transaction. About an event that was
    /// fired or skipped before, only the marks and `decided_until` are taken. A row that waited
    /// keeps its payload if the new one brings none.
    ///
    /// # Errors
    /// Nothing was kept.
    async fn decide(&self, decisions: Vec<Claim>) -> Result<(), Error>;

    /// Waits until a dispatch has ended.
    ///
    /// # Errors
    /// The dispatcher is unavailable.
    async fn ended(&self, dispatch: &DispatchId) -> Result<(), Error>;

    /// Asks for the cancellation of a dispatch.
    ///
    /// # Errors
    /// The dispatcher is unavailable.
    async fn cancel(&self, dispatch: &DispatchId) -> Result<(), Error>;
}

/// A trigger as it was when the server stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The trigger.
    pub record: TriggerRecord,
    /// Decisions that wait: queued ones, and failed ones that are tried again; oldest first.
    pub waiting: Vec<Firing>,
    /// Whether its observer has ever worked.
    pub has_observed: bool,
}

/// What is under way of a trigger's dispatches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Situation {
    /// Whether the original never ran, so that the next firing starts it.
    pub original_pending: bool,
    /// Whether the original is under way.
    pub original_running: bool,
    /// The dispatches that the trigger made and that have not ended, oldest first.
    pub running: Vec<DispatchId>,
}

/// A decision with everything that becomes durable together with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The trigger.
    pub trigger: TriggerId,
    /// The decision. `dispatch` is filled in by the host.
    pub firing: Firing,
    /// Marks to set, or to remove.
    pub marks: Vec<(String, Option<Bytes>)>,
    /// The trigger's events are decided up to here now.
    pub decided_until: Timestamp,
}
