//! From events to what may fire: ticks, missed ones, batches, debounce, jitter.

use cov_core::time::Timestamp;

use super::super::{Beginning, Input, Origin, Settings};
use super::desk::{Desk, at, seconds, settings, ticking};
use crate::policies::{CatchUp, Debounce, Policies};

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
