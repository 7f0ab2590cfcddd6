//! What is known of a trigger: its description, its state, and each decision that was made for
//! it. Plain data; watches nothing and decides nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{DispatchId, IdError};
use crate::time::Timestamp;

/// A trigger as name-value pairs: what the seed's `to_dict` makes, with the class name as `name`.
pub type Dictionary = serde_json::Map<String, serde_json::Value>;

/// Names one registered trigger. Follows the rules of a [`DispatchId`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TriggerId(Arc<str>);

impl TriggerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TriggerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let id: DispatchId = text.parse()?;
        Ok(Self(Arc::from(id.as_str())))
    }
}

impl TryFrom<String> for TriggerId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<TriggerId> for String {
    fn from(id: TriggerId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TriggerId({})", self.0)
    }
}

/// What a registered trigger is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerState {
    /// It watches and fires.
    Active,
    /// It does not fire until it is resumed.
    Paused,
    /// It was stopped for good; kept for its history.
    Stopped,
}

/// What the observer of a trigger suffers from. It is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What went wrong last.
    pub error: String,
    /// Since when nothing has gone right.
    pub since: Timestamp,
    /// When it is tried again.
    pub next_try: Option<Timestamp>,
}

/// Everything that is kept of a trigger, without its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerRecord {
    /// Its id.
    pub id: TriggerId,
    /// The class name, like `TimeTrigger`.
    pub name: String,
    /// The dispatch that the first firing starts, if it never ran, and later ones run again.
    pub lattice_dispatch_id: DispatchId,
    /// The trigger as it was registered, policies included.
    pub settings: Dictionary,
    /// What it is doing.
    pub state: TriggerState,
    /// Why it is paused, by the one who paused it.
    pub note: Option<String>,
    /// When it was registered; ticks count from here.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// Up to when its events are decided: ticks after this point are still to come.
    pub decided_until: Timestamp,
    /// What its observer suffers from.
    pub trouble: Option<Trouble>,
    /// How often it has fired.
    pub fired_count: u64,
}

/// How an event of a trigger was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It made, or started, a dispatch.
    Fired,
    /// It waits until what runs has ended.
    Queued,
    /// It will make no dispatch, for the reason given.
    Skipped,
    /// Firing failed; it is tried again, if a time for that is given.
    Failed,
}

/// One decision: why a trigger fired, or did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// Names the event among those of its trigger: each is decided once.
    pub event_key: String,
    /// When the event happened, or was due.
    pub due_at: Timestamp,
    /// When this was decided.
    pub decided_at: Timestamp,
    /// What was decided.
    pub outcome: Outcome,
    /// Why, for people.
    pub reason: String,
    /// The dispatch that was made or started.
    pub dispatch: Option<DispatchId>,
    /// When firing is tried again.
    pub next_try: Option<Timestamp>,
    /// What came with the event, like the body of a webhook.
    pub payload: Option<Bytes>,
}
