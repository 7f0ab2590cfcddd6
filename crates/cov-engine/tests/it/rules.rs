//! What Covalent's protocol says of failures, cancellation and sub-dispatches, and what this
//! server adds: retries, time limits, restarts. One rule per test.

mod attempts;
mod restart;
mod sublattice;

use std::time::Duration;

use cov_core::error::Fault;
use cov_core::executor::TaskPolicy;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, NodeId};
use cov_core::status::Status::{Cancelled, Completed, Failed, NewObject, Running};
use cov_core::time::Timestamp;
use cov_engine::dispatch::Dispatch;
use cov_engine::effect::Effect;
use cov_engine::event::{Event, OnRestart, Outcome};
use cov_engine::machine::Reject;
use cov_engine::phase::End;

use crate::harness::{Bench, id, plan};

const TASK: NodeKind = NodeKind::Task;
const PARAMETER: NodeKind = NodeKind::Parameter;
const RETRY_TWICE: TaskPolicy = TaskPolicy { retries: 2, time_limit: Some(Duration::from_secs(3)) };

fn enqueue(node: u32) -> Effect {
    Effect::Enqueue { node: NodeId(node), executor: 0 }
}

fn finish(end: End) -> Effect {
    Effect::Finish { end }
}

fn one_task(policy: TaskPolicy) -> Bench {
    let mut bench = Bench::new(plan(&[TASK], &[], policy));
    bench.start();
    bench
}

#[test]
fn nodes_below_a_failed_one_stay_new_and_siblings_finish() {
    let mut bench = Bench::tasks(5, &[(0, 1), (1, 2), (0, 3), (3, 4)]);
    bench.start();
    bench.complete(0);
    bench.run(3);
    assert_eq!(bench.fail(1), []);
    assert_eq!(bench.status(), Running, "a sibling is at work");
    assert_eq!(bench.end(3, Outcome::Completed), [enqueue(4)]);
    assert_eq!(bench.complete(4), [finish(End::Failed)]);
    assert_eq!(bench.statuses(), [Completed, Failed, NewObject, Completed, Completed]);
    assert_eq!(bench.status(), Failed);
    assert_eq!(bench.dispatch.failed_nodes().collect::<Vec<_>>(), [NodeId(1)]);
    assert_eq!(bench.fault(1), Some(Fault::Task));
}

#[test]
fn a_failure_weighs_more_than_a_cancellation() {
    let mut bench = Bench::tasks(2, &[]);
    bench.start();
    bench.run(0);
    bench.run(1);
    bench.cancel(&[]);
    bench.end(0, Outcome::Failed(Fault::Task));
    assert_eq!(bench.end(1, Outcome::Killed), [finish(End::Failed)]);
    assert_eq!(bench.statuses(), [Failed, Cancelled]);
}

#[test]
fn parameters_complete_under_cancel_and_tasks_do_not_run() {
    let kinds = [PARAMETER, TASK, PARAMETER, TASK];
    let mut bench = Bench::new(plan(&kinds, &[(0, 1), (1, 2), (0, 3)], TaskPolicy::default()));
    assert_eq!(bench.cancel(&[]), []);
    assert_eq!(bench.status(), NewObject, "to be cancelled is not to be started");
    assert_eq!(bench.start(), [finish(End::Cancelled)]);
    assert_eq!(bench.statuses(), [Completed, Cancelled, NewObject, Cancelled]);
    let times = bench.dispatch.node_state(NodeId(1)).unwrap();
    assert_eq!(times.started_at, None, "it never ran");
    assert!(times.ended_at.is_some());
}

#[test]
fn a_cancelled_chain_without_tasks_completes() {
    let mut bench = Bench::new(plan(&[PARAMETER; 3], &[(0, 1), (1, 2)], TaskPolicy::default()));
    bench.cancel(&[]);
    assert_eq!(bench.start(), [finish(End::Completed)]);
}

#[test]
fn an_empty_dispatch_completes_at_once() {
    let mut bench = Bench::tasks(0, &[]);
    assert_eq!(bench.start(), [finish(End::Completed)]);
}

#[test]
fn a_node_cancelled_before_it_was_reached_is_cancelled_when_it_is() {
    let mut bench = Bench::tasks(3, &[(0, 1), (1, 2)]);
    bench.start();
    bench.cancel(&[1]);
    assert_eq!(bench.statuses(), [NewObject, NewObject, NewObject]);
    assert_eq!(bench.complete(0), [finish(End::Cancelled)]);
    assert_eq!(bench.statuses(), [Completed, Cancelled, NewObject]);
}

#[test]
fn a_node_cancelled_below_a_failure_stays_new() {
    let mut bench = Bench::tasks(2, &[(0, 1)]);
    bench.start();
    bench.cancel(&[1]);
    assert_eq!(bench.fail(0), [finish(End::Failed)]);
    assert_eq!(bench.statuses(), [Failed, NewObject]);
}

#[test]
fn a_running_task_is_cancelled_when_it_is_seen_dead_and_not_before() {
    let mut bench = one_task(RETRY_TWICE);
    let attempt = bench.run(0);
    assert_eq!(bench.cancel(&[]), [Effect::Kill { attempt }]);
    assert_eq!(bench.statuses(), [Running]);
    assert_eq!(bench.end(0, Outcome::Killed), [finish(End::Cancelled)]);
}

#[test]
fn a_task_that_returns_before_its_kill_is_complete() {
    let mut bench = one_task(RETRY_TWICE);
    bench.run(0);
    bench.cancel(&[]);
    assert_eq!(bench.end(0, Outcome::Completed), [finish(End::Completed)]);
}

#[test]
fn a_task_that_fails_before_its_kill_is_failed_and_not_retried() {
    let mut bench = one_task(RETRY_TWICE);
    bench.run(0);
    bench.cancel(&[]);
    assert_eq!(bench.end(0, Outcome::Failed(Fault::Runner)), [finish(End::Failed)]);
}

#[test]
fn a_queued_task_that_is_cancelled_refuses_its_slot() {
    let mut bench = one_task(RETRY_TWICE);
    assert_eq!(bench.cancel(&[0]), [finish(End::Cancelled)]);
    let granted = Event::Granted { node: NodeId(0), attempt: AttemptId::new(1, 1) };
    assert_eq!(bench.apply(granted), Err(Reject::Stale { node: NodeId(0) }));
}

#[test]
fn a_cancel_that_changes_nothing_is_a_duplicate() {
    let mut bench = one_task(RETRY_TWICE);
    bench.run(0);
    bench.cancel(&[0]);
    assert_eq!(bench.apply(Event::Cancel { nodes: vec![NodeId(0)] }), Err(Reject::Duplicate));
    assert_eq!(bench.cancel(&[]), [], "all of it is a wider wish");
    assert_eq!(bench.apply(Event::Cancel { nodes: vec![] }), Err(Reject::Duplicate));
}

#[test]
fn a_start_enqueues_in_the_order_of_the_nodes_and_stores_none_of_them() {
    let mut bench = Bench::tasks(4, &[]);
    let step = bench.apply(Event::Start).unwrap();
    assert_eq!(step.effects, [enqueue(0), enqueue(1), enqueue(2), enqueue(3)]);
    assert_eq!(step.changed_nodes, []);
}

#[test]
fn an_end_enqueues_in_the_order_of_the_edges() {
    let mut bench = Bench::tasks(4, &[(0, 3), (0, 1), (0, 2)]);
    bench.start();
    assert_eq!(bench.complete(0), [enqueue(3), enqueue(1), enqueue(2)]);
}

#[test]
fn parallel_edges_are_counted_each() {
    let mut bench = Bench::tasks(2, &[(0, 1), (0, 1), (0, 1)]);
    bench.start();
    assert_eq!(bench.complete(0), [enqueue(1)]);
}

#[test]
fn a_chain_of_parameters_needs_no_stack() {
    let edges: Vec<(u32, u32)> = (1..100_000).map(|node| (node - 1, node)).collect();
    let kinds = vec![PARAMETER; 100_000];
    let mut dispatch = Dispatch::new(plan(&kinds, &edges, TaskPolicy::default()));
    let now = Timestamp::from_micros(0);
    let step = cov_engine::machine::apply(&mut dispatch, Event::Start, now).unwrap();
    assert_eq!(step.effects, [finish(End::Completed)]);
}

#[test]
fn unknown_nodes_are_named() {
    let mut bench = one_task(TaskPolicy::default());
    let node = NodeId(5);
    let attempt = AttemptId::new(1, 1);
    let events = [
        Event::Granted { node, attempt },
        Event::Begun { node, attempt },
        Event::NotBegun { node, attempt },
        Event::Lost { node, attempt, on_restart: OnRestart::Rerun },
        Event::Ended { node, attempt, outcome: Outcome::Killed },
        Event::TimeLimit { node, attempt },
        Event::RetryDue { node },
        Event::Cancel { nodes: vec![NodeId(0), node] },
        Event::Linked { node, child: id("child") },
        Event::BuildRefused { node },
        Event::ChildEnded { node, child: id("child"), end: End::Failed },
    ];
    for event in events {
        assert_eq!(bench.apply(event), Err(Reject::UnknownNode { node }));
    }
}
