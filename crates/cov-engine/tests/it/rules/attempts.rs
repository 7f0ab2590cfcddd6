//! Retries, time limits, and attempts that never began.

use std::time::Duration;

use cov_core::error::Fault;
use cov_core::executor::TaskPolicy;
use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::status::Status::NewObject;
use cov_engine::effect::Effect;
use cov_engine::event::{Event, OnRestart, Outcome};
use cov_engine::machine::Reject;
use cov_engine::phase::{End, Phase};

use super::{RETRY_TWICE, enqueue, finish, one_task};
use crate::harness::{Bench, id, plan};

#[test]
fn retries_are_counted_wait_longer_each_time_and_end() {
    let mut bench = one_task(RETRY_TWICE);
    let node = NodeId(0);
    assert_eq!(bench.fail(0), [Effect::Retry { node, delay: Duration::from_millis(100) }]);
    assert_eq!((bench.phase(0), bench.statuses()), (&Phase::Backoff, vec![NewObject]));
    assert_eq!(bench.ok(Event::RetryDue { node }), [enqueue(0)]);
    assert_eq!(bench.fail(0), [Effect::Retry { node, delay: Duration::from_millis(200) }]);
    bench.ok(Event::RetryDue { node });
    assert_eq!(bench.fail(0), [finish(End::Failed)]);
    assert_eq!(bench.dispatch.node_state(node).unwrap().failed_attempts, 3);
}

#[test]
fn a_retry_waits_until_the_failure_is_stored() {
    let retry = Effect::Retry { node: NodeId(0), delay: Duration::from_millis(100) };
    assert!(!retry.may_precede_commit(), "a crash would forget the failure, but not the attempt");
    assert!(enqueue(0).may_precede_commit());
    assert!(!finish(End::Completed).may_precede_commit());
}

#[test]
fn a_retry_that_works_leaves_no_fault() {
    let mut bench = one_task(RETRY_TWICE);
    bench.fail(0);
    bench.ok(Event::RetryDue { node: NodeId(0) });
    assert_eq!(bench.complete(0), [finish(End::Completed)]);
    assert_eq!(bench.fault(0), None);
}

#[test]
fn which_faults_are_retried() {
    let cases = [
        (Fault::Task, true),
        (Fault::Runner, true),
        (Fault::Timeout, true),
        (Fault::Lost, true),
        (Fault::Executor, false),
        (Fault::Server, false),
    ];
    for (fault, is_retried) in cases {
        let mut bench = one_task(RETRY_TWICE);
        bench.run(0);
        bench.end(0, Outcome::Failed(fault));
        let expected = if is_retried { Phase::Backoff } else { Phase::Ended(End::Failed) };
        assert_eq!(bench.phase(0), &expected, "{fault:?}");
    }
}

#[test]
fn a_cancel_during_the_pause_ends_it() {
    let mut bench = one_task(RETRY_TWICE);
    bench.fail(0);
    assert_eq!(bench.cancel(&[]), [finish(End::Cancelled)]);
    let due = bench.apply(Event::RetryDue { node: NodeId(0) });
    assert_eq!(due, Err(Reject::Stale { node: NodeId(0) }));
}

#[test]
fn the_time_limit_counts_from_the_begin_and_once() {
    let mut bench = one_task(RETRY_TWICE);
    let (node, attempt) = (NodeId(0), bench.grant(0));
    let limit = Duration::from_secs(3);
    let begun = Event::Begun { node, attempt };
    assert_eq!(bench.ok(begun.clone()), [Effect::StartTimer { node, attempt, limit }]);
    assert_eq!(bench.apply(begun), Err(Reject::Duplicate));
    assert_eq!(bench.ok(Event::TimeLimit { node, attempt }), [Effect::Kill { attempt }]);
    bench.end(0, Outcome::Killed);
    assert_eq!(bench.phase(0), &Phase::Backoff, "a timeout is a failure like others");
    bench.ok(Event::RetryDue { node });
    let attempt = bench.grant(0);
    let effects = bench.ok(Event::Begun { node, attempt });
    assert_eq!(effects, [Effect::StartTimer { node, attempt, limit }], "each attempt has its own");
}

#[test]
fn a_timeout_names_itself_whatever_the_dying_task_says() {
    for outcome in [Outcome::Killed, Outcome::Failed(Fault::Runner)] {
        let limit = TaskPolicy { retries: 0, time_limit: Some(Duration::from_secs(1)) };
        let mut bench = one_task(limit);
        let attempt = bench.run(0);
        bench.ok(Event::TimeLimit { node: NodeId(0), attempt });
        assert_eq!(bench.end(0, outcome), [finish(End::Failed)]);
        assert_eq!(bench.fault(0), Some(Fault::Timeout));
    }
}

#[test]
fn an_attempt_that_never_began_costs_no_retry() {
    let mut bench = one_task(TaskPolicy::default());
    let (node, attempt) = (NodeId(0), bench.grant(0));
    assert_eq!(bench.ok(Event::NotBegun { node, attempt }), [enqueue(0)]);
    assert_eq!(bench.statuses(), [NewObject]);
    assert_eq!(bench.complete(0), [finish(End::Completed)]);
}

#[test]
fn an_attempt_id_is_used_once() {
    let mut bench = one_task(TaskPolicy::default());
    let (node, attempt) = (NodeId(0), bench.grant(0));
    let granted = Event::Granted { node, attempt };
    assert_eq!(bench.apply(granted.clone()), Err(Reject::Duplicate));
    bench.ok(Event::NotBegun { node, attempt });
    assert_eq!(bench.apply(granted), Err(Reject::Stale { node }));
}

#[test]
fn a_lost_attempt_is_made_again_or_fails_its_task() {
    for retries in [0, 2] {
        let policy = TaskPolicy { retries, time_limit: None };
        let lost = |on_restart| {
            let mut bench = one_task(policy);
            let (node, attempt) = (NodeId(0), bench.run(0));
            let event = Event::Lost { node, attempt, on_restart };
            (bench.ok(event.clone()), bench.apply(event), bench)
        };
        let (effects, again, mut bench) = lost(OnRestart::Rerun);
        assert_eq!((effects, again), (vec![enqueue(0)], Err(Reject::Stale { node: NodeId(0) })));
        assert_eq!(bench.dispatch.node_state(NodeId(0)).unwrap().failed_attempts, 0);
        assert_eq!(bench.complete(0), [finish(End::Completed)]);
        let (effects, again, bench) = lost(OnRestart::Fail);
        assert_eq!((effects, again), (vec![finish(End::Failed)], Err(Reject::Duplicate)));
        assert_eq!(bench.fault(0), Some(Fault::Lost), "a retry would run it a second time");
    }
}

#[test]
fn a_cancelled_attempt_that_is_lost_is_cancelled() {
    for on_restart in [OnRestart::Rerun, OnRestart::Fail] {
        let mut bench = one_task(RETRY_TWICE);
        let (node, attempt) = (NodeId(0), bench.run(0));
        bench.cancel(&[]);
        let lost = Event::Lost { node, attempt, on_restart };
        assert_eq!(bench.ok(lost), [finish(End::Cancelled)]);
    }
}

#[test]
fn an_attempt_that_is_lost_after_its_time_limit_ran_too_long() {
    for on_restart in [OnRestart::Rerun, OnRestart::Fail] {
        let mut bench = one_task(RETRY_TWICE);
        for delay in [100, 200] {
            let (node, attempt) = (NodeId(0), bench.run(0));
            bench.ok(Event::TimeLimit { node, attempt });
            let delay = Duration::from_millis(delay);
            let lost = Event::Lost { node, attempt, on_restart };
            assert_eq!(bench.ok(lost), [Effect::Retry { node, delay }]);
            bench.ok(Event::RetryDue { node });
        }
        let (node, attempt) = (NodeId(0), bench.run(0));
        bench.ok(Event::TimeLimit { node, attempt });
        assert_eq!(bench.ok(Event::Lost { node, attempt, on_restart }), [finish(End::Failed)]);
        assert_eq!(bench.fault(0), Some(Fault::Timeout));
    }
}

#[test]
fn a_lost_builder_takes_what_it_linked_with_it() {
    for on_restart in [OnRestart::Rerun, OnRestart::Fail] {
        let mut bench = Bench::new(plan(&[NodeKind::Sublattice], &[], TaskPolicy::default()));
        bench.start();
        let (node, attempt) = (NodeId(0), bench.run(0));
        bench.ok(Event::Linked { node, child: id("child") });
        let effects = bench.ok(Event::Lost { node, attempt, on_restart });
        assert_eq!(effects.first(), Some(&Effect::CancelChild { child: id("child") }));
        assert_eq!(bench.dispatch.child(node), None);
    }
}

#[test]
fn an_attempt_that_was_lost_says_nothing_more() {
    let mut bench = one_task(RETRY_TWICE);
    let (node, old) = (NodeId(0), bench.run(0));
    bench.ok(Event::Lost { node, attempt: old, on_restart: OnRestart::Rerun });
    let new = bench.run(0);
    let late = [
        Event::Begun { node, attempt: old },
        Event::Lost { node, attempt: old, on_restart: OnRestart::Fail },
        Event::Ended { node, attempt: old, outcome: Outcome::Completed },
        Event::TimeLimit { node, attempt: old },
    ];
    for event in late {
        assert_eq!(bench.apply(event), Err(Reject::Stale { node }));
    }
    assert_eq!(bench.phase(0), &Phase::Running { attempt: new, kill: None });
}
