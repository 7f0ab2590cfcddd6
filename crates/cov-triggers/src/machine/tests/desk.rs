//! A desk from which tests drive one machine: a host that answers at once, or later, and writes
//! down what was decided.

use std::sync::Arc;
use std::time::Duration;

use cov_core::time::Timestamp;
use cov_core::trigger::Outcome;

use super::super::{Beginning, Effect, Input, Machine, Origin, Settings};
use crate::host::{Claim, Situation};
use crate::policies::Policies;
use crate::trigger::Schedule;
use crate::{Error, Event};

/// A tick every `n` seconds.
#[derive(Debug)]
pub(super) struct Every(i64);

impl Schedule for Every {
    fn next(&self, _created_at: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let gap = self.0 * 1_000_000;
        Some(Timestamp::from_micros((after.as_micros().div_euclid(gap) + 1) * gap))
    }
}

pub(super) fn at(seconds: f64) -> Timestamp {
    Timestamp::from_micros(0).after(Duration::from_secs_f64(seconds))
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn settings(policies: Policies) -> Settings {
    Settings {
        id: "t-1".parse().unwrap(),
        original: "d-0".parse().unwrap(),
        created_at: at(0.0),
        schedule: None,
        policies: Arc::new(policies),
        repeats: false,
        events_per_firing: 1,
        observed: true,
    }
}

pub(super) fn ticking(every: i64, policies: Policies) -> Settings {
    Settings {
        schedule: Some(Arc::new(Every(every))),
        repeats: true,
        observed: false,
        ..settings(policies)
    }
}

/// Drives a machine with a host that answers at once, and writes down what was decided.
pub(super) struct Desk {
    pub(super) machine: Machine,
    pub(super) now: Timestamp,
    pub(super) situation: Situation,
    pub(super) fails: Option<Error>,
    pub(super) rows: Vec<(String, Outcome, String)>,
    pub(super) awaited: Vec<String>,
    pub(super) cancelled: Vec<String>,
    pub(super) refused: Vec<String>,
    pub(super) decided_until: Timestamp,
    pub(super) marks: Vec<String>,
    /// While set, questions and firings stay unanswered.
    pub(super) holds: bool,
    pub(super) held: Vec<Effect>,
    pub(super) made: u32,
}

impl Desk {
    pub(super) fn new(settings: Settings) -> Self {
        Self::begin(settings, at(0.0), Beginning::default(), at(0.0))
    }

    pub(super) fn begin(
        settings: Settings,
        until: Timestamp,
        beginning: Beginning,
        now: Timestamp,
    ) -> Self {
        let mut desk = Self {
            machine: Machine::new(settings, until, beginning, now),
            now,
            situation: Situation::default(),
            fails: None,
            rows: Vec::new(),
            awaited: Vec::new(),
            cancelled: Vec::new(),
            refused: Vec::new(),
            decided_until: until,
            marks: Vec::new(),
            holds: false,
            held: Vec::new(),
            made: 0,
        };
        desk.tell(Input::Wake);
        desk
    }

    pub(super) fn tell(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.machine.apply(input, self.now, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
    }

    pub(super) fn perform(&mut self, effect: Effect) {
        if self.holds && matches!(effect, Effect::Look | Effect::Fire(_) | Effect::Decide(_)) {
            self.held.push(effect);
            return;
        }
        match effect {
            Effect::Look => self.tell(Input::Looked(Ok(self.situation.clone()))),
            Effect::Fire(claim) => match self.fails.clone() {
                Some(error) => self.tell(Input::Fired(Err(error))),
                None => {
                    self.keep(&claim);
                    self.made += 1;
                    let made = format!("d-{}", self.made).parse().unwrap();
                    self.tell(Input::Fired(Ok(made)));
                }
            },
            Effect::Decide(claims) => {
                claims.iter().for_each(|claim| self.keep(claim));
                self.tell(Input::Decided(Ok(())));
            }
            Effect::SetMarks(marks) => {
                self.marks.extend(marks.into_iter().map(|(name, _)| name));
                self.tell(Input::MarksSet(Ok(())));
            }
            Effect::Await(dispatch) => self.awaited.push(dispatch.to_string()),
            Effect::Cancel(ids) => self.cancelled.extend(ids.iter().map(ToString::to_string)),
            Effect::Settled(_) => {}
            Effect::Refused(key, _) => self.refused.push(key),
        }
    }

    pub(super) fn release(&mut self) {
        self.holds = false;
        for effect in std::mem::take(&mut self.held) {
            self.perform(effect);
        }
    }

    pub(super) fn keep(&mut self, claim: &Claim) {
        self.decided_until = claim.decided_until;
        self.marks.extend(claim.marks.iter().map(|(name, _)| name.clone()));
        let firing = &claim.firing;
        self.rows.push((firing.event_key.clone(), firing.outcome, firing.reason.clone()));
    }

    /// Lets time pass, waking the machine whenever it wants to be.
    pub(super) fn pass_until(&mut self, until: Timestamp) {
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= until) {
            assert!(deadline >= self.now, "woken in the past");
            self.now = deadline;
            self.tell(Input::Wake);
        }
        self.now = until;
    }

    pub(super) fn event(&mut self, key: &str) {
        let event = Event {
            key: key.to_owned(),
            at: self.now,
            detail: format!("{key} came"),
            marks: vec![(key.to_owned(), None)],
            payload: None,
        };
        self.tell(Input::Happened(event, Origin::Observed));
    }

    pub(super) fn call(&mut self, key: &str, origin: Origin) {
        let event = Event {
            key: key.to_owned(),
            at: self.now,
            detail: "called".to_owned(),
            marks: Vec::new(),
            payload: Some("body".into()),
        };
        self.tell(Input::Happened(event, origin));
    }

    /// The rows since the last call, as `fired a, skipped b`.
    pub(super) fn rows(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        let shown =
            rows.iter().map(|(key, outcome, _)| format!("{outcome:?} {key}").to_lowercase());
        shown.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn reasons(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        rows.into_iter().map(|(_, _, reason)| reason).collect::<Vec<_>>().join(" | ")
    }
}
