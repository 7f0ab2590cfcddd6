//! Calls that change something: registering, pausing, resuming, stopping, deleting, firing. Each
//! is durable before the machine hears of it, and those of one trigger come one after the other.

use std::sync::Arc;

use cov_core::ids::DispatchId;
use cov_core::trigger::{Firing, TriggerId, TriggerRecord, TriggerState};
use tokio::sync::oneshot;

use super::entry::Changing;
use super::handle::{Answer, Begun, Call, Command, Shown};
use super::jobs::{Done, Registered, guarded};
use super::watching::Begin;
use super::{Number, State};
use crate::machine::{Beginning, Input, Origin};
use crate::{Error, Trigger};

/// A change of the state of one trigger.
#[derive(Debug)]
pub(super) enum Change {
    Pause(Option<String>, Answer<()>),
    Resume(Answer<()>),
    /// The number is that of a [`Closing`].
    Stop(u64),
}

/// Triggers that have to be gone before somebody is answered.
#[derive(Debug)]
pub(super) struct Closing {
    left: usize,
    error: Option<Error>,
    /// What is removed from the host then.
    delete: Option<TriggerId>,
    answer: Answer<()>,
}

impl State {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Register(record, trigger, answer) => self.register(record, trigger, answer),
            Command::StopDispatches(dispatches, answer) => self.stop_all(&dispatches, answer),
            Command::SetState(id, state, note, answer) => self.set_state(id, state, note, answer),
            Command::Delete(id, answer) => self.delete(id, answer),
            Command::Fire(id, call, answer) => self.fire(id, call, answer),
            Command::Show(id, answer) => self.show(id, answer),
        }
    }

    fn register(
        &mut self,
        record: Box<TriggerRecord>,
        trigger: Arc<dyn Trigger>,
        answer: Answer<Begun>,
    ) {
        let host = Arc::clone(&self.host);
        self.jobs.spawn(async move {
            let kept = guarded(host.register(&record)).await;
            Done::Registered(Box::new(Registered { record, trigger, answer, kept }))
        });
    }

    pub(super) fn registered(&mut self, registered: Registered) {
        let Registered { record, trigger, answer, kept } = registered;
        let (watched, observes) = oneshot::channel();
        if kept.is_ok() {
            let number = self.add(&record, trigger, Beginning::default());
            if let Some(watch) = self.entries.get_mut(&number).and_then(|new| new.watch.as_mut()) {
                watch.first_look = Some(watched);
            }
            self.begin_watch(number, Begin::New);
            tracing::info!(
                trigger.id = record.id.as_str(),
                trigger.name = record.name,
                dispatch.id = record.lattice_dispatch_id.as_str(),
                "trigger registered"
            );
        }
        drop(answer.send(kept.map(|()| Begun { record: *record, observes })));
    }

    fn set_state(
        &mut self,
        id: TriggerId,
        state: TriggerState,
        note: Option<String>,
        answer: Answer<()>,
    ) {
        let Some(&number) = self.numbers.get(&id) else {
            let repeated = state == TriggerState::Stopped;
            return self.answer_about_missing(id, answer, move |_id| {
                if repeated { Ok(()) } else { Err(stopped()) }
            });
        };
        let change = match state {
            TriggerState::Paused => Change::Pause(note, answer),
            TriggerState::Active => Change::Resume(answer),
            TriggerState::Stopped => Change::Stop(self.closing(1, None, answer)),
        };
        self.change(number, change);
    }

    fn stop_all(&mut self, dispatches: &[DispatchId], answer: Answer<()>) {
        let of = |dispatch: &DispatchId| {
            let all = (dispatch.clone(), Number::MIN)..=(dispatch.clone(), Number::MAX);
            self.by_dispatch.range(all).map(|(_, number)| *number).collect::<Vec<_>>()
        };
        let mut numbers: Vec<Number> = dispatches.iter().flat_map(of).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() {
            drop(answer.send(Ok(())));
            return;
        }
        let closing = self.closing(numbers.len(), None, answer);
        for number in numbers {
            self.change(number, Change::Stop(closing));
        }
    }

    fn delete(&mut self, id: TriggerId, answer: Answer<()>) {
        match self.numbers.get(&id) {
            Some(&number) => {
                let closing = self.closing(1, Some(id), answer);
                self.change(number, Change::Stop(closing));
            }
            None => self.delete_record(id, answer),
        }
    }

    fn delete_record(&mut self, id: TriggerId, answer: Answer<()>) {
        let host = Arc::clone(&self.host);
        self.jobs.spawn(async move {
            let deleted = match guarded(host.record(&id)).await {
                Ok(Some(_)) => guarded(host.delete(&id)).await,
                Ok(None) => Err(unknown(&id)),
                Err(error) => Err(error),
            };
            drop(answer.send(deleted));
            Done::Nothing
        });
    }

    fn closing(&mut self, left: usize, delete: Option<TriggerId>, answer: Answer<()>) -> u64 {
        self.closings_made += 1;
        let closing = Closing { left, error: None, delete, answer };
        self.closings.insert(self.closings_made, closing);
        self.closings_made
    }

    /// Makes the change durable, after those that came before.
    fn change(&mut self, number: Number, change: Change) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return self.too_late(change);
        };
        let changing = entry.changing.get_or_insert_default();
        if std::mem::replace(&mut changing.is_writing, true) {
            changing.waiting.push_back(change);
            return;
        }
        let (host, id) = (Arc::clone(&self.host), entry.id.clone());
        self.jobs.spawn(async move {
            let (state, note) = match &change {
                Change::Pause(note, _) => (TriggerState::Paused, note.clone()),
                Change::Resume(_) => (TriggerState::Active, None),
                Change::Stop(_) => (TriggerState::Stopped, None),
            };
            let set = guarded(host.set_state(&id, state, note.as_deref())).await;
            Done::StateSet(number, change, set)
        });
    }

    /// A change is durable, or failed.
    pub(super) fn changed(&mut self, number: Number, change: Change, set: Result<(), Error>) {
        if let Some(changing) = self.changing(number) {
            changing.is_writing = false;
        }
        match (change, set) {
            (Change::Pause(_, answer), set) => {
                if set.is_ok() {
                    self.end_watch(number);
                    self.apply(number, Input::Pause);
                }
                drop(answer.send(set));
            }
            (Change::Resume(answer), set) => {
                if set.is_ok() {
                    self.resume(number);
                }
                drop(answer.send(set));
            }
            (Change::Stop(closing), Ok(())) => {
                self.end_watch(number);
                if let Some(changing) = self.changing(number) {
                    changing.closings.push(closing);
                    self.apply(number, Input::Stop);
                } else {
                    self.closed(closing, None);
                }
            }
            (Change::Stop(closing), Err(error)) => self.closed(closing, Some(error)),
        }
        let next = self.changing(number).and_then(|changing| changing.waiting.pop_front());
        if let Some(next) = next {
            return self.change(number, next);
        }
        if let Some(entry) = self.entries.get_mut(&number) {
            // Who waits until the trigger is gone still waits.
            entry.changing = entry.changing.take().filter(|left| !left.closings.is_empty());
        }
    }

    fn changing(&mut self, number: Number) -> Option<&mut Changing> {
        self.entries.get_mut(&number)?.changing.as_deref_mut()
    }

    fn resume(&mut self, number: Number) {
        let entry = self.entries.get(&number);
        let was_paused = entry.is_some_and(|entry| entry.machine.is_paused());
        if was_paused {
            self.apply(number, Input::Resume);
            self.begin_watch(number, Begin::AfterAbsence);
        }
    }

    /// Removes an entry that was stopped and has nothing under way any more.
    pub(super) fn remove_if_at_rest(&mut self, number: Number) {
        if !self.entries.get(&number).is_some_and(|entry| entry.machine.is_at_rest()) {
            return;
        }
        let Some(mut entry) = self.remove(number) else {
            return;
        };
        let changing = entry.changing.take().unwrap_or_default();
        for change in changing.waiting {
            self.too_late(change);
        }
        for closing in changing.closings {
            self.closed(closing, None);
        }
        self.callers.retain(|(of, _), _| *of != number);
        tracing::info!(trigger.id = entry.id.as_str(), "trigger stopped");
    }

    /// A change of a trigger that was stopped meanwhile.
    fn too_late(&mut self, change: Change) {
        match change {
            Change::Pause(_, answer) | Change::Resume(answer) => drop(answer.send(Err(stopped()))),
            Change::Stop(closing) => self.closed(closing, None),
        }
    }

    /// One of those that somebody waits for is gone, or could not be stopped.
    fn closed(&mut self, number: u64, error: Option<Error>) {
        let Some(closing) = self.closings.get_mut(&number) else {
            return;
        };
        closing.left = closing.left.saturating_sub(1);
        closing.error = closing.error.take().or(error);
        if closing.left > 0 {
            return;
        }
        let Some(closing) = self.closings.remove(&number) else {
            return;
        };
        match (closing.error, closing.delete) {
            (Some(error), _) => drop(closing.answer.send(Err(error))),
            (None, Some(id)) => self.delete_record(id, closing.answer),
            (None, None) => drop(closing.answer.send(Ok(()))),
        }
    }

    fn fire(&mut self, id: TriggerId, call: Call, answer: Answer<Firing>) {
        let Some(&number) = self.numbers.get(&id) else {
            return self.answer_about_missing(id, answer, |_id| Err(stopped()));
        };
        let key = call.event.key.clone();
        self.callers.entry((number, key.clone())).or_default().push(answer);
        let knows = self.entries.get(&number).is_some_and(|entry| entry.machine.knows(&key));
        if !knows {
            let origin = if call.by_hand { Origin::ByHand } else { Origin::Called };
            self.apply(number, Input::Happened(call.event, origin));
        }
    }

    fn show(&mut self, id: TriggerId, answer: Answer<Shown>) {
        let entry = self.numbers.get(&id).and_then(|number| self.entries.get(number));
        match entry {
            Some(entry) => {
                let shown = Shown {
                    trigger: entry.trigger.clone(),
                    schedule: entry.machine.schedule(),
                    created_at: entry.created_at,
                };
                drop(answer.send(Ok(shown)));
            }
            None => self.answer_about_missing(id, answer, |_id| Err(stopped())),
        }
    }

    /// Answers about a trigger that is not here: it was stopped, or there is none of that id.
    fn answer_about_missing<T: Send + 'static>(
        &mut self,
        id: TriggerId,
        answer: Answer<T>,
        when_stopped: impl FnOnce(&TriggerId) -> Result<T, Error> + Send + 'static,
    ) {
        let host = Arc::clone(&self.host);
        self.jobs.spawn(async move {
            let answered = match guarded(host.record(&id)).await {
                Ok(Some(_)) => when_stopped(&id),
                Ok(None) => Err(unknown(&id)),
                Err(error) => Err(error),
            };
            drop(answer.send(answered));
            Done::Nothing
        });
    }
}

fn stopped() -> Error {
    Error::Conflict("the trigger was stopped".to_owned())
}

fn unknown(id: &TriggerId) -> Error {
    Error::NotFound(format!("there is no trigger {id}"))
}
