//! What is remembered of triggers and their dispatches, so that a firing need not ask the store.
//! Holds nothing that is not in the store.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cov_core::ids::DispatchId;
use cov_core::trigger::{TriggerId, TriggerRecord};

use crate::registry::Registry;

/// How many ended originals are remembered.
const ENDED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Tracked(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    triggers: HashMap<TriggerId, Entry>,
    /// Originals that have ended, which they do once.
    ended: HashSet<DispatchId>,
}

#[derive(Debug)]
struct Entry {
    original: DispatchId,
    /// What it has made and what may still run, oldest first.
    made: Vec<DispatchId>,
}

impl Tracked {
    pub(super) fn add(&self, record: &TriggerRecord) {
        let original = record.lattice_dispatch_id.clone();
        let entry = Entry { original, made: Vec::new() };
        self.state().triggers.entry(record.id.clone()).or_insert(entry);
    }

    pub(super) fn forget(&self, trigger: &TriggerId) {
        self.state().triggers.remove(trigger);
    }

    pub(super) fn original(&self, trigger: &TriggerId) -> Option<DispatchId> {
        self.state().triggers.get(trigger).map(|entry| entry.original.clone())
    }

    /// Notes what a trigger has made. It has its owner in `registry` until it has ended.
    pub(super) fn made(&self, trigger: &TriggerId, dispatch: &DispatchId, registry: &Registry) {
        if let Some(entry) = self.state().triggers.get_mut(trigger)
            && entry.original != *dispatch
        {
            entry.made.retain(|earlier| registry.get(earlier).is_some());
            entry.made.push(dispatch.clone());
        }
    }

    /// What a trigger has made and what has not ended.
    pub(super) fn running(&self, trigger: &TriggerId, registry: &Registry) -> Vec<DispatchId> {
        let mut state = self.state();
        let Some(entry) = state.triggers.get_mut(trigger) else { return Vec::new() };
        entry.made.retain(|dispatch| registry.get(dispatch).is_some());
        entry.made.clone()
    }

    pub(super) fn has_ended(&self, original: &DispatchId) -> bool {
        self.state().ended.contains(original)
    }

    pub(super) fn note_end(&self, original: &DispatchId) {
        let mut state = self.state();
        if state.ended.len() >= ENDED_MAX {
            state.ended.clear();
        }
        state.ended.insert(original.clone());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Between any two calls the state is whole, also if a caller panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
