//! What is kept of triggers: records, marks and the history of decisions. A decision that makes a
//! dispatch is a change of that dispatch ([`Change::Firing`](crate::model::Change::Firing)), so
//! that both are one transaction. Decides nothing about triggers.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, Outcome, TriggerId, TriggerRecord, TriggerState, Trouble};

use crate::Error;

/// How many decisions of one trigger are kept. Older ones go, but none that waits. With a
/// decision its event key is forgotten.
pub const HISTORY_ROWS_MAX: u32 = 10_000;

/// How many more there may be before the oldest go, many at once.
pub const HISTORY_ROWS_SLACK: u32 = 500;

/// The triggers, their marks and their histories.
#[async_trait]
pub trait TriggerStore: Debug + Send + Sync + 'static {
    /// Applies all changes in one transaction that is durable when this returns.
    ///
    /// # Errors
    /// Nothing was applied. `NotFound` when a registered trigger names an unknown dispatch,
    /// `TriggerGone` when there is no such trigger.
    async fn change_triggers(&self, changes: &[TriggerChange]) -> Result<(), Error>;

    /// Every trigger that is not stopped, in the order of registration.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn live_triggers(&self) -> Result<Vec<LiveTrigger>, Error>;

    /// One trigger.
    ///
    /// # Errors
    /// `TriggerGone` when there is none.
    async fn trigger(&self, trigger: &TriggerId) -> Result<TriggerRecord, Error>;

    /// The triggers that `query` asks for, latest first.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn triggers(&self, query: &TriggerQuery) -> Result<TriggerPage, Error>;

    /// The decision about one event, with what came with it; `None` if there is none.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn firing(&self, trigger: &TriggerId, event_key: &str) -> Result<Option<Firing>, Error>;

    /// A page of a trigger's history, latest first.
    ///
    /// # Errors
    /// `TriggerGone` when there is no such trigger.
    async fn firings(&self, query: &FiringQuery) -> Result<FiringPage, Error>;

    /// The marks of a trigger.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn trigger_marks(&self, trigger: &TriggerId) -> Result<Vec<(String, Bytes)>, Error>;

    /// The dispatches that a trigger made, latest first, at most `limit`.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn made_by(&self, trigger: &TriggerId, limit: u32) -> Result<Vec<DispatchId>, Error>;

    /// Every dispatch that a trigger which is not stopped has made or started and that has not
    /// ended, oldest first, with its status. One that was not started yet is among them.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn unsettled(&self) -> Result<Vec<(TriggerId, DispatchId, Status)>, Error>;
}

/// One change of one trigger.
#[derive(Debug, Clone)]
pub enum TriggerChange {
    /// The trigger comes into being.
    Register {
        /// The trigger.
        record: Box<TriggerRecord>,
        /// Whether its dispatch has to be one of this store.
        dispatch_is_here: bool,
    },
    /// Its state and note.
    State {
        /// The trigger.
        trigger: TriggerId,
        /// The new state.
        state: TriggerState,
        /// The new note.
        note: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// What its observer suffers from; `None` says that it has worked.
    Trouble {
        /// The trigger.
        trigger: TriggerId,
        /// The trouble.
        trouble: Option<Trouble>,
    },
    /// Marks to set, or to remove. Says also that its observer has worked.
    Marks {
        /// The trigger.
        trigger: TriggerId,
        /// The marks.
        marks: Vec<(String, Option<Bytes>)>,
    },
    /// A decision that makes no dispatch. If the event was finally decided before, only its marks
    /// and its progress count; if the trigger is gone, nothing does.
    Decision(Box<Decision>),
    /// It goes, with its history.
    Delete {
        /// The trigger.
        trigger: TriggerId,
    },
}

/// A decision about one event of a trigger, with what becomes durable together with it.
///
/// A decision is final when its outcome is fired or skipped. A later one about the same event
/// takes its place only if it was not; what came with the event, and a dispatch that was chosen
/// for it, stay then if nothing new comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The trigger.
    pub trigger: TriggerId,
    /// The decision.
    pub firing: Firing,
    /// Marks to set, or to remove.
    pub marks: Vec<(String, Option<Bytes>)>,
    /// The trigger's events are decided up to here now. Never goes back.
    pub decided_until: Timestamp,
}

impl Decision {
    /// Whether it fires.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.firing.outcome == Outcome::Fired
    }
}

/// Whether nothing can take the place of a decision.
#[cfg(feature = "test-util")]
pub(crate) fn is_final(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fired | Outcome::Skipped)
}

/// A trigger that is not stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveTrigger {
    /// The trigger.
    pub record: TriggerRecord,
    /// Decisions that wait: queued ones, and failed ones that are tried again; oldest first and
    /// without what came with the events.
    pub waiting: Vec<Firing>,
    /// Whether its observer has ever worked.
    pub has_observed: bool,
}

/// Which triggers a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerQuery {
    /// Only those of this dispatch.
    pub dispatch: Option<DispatchId>,
    /// Only those in this state.
    pub state: Option<TriggerState>,
    /// Only those after this point of an earlier page.
    pub after: Option<u64>,
    /// How many to return at most.
    pub limit: u32,
}

/// A page of triggers.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerPage {
    /// The triggers.
    pub triggers: Vec<TriggerRecord>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// Which part of a history is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiringQuery {
    /// The trigger.
    pub trigger: TriggerId,
    /// Only decisions before this point of an earlier page.
    pub before: Option<u64>,
    /// How many to return at most.
    pub limit: u32,
}

/// A page of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiringPage {
    /// The decisions, without what came with the events, and whether anything did.
    pub firings: Vec<(Firing, bool)>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}
