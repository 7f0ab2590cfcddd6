//! What is made of stored nodes, and what becomes of them when the server comes back.

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
use cov_engine::phase::End;

use super::{RETRY_TWICE, TASK, enqueue, finish};
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
