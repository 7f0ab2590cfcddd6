use std::sync::Arc;
use std::time::Duration;

use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, Outcome};

use super::{Beginning, Effect, Input, Machine, Origin, Settings};
use crate::host::{Claim, Situation};
use crate::policies::{CatchUp, Debounce, Overlap, Policies};
use crate::trigger::Schedule;
use crate::{Error, Event};

/// A tick every `n` seconds.
#[derive(Debug)]
struct Every(i64);

impl Schedule for Every {
    fn next(&self, _created_at: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let gap = self.0 * 1_000_000;
        Some(Timestamp::from_micros((after.as_micros().div_euclid(gap) + 1) * gap))
    }
}

pub(super) fn at(seconds: f64) -> Timestamp {
    Timestamp::from_micros(0).after(Duration::from_secs_f64(seconds))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(policies: Policies) -> Settings {
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

fn ticking(every: i64, policies: Policies) -> Settings {
    Settings {
        schedule: Some(Arc::new(Every(every))),
        repeats: true,
        observed: false,
        ..settings(policies)
    }
}

/// Drives a machine with a host that answers at once, and writes down what was decided.
struct Desk {
    machine: Machine,
    now: Timestamp,
    situation: Situation,
    fails: Option<Error>,
    rows: Vec<(String, Outcome, String)>,
    awaited: Vec<String>,
    cancelled: Vec<String>,
    refused: Vec<String>,
    decided_until: Timestamp,
    marks: Vec<String>,
    /// While set, questions and firings stay unanswered.
    holds: bool,
    held: Vec<Effect>,
    made: u32,
}

impl Desk {
    fn new(settings: Settings) -> Self {
        Self::begin(settings, at(0.0), Beginning::default(), at(0.0))
    }

    fn begin(settings: Settings, until: Timestamp, beginning: Beginning, now: Timestamp) -> Self {
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

    fn tell(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.machine.apply(input, self.now, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
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

    fn release(&mut self) {
        self.holds = false;
        for effect in std::mem::take(&mut self.held) {
            self.perform(effect);
        }
    }

    fn keep(&mut self, claim: &Claim) {
        self.decided_until = claim.decided_until;
        self.marks.extend(claim.marks.iter().map(|(name, _)| name.clone()));
        let firing = &claim.firing;
        self.rows.push((firing.event_key.clone(), firing.outcome, firing.reason.clone()));
    }

    /// Lets time pass, waking the machine whenever it wants to be.
    fn pass_until(&mut self, until: Timestamp) {
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= until) {
            assert!(deadline >= self.now, "woken in the past");
            self.now = deadline;
            self.tell(Input::Wake);
        }
        self.now = until;
    }

    fn event(&mut self, key: &str) {
        let event = Event {
            key: key.to_owned(),
            at: self.now,
            detail: format!("{key} came"),
            marks: vec![(key.to_owned(), None)],
            payload: None,
        };
        self.tell(Input::Happened(event, Origin::Observed));
    }

    fn call(&mut self, key: &str, origin: Origin) {
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
    fn rows(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        let shown =
            rows.iter().map(|(key, outcome, _)| format!("{outcome:?} {key}").to_lowercase());
        shown.collect::<Vec<_>>().join(", ")
    }

    fn reasons(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        rows.into_iter().map(|(_, _, reason)| reason).collect::<Vec<_>>().join(" | ")
    }
}

#[test]
fn ticks_fire_on_their_grid_one_after_the_other() {
    let mut desk = Desk::new(ticking(2, Policies::default()));
    desk.pass_until(at(7.0));
    assert_eq!(desk.rows(), "fired tick:2000000, fired tick:4000000, fired tick:6000000");
    assert_eq!(desk.decided_until, at(6.0));
    assert_eq!(desk.machine.deadline(), Some(at(8.0)));
}

#[test]
fn a_tick_that_comes_while_firing_is_slow_is_not_lost() {
    let mut desk = Desk::new(ticking(2, Policies::default()));
    desk.holds = true;
    desk.pass_until(at(6.5));
    assert_eq!(desk.rows(), "");
    desk.release();
    assert_eq!(desk.rows(), "fired tick:2000000, fired tick:4000000, fired tick:6000000");
}

#[test]
fn missed_ticks_follow_the_catch_up_policy() {
    for (catch_up, expected) in [
        (CatchUp::None, "skipped missed:2000000-6000000"),
        (CatchUp::Last, "skipped missed:2000000-6000000, fired tick:6000000"),
        (CatchUp::All, "fired tick:2000000, fired tick:4000000, fired tick:6000000"),
    ] {
        let policies = Policies { catch_up: Some(catch_up), ..Policies::default() };
        let mut desk = Desk::begin(ticking(2, policies), at(0.0), Beginning::default(), at(7.0));
        assert_eq!(desk.rows(), expected, "{catch_up:?}");
        assert_eq!(desk.decided_until, at(6.0));
        desk.pass_until(at(8.0));
        assert_eq!(desk.rows(), "fired tick:8000000", "{catch_up:?}");
    }
    let mut desk =
        Desk::begin(ticking(2, Policies::default()), at(0.0), Beginning::default(), at(7.0));
    assert_eq!(desk.reasons(), "3 ticks were missed while the server was down");
}

#[test]
fn a_pause_is_an_absence_too() {
    let mut desk = Desk::new(ticking(2, Policies::default()));
    desk.pass_until(at(2.0));
    desk.tell(Input::Pause);
    assert_eq!(desk.machine.deadline(), None);
    desk.pass_until(at(9.0));
    desk.rows();
    desk.tell(Input::Resume);
    assert_eq!(desk.reasons(), "3 ticks were missed while it was paused");
    desk.pass_until(at(10.0));
    assert_eq!(desk.rows(), "fired tick:10000000");
}

#[test]
fn a_clock_that_jumps_ahead_misses_ticks_and_one_that_is_set_back_goes_on() {
    let mut desk = Desk::new(ticking(2, Policies::default()));
    desk.now = at(1_001.0);
    desk.tell(Input::Wake);
    assert_eq!(desk.reasons(), "500 ticks were missed while nobody looked at the clock");
    desk.now = at(500.5);
    desk.tell(Input::ClockSetBack);
    assert_eq!(desk.machine.deadline(), Some(at(502.0)));
    desk.pass_until(at(502.0));
    assert_eq!(desk.rows(), "fired tick:502000000");
}

#[test]
fn batches_count_and_time_out() {
    let timeout = Policies { batch_timeout: Some(seconds(10)), ..Policies::default() };
    let mut desk = Desk::new(Settings { events_per_firing: 3, ..settings(timeout) });
    for key in ["a", "b", "c", "d"] {
        desk.event(key);
    }
    assert_eq!(desk.rows(), "fired c");
    assert_eq!(desk.marks, ["a", "b", "c"]);
    desk.pass_until(at(10.0));
    assert_eq!(desk.reasons(), "1 of 3 events came in time; the last: d came");
    assert_eq!(desk.machine.deadline(), None);
}

#[test]
fn debounce_waits_for_quiet_but_not_for_ever() {
    let debounce = Some(Debounce { quiet: seconds(2), max_wait: seconds(5) });
    let mut desk = Desk::new(settings(Policies { debounce, ..Policies::default() }));
    desk.event("a");
    desk.pass_until(at(1.0));
    desk.event("b");
    desk.pass_until(at(2.9));
    assert_eq!(desk.rows(), "");
    desk.pass_until(at(3.0));
    assert_eq!(desk.reasons(), "2 events; the last: b came");
    for step in 0..8 {
        desk.pass_until(at(10.0 + f64::from(step)));
        desk.event(&format!("e{step}"));
    }
    assert_eq!(desk.rows(), "fired e4", "a steady stream fires after the longest wait");
}

#[test]
fn calls_under_debounce_are_durable_before_they_are_answered() {
    let debounce = Some(Debounce { quiet: seconds(2), max_wait: seconds(5) });
    let policies = Policies { debounce, ..Policies::default() };
    let mut desk = Desk::new(Settings { observed: false, ..settings(policies) });
    desk.call("a", Origin::Called);
    desk.call("b", Origin::Called);
    assert_eq!(desk.rows(), "queued a, skipped a, queued b");
    desk.pass_until(at(2.0));
    assert_eq!(desk.rows(), "fired b");
}

#[test]
fn jitter_is_the_same_for_the_same_event() {
    let policies = Policies { jitter: seconds(1), ..Policies::default() };
    let times = |_| {
        let mut desk = Desk::new(ticking(2, policies));
        let mut times = Vec::new();
        while times.len() < 4 {
            let deadline = desk.machine.deadline().unwrap();
            desk.pass_until(deadline);
            if !desk.rows().is_empty() {
                times.push(desk.now);
            }
        }
        times
    };
    let first: Vec<Timestamp> = times(0);
    assert_eq!(first, times(1));
    for (index, fired_at) in first.iter().enumerate() {
        let due = at(2.0).after(seconds(2) * u32::try_from(index).unwrap());
        assert!(fired_at.since(due) <= seconds(1) && *fired_at >= due);
    }
}

fn under_way(original: bool, running: &[&str]) -> Situation {
    Situation {
        original_pending: false,
        original_running: original,
        running: running.iter().map(|id| id.parse().unwrap()).collect(),
    }
}

#[test]
fn overlap_policies_meet_what_is_under_way() {
    let cases = [
        (Overlap::Allow, "fired a, fired b, fired c", ""),
        (Overlap::Skip, "skipped a, skipped b, skipped c", ""),
        (Overlap::QueueOne, "queued a, skipped b, skipped c", "fired a"),
        (Overlap::QueueAll, "queued a, queued b, queued c", "fired a, fired b, fired c"),
        (Overlap::CancelRunning, "queued a, queued b, queued c", "fired a, fired b, fired c"),
    ];
    for (overlap, meanwhile, afterwards) in cases {
        let mut desk = Desk::new(settings(Policies { overlap, ..Policies::default() }));
        desk.situation = under_way(false, &["r-1"]);
        for key in ["a", "b", "c"] {
            desk.event(key);
        }
        assert_eq!(desk.rows(), meanwhile, "{overlap:?}");
        let cancels: &[&str] = if overlap == Overlap::CancelRunning { &["r-1"] } else { &[] };
        assert_eq!(desk.cancelled, cancels, "{overlap:?}");
        desk.situation = Situation::default();
        if !desk.awaited.is_empty() {
            desk.tell(Input::Ended(Ok(())));
        }
        assert_eq!(desk.rows(), afterwards, "{overlap:?}");
    }
}

#[test]
fn while_the_original_runs_one_tick_waits_and_every_file_does() {
    let mut desk = Desk::new(ticking(2, Policies::default()));
    desk.situation = under_way(true, &[]);
    desk.pass_until(at(6.0));
    assert_eq!(desk.rows(), "queued tick:2000000, skipped tick:4000000, skipped tick:6000000");
    desk.call("m", Origin::ByHand);
    assert_eq!(desk.rows(), "queued m", "a call by hand says something of its own");
    desk.situation = Situation::default();
    desk.tell(Input::Ended(Ok(())));
    assert_eq!(desk.rows(), "fired tick:2000000, fired m");

    let mut desk = Desk::new(settings(Policies::default()));
    desk.situation = under_way(true, &[]);
    desk.event("a");
    desk.event("b");
    assert_eq!((desk.rows().as_str(), desk.awaited.len()), ("queued a, queued b", 1));
}

#[test]
fn an_original_that_never_ran_fires_under_every_policy() {
    for overlap in [Overlap::Allow, Overlap::Skip, Overlap::QueueOne, Overlap::CancelRunning] {
        let mut desk = Desk::new(settings(Policies { overlap, ..Policies::default() }));
        desk.situation = Situation { original_pending: true, ..Situation::default() };
        desk.event("a");
        assert_eq!(desk.rows(), "fired a");
    }
}

#[test]
fn what_fails_is_tried_again_and_parked_in_the_end() {
    let mut desk = Desk::new(ticking(1_000_000, Policies::default()));
    desk.fails = Some(Error::Unavailable("the disk is full".to_owned()));
    desk.call("m", Origin::ByHand);
    assert_eq!(desk.reasons(), "try 1: the disk is full");
    desk.fails = None;
    desk.pass_until(at(1.0));
    assert_eq!(desk.reasons(), "called; try 2");

    desk.fails = Some(Error::Unavailable("the disk is full".to_owned()));
    desk.call("n", Origin::ByHand);
    desk.pass_until(at(100_000.0));
    assert_eq!(desk.rows.len(), 20);
    assert!(desk.reasons().ends_with("try 20: the disk is full"));

    desk.fails = Some(Error::NotFound("the dispatch is gone".to_owned()));
    desk.call("o", Origin::ByHand);
    desk.pass_until(at(200_000.0));
    assert_eq!(desk.reasons(), "try 1: the dispatch is gone", "this cannot get better");
}

#[test]
fn a_tick_without_a_row_stays_open() {
    let mut desk = Desk::new(ticking(2, Policies::default()));
    desk.holds = true;
    desk.pass_until(at(2.0));
    desk.held.clear();
    desk.holds = false;
    desk.tell(Input::Looked(Err(Error::Unavailable("down".to_owned()))));
    assert_eq!(desk.rows(), "failed tick:2000000");
    assert_eq!(desk.decided_until, at(2.0), "its row says that it waits");

    let mut desk = Desk::new(ticking(2, Policies::default()));
    desk.pass_until(at(2.0));
    desk.holds = true;
    desk.pass_until(at(4.0));
    desk.held.clear();
    desk.tell(Input::Fired(Err(Error::Unavailable("down".to_owned()))));
    desk.held.clear();
    desk.holds = false;
    desk.tell(Input::Decided(Err(Error::Unavailable("down".to_owned()))));
    desk.now = at(4.1);
    desk.call("m", Origin::ByHand);
    assert_eq!(desk.decided_until, Timestamp::from_micros(3_999_999), "it has no row yet");
}

#[test]
fn stop_skips_what_waits_and_nothing_fires_afterwards() {
    let mut desk = Desk::new(ticking(2, Policies::default()));
    desk.situation = under_way(true, &[]);
    desk.pass_until(at(2.0));
    desk.rows();
    desk.holds = true;
    desk.tell(Input::Ended(Ok(())));
    desk.tell(Input::Stop);
    assert!(!desk.machine.is_at_rest(), "a question is still open");
    desk.release();
    assert_eq!(desk.rows(), "skipped tick:2000000");
    assert!(desk.machine.is_at_rest());
    desk.pass_until(at(100.0));
    desk.event("late");
    desk.call("called late", Origin::Called);
    assert_eq!(desk.rows(), "");
    assert_eq!(desk.refused, ["called late"]);
    assert_eq!(desk.machine.deadline(), None);
}

#[test]
fn a_firing_that_has_begun_when_stop_comes_is_finished() {
    let mut desk = Desk::new(settings(Policies::default()));
    desk.event("a");
    desk.rows();
    desk.holds = true;
    desk.event("b");
    desk.event("c");
    desk.tell(Input::Stop);
    assert!(!desk.machine.is_at_rest());
    desk.release();
    assert_eq!(desk.rows(), "fired b, skipped c");
    assert!(desk.machine.is_at_rest());
}

#[test]
fn calls_during_a_pause_follow_the_catch_up_policy() {
    for (catch_up, meanwhile, afterwards) in [
        (CatchUp::None, "skipped a, skipped b", ""),
        (CatchUp::Last, "queued a, queued b", "skipped a, fired b"),
        (CatchUp::All, "queued a, queued b", "fired a, fired b"),
    ] {
        let policies = Policies { catch_up: Some(catch_up), ..Policies::default() };
        let mut desk = Desk::new(Settings { observed: false, ..settings(policies) });
        desk.tell(Input::Pause);
        desk.call("a", Origin::Called);
        desk.call("b", Origin::Called);
        assert_eq!(desk.rows(), meanwhile, "{catch_up:?}");
        desk.call("hand", Origin::ByHand);
        assert_eq!(desk.rows(), "fired hand");
        desk.tell(Input::Resume);
        assert_eq!(desk.rows(), afterwards, "{catch_up:?}");
    }
}

#[test]
fn of_what_an_observer_catches_up_only_the_last_counts_if_so_wanted() {
    let policies = Policies { catch_up: Some(CatchUp::Last), ..Policies::default() };
    let beginning = Beginning { resumes: true, ..Beginning::default() };
    let mut desk = Desk::begin(settings(policies), at(0.0), beginning, at(5.0));
    for key in ["a", "b", "c"] {
        desk.event(key);
    }
    assert_eq!(desk.rows(), "");
    desk.tell(Input::CaughtUp);
    assert_eq!(desk.rows(), "skipped earlier:c, fired c");
    assert_eq!(desk.marks, ["a", "b", "c"]);
    desk.event("d");
    assert_eq!(desk.rows(), "fired d");
}

#[test]
fn rows_that_waited_are_taken_up() {
    let row = |key: &str, outcome, next_try| Firing {
        event_key: key.to_owned(),
        due_at: at(1.0),
        decided_at: at(1.0),
        outcome,
        reason: "waits".to_owned(),
        dispatch: None,
        next_try,
        payload: None,
    };
    let waiting = vec![row("q", Outcome::Queued, None), row("f", Outcome::Failed, Some(at(9.0)))];
    let beginning = Beginning { waiting, ..Beginning::default() };
    let mut desk = Desk::begin(settings(Policies::default()), at(1.0), beginning, at(5.0));
    assert_eq!(desk.rows(), "fired q");
    desk.pass_until(at(9.0));
    assert_eq!(desk.rows(), "fired f");
}

#[test]
fn loose_marks_never_overtake_an_event() {
    let mut desk = Desk::new(settings(Policies::default()));
    desk.tell(Input::Marks(vec![("first look".to_owned(), None)]));
    assert_eq!(desk.marks, ["first look"]);
    desk.holds = true;
    desk.event("a");
    desk.tell(Input::Marks(vec![("loose".to_owned(), None)]));
    desk.event("b");
    let open: Vec<String> =
        desk.machine.undecided_marks().into_iter().map(|(name, _)| name).collect();
    assert_eq!(open, ["a", "loose", "b"]);
    desk.release();
    assert_eq!(desk.marks, ["first look", "a", "loose", "b"]);
    assert!(desk.machine.undecided_marks().is_empty());
}

#[test]
fn an_observer_that_is_ahead_has_to_wait_and_calls_are_refused() {
    let mut desk = Desk::new(settings(Policies::default()));
    desk.holds = true;
    let mut events = 0;
    while desk.machine.takes_events() {
        events += 1;
        desk.event(&format!("e{events}"));
        assert!(events <= super::READY_MAX + 1);
    }
    desk.call("m", Origin::Called);
    assert_eq!(desk.refused, ["m"]);
    desk.release();
    assert_eq!(desk.rows.len(), events);
    assert!(desk.machine.takes_events());
}
