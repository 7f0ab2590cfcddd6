//! One trigger in the service.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cov_core::time::Timestamp;
use cov_core::trigger::{TriggerId, TriggerRecord, TriggerState};
use tokio::task::AbortHandle;

use super::broken::BrokenTrigger;
use super::changes::Change;
use super::watching::{Begin, Watch};
use super::{Number, State};
use crate::host::Loaded;
use crate::machine::{Beginning, Machine, Settings};
use crate::trigger::{Missed, Schedule};
use crate::{Policies, Registry, Source, Trigger};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: TriggerId,
    /// What is asked to observe or to admit a call. A trigger that only ticks is no more than its
    /// schedule, since there may be very many of them.
    pub(super) trigger: Option<Arc<dyn Trigger>>,
    pub(super) machine: Machine,
    pub(super) created_at: Timestamp,
    pub(super) timer_at: Option<Timestamp>,
    pub(super) watch: Option<Box<Watch>>,
    /// What waits for the end of what it waits for.
    pub(super) wait: Option<AbortHandle>,
    /// Set while its state changes.
    pub(super) changing: Option<Box<Changing>>,
}

/// A change of state that is not durable yet, or not finished.
#[derive(Debug, Default)]
pub(super) struct Changing {
    pub(super) is_writing: bool,
    /// Those that wait for the present one.
    pub(super) waiting: VecDeque<Change>,
    /// Who waits until the trigger is gone.
    pub(super) closings: Vec<u64>,
}

impl Entry {
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let watch = self.watch.as_ref().and_then(|watch| watch.retry_at);
        [self.machine.deadline(), watch].into_iter().flatten().min()
    }

    /// An observer waits while its trigger is behind with its decisions.
    pub(super) fn open_or_close_gate(&self) {
        if let Some(watch) = &self.watch {
            let open = self.machine.takes_events();
            watch.gate.send_if_modified(|gate| std::mem::replace(gate, open) != open);
        }
    }

    pub(super) fn stop_watching(&self) {
        if let Some(watch) = &self.watch {
            watch.stop.cancel();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.stop_watching();
        if let Some(wait) = &self.wait {
            wait.abort();
        }
    }
}

impl State {
    /// Takes up a trigger that was kept. One that cannot be made any more is kept with the
    /// reason, so that it can be seen and stopped.
    pub(super) fn take_up(&mut self, loaded: Loaded, registry: &Registry) {
        let record = &loaded.record;
        let made = catch_unwind(AssertUnwindSafe(|| registry.build(record.settings.clone())));
        let trigger: Arc<dyn Trigger> = match made {
            Ok(Ok(trigger)) => Arc::from(trigger),
            Ok(Err(error)) => Arc::new(BrokenTrigger::new(record, &error.to_string())),
            Err(_panic) => Arc::new(BrokenTrigger::new(record, "making it panicked")),
        };
        let beginning = Beginning {
            waiting: loaded.waiting,
            is_paused: record.state == TriggerState::Paused,
            resumes: loaded.has_observed,
        };
        let number = self.add(record, trigger, beginning);
        if let Some(entry) = self.entries.get_mut(&number)
            && let Some(watch) = &mut entry.watch
        {
            watch.trouble = loaded.record.trouble;
            watch.has_observed = loaded.has_observed;
        }
        if loaded.record.state == TriggerState::Active {
            self.begin_watch(number, Begin::AfterAbsence);
        }
    }

    /// Makes the entry of a trigger. Does not begin to watch.
    pub(super) fn add(
        &mut self,
        record: &TriggerRecord,
        trigger: Arc<dyn Trigger>,
        beginning: Beginning,
    ) -> Number {
        let (schedule, observed) = match trigger.source() {
            Source::Ticks(schedule) => (Some(schedule), false),
            Source::Observed => (None, true),
            Source::Called => (None, false),
        };
        let policies = Policies::read(trigger.name(), &trigger.base().extra).unwrap_or_default();
        let policies = if policies == *self.default_policies {
            Arc::clone(&self.default_policies)
        } else {
            Arc::new(policies)
        };
        let only_ticks = schedule.is_some();
        let settings = Settings {
            id: record.id.clone(),
            original: record.lattice_dispatch_id.clone(),
            created_at: record.created_at,
            schedule: schedule.map(|inner| Arc::new(Guarded(inner)) as Arc<dyn Schedule>),
            policies,
            repeats: trigger.repeats(),
            events_per_firing: trigger.events_per_firing().max(1),
            observed,
        };
        let now = self.host.now();
        let entry = Entry {
            id: record.id.clone(),
            trigger: (!only_ticks).then_some(trigger),
            machine: Machine::new(settings, record.decided_until, beginning, now),
            created_at: record.created_at,
            timer_at: None,
            watch: observed.then(|| Box::new(Watch::new(self.stop.child_token()))),
            wait: None,
            changing: None,
        };
        self.entries_made += 1;
        let number = self.entries_made;
        self.numbers.insert(record.id.clone(), number);
        self.by_dispatch.insert((record.lattice_dispatch_id.clone(), number));
        self.entries.insert(number, Box::new(entry));
        self.apply(number, crate::machine::Input::Wake);
        number
    }

    /// Forgets a trigger.
    pub(super) fn remove(&mut self, number: Number) -> Option<Box<Entry>> {
        let entry = self.entries.remove(&number)?;
        if let Some(at) = entry.timer_at {
            self.timer.remove(&(at, number));
        }
        self.numbers.remove(&entry.id);
        self.by_dispatch.remove(&(entry.machine.original().clone(), number));
        Some(entry)
    }
}

/// A schedule that may be a user's: one that panics ends, and takes nothing else with it.
struct Guarded(Arc<dyn Schedule>);

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Schedule for Guarded {
    fn next(&self, created_at: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let next = catch_unwind(AssertUnwindSafe(|| self.0.next(created_at, after)));
        let next = next.unwrap_or_else(|_panic| {
            tracing::error!(schedule = ?self.0, "a schedule panicked and ends");
            None
        });
        // One that does not move on would be asked for ever.
        next.filter(|tick| *tick > after)
    }

    fn missed(&self, created_at: Timestamp, after: Timestamp, until: Timestamp) -> Missed {
        let missed = catch_unwind(AssertUnwindSafe(|| self.0.missed(created_at, after, until)));
        missed.unwrap_or(Missed { count: 0, exact: false, last: None })
    }
}
