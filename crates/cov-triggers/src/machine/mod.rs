//! The state machine of one trigger: which of its events fire, when, and what is written about
//! those that do not. Pure: no clock, no randomness, no I/O. Knows no trigger type.
//!
//! An event goes through four stages, each of which may hold it back:
//!
//! 1. *counting* (`counting.rs`): ticks that are due, batches, debounce, a timeout for batches;
//! 2. *later*: jitter, and what failed and is tried again;
//! 3. *ready*: its turn has come, and the overlap policy decides (`deciding.rs`);
//! 4. *held*: its row says `queued`, and it waits until what is under way has ended.
//!
//! One question or firing of a trigger is under way at a time, so that its decisions have an
//! order; triggers do not wait for each other.

mod backoff;
mod counting;
mod deciding;
mod item;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, TriggerId};

use crate::host::{Claim, Situation};
use crate::policies::{CatchUp, Policies};
use crate::trigger::Schedule;
use crate::{Error, Event};
pub(crate) use backoff::backoff;
use counting::Pending;
pub(crate) use item::Origin;
use item::{Decision, Item};

/// So many undecided events of one trigger are kept. Its observer has to wait beyond that, its
/// ticks are summed up, and calls are refused.
pub(crate) const READY_MAX: usize = 1_000;
/// So many firings of one trigger wait for the end of what is under way.
pub(crate) const HELD_MAX: usize = 100_000;

/// What does not change while a trigger exists.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) id: TriggerId,
    pub(crate) original: DispatchId,
    pub(crate) created_at: Timestamp,
    pub(crate) schedule: Option<Arc<dyn Schedule>>,
    pub(crate) policies: Arc<Policies>,
    /// Whether one event says what another one says.
    pub(crate) repeats: bool,
    /// Events for one firing.
    pub(crate) events_per_firing: u32,
    /// Whether a task of its own observes.
    pub(crate) observed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Active,
    Paused,
    Stopped,
}

/// What was asked of the service and is not answered yet.
#[derive(Debug)]
enum Busy {
    Idle,
    Looking,
    Firing(Box<Item>),
    Deciding(Vec<Decision>),
    Marking(Vec<(String, Option<Bytes>)>),
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    phase: Phase,
    busy: Busy,
    /// The next tick that was not turned into an event yet.
    next_tick: Option<Timestamp>,
    /// Events up to here have become items.
    seen_until: Timestamp,
    /// An incomplete batch, or one that waits for quiet.
    pending: Option<Box<Pending>>,
    /// Events of the time in which nobody looked, while they come in and only the last counts.
    catching_up: Option<Box<Pending>>,
    is_catching_up: bool,
    later: BTreeMap<(Timestamp, u32), Box<Item>>,
    ready: VecDeque<Box<Item>>,
    held: VecDeque<Box<Item>>,
    /// What the held ones wait for.
    awaited: Option<DispatchId>,
    /// After a failed look, the held ones are looked at again then.
    look_again_at: Option<Timestamp>,
    looks_failed: u32,
    /// Whether the original has ended. It does so once.
    original_over: bool,
    items_made: u32,
    /// Marks that become durable with the next event, or alone when no event is undecided, so
    /// that they never overtake an event.
    loose_marks: Vec<(String, Option<Bytes>)>,
}

/// What the machine is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// Time has passed.
    Wake,
    /// The clock was set back.
    ClockSetBack,
    /// Something happened.
    Happened(Event, Origin),
    /// Marks changed that no event is about.
    Marks(Vec<(String, Option<Bytes>)>),
    /// Whether such marks were kept.
    MarksSet(Result<(), Error>),
    /// What happened before the observer began has been reported.
    CaughtUp,
    /// What is under way.
    Looked(Result<Situation, Error>),
    /// What became of a firing.
    Fired(Result<DispatchId, Error>),
    /// What became of decisions.
    Decided(Result<(), Error>),
    /// What was awaited has ended, or cannot be awaited.
    Ended(Result<(), Error>),
    /// It does not fire from here on.
    Pause,
    /// It goes on.
    Resume,
    /// It does not fire any more, ever.
    Stop,
}

/// What the machine asks for. Each is answered with one input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Answered with [`Input::Looked`].
    Look,
    /// Answered with [`Input::Fired`].
    Fire(Box<Claim>),
    /// Answered with [`Input::Decided`].
    Decide(Vec<Claim>),
    /// Answered with [`Input::MarksSet`].
    SetMarks(Vec<(String, Option<Bytes>)>),
    /// Answered with [`Input::Ended`].
    Await(DispatchId),
    /// Not answered: whether it helped shows when the dispatch has ended.
    Cancel(Vec<DispatchId>),
    /// A decision became durable. Not answered.
    Settled(Firing),
    /// What was called for could not be taken; nothing was kept. Not answered.
    Refused(String, Error),
}

/// How a machine begins.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    /// Firings whose rows wait, oldest first.
    pub(crate) waiting: Vec<Firing>,
    /// Whether it was paused.
    pub(crate) is_paused: bool,
    /// Whether its observer goes on where it ended once.
    pub(crate) resumes: bool,
}

impl Machine {
    /// A machine whose events are decided up to `decided_until`.
    pub(crate) fn new(
        settings: Settings,
        decided_until: Timestamp,
        beginning: Beginning,
        now: Timestamp,
    ) -> Self {
        let mut machine = Self {
            settings,
            phase: Phase::Paused,
            busy: Busy::Idle,
            next_tick: None,
            seen_until: decided_until,
            pending: None,
            catching_up: None,
            is_catching_up: false,
            later: BTreeMap::new(),
            ready: VecDeque::new(),
            held: VecDeque::new(),
            awaited: None,
            look_again_at: None,
            looks_failed: 0,
            original_over: false,
            items_made: 0,
            loose_marks: Vec::new(),
        };
        for firing in beginning.waiting {
            machine.take_up(firing);
        }
        if !beginning.is_paused {
            machine.activate(beginning.resumes, "the server was down", now);
        }
        machine
    }

    /// Tells the machine something. What it asks for is added to `effects`.
    pub(crate) fn apply(&mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) {
        match input {
            Input::Wake => {}
            Input::ClockSetBack => self.clock_set_back(now),
            Input::Happened(event, origin) => self.happened(event, origin, now, effects),
            Input::Marks(marks) => self.marks_changed(marks),
            Input::MarksSet(set) => self.marks_set(set, now),
            Input::CaughtUp => self.caught_up(now),
            Input::Looked(looked) => self.looked(looked, now, effects),
            Input::Fired(fired) => self.fired(fired, now, effects),
            Input::Decided(decided) => self.decided(decided, now, effects),
            Input::Ended(ended) => self.ended(ended, now),
            Input::Pause => self.pause(),
            Input::Resume => self.resume(now),
            Input::Stop => self.stop(),
        }
        self.advance(now, effects);
    }

    /// When it has to be woken.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let later = self.later.first_key_value().map(|((at, _), _)| *at);
        let active = self.phase == Phase::Active;
        let tick = self.next_tick.filter(|_| active && self.ready.len() < READY_MAX);
        let pending = self.pending.as_ref().filter(|_| active);
        let batch = pending.and_then(|pending| pending.due(&self.settings));
        [later, tick, batch, self.look_again_at].into_iter().flatten().min()
    }

    /// Whether it takes events of its observer. The observer has to wait otherwise.
    pub(crate) fn takes_events(&self) -> bool {
        self.ready.len() < READY_MAX && self.held.len() < HELD_MAX
    }

    /// Whether nothing is under way and nothing fires any more.
    pub(crate) fn is_at_rest(&self) -> bool {
        let empty = self.ready.is_empty() && self.later.is_empty() && self.held.is_empty();
        self.phase == Phase::Stopped && empty && matches!(self.busy, Busy::Idle)
    }

    /// Whether no event is anywhere on its way.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        let queues = self.ready.is_empty() && self.later.is_empty() && self.held.is_empty();
        queues && matches!(self.busy, Busy::Idle)
    }

    /// When it ticks.
    pub(crate) fn schedule(&self) -> Option<Arc<dyn Schedule>> {
        self.settings.schedule.clone()
    }

    /// The dispatch that it fires.
    pub(crate) fn original(&self) -> &DispatchId {
        &self.settings.original
    }

    /// Whether its observer has to tell what happened while nobody looked.
    pub(crate) fn looks_back(&self) -> bool {
        self.settings.policies.catch_up_for(self.settings.repeats) != CatchUp::None
    }

    /// Whether it does not fire by itself.
    pub(crate) fn is_paused(&self) -> bool {
        self.phase == Phase::Paused
    }

    /// The event of this key, if it waits here and is not decided.
    pub(crate) fn knows(&self, key: &str) -> bool {
        let queued = self.ready.iter().chain(&self.held).chain(self.later.values());
        let mut keys = queued.map(|item| item.key.as_str());
        let pending = self.pending.as_ref().is_some_and(|pending| pending.last.key == key);
        let busy = match &self.busy {
            Busy::Idle | Busy::Looking | Busy::Marking(_) => false,
            Busy::Firing(item) => item.key == key,
            Busy::Deciding(decisions) => decisions.iter().any(|made| made.item().key == key),
        };
        pending || busy || keys.any(|known| known == key)
    }

    /// The marks that were reported and are not durable yet, in the order in which they were
    /// reported: an observer that begins again must not report their events again.
    pub(crate) fn undecided_marks(&self) -> Vec<(String, Option<Bytes>)> {
        let queued = self.ready.iter().chain(self.later.values());
        let mut items: Vec<&Item> = queued.map(|item| &**item).collect();
        let mut marks = Vec::new();
        match &self.busy {
            Busy::Idle | Busy::Looking => {}
            Busy::Firing(item) => items.push(item),
            Busy::Deciding(decisions) => items.extend(decisions.iter().map(Decision::item)),
            Busy::Marking(loose) => marks.extend(loose.iter().cloned()),
        }
        items.sort_by_key(|item| item.number);
        let gathered = [&self.catching_up, &self.pending].into_iter().flatten();
        let queued = items.iter().flat_map(|item| &item.marks);
        marks.extend(queued.chain(gathered.flat_map(|pending| &pending.last.marks)).cloned());
        marks.extend(self.loose_marks.iter().cloned());
        marks
    }

    /// One step further, as far as that is possible now.
    fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Active {
            self.take_ticks(now);
            self.close_batch(now);
        }
        self.promote(now);
        if self.look_again_at.is_some_and(|at| at <= now) {
            self.look_again_at = None;
        }
        if matches!(self.busy, Busy::Idle) {
            self.decide_next(now, effects);
        }
    }

    /// Moves what is due from *later* to *ready*.
    fn promote(&mut self, now: Timestamp) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            self.ready.push_back(entry.remove());
        }
    }

    fn pause(&mut self) {
        if self.phase == Phase::Active {
            self.phase = Phase::Paused;
            self.next_tick = None;
        }
    }

    fn resume(&mut self, now: Timestamp) {
        if self.phase == Phase::Paused {
            self.drop_called_but_last();
            self.activate(true, "it was paused", now);
        }
    }

    fn stop(&mut self) {
        self.phase = Phase::Stopped;
        self.next_tick = None;
        self.look_again_at = None;
        self.awaited = None;
        for gathered in [self.pending.take(), self.catching_up.take()].into_iter().flatten() {
            // What was answered as queued gets its row; an incomplete count has none.
            if gathered.is_recorded {
                self.ready.push_back(Box::new(gathered.last));
            }
        }
    }

    /// Begins to take events, and settles those of the time in which nobody looked.
    fn activate(&mut self, resumes: bool, absence: &str, now: Timestamp) {
        self.phase = Phase::Active;
        let policy = self.settings.policies.catch_up_for(self.settings.repeats);
        if self.settings.schedule.is_some() {
            self.next_tick = self.tick_after(self.seen_until);
            if policy != CatchUp::All {
                self.skip_missed_ticks(policy, absence, now);
            }
        }
        if self.settings.observed && resumes {
            self.is_catching_up = policy == CatchUp::Last;
            if policy == CatchUp::None && !self.settings.repeats {
                self.note_unseen(absence, now);
            }
        }
    }

    fn clock_set_back(&mut self, now: Timestamp) {
        if self.next_tick.is_some() && self.seen_until > now {
            self.seen_until = now;
            self.next_tick = self.tick_after(now);
        }
        for gathered in [&mut self.pending, &mut self.catching_up].into_iter().flatten() {
            gathered.first_at = gathered.first_at.min(now);
            gathered.last_at = gathered.last_at.min(now);
        }
        // Their times were counted from a clock that was wrong.
        self.ready.extend(std::mem::take(&mut self.later).into_values());
        self.look_again_at = None;
    }

    fn tick_after(&self, after: Timestamp) -> Option<Timestamp> {
        let schedule = self.settings.schedule.as_ref()?;
        schedule.next(self.settings.created_at, after)
    }
}
