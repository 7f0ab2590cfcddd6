//! From what may fire to a decision: the overlap policy, and what the host answered.

use std::collections::VecDeque;

use cov_core::error::ErrorKind;
use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, Outcome};

use super::backoff::{RETRY_FIRST, RETRY_LONGEST, backoff};
use super::item::{Decision, Item, Origin};
use super::{Busy, Effect, HELD_MAX, Machine, Phase};
use crate::Error;
use crate::host::Situation;
use crate::policies::Overlap;

/// A firing that failed so often is not tried again by itself.
const TRIES_MAX: u32 = 20;
/// Most rows in one decision.
const ROWS_MAX: usize = 256;

impl Machine {
    /// Asks for the next thing, if there is one.
    pub(super) fn decide_next(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Stopped {
            return self.skip_all(now, effects);
        }
        let skipped = self.take_skipped();
        if !skipped.is_empty() {
            return self.decide(skipped, now, effects);
        }
        if let Some(kept) = self.take_unrecorded_calls() {
            return self.decide(kept, now, effects);
        }
        if self.look_again_at.is_some() {
            return;
        }
        if let Some(awaited) = self.awaited.clone() {
            return self.decide_while_waiting(&awaited, now, effects);
        }
        if let Some(marks) = self.take_loose_marks() {
            effects.push(Effect::SetMarks(marks.clone()));
            self.busy = Busy::Marking(marks);
            return;
        }
        if self.has_candidate() {
            if self.original_over && self.settings.policies.overlap == Overlap::Allow {
                return self.fire_candidate(now, effects);
            }
            self.busy = Busy::Looking;
            effects.push(Effect::Look);
        }
    }

    /// Those at the front that do not fire anyway.
    fn take_skipped(&mut self) -> Vec<Decision> {
        let mut skipped = Vec::new();
        let position = self.ready.iter().position(|item| item.skip.is_some());
        while skipped.len() < ROWS_MAX && position.is_some() {
            let index = position.unwrap_or(0);
            if self.ready.get(index).is_none_or(|item| item.skip.is_none()) {
                break;
            }
            skipped.extend(self.ready.remove(index).map(Decision::Skip));
        }
        skipped
    }

    /// Calls that wait without a row: those of a pause, and the last one of an open batch.
    fn take_unrecorded_calls(&mut self) -> Option<Vec<Decision>> {
        if let Some(pending) = &self.pending
            && pending.last.origin == Origin::Called
            && !pending.is_recorded
        {
            return Some(vec![Decision::Gather(Box::new(pending.last.clone()))]);
        }
        if self.phase != Phase::Paused {
            return None;
        }
        let calls: Vec<Decision> = self
            .ready
            .iter()
            .filter(|item| item.origin == Origin::Called && !item.is_recorded)
            .take(ROWS_MAX)
            .map(|item| Decision::Keep(item.clone()))
            .collect();
        (!calls.is_empty()).then_some(calls)
    }

    /// Whether an item in *ready* or *held* has its turn.
    fn has_candidate(&self) -> bool {
        self.turn(&self.held).is_some() || self.turn(&self.ready).is_some()
    }

    /// Which of a queue has its turn.
    fn turn(&self, queue: &VecDeque<Box<Item>>) -> Option<usize> {
        match self.phase {
            Phase::Active => (!queue.is_empty()).then_some(0),
            Phase::Paused => queue.iter().position(|item| item.origin == Origin::ByHand),
            Phase::Stopped => None,
        }
    }

    fn take_ready(&mut self) -> Option<Box<Item>> {
        self.turn(&self.ready).and_then(|index| self.ready.remove(index))
    }

    /// Takes what has its turn. The held ones come first: they were there before.
    fn take_candidate(&mut self) -> Option<Box<Item>> {
        match self.turn(&self.held) {
            Some(index) => self.held.remove(index),
            None => self.take_ready(),
        }
    }

    fn fire_candidate(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(item) = self.take_candidate() else {
            return;
        };
        let reason = match item.tries {
            0 => item.reason.clone(),
            tries => format!("{}; try {}", item.reason, tries + 1),
        };
        let claim = self.claim(&item, Outcome::Fired, reason, None, now);
        effects.push(Effect::Fire(Box::new(claim)));
        self.busy = Busy::Firing(item);
    }

    /// The host told what is under way.
    pub(super) fn looked(
        &mut self,
        looked: Result<Situation, Error>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.busy, Busy::Looking) {
            return;
        }
        self.busy = Busy::Idle;
        if !self.has_candidate() {
            return;
        }
        match looked {
            Ok(situation) => self.weigh(&situation, now, effects),
            Err(error) if self.turn(&self.held).is_some() => {
                let id = self.settings.id.as_str();
                tracing::warn!(trigger.id = id, error = %error, "cannot see what is under way");
                self.look_again(now);
            }
            Err(error) => {
                if let Some(item) = self.take_ready() {
                    self.failed(item, error, now, effects);
                }
            }
        }
    }

    fn weigh(&mut self, situation: &Situation, now: Timestamp, effects: &mut Vec<Effect>) {
        self.looks_failed = 0;
        self.original_over = !situation.original_pending && !situation.original_running;
        let blockers = self.blockers(situation);
        let Some(first) = blockers.first().cloned() else {
            return self.fire_candidate(now, effects);
        };
        let overlap = self.settings.policies.overlap;
        if overlap != Overlap::Skip || self.turn(&self.held).is_some() {
            if overlap == Overlap::CancelRunning {
                effects.push(Effect::Cancel(blockers));
            }
            self.awaited = Some(first.clone());
            effects.push(Effect::Await(first.clone()));
        }
        self.decide_while_waiting(&first, now, effects);
    }

    /// What a firing has to wait for.
    fn blockers(&self, situation: &Situation) -> Vec<DispatchId> {
        if situation.original_pending {
            return Vec::new();
        }
        let original = situation.original_running.then(|| self.settings.original.clone());
        let running: &[DispatchId] = match self.settings.policies.overlap {
            Overlap::Allow => &[],
            Overlap::Skip | Overlap::QueueOne | Overlap::QueueAll | Overlap::CancelRunning => {
                &situation.running
            }
        };
        original.into_iter().chain(running.iter().cloned()).collect()
    }

    /// Decides about what is ready while `blocker` is under way.
    fn decide_while_waiting(
        &mut self,
        blocker: &DispatchId,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mut item) = self.take_ready() else {
            return;
        };
        let decision = match self.verdict(&item, blocker) {
            Ok(why) => {
                item.note = Some(why);
                Decision::Hold(item)
            }
            Err(why) => {
                item.skip = Some(why);
                Decision::Skip(item)
            }
        };
        self.decide(vec![decision], now, effects);
    }

    /// Why an item waits, or, as the error, why it is skipped.
    fn verdict(&self, item: &Item, blocker: &DispatchId) -> Result<String, String> {
        let repeats =
            self.settings.repeats && matches!(item.origin, Origin::Tick | Origin::Observed);
        let one_waits = !self.held.is_empty();
        if self.held.len() >= HELD_MAX {
            return Err(format!("{HELD_MAX} firings wait already"));
        }
        match self.settings.policies.overlap {
            Overlap::Allow if repeats && one_waits => {
                Err("the original is under way and one firing waits for its end".to_owned())
            }
            Overlap::Allow => Ok("waits until the original has ended".to_owned()),
            Overlap::Skip => Err(format!("dispatch {blocker} is under way")),
            Overlap::QueueOne if one_waits => {
                Err(format!("dispatch {blocker} is under way and one firing waits already"))
            }
            Overlap::QueueOne | Overlap::QueueAll => {
                Ok(format!("waits until dispatch {blocker} has ended"))
            }
            Overlap::CancelRunning => {
                Ok(format!("waits until dispatch {blocker}, which is cancelled, has ended"))
            }
        }
    }

    /// What was awaited has ended; the held ones are looked at again.
    pub(super) fn ended(&mut self, ended: Result<(), Error>, now: Timestamp) {
        if self.awaited.take().is_some()
            && let Err(error) = ended
        {
            let id = self.settings.id.as_str();
            tracing::warn!(trigger.id = id, error = %error, "cannot wait for the end of a dispatch");
            self.look_again(now);
        }
    }

    /// What became of a firing.
    pub(super) fn fired(
        &mut self,
        fired: Result<DispatchId, Error>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let item = match std::mem::replace(&mut self.busy, Busy::Idle) {
            Busy::Firing(item) => item,
            other @ (Busy::Idle | Busy::Looking | Busy::Deciding(_) | Busy::Marking(_)) => {
                self.busy = other;
                return;
            }
        };
        match fired {
            Ok(dispatch) => effects.push(Effect::Settled(Firing {
                event_key: item.key,
                due_at: item.due,
                decided_at: now,
                outcome: Outcome::Fired,
                reason: item.reason,
                dispatch: Some(dispatch),
                next_try: None,
                payload: None,
            })),
            Err(error) => self.failed(item, error, now, effects),
        }
    }

    /// Writes that firing failed, and when it is tried again.
    fn failed(
        &mut self,
        mut item: Box<Item>,
        error: Error,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        item.tries += 1;
        let for_good = match error.kind() {
            ErrorKind::Invalid | ErrorKind::NotFound => true,
            ErrorKind::Malformed
            | ErrorKind::Conflict
            | ErrorKind::TooLarge
            | ErrorKind::Unauthenticated
            | ErrorKind::Forbidden
            | ErrorKind::TooMany
            | ErrorKind::Unavailable
            | ErrorKind::StorageFull
            | ErrorKind::Internal => item.tries >= TRIES_MAX,
        };
        item.note = Some(format!("try {}: {error}", item.tries));
        let decision = if for_good {
            Decision::Park(item)
        } else {
            let at = self.retry_at(&item, now);
            Decision::Retry(item, at)
        };
        self.decide(vec![decision], now, effects);
    }

    fn retry_at(&self, item: &Item, now: Timestamp) -> Timestamp {
        let name = format!("{}{}", self.settings.id, item.key);
        now.after(backoff(&name, item.tries, RETRY_FIRST, RETRY_LONGEST))
    }

    /// Sends decisions to the host.
    fn decide(&mut self, decisions: Vec<Decision>, now: Timestamp, effects: &mut Vec<Effect>) {
        let claims = decisions.iter().map(|decision| {
            let item = decision.item();
            self.claim(item, decision.outcome(), decision.reason(), decision.next_try(), now)
        });
        effects.push(Effect::Decide(claims.collect()));
        self.busy = Busy::Deciding(decisions);
    }

    /// What became of decisions.
    pub(super) fn decided(
        &mut self,
        decided: Result<(), Error>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let decisions = match std::mem::replace(&mut self.busy, Busy::Idle) {
            Busy::Deciding(decisions) => decisions,
            other @ (Busy::Idle | Busy::Looking | Busy::Firing(_) | Busy::Marking(_)) => {
                self.busy = other;
                return;
            }
        };
        for decision in decisions {
            match &decided {
                Ok(()) => self.recorded(decision, now, effects),
                Err(error) => self.unrecorded(decision, error, now, effects),
            }
        }
    }

    /// A decision is durable.
    fn recorded(&mut self, decision: Decision, now: Timestamp, effects: &mut Vec<Effect>) {
        let (outcome, next_try) = (decision.outcome(), decision.next_try());
        let (item, reason) = (decision.item(), decision.reason());
        effects.push(Effect::Settled(Firing {
            event_key: item.key.clone(),
            due_at: item.due,
            decided_at: now,
            outcome,
            reason,
            dispatch: None,
            next_try,
            payload: None,
        }));
        let recorded = |mut item: Box<Item>| {
            item.is_recorded = true;
            item.marks = Vec::new();
            item.payload = None;
            item
        };
        match decision {
            Decision::Skip(_) | Decision::Park(_) => {}
            Decision::Hold(item) => self.held.push_back(recorded(item)),
            Decision::Retry(item, at) => {
                self.later.insert((at, item.number), recorded(item));
            }
            Decision::Keep(kept) => {
                let same = |item: &&mut Box<Item>| item.number == kept.number;
                if let Some(item) = self.ready.iter_mut().find(same) {
                    item.is_recorded = true;
                    item.payload = None;
                }
            }
            Decision::Gather(gathered) => self.gathered(&gathered),
        }
    }

    /// The last call of an open batch has its row. It may have been overtaken meanwhile, and its
    /// batch may have been closed.
    fn gathered(&mut self, gathered: &Item) {
        if let Some(pending) = &mut self.pending
            && pending.last.number == gathered.number
        {
            pending.is_recorded = true;
            pending.last.is_recorded = true;
            pending.last.payload = None;
            return;
        }
        let mut items = self.ready.iter_mut().chain(self.later.values_mut());
        if let Some(item) = items.find(|item| item.number == gathered.number) {
            item.is_recorded = true;
            item.payload = None;
        }
    }

    /// A decision was not kept.
    fn unrecorded(
        &mut self,
        decision: Decision,
        error: &Error,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if self.phase == Phase::Stopped {
            // The rows that wait belong to a stopped trigger, which is not loaded again.
            return;
        }
        let call = decision.item().origin.is_call() && !decision.item().is_recorded;
        if call {
            effects.push(Effect::Refused(decision.item().key.clone(), error.clone()));
        }
        match decision {
            Decision::Keep(kept) => {
                self.ready.retain(|item| item.number != kept.number);
                if !kept.marks.is_empty() {
                    self.later.insert((self.retry_at(&kept, now), kept.number), kept);
                }
            }
            Decision::Gather(gathered) => self.ungathered(&gathered),
            // It may be the last one of a batch whose other events must not be lost with it.
            ref decision if call && decision.item().marks.is_empty() => {}
            Decision::Skip(mut item)
            | Decision::Hold(mut item)
            | Decision::Retry(mut item, _)
            | Decision::Park(mut item) => {
                item.tries += 1;
                let at = self.retry_at(&item, now);
                self.later.insert((at, item.number), item);
            }
        }
    }

    /// The last call of an open batch could not be kept, and its caller was told so. It stays in
    /// the batch, for which earlier calls were kept.
    fn ungathered(&mut self, gathered: &Item) {
        if let Some(pending) = &mut self.pending
            && pending.last.number == gathered.number
        {
            pending.is_recorded = true;
        }
    }

    /// After the stop, everything that waits is skipped.
    fn skip_all(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.ready.extend(std::mem::take(&mut self.later).into_values());
        self.ready.extend(self.held.drain(..));
        let rows = self.ready.len().min(ROWS_MAX);
        if rows == 0 {
            return;
        }
        let stop = |mut item: Box<Item>| {
            item.skip.get_or_insert_with(|| "the trigger was stopped".to_owned());
            Decision::Skip(item)
        };
        let decisions = self.ready.drain(..rows).map(stop).collect();
        self.decide(decisions, now, effects);
    }
}
