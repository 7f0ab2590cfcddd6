//! What is made of stored nodes, and what becomes of them when the server comes back.

use std::time::Duration;

use cov_core::error::Fault;
use cov_core::executor::TaskPolicy;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, NodeId};
use cov_core::state::{DispatchState, NodeState};
use cov_core::status::Status::{
    self, Cancelled, Completed, Dispatching, Failed, NewObject, PendingReuse, Running,
};
use cov_core::time::Timestamp;
use cov_engine::dispatch::{Dispatch, RestoreError, RestoredNode};
use cov_engine::effect::Effect;
use cov_engine::event::{Event, OnRestart, Outcome};
use cov_engine::machine::Reject;
use cov_engine::phase::{End, KillReason, Phase};

use super::{PARAMETER, RETRY_TWICE, TASK, enqueue, finish};
use crate::harness::{Bench, id, plan};

fn stored(statuses: &[Status]) -> Vec<RestoredNode> {
    let node = |status: &_| RestoredNode {
        state: NodeState {
            status: *status,
            ended_at: status.is_terminal().then(|| Timestamp::from_micros(1)),
            ..NodeState::default()
        },
        child: None,
    };
    statuses.iter().map(node).collect()
}

#[test]
fn after_a_restart_attempts_are_made_again_or_lost() {
    for (on_restart, status) in [(OnRestart::Rerun, NewObject), (OnRestart::Fail, Failed)] {
        let mut nodes = stored(&[Completed, Running, NewObject, NewObject]);
        nodes[1].state.attempt = Some(AttemptId::new(1, 7));
        let state = DispatchState { status: Running, ..DispatchState::default() };
        let plan = plan(&[TASK; 4], &[(0, 1), (1, 2)], TaskPolicy::default());
        let mut bench = Bench::restored(plan, state, nodes);
        let effects = bench.ok(Event::Restarted { on_restart, attachable: Vec::new() });
        assert_eq!(bench.statuses(), [Completed, status, NewObject, NewObject]);
        let rerun = [enqueue(1), enqueue(3)];
        let expected = if on_restart == OnRestart::Rerun { &rerun[..] } else { &rerun[1..] };
        assert_eq!(effects, expected, "what only waited is never lost");
        let late = Event::Ended {
            node: NodeId(1),
            attempt: AttemptId::new(1, 7),
            outcome: Outcome::Completed,
        };
        assert!(bench.apply(late).is_err(), "the old attempt's end comes too late");
        if on_restart == OnRestart::Fail {
            assert_eq!(bench.fault(1), Some(Fault::Lost));
        }
    }
}

#[test]
fn a_lost_attempt_does_not_fail_what_waited_for_its_turn() {
    let mut bench = Bench::new(plan(&[TASK; 2], &[], RETRY_TWICE));
    bench.start();
    bench.fail(1);
    let effects =
        bench.ok(Event::Restarted { on_restart: OnRestart::Fail, attachable: Vec::new() });
    assert_eq!(effects, [enqueue(0), enqueue(1)]);
}

#[test]
fn a_cancel_asked_before_a_restart_is_kept() {
    let mut nodes = stored(&[Running]);
    nodes[0].state.attempt = Some(AttemptId::new(1, 7));
    nodes[0].state.cancel_requested = true;
    let state = DispatchState { status: Running, ..DispatchState::default() };
    let plan = plan(&[TASK], &[], RETRY_TWICE);
    let mut bench = Bench::restored(plan, state, nodes);
    let effects =
        bench.ok(Event::Restarted { on_restart: OnRestart::Rerun, attachable: Vec::new() });
    assert_eq!(effects, [finish(End::Cancelled)]);
}

#[test]
fn what_a_lost_builder_linked_is_cancelled() {
    for on_restart in [OnRestart::Rerun, OnRestart::Fail] {
        let mut nodes = stored(&[Running]);
        nodes[0].state.attempt = Some(AttemptId::new(1, 7));
        nodes[0].child = Some(id("child"));
        let state = DispatchState { status: Running, ..DispatchState::default() };
        let plan = plan(&[NodeKind::Sublattice], &[], TaskPolicy::default());
        let mut bench = Bench::restored(plan, state, nodes);
        assert_eq!(bench.dispatch.child(NodeId(0)), Some(&id("child")));
        let effects = bench.ok(Event::Restarted { on_restart, attachable: Vec::new() });
        assert_eq!(effects.first(), Some(&Effect::CancelChild { child: id("child") }));
        assert_eq!(bench.dispatch.child(NodeId(0)), None);
    }
}

#[test]
fn after_a_restart_sub_dispatches_go_on() {
    for cancelled in [false, true] {
        let mut nodes = stored(&[Dispatching]);
        nodes[0].child = Some(id("child"));
        nodes[0].state.cancel_requested = cancelled;
        let state = DispatchState { status: Running, ..DispatchState::default() };
        let plan = plan(&[NodeKind::Sublattice], &[], TaskPolicy::default());
        let mut bench = Bench::restored(plan, state, nodes);
        let effects =
            bench.ok(Event::Restarted { on_restart: OnRestart::Fail, attachable: Vec::new() });
        let cancel = cancelled.then(|| Effect::CancelChild { child: id("child") });
        let start = Effect::StartChild { node: NodeId(0), child: id("child") };
        assert_eq!(effects, cancel.into_iter().chain([start]).collect::<Vec<_>>());
    }
}

#[test]
fn reused_results_are_taken_over_when_reached() {
    let plan = plan(&[TASK; 3], &[(0, 1), (1, 2)], TaskPolicy::default());
    let nodes = stored(&[NewObject, PendingReuse, NewObject]);
    let mut bench = Bench::restored(plan, DispatchState::default(), nodes);
    bench.start();
    assert_eq!(bench.statuses(), [NewObject, PendingReuse, NewObject]);
    assert_eq!(bench.complete(0), [enqueue(2)]);
    assert_eq!(bench.statuses(), [Completed, Completed, NewObject]);
}

#[test]
fn stored_nodes_that_contradict_the_graph_are_refused() {
    let plan = || plan(&[TASK; 2], &[(0, 1)], TaskPolicy::default());
    let restore = |statuses: &[Status]| {
        Dispatch::restore(plan(), DispatchState::default(), stored(statuses)).map(drop)
    };
    assert_eq!(restore(&[NewObject]), Err(RestoreError::NodeCount { expected: 2, found: 1 }));
    for (above, below) in [(NewObject, Completed), (Failed, Running), (Running, Cancelled)] {
        let refused = RestoreError::OutOfOrder { node: NodeId(1), status: below };
        assert_eq!(restore(&[above, below]), Err(refused), "{above} -> {below}");
    }
    assert_eq!(restore(&[Failed, NewObject]), Ok(()));
}

/// The attempt that was under way when the server stopped.
fn earlier() -> AttemptId {
    AttemptId::new(1, 7)
}

/// One node that is stored as running.
fn one_running(
    kind: NodeKind,
    policy: TaskPolicy,
    change: impl FnOnce(&mut RestoredNode),
) -> Bench {
    let mut nodes = stored(&[Running]);
    nodes[0].state.attempt = Some(earlier());
    nodes[0].state.started_at = Some(Timestamp::from_micros(0));
    change(&mut nodes[0]);
    let state = DispatchState { status: Running, ..DispatchState::default() };
    Bench::restored(plan(&[kind], &[], policy), state, nodes)
}

fn attach_all(bench: &mut Bench, on_restart: OnRestart) -> Vec<Effect> {
    let attachable = bench.dispatch.graph().nodes().collect();
    bench.ok(Event::Restarted { on_restart, attachable })
}

#[test]
fn an_attempt_that_went_on_outside_keeps_its_id_and_its_end_counts() {
    for on_restart in [OnRestart::Rerun, OnRestart::Fail] {
        let (node, attempt) = (NodeId(0), earlier());
        let mut bench = one_running(TASK, RETRY_TWICE, |_| {});
        assert_eq!(attach_all(&mut bench, on_restart), [Effect::Attach { node, attempt }]);
        assert_eq!(bench.phase(0), &Phase::Running { attempt, kill: None });
        assert_eq!(bench.dispatch.node_state(node).unwrap().attempt, Some(attempt));
        let granted = Event::Granted { node, attempt: AttemptId::new(2, 1) };
        assert!(bench.apply(granted).is_err(), "it has its slot");
        assert_eq!(bench.end(0, Outcome::Completed), [finish(End::Completed)]);
    }
}

#[test]
fn an_attempt_that_went_on_outside_may_fail_and_is_retried() {
    let mut bench = one_running(TASK, RETRY_TWICE, |node| node.state.failed_attempts = 1);
    attach_all(&mut bench, OnRestart::Fail);
    let delay = Duration::from_millis(200);
    let effects = bench.end(0, Outcome::Failed(Fault::Task));
    assert_eq!(effects, [Effect::Retry { node: NodeId(0), delay }]);
}

#[test]
fn what_goes_on_outside_is_cancelled_there() {
    let (node, attempt) = (NodeId(0), earlier());
    for on_restart in [OnRestart::Rerun, OnRestart::Fail] {
        let ends = [
            Event::Ended { node, attempt, outcome: Outcome::Killed },
            Event::NotBegun { node, attempt },
            Event::Lost { node, attempt, on_restart },
        ];
        for end in ends {
            let mut bench = one_running(TASK, RETRY_TWICE, |node| {
                node.state.cancel_requested = true;
            });
            let effects = attach_all(&mut bench, on_restart);
            assert_eq!(effects, [Effect::Attach { node, attempt }, Effect::Kill { attempt }]);
            assert_eq!(bench.statuses(), [Running], "nobody saw it dead");
            assert_eq!(bench.ok(end), [finish(End::Cancelled)]);
        }
    }
}

#[test]
fn a_cancel_after_it_was_taken_up_kills_it() {
    let mut bench = one_running(TASK, RETRY_TWICE, |_| {});
    attach_all(&mut bench, OnRestart::Rerun);
    assert_eq!(bench.cancel(&[]), [Effect::Kill { attempt: earlier() }]);
    assert_eq!(bench.end(0, Outcome::Killed), [finish(End::Cancelled)]);
}

#[test]
fn only_what_runs_is_taken_up() {
    let kinds = [TASK, TASK, NodeKind::Sublattice, TASK, TASK, PARAMETER];
    let statuses = [Completed, Running, Dispatching, NewObject, NewObject, NewObject];
    let bench = || {
        let mut nodes = stored(&statuses);
        nodes[1].state.attempt = Some(earlier());
        nodes[2].child = Some(id("child"));
        nodes[3].state.attempt = Some(AttemptId::new(1, 3));
        let state = DispatchState { status: Running, ..DispatchState::default() };
        let plan = plan(&kinds, &[(0, 1), (1, 4)], TaskPolicy::default());
        Bench::restored(plan, state, nodes)
    };
    let start = Effect::StartChild { node: NodeId(2), child: id("child") };
    let attach = Effect::Attach { node: NodeId(1), attempt: earlier() };
    let effects = attach_all(&mut bench(), OnRestart::Fail);
    assert_eq!(effects, [attach, start.clone(), enqueue(3)]);
    // What nobody can find again is made again.
    let others = [0, 2, 3, 4, 5].map(NodeId).to_vec();
    let event = Event::Restarted { on_restart: OnRestart::Rerun, attachable: others };
    assert_eq!(bench().ok(event), [enqueue(1), start, enqueue(3)]);
    let beyond = Event::Restarted { on_restart: OnRestart::Fail, attachable: vec![NodeId(6)] };
    let mut bench = bench();
    bench.ok(beyond);
    assert_eq!(bench.fault(1), Some(Fault::Lost));
}

#[test]
fn what_went_on_outside_and_is_lost_is_made_again_or_fails() {
    let (node, attempt) = (NodeId(0), earlier());
    let cases = [
        (OnRestart::Rerun, enqueue(0), None),
        (OnRestart::Fail, finish(End::Failed), Some(Fault::Lost)),
    ];
    for (on_restart, effect, fault) in cases {
        let mut bench = one_running(TASK, RETRY_TWICE, |_| {});
        attach_all(&mut bench, on_restart);
        let lost = Event::Lost { node, attempt, on_restart };
        assert_eq!(bench.ok(lost.clone()), [effect]);
        assert_eq!(bench.fault(0), fault);
        assert!(bench.apply(lost).is_err());
    }
}

#[test]
fn the_time_limit_counts_anew_when_an_attempt_was_taken_up() {
    let (node, attempt) = (NodeId(0), earlier());
    let mut bench = one_running(TASK, RETRY_TWICE, |_| {});
    attach_all(&mut bench, OnRestart::Rerun);
    let limit = Duration::from_secs(3);
    let begun = Event::Begun { node, attempt };
    assert_eq!(bench.ok(begun.clone()), [Effect::StartTimer { node, attempt, limit }]);
    assert_eq!(bench.apply(begun), Err(Reject::Duplicate));
    assert_eq!(bench.ok(Event::TimeLimit { node, attempt }), [Effect::Kill { attempt }]);
    let killed = Phase::Running { attempt, kill: Some(KillReason::Timeout) };
    assert_eq!(bench.phase(0), &killed);
    bench.end(0, Outcome::Killed);
    assert_eq!(bench.phase(0), &Phase::Backoff);
}

/// The server that killed it did not live to tell why.
#[test]
fn what_was_killed_outside_by_an_earlier_server_ran_too_long_if_it_can_have() {
    let limit = |limit| TaskPolicy { retries: 0, time_limit: limit };
    let cases = [
        (limit(Some(Duration::from_micros(1))), Failed, Some(Fault::Timeout)),
        (limit(Some(Duration::from_secs(1))), Cancelled, None),
        (limit(None), Cancelled, None),
    ];
    for (policy, status, fault) in cases {
        let mut bench = one_running(TASK, policy, |_| {});
        attach_all(&mut bench, OnRestart::Rerun);
        bench.end(0, Outcome::Killed);
        assert_eq!((bench.statuses(), bench.fault(0)), (vec![status], fault));
    }
    // What this server began tells of its time limit itself.
    let mut bench = one_running(TASK, limit(Some(Duration::from_micros(1))), |_| {});
    attach_all(&mut bench, OnRestart::Rerun);
    let lost = Event::Lost { node: NodeId(0), attempt: earlier(), on_restart: OnRestart::Rerun };
    bench.ok(lost);
    bench.run(0);
    bench.end(0, Outcome::Killed);
    assert_eq!(bench.statuses(), [Cancelled]);
}

#[test]
fn a_builder_that_went_on_outside_keeps_what_it_linked() {
    let (node, child) = (NodeId(0), id("child"));
    let linked = |node: &mut RestoredNode| node.child = Some(id("child"));
    let mut bench = one_running(NodeKind::Sublattice, TaskPolicy::default(), linked);
    attach_all(&mut bench, OnRestart::Rerun);
    assert_eq!(bench.dispatch.child(node), Some(&child));
    assert_eq!(bench.end(0, Outcome::Completed), [Effect::StartChild { node, child }]);
    for on_restart in [OnRestart::Rerun, OnRestart::Fail] {
        let mut bench = one_running(NodeKind::Sublattice, TaskPolicy::default(), linked);
        attach_all(&mut bench, on_restart);
        let effects = bench.ok(Event::Lost { node, attempt: earlier(), on_restart });
        assert_eq!(effects.first(), Some(&Effect::CancelChild { child: id("child") }));
        assert_eq!(bench.dispatch.child(node), None);
    }
}
