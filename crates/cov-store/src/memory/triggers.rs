//! Triggers as plain maps. Says most plainly which decision takes the place of which.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::trigger::{Firing, Outcome, TriggerId, TriggerRecord, TriggerState};

use super::MemoryStore;
use super::state::State;
use crate::Error;
use crate::triggers::{
    Decision, FiringPage, FiringQuery, HISTORY_ROWS_MAX, HISTORY_ROWS_SLACK, LiveTrigger,
    TriggerChange, TriggerPage, TriggerQuery, TriggerStore, is_final,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Triggers {
    by_id: HashMap<TriggerId, Arc<Entry>>,
    last_number: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    number: u64,
    record: TriggerRecord,
    has_observed: bool,
    marks: BTreeMap<String, Bytes>,
    history: BTreeMap<u64, Firing>,
}

impl Triggers {
    fn entry(&self, trigger: &TriggerId) -> Result<&Entry, Error> {
        self.by_id.get(trigger).map(Arc::as_ref).ok_or_else(|| gone(trigger))
    }

    fn entry_mut(&mut self, trigger: &TriggerId) -> Result<&mut Entry, Error> {
        self.by_id.get_mut(trigger).map(Arc::make_mut).ok_or_else(|| gone(trigger))
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Those that are not stopped, in the order of registration.
    fn live(&self) -> Vec<&Entry> {
        let is_live = |entry: &&Entry| entry.record.state != TriggerState::Stopped;
        let mut live: Vec<&Entry> = self.by_id.values().map(Arc::as_ref).filter(is_live).collect();
        live.sort_by_key(|entry| entry.number);
        live
    }

    /// Whether a trigger that is not stopped runs this dispatch again.
    pub(super) fn need(&self, dispatch: &DispatchId) -> bool {
        self.live().iter().any(|entry| entry.record.lattice_dispatch_id == *dispatch)
    }

    /// A decision that makes or starts a dispatch.
    pub(super) fn claim(&mut self, decision: &Decision) -> Result<(), Error> {
        let entry = self.entry(&decision.trigger)?;
        if entry.record.state == TriggerState::Stopped && decision.fires() {
            return Err(gone(&decision.trigger));
        }
        if let Some(earlier) = entry.find(&decision.firing.event_key)
            && is_final(earlier.outcome)
        {
            return Err(Error::Claimed {
                trigger: decision.trigger.clone(),
                event_key: earlier.event_key.clone(),
                dispatch: earlier.dispatch.clone(),
            });
        }
        let next = self.next_number();
        self.entry_mut(&decision.trigger)?.keep(next, decision);
        Ok(())
    }

    fn change(&mut self, change: &TriggerChange) -> Result<(), Error> {
        match change {
            TriggerChange::Register { record, .. } => {
                let number = self.next_number();
                let entry = Entry {
                    number,
                    record: (**record).clone(),
                    has_observed: false,
                    marks: BTreeMap::new(),
                    history: BTreeMap::new(),
                };
                self.by_id.insert(record.id.clone(), Arc::new(entry));
                Ok(())
            }
            TriggerChange::State { trigger, state, note, at } => {
                let record = &mut self.entry_mut(trigger)?.record;
                (record.state, record.note, record.updated_at) = (*state, note.clone(), *at);
                Ok(())
            }
            TriggerChange::Trouble { trigger, trouble } => {
                let entry = self.entry_mut(trigger)?;
                entry.record.trouble.clone_from(trouble);
                entry.has_observed |= trouble.is_none();
                Ok(())
            }
            TriggerChange::Marks { trigger, marks } => {
                let entry = self.entry_mut(trigger)?;
                entry.has_observed = true;
                entry.mark(marks);
                Ok(())
            }
            TriggerChange::Decision(decision) => match self.claim(decision) {
                Err(Error::Claimed { .. }) => {
                    self.entry_mut(&decision.trigger)?.follow(decision);
                    Ok(())
                }
                Err(Error::TriggerGone { .. }) => Ok(()),
                outcome => outcome,
            },
            TriggerChange::Delete { trigger } => {
                self.by_id.remove(trigger).map(drop).ok_or_else(|| gone(trigger))
            }
        }
    }
}

impl Entry {
    fn find(&self, event_key: &str) -> Option<&Firing> {
        self.history.values().find(|firing| firing.event_key == event_key)
    }

    fn keep(&mut self, next: u64, decision: &Decision) {
        let mut firing = decision.firing.clone();
        let key = &firing.event_key;
        let earlier = self.history.iter().find(|(_, earlier)| earlier.event_key == *key);
        let number = earlier.map_or(next, |(number, _)| *number);
        if let Some((_, earlier)) = earlier {
            firing.payload = firing.payload.or_else(|| earlier.payload.clone());
            firing.dispatch = firing.dispatch.or_else(|| earlier.dispatch.clone());
        }
        self.record.fired_count += u64::from(decision.fires());
        self.history.insert(number, firing);
        self.follow(decision);
        self.shorten();
    }

    fn follow(&mut self, decision: &Decision) {
        self.record.decided_until = self.record.decided_until.max(decision.decided_until);
        self.has_observed |= !decision.marks.is_empty();
        self.mark(&decision.marks);
    }

    fn mark(&mut self, marks: &[(String, Option<Bytes>)]) {
        for (name, value) in marks {
            match value {
                Some(value) => drop(self.marks.insert(name.clone(), value.clone())),
                None => drop(self.marks.remove(name)),
            }
        }
    }

    fn shorten(&mut self) {
        if self.history.len() <= (HISTORY_ROWS_MAX + HISTORY_ROWS_SLACK) as usize {
            return;
        }
        let kept_from = self.history.keys().rev().nth(HISTORY_ROWS_MAX as usize - 1).copied();
        self.history
            .retain(|number, firing| kept_from.is_none_or(|from| *number >= from) || waits(firing));
    }
}

fn waits(firing: &Firing) -> bool {
    match firing.outcome {
        Outcome::Queued => true,
        Outcome::Failed => firing.next_try.is_some(),
        Outcome::Fired | Outcome::Skipped => false,
    }
}

fn gone(trigger: &TriggerId) -> Error {
    Error::TriggerGone { trigger: trigger.clone() }
}

fn without_payload(firing: &Firing) -> Firing {
    Firing { payload: None, ..firing.clone() }
}

fn apply(state: &mut State, changes: &[TriggerChange]) -> Result<(), Error> {
    for change in changes {
        if let TriggerChange::Register { record, dispatch_is_here: true } = change {
            state.entry(&record.lattice_dispatch_id)?;
        }
        state.triggers.change(change)?;
    }
    Ok(())
}

#[async_trait]
impl TriggerStore for MemoryStore {
    async fn change_triggers(&self, changes: &[TriggerChange]) -> Result<(), Error> {
        let mut state = self.state();
        let mut next = state.clone();
        apply(&mut next, changes)?;
        *state = next;
        Ok(())
    }

    async fn live_triggers(&self) -> Result<Vec<LiveTrigger>, Error> {
        let state = self.state();
        let live = state.triggers.live().into_iter().map(|entry| LiveTrigger {
            record: entry.record.clone(),
            waiting: entry.history.values().filter(|one| waits(one)).map(without_payload).collect(),
            has_observed: entry.has_observed,
        });
        Ok(live.collect())
    }

    async fn trigger(&self, trigger: &TriggerId) -> Result<TriggerRecord, Error> {
        Ok(self.state().triggers.entry(trigger)?.record.clone())
    }

    async fn triggers(&self, query: &TriggerQuery) -> Result<TriggerPage, Error> {
        let state = self.state();
        let is_asked = |entry: &&Arc<Entry>| {
            let record = &entry.record;
            query.after.is_none_or(|after| entry.number < after)
                && query.state.is_none_or(|state| state == record.state)
                && query.dispatch.as_ref().is_none_or(|one| *one == record.lattice_dispatch_id)
        };
        let mut found: Vec<&Arc<Entry>> = state.triggers.by_id.values().filter(is_asked).collect();
        found.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        let is_last = found.len() <= query.limit as usize;
        found.truncate(query.limit as usize);
        let next = if is_last { None } else { found.last().map(|entry| entry.number) };
        Ok(TriggerPage { triggers: found.iter().map(|one| one.record.clone()).collect(), next })
    }

    async fn firing(&self, trigger: &TriggerId, event_key: &str) -> Result<Option<Firing>, Error> {
        let state = self.state();
        Ok(state.triggers.entry(trigger).ok().and_then(|entry| entry.find(event_key).cloned()))
    }

    async fn firings(&self, query: &FiringQuery) -> Result<FiringPage, Error> {
        let state = self.state();
        let entry = state.triggers.entry(&query.trigger)?;
        let before = query.before.unwrap_or(u64::MAX);
        let mut found: Vec<_> = entry.history.range(..before).rev().collect();
        let is_last = found.len() <= query.limit as usize;
        found.truncate(query.limit as usize);
        let next = if is_last { None } else { found.last().map(|(number, _)| **number) };
        let shown = found.into_iter().map(|(_, one)| (without_payload(one), one.payload.is_some()));
        Ok(FiringPage { firings: shown.collect(), next })
    }

    async fn trigger_marks(&self, trigger: &TriggerId) -> Result<Vec<(String, Bytes)>, Error> {
        let state = self.state();
        let marks = state.triggers.entry(trigger).ok().map(|entry| entry.marks.clone());
        Ok(marks.unwrap_or_default().into_iter().collect())
    }

    async fn made_by(&self, trigger: &TriggerId, limit: u32) -> Result<Vec<DispatchId>, Error> {
        let state = self.state();
        let Ok(entry) = state.triggers.entry(trigger) else { return Ok(Vec::new()) };
        let fired = entry.history.values().rev().filter(|one| one.outcome == Outcome::Fired);
        let made = fired.filter_map(|one| one.dispatch.clone());
        let made = made.filter(|made| *made != entry.record.lattice_dispatch_id);
        Ok(made.take(limit as usize).collect())
    }

    async fn unsettled(&self) -> Result<Vec<(TriggerId, DispatchId, Status)>, Error> {
        let state = self.state();
        let mut found = Vec::new();
        for dispatch in &state.order {
            let status = state.entry(dispatch)?.state.status;
            if status.is_terminal() {
                continue;
            }
            for entry in state.triggers.live() {
                let mut history = entry.history.values();
                let names = |one: &Firing| {
                    one.outcome == Outcome::Fired && one.dispatch.as_ref() == Some(dispatch)
                };
                if history.any(names) {
                    found.push((entry.record.id.clone(), dispatch.clone(), status));
                }
            }
        }
        Ok(found)
    }
}
