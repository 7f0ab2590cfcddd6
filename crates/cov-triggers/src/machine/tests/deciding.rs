//! From what may fire to a decision: overlap, failures, pauses, stops, waiting rows, loose marks.

use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, Outcome};

use super::super::{Beginning, Input, Origin, READY_MAX, Settings};
use super::desk::{Desk, at, settings, ticking};
use crate::Error;
use crate::host::Situation;
use crate::policies::{CatchUp, Overlap, Policies};

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
        assert!(events <= READY_MAX + 1);
    }
    desk.call("m", Origin::Called);
    assert_eq!(desk.refused, ["m"]);
    desk.release();
    assert_eq!(desk.rows.len(), events);
    assert!(desk.machine.takes_events());
}
