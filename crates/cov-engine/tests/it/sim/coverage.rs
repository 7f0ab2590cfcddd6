//! What simulations have seen, so that a test can tell that they still see everything.

use cov_engine::effect::Effect;
use cov_engine::event::Event;
use cov_engine::machine::{Reject, Step};

pub(crate) const EVENTS: [&str; 13] = [
    "start",
    "restarted",
    "granted",
    "begun",
    "not begun",
    "lost",
    "ended",
    "time limit",
    "retry due",
    "cancel",
    "linked",
    "build refused",
    "child ended",
];
pub(crate) const OUTCOMES: [&str; 4] = ["applied", "duplicate", "stale", "illegal"];
pub(crate) const EFFECTS: [&str; 10] = [
    "enqueue",
    "submit",
    "attach",
    "kill",
    "start timer",
    "retry",
    "start child",
    "import child",
    "cancel child",
    "finish",
];

/// How often each event had each outcome, and each effect was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage {
    pub(crate) events: [[u64; OUTCOMES.len()]; EVENTS.len()],
    pub(crate) effects: [u64; EFFECTS.len()],
}

impl Coverage {
    /// Counts one step.
    pub(crate) fn count(&mut self, event: &Event, outcome: &Result<Step, Reject>) {
        let column = match outcome {
            Ok(_) => 0,
            Err(Reject::Duplicate) => 1,
            Err(Reject::Stale { .. }) => 2,
            Err(Reject::Illegal { .. } | Reject::UnknownNode { .. }) => 3,
        };
        self.events[row(event)][column] += 1;
        for effect in outcome.iter().flat_map(|step| &step.effects) {
            self.effects[effect_index(effect)] += 1;
        }
    }

    /// Adds what another simulation saw.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sums, counts) in self.events.iter_mut().zip(&other.events) {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self.effects.iter_mut().zip(&other.effects).for_each(|(sum, count)| *sum += count);
    }

    /// As a table to read.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, counts) in EVENTS.iter().zip(&self.events) {
            text.push_str(&format!("{name:14}"));
            for (outcome, count) in OUTCOMES.iter().zip(counts) {
                text.push_str(&format!(" {outcome} {count:<9}"));
            }
            text.push('\n');
        }
        for (name, count) in EFFECTS.iter().zip(&self.effects) {
            text.push_str(&format!("{name} {count}\n"));
        }
        text
    }
}

/// The row of an event.
pub(crate) fn row(event: &Event) -> usize {
    match event {
        Event::Start => 0,
        Event::Restarted { .. } => 1,
        Event::Granted { .. } => 2,
        Event::Begun { .. } => 3,
        Event::NotBegun { .. } => 4,
        Event::Lost { .. } => 5,
        Event::Ended { .. } => 6,
        Event::TimeLimit { .. } => 7,
        Event::RetryDue { .. } => 8,
        Event::Cancel { .. } => 9,
        Event::Linked { .. } => 10,
        Event::BuildRefused { .. } => 11,
        Event::ChildEnded { .. } => 12,
    }
}

fn effect_index(effect: &Effect) -> usize {
    match effect {
        Effect::Enqueue { .. } => 0,
        Effect::Submit { .. } => 1,
        Effect::Attach { .. } => 2,
        Effect::Kill { .. } => 3,
        Effect::StartTimer { .. } => 4,
        Effect::Retry { .. } => 5,
        Effect::StartChild { .. } => 6,
        Effect::ImportChild { .. } => 7,
        Effect::CancelChild { .. } => 8,
        Effect::Finish { .. } => 9,
    }
}
