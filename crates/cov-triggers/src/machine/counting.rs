//! From events to what may fire: ticks that are due, missed ones, batches, quiet times.

use std::time::Duration;

use bytes::Bytes;
use cov_core::time::Timestamp;

use super::backoff::{RETRY_FIRST, RETRY_LONGEST, backoff, jitter};
use super::item::{Item, Origin};
use super::{Busy, Effect, Machine, Phase, READY_MAX, Settings};
use crate::policies::CatchUp;
use crate::{Error, Event};

/// Ticks that are noticed later than this were missed: the machine slept, or its clock was set.
/// A busy server is never so late.
const LATE_MAX: Duration = Duration::from_secs(10);

/// Events that become one firing.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) count: u32,
    /// When the first and the last one were noticed.
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    pub(super) first_due: Timestamp,
    /// The last one, with the marks of all.
    pub(super) last: Item,
    /// How many of the marks the last one brought itself.
    own_marks: usize,
    /// Whether a durable row says that the last one waits, or cannot be had.
    pub(super) is_recorded: bool,
}

impl Pending {
    fn begin(item: Item, now: Timestamp) -> Self {
        let (first_due, is_recorded) = (item.due, item.is_recorded);
        let own_marks = item.marks.len();
        Self {
            count: 1,
            first_at: now,
            last_at: now,
            first_due,
            own_marks,
            last: item,
            is_recorded,
        }
    }

    /// Adds an event; gives back the one that was the last before, without its marks.
    fn add(&mut self, item: Item, now: Timestamp) -> Item {
        self.count = self.count.saturating_add(1);
        self.last_at = now;
        self.is_recorded = item.is_recorded;
        let mut before = std::mem::replace(&mut self.last, item);
        let newer = std::mem::take(&mut self.last.marks);
        self.own_marks = newer.len();
        self.last.marks = std::mem::take(&mut before.marks);
        self.last.marks.extend(newer);
        before
    }

    /// When it fires although nothing more happens.
    pub(super) fn due(&self, settings: &Settings) -> Option<Timestamp> {
        let policies = &settings.policies;
        if self.count < settings.events_per_firing {
            return policies.batch_timeout.map(|timeout| self.first_at.after(timeout));
        }
        let Some(debounce) = policies.debounce else {
            return Some(self.last_at);
        };
        let quiet = self.last_at.after(debounce.quiet);
        Some(quiet.min(self.first_at.after(debounce.max_wait)))
    }

    fn into_item(self, settings: &Settings) -> Item {
        let mut item = self.last;
        let wanted = settings.events_per_firing;
        if self.count < wanted {
            let text = format!("{} of {wanted} events came in time; the last: ", self.count);
            item.reason.insert_str(0, &text);
        } else if self.count > 1 {
            item.reason.insert_str(0, &format!("{} events; the last: ", self.count));
        }
        item
    }
}

impl Machine {
    /// An event came in.
    pub(super) fn happened(
        &mut self,
        event: Event,
        origin: Origin,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if self.phase == Phase::Stopped {
            if origin.is_call() {
                let error = Error::Conflict("the trigger was stopped".to_owned());
                effects.push(Effect::Refused(event.key, error));
            }
            return;
        }
        if origin.is_call() && !self.takes_events() {
            let error = Error::Unavailable("too many firings of this trigger wait".to_owned());
            effects.push(Effect::Refused(event.key, error));
            return;
        }
        if origin == Origin::Observed {
            self.seen_until = self.seen_until.max(event.at);
        }
        let mut item = self.item(event, origin);
        if origin == Origin::Observed && !self.loose_marks.is_empty() {
            let own = std::mem::replace(&mut item.marks, std::mem::take(&mut self.loose_marks));
            item.marks.extend(own);
        }
        if origin == Origin::ByHand {
            self.ready.push_back(Box::new(item));
        } else if self.is_catching_up && origin == Origin::Observed {
            self.keep_last(item, now);
        } else if origin == Origin::Called && self.phase == Phase::Paused {
            self.called_while_paused(item);
        } else {
            self.count(item, now);
        }
    }

    /// Counts an event towards a firing.
    fn count(&mut self, item: Item, now: Timestamp) {
        match &mut self.pending {
            None => self.pending = Some(Box::new(Pending::begin(item, now))),
            Some(pending) => {
                let joins = item.key.clone();
                let before = pending.add(item, now);
                // A call was answered, or will be: it gets a row of its own.
                if before.origin.is_call() {
                    let why = format!("joined with the later event {joins}");
                    self.ready.push_back(Box::new(Item { skip: Some(why), ..before }));
                }
            }
        }
        if self.phase == Phase::Active {
            self.close_batch(now);
        }
    }

    /// Lets the batch fire, if it is complete, quiet or out of time.
    pub(super) fn close_batch(&mut self, now: Timestamp) {
        let due = self.pending.as_ref().and_then(|pending| pending.due(&self.settings));
        if due.is_none_or(|due| due > now) {
            return;
        }
        if let Some(pending) = self.pending.take() {
            let item = pending.into_item(&self.settings);
            self.enqueue(item, now);
        }
    }

    /// Gives an item its turn, after its jitter.
    fn enqueue(&mut self, item: Item, now: Timestamp) {
        let longest = self.settings.policies.jitter;
        let at = item.due.after(jitter(self.settings.id.as_str(), &item.key, longest));
        if at > now && !longest.is_zero() {
            self.later.insert((at, item.number), Box::new(item));
        } else {
            self.ready.push_back(Box::new(item));
        }
    }

    /// Turns ticks that are due into events.
    pub(super) fn take_ticks(&mut self, now: Timestamp) {
        while let Some(tick) = self.next_tick.filter(|tick| *tick <= now) {
            // The rest comes when there is room, and is summed up if that takes too long.
            if self.ready.len() >= READY_MAX {
                return;
            }
            let policy = self.settings.policies.catch_up_for(self.settings.repeats);
            if now.since(tick) > LATE_MAX && policy != CatchUp::All {
                self.skip_missed_ticks(policy, "nobody looked at the clock", now);
                return;
            }
            self.take_tick(tick, now);
        }
    }

    fn take_tick(&mut self, tick: Timestamp, now: Timestamp) {
        let event = Event {
            key: format!("tick:{}", tick.as_micros()),
            at: tick,
            detail: format!("due at {tick} UTC"),
            marks: Vec::new(),
            payload: None,
        };
        self.seen_until = tick;
        self.next_tick = self.tick_after(tick);
        let item = self.item(event, Origin::Tick);
        self.count(item, now);
    }

    /// Writes one row about the ticks up to now, but for the last one if that counts.
    pub(super) fn skip_missed_ticks(&mut self, policy: CatchUp, absence: &str, now: Timestamp) {
        let Some(schedule) = self.settings.schedule.clone() else {
            return;
        };
        let missed = schedule.missed(self.settings.created_at, self.seen_until, now);
        let (Some(last), Some(first)) = (missed.last, self.next_tick) else {
            return;
        };
        let fires = policy == CatchUp::Last;
        let count = if fires { missed.count - 1 } else { missed.count };
        if count > 0 {
            let more = if missed.exact { "" } else { "more than " };
            let ticks = if count == 1 { "tick was" } else { "ticks were" };
            let why = format!("{more}{count} {ticks} missed while {absence}");
            let key = format!("missed:{}-{}", first.as_micros(), last.as_micros());
            let note = self.note(key, first, why);
            self.ready.push_back(Box::new(note));
        }
        if fires {
            self.take_tick(last, now);
        } else {
            self.seen_until = last;
            self.next_tick = self.tick_after(last);
        }
    }

    /// Writes one row about a time of which only the observer could tell what happened in it.
    pub(super) fn note_unseen(&mut self, absence: &str, now: Timestamp) {
        let why = format!("what happened while {absence} is not looked at");
        let key = format!("unseen:{}", now.as_micros());
        let note = self.note(key, self.seen_until, why);
        self.ready.push_back(Box::new(note));
    }

    /// Keeps the last event of the time in which nobody looked.
    fn keep_last(&mut self, item: Item, now: Timestamp) {
        match &mut self.catching_up {
            None => self.catching_up = Some(Box::new(Pending::begin(item, now))),
            Some(kept) => drop(kept.add(item, now)),
        }
    }

    /// The observer reports what is happening from here on.
    pub(super) fn caught_up(&mut self, now: Timestamp) {
        self.is_catching_up = false;
        let Some(mut kept) = self.catching_up.take() else {
            return;
        };
        if kept.count > 1 {
            let why = format!("{} earlier events while nobody looked", kept.count - 1);
            let key = format!("earlier:{}", kept.last.key);
            let mut note = self.note(key, kept.first_due, why);
            let own = kept.last.marks.len() - kept.own_marks.min(kept.last.marks.len());
            let own = kept.last.marks.split_off(own);
            note.marks = std::mem::replace(&mut kept.last.marks, own);
            self.ready.push_back(Box::new(note));
        }
        let item = kept.last;
        self.count(item, now);
    }

    fn called_while_paused(&mut self, mut item: Item) {
        if self.settings.policies.catch_up_for(self.settings.repeats) == CatchUp::None {
            item.skip = Some("the trigger is paused".to_owned());
        }
        self.ready.push_back(Box::new(item));
    }

    /// Of the calls during a pause, only the last one may count.
    pub(super) fn drop_called_but_last(&mut self) {
        if self.settings.policies.catch_up_for(self.settings.repeats) != CatchUp::Last {
            return;
        }
        let calls = self.ready.iter_mut().filter(|item| item.origin == Origin::Called);
        for item in calls.rev().skip(1) {
            item.skip = Some("a later call came before the pause ended".to_owned());
        }
    }

    /// Marks changed that no event is about.
    pub(super) fn marks_changed(&mut self, marks: Vec<(String, Option<Bytes>)>) {
        match [&mut self.pending, &mut self.catching_up].into_iter().flatten().next() {
            Some(gathered) => gathered.last.marks.extend(marks),
            None => self.loose_marks.extend(marks),
        }
    }

    /// Marks that have no event to become durable with.
    pub(super) fn take_loose_marks(&mut self) -> Option<Vec<(String, Option<Bytes>)>> {
        let mut items = self.ready.iter().chain(self.later.values());
        let alone = !items.any(|item| item.origin == Origin::Observed && !item.is_recorded);
        (alone && !self.loose_marks.is_empty()).then(|| std::mem::take(&mut self.loose_marks))
    }

    /// Whether such marks were kept.
    pub(super) fn marks_set(&mut self, set: Result<(), Error>, now: Timestamp) {
        let marks = match std::mem::replace(&mut self.busy, Busy::Idle) {
            Busy::Marking(marks) => marks,
            other @ (Busy::Idle | Busy::Looking | Busy::Firing(_) | Busy::Deciding(_)) => {
                self.busy = other;
                return;
            }
        };
        if let Err(error) = set {
            tracing::warn!(trigger.id = %self.settings.id, error = %error, "cannot keep marks");
            let newer = std::mem::replace(&mut self.loose_marks, marks);
            self.loose_marks.extend(newer);
            self.look_again(now);
        }
    }

    /// Tries again, later and later, what has to come before anything else.
    pub(super) fn look_again(&mut self, now: Timestamp) {
        self.looks_failed += 1;
        let wait =
            backoff(self.settings.id.as_str(), self.looks_failed, RETRY_FIRST, RETRY_LONGEST);
        self.look_again_at = Some(now.after(wait));
    }
}
