//! A host in memory, for tests: it keeps what the contract says, forgets nothing on a restart of
//! the service, and can be told to fail. Runs no workflows: a dispatch ends when a test says so.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, Outcome, TriggerId, TriggerRecord, TriggerState, Trouble};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::host::{Claim, Loaded, Situation};
use crate::observer::Marks;
use crate::{Error, TriggerHost};

/// When the clock of a new host begins: 2026-01-01T00:00:00 UTC.
pub const BEGINNING: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// What a dispatch in memory is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It was never started.
    Pending,
    /// It is under way.
    Running,
    /// It has ended.
    Ended,
}

/// The host. Its clock is tokio's, which a test can pause and advance.
#[derive(Debug)]
pub struct MemoryHost {
    began: Instant,
    kept: Mutex<Kept>,
    /// Goes up with every change, so that a test can wait for one.
    version: watch::Sender<u64>,
    firing_is_held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Kept {
    set_by_micros: i64,
    ids: u64,
    triggers: BTreeMap<TriggerId, Trigger>,
    dispatches: HashMap<DispatchId, Run>,
    cancelled: Vec<DispatchId>,
    dispatches_end_at_once: bool,
    is_down: bool,
    failing_fires: u32,
    lags: Vec<Duration>,
}

#[derive(Debug)]
struct Trigger {
    record: TriggerRecord,
    has_observed: bool,
    marks: Marks,
    rows: Vec<Firing>,
    by_key: HashMap<String, usize>,
    made: Vec<DispatchId>,
}

impl Default for MemoryHost {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryHost {
    /// A host that keeps nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            kept: Mutex::default(),
            version: watch::Sender::new(0),
            firing_is_held: watch::Sender::new(false),
        }
    }

    /// Adds a dispatch, usually a pending one that a trigger will start.
    pub fn add_dispatch(&self, id: &str, run: Run) -> DispatchId {
        let id: DispatchId = match id.parse() {
            Ok(id) => id,
            Err(_) => self.kept().new_dispatch(),
        };
        self.change(|kept| kept.dispatches.insert(id.clone(), run));
        id
    }

    /// Says what a dispatch is doing from now on.
    pub fn set_run(&self, id: &DispatchId, run: Run) {
        self.change(|kept| kept.dispatches.insert(id.clone(), run));
    }

    /// What a dispatch is doing.
    #[must_use]
    pub fn run_of(&self, id: &DispatchId) -> Option<Run> {
        self.kept().dispatches.get(id).copied()
    }

    /// Whether dispatches end as soon as they are started.
    pub fn set_dispatches_end_at_once(&self, at_once: bool) {
        self.change(|kept| kept.dispatches_end_at_once = at_once);
    }

    /// Whether every call that keeps something fails.
    pub fn set_down(&self, is_down: bool) {
        self.change(|kept| kept.is_down = is_down);
    }

    /// Lets the next `count` firings fail.
    pub fn fail_fires(&self, count: u32) {
        self.change(|kept| kept.failing_fires = count);
    }

    /// Whether firings that have begun wait before they do anything.
    pub fn hold_fires(&self, held: bool) {
        self.firing_is_held.send_replace(held);
    }

    /// Sets the clock by so many microseconds, as somebody at the machine would.
    pub fn set_clock_by(&self, micros: i64) {
        self.change(|kept| kept.set_by_micros += micros);
    }

    /// The decisions about a trigger, oldest first.
    #[must_use]
    pub fn firings(&self, trigger: &TriggerId) -> Vec<Firing> {
        let kept = self.kept();
        kept.triggers.get(trigger).map(|trigger| trigger.rows.clone()).unwrap_or_default()
    }

    /// How many decisions about a trigger have this outcome.
    #[must_use]
    pub fn count(&self, trigger: &TriggerId, outcome: Outcome) -> usize {
        self.firings(trigger).iter().filter(|firing| firing.outcome == outcome).count()
    }

    /// How long after it was due each event made its dispatch, in the order of the dispatches.
    #[must_use]
    pub fn lags(&self) -> Vec<Duration> {
        self.kept().lags.clone()
    }

    /// How many firings there were, of all triggers.
    #[must_use]
    pub fn fired(&self) -> usize {
        self.kept().lags.len()
    }

    /// The dispatches that were cancelled.
    #[must_use]
    pub fn cancelled(&self) -> Vec<DispatchId> {
        self.kept().cancelled.clone()
    }

    /// A trigger as it is kept.
    #[must_use]
    pub fn kept_record(&self, trigger: &TriggerId) -> Option<TriggerRecord> {
        self.kept().triggers.get(trigger).map(|trigger| trigger.record.clone())
    }

    /// Whether the trigger's observer has ever worked.
    #[must_use]
    pub fn has_observed(&self, trigger: &TriggerId) -> bool {
        self.kept().triggers.get(trigger).is_some_and(|trigger| trigger.has_observed)
    }

    /// Waits until something is true of this host.
    pub async fn until(&self, mut is_true: impl FnMut(&Self) -> bool) {
        let mut changes = self.version.subscribe();
        while !is_true(self) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        let changed = change(&mut self.kept());
        self.version.send_modify(|version| *version += 1);
        changed
    }

    fn try_change<T>(
        &self,
        change: impl FnOnce(&mut Kept) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.change(|kept| {
            if kept.is_down {
                return Err(Error::Unavailable("the host is down".to_owned()));
            }
            change(kept)
        })
    }
}

impl Kept {
    fn new_dispatch(&mut self) -> DispatchId {
        self.ids += 1;
        id(&format!("dispatch-{}", self.ids))
    }

    fn trigger(&mut self, trigger: &TriggerId) -> Result<&mut Trigger, Error> {
        let found = self.triggers.get_mut(trigger);
        found.ok_or_else(|| Error::NotFound(format!("there is no trigger {trigger}")))
    }

    fn begin(&mut self, dispatch: &DispatchId) {
        let run = if self.dispatches_end_at_once { Run::Ended } else { Run::Running };
        self.dispatches.insert(dispatch.clone(), run);
    }

    fn fire(&mut self, mut claim: Claim) -> Result<DispatchId, Error> {
        let trigger = self.trigger(&claim.trigger)?;
        if let Some(index) = trigger.by_key.get(&claim.firing.event_key)
            && let Some(row) = trigger.rows.get(*index)
        {
            match (row.outcome, &row.dispatch) {
                (Outcome::Fired, Some(dispatch)) => return Ok(dispatch.clone()),
                (Outcome::Fired | Outcome::Skipped, _) => {
                    return Err(Error::Refused("the event was skipped before".to_owned()));
                }
                (Outcome::Queued | Outcome::Failed, _) => {}
            }
        }
        if trigger.record.state == TriggerState::Stopped {
            return Err(Error::Refused("the trigger was stopped".to_owned()));
        }
        let original = trigger.record.lattice_dispatch_id.clone();
        let dispatch = match self.dispatches.get(&original) {
            None => return Err(Error::NotFound(format!("there is no dispatch {original}"))),
            Some(Run::Pending) => original,
            Some(Run::Running) => {
                return Err(Error::Unavailable("the original is under way".to_owned()));
            }
            Some(Run::Ended) => self.new_dispatch(),
        };
        self.begin(&dispatch);
        claim.firing.dispatch = Some(dispatch.clone());
        let trigger = self.trigger(&claim.trigger)?;
        trigger.record.fired_count += 1;
        trigger.made.push(dispatch.clone());
        trigger.keep(claim);
        Ok(dispatch)
    }

    fn situation(&mut self, trigger: &TriggerId) -> Result<Situation, Error> {
        let trigger = self.trigger(trigger)?;
        let (original, made) = (trigger.record.lattice_dispatch_id.clone(), trigger.made.clone());
        let run = |id: &DispatchId| self.dispatches.get(id).copied();
        let others = made.into_iter().filter(|id| *id != original);
        Ok(Situation {
            original_pending: run(&original) == Some(Run::Pending),
            original_running: run(&original) == Some(Run::Running),
            running: others.filter(|id| run(id) == Some(Run::Running)).collect(),
        })
    }
}

impl Trigger {
    fn keep(&mut self, claim: Claim) {
        for (name, value) in claim.marks {
            match value {
                Some(value) => drop(self.marks.insert(name, value)),
                None => drop(self.marks.remove(&name)),
            }
        }
        self.record.decided_until = claim.decided_until;
        let mut firing = claim.firing;
        match self.by_key.get(&firing.event_key).and_then(|index| self.rows.get_mut(*index)) {
            None => {
                self.by_key.insert(firing.event_key.clone(), self.rows.len());
                self.rows.push(firing);
            }
            Some(row) => {
                if matches!(row.outcome, Outcome::Queued | Outcome::Failed) {
                    firing.payload = firing.payload.or_else(|| row.payload.take());
                    *row = firing;
                }
            }
        }
    }
}

#[expect(clippy::expect_used, reason = "ids that this module makes are well formed")]
fn id<T: std::str::FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("letters, digits and dashes")
}

#[async_trait]
impl TriggerHost for MemoryHost {
    fn now(&self) -> Timestamp {
        let now = BEGINNING.after(self.began.elapsed());
        Timestamp::from_micros(now.as_micros().saturating_add(self.kept().set_by_micros))
    }

    fn new_trigger_id(&self) -> TriggerId {
        let mut kept = self.kept();
        kept.ids += 1;
        id(&format!("trigger-{}", kept.ids))
    }

    async fn load(&self) -> Result<Vec<Loaded>, Error> {
        let kept = self.kept();
        let active = kept.triggers.values();
        let active = active.filter(|trigger| trigger.record.state != TriggerState::Stopped);
        let waits = |firing: &&Firing| match firing.outcome {
            Outcome::Queued => true,
            Outcome::Failed => firing.next_try.is_some(),
            Outcome::Fired | Outcome::Skipped => false,
        };
        let loaded = active.map(|trigger| Loaded {
            record: trigger.record.clone(),
            waiting: trigger.rows.iter().filter(waits).cloned().collect(),
            has_observed: trigger.has_observed,
        });
        Ok(loaded.collect())
    }

    async fn register(&self, record: &TriggerRecord) -> Result<(), Error> {
        self.try_change(|kept| {
            if !kept.dispatches.contains_key(&record.lattice_dispatch_id) {
                let text = format!("there is no dispatch {}", record.lattice_dispatch_id);
                return Err(Error::NotFound(text));
            }
            let trigger = Trigger {
                record: record.clone(),
                has_observed: false,
                marks: Marks::new(),
                rows: Vec::new(),
                by_key: HashMap::new(),
                made: Vec::new(),
            };
            kept.triggers.insert(record.id.clone(), trigger);
            Ok(())
        })
    }

    async fn set_state(
        &self,
        trigger: &TriggerId,
        state: TriggerState,
        note: Option<&str>,
    ) -> Result<(), Error> {
        self.try_change(|kept| {
            let record = &mut kept.trigger(trigger)?.record;
            record.state = state;
            record.note = note.map(ToOwned::to_owned);
            Ok(())
        })
    }

    async fn delete(&self, trigger: &TriggerId) -> Result<(), Error> {
        self.try_change(|kept| {
            kept.triggers.remove(trigger);
            Ok(())
        })
    }

    async fn set_trouble(
        &self,
        trigger: &TriggerId,
        trouble: Option<&Trouble>,
    ) -> Result<(), Error> {
        self.try_change(|kept| {
            let trigger = kept.trigger(trigger)?;
            trigger.record.trouble = trouble.cloned();
            trigger.has_observed |= trouble.is_none();
            Ok(())
        })
    }

    async fn set_marks(
        &self,
        trigger: &TriggerId,
        marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), Error> {
        self.try_change(|kept| {
            let trigger = kept.trigger(trigger)?;
            for (name, value) in marks {
                match value {
                    Some(value) => drop(trigger.marks.insert(name, value)),
                    None => drop(trigger.marks.remove(&name)),
                }
            }
            Ok(())
        })
    }

    async fn marks(&self, trigger: &TriggerId) -> Result<Marks, Error> {
        Ok(self.kept().trigger(trigger)?.marks.clone())
    }

    async fn record(&self, trigger: &TriggerId) -> Result<Option<TriggerRecord>, Error> {
        Ok(self.kept_record(trigger))
    }

    async fn has_triggers(&self, dispatch: &DispatchId) -> Result<bool, Error> {
        let kept = self.kept();
        let mut records = kept.triggers.values().map(|trigger| &trigger.record);
        Ok(records.any(|record| record.lattice_dispatch_id == *dispatch))
    }

    async fn firing(&self, trigger: &TriggerId, event_key: &str) -> Result<Option<Firing>, Error> {
        let kept = self.kept();
        let Some(trigger) = kept.triggers.get(trigger) else {
            return Ok(None);
        };
        let index = trigger.by_key.get(event_key);
        Ok(index.and_then(|index| trigger.rows.get(*index)).cloned())
    }

    async fn situation(&self, trigger: &TriggerId) -> Result<Situation, Error> {
        self.try_change(|kept| kept.situation(trigger))
    }

    async fn fire(&self, claim: Claim) -> Result<DispatchId, Error> {
        let mut held = self.firing_is_held.subscribe();
        // The sender lives as long as this host.
        drop(held.wait_for(|held| !*held).await);
        let lag = self.now().since(claim.firing.due_at);
        self.try_change(|kept| {
            kept.lags.push(lag);
            if kept.failing_fires > 0 {
                kept.failing_fires -= 1;
                return Err(Error::Unavailable("the dispatcher is gone".to_owned()));
            }
            kept.fire(claim)
        })
    }

    async fn decide(&self, decisions: Vec<Claim>) -> Result<(), Error> {
        self.try_change(|kept| {
            for claim in &decisions {
                kept.trigger(&claim.trigger)?;
            }
            for claim in decisions {
                kept.trigger(&claim.trigger.clone())?.keep(claim);
            }
            Ok(())
        })
    }

    async fn ended(&self, dispatch: &DispatchId) -> Result<(), Error> {
        self.until(|host| host.run_of(dispatch) != Some(Run::Running)).await;
        Ok(())
    }

    async fn cancel(&self, dispatch: &DispatchId) -> Result<(), Error> {
        self.try_change(|kept| {
            kept.cancelled.push(dispatch.clone());
            kept.dispatches.insert(dispatch.clone(), Run::Ended);
            Ok(())
        })
    }
}
