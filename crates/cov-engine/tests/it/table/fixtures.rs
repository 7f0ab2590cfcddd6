//! A dispatch brought to each phase of its node 1, and the events to try on it.

use std::time::Duration;

use cov_core::error::Fault;
use cov_core::executor::TaskPolicy;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, NodeId};
use cov_core::state::{DispatchState, NodeState};
use cov_core::status::Status;
use cov_engine::dispatch::{Plan, RestoredNode};
use cov_engine::event::{Event, OnRestart, Outcome};
use cov_engine::phase::End;

use crate::harness::{Bench, id, plan};

/// The node that the events are about.
pub(crate) const SUBJECT: NodeId = NodeId(1);

/// The node beside it that keeps the dispatch under way.
const SIBLING: u32 = 3;

/// A dispatch whose node 1 is in a certain phase.
pub(crate) struct Fixture {
    pub(crate) name: &'static str,
    pub(crate) bench: Bench,
}

/// Node 0 feeds the subject, the subject feeds node 2, and node 3 stands beside.
fn subject_plan(kind: NodeKind) -> Plan {
    let kinds = [NodeKind::Task, kind, NodeKind::Task, NodeKind::Task];
    let policy = TaskPolicy { retries: 1, time_limit: Some(Duration::from_secs(5)) };
    plan(&kinds, &[(0, 1), (1, 2)], policy)
}

fn registered(kind: NodeKind) -> Bench {
    Bench::new(subject_plan(kind))
}

/// Below node 0, which runs as 1.10.
fn waiting(kind: NodeKind) -> Bench {
    let mut bench = registered(kind);
    bench.start();
    run_input(&mut bench);
    bench
}

fn run_input(bench: &mut Bench) {
    bench.attempts_from(AttemptId::new(1, 9));
    bench.run(0);
    bench.attempts_from(AttemptId::new(1, 0));
}

fn waiting_for_reuse() -> Bench {
    let state =
        |status| RestoredNode { state: NodeState { status, ..NodeState::default() }, child: None };
    let nodes = vec![
        state(Status::NewObject),
        state(Status::PendingReuse),
        state(Status::NewObject),
        state(Status::NewObject),
    ];
    let plan = subject_plan(NodeKind::Task);
    let mut bench = Bench::restored(plan, DispatchState::default(), nodes);
    bench.start();
    run_input(&mut bench);
    bench
}

/// In the queue, after an attempt that never began.
fn ready(kind: NodeKind) -> Bench {
    let mut bench = waiting(kind);
    bench.end(0, Outcome::Completed);
    let attempt = bench.grant(SUBJECT.0);
    bench.ok(Event::NotBegun { node: SUBJECT, attempt });
    bench
}

/// Handed to its executor, and not yet begun.
fn running(kind: NodeKind) -> Bench {
    let mut bench = ready(kind);
    bench.grant(SUBJECT.0);
    bench
}

fn begun() -> Bench {
    let mut bench = running(NodeKind::Task);
    bench.ok(Event::Begun { node: SUBJECT, attempt: AttemptId::new(1, 2) });
    bench
}

fn second_try() -> Bench {
    let mut bench = waiting(NodeKind::Task);
    bench.end(0, Outcome::Completed);
    bench.fail(SUBJECT.0);
    bench.ok(Event::RetryDue { node: SUBJECT });
    bench.run(SUBJECT.0);
    bench
}

fn builder_linked() -> Bench {
    let mut bench = running(NodeKind::Sublattice);
    bench.ok(Event::Linked { node: SUBJECT, child: id("child") });
    bench
}

fn importing() -> Bench {
    let mut bench = running(NodeKind::Sublattice);
    bench.end(SUBJECT.0, Outcome::Completed);
    bench
}

fn dispatching() -> Bench {
    let mut bench = builder_linked();
    bench.end(SUBJECT.0, Outcome::Completed);
    bench
}

fn then(mut bench: Bench, change: impl FnOnce(&mut Bench)) -> Bench {
    change(&mut bench);
    bench
}

fn too_long(bench: &mut Bench) {
    bench.ok(Event::TimeLimit { node: SUBJECT, attempt: AttemptId::new(1, 2) });
}

fn cancelled(bench: &mut Bench) {
    bench.cancel(&[SUBJECT.0]);
}

/// All of them.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let (task, sublattice) = (NodeKind::Task, NodeKind::Sublattice);
    let ended = |outcome| then(second_try(), |bench| drop(bench.end(SUBJECT.0, outcome)));
    let over = |bench: &mut Bench| {
        bench.end(SUBJECT.0, Outcome::Failed(Fault::Task));
        bench.attempts_from(AttemptId::new(1, 20));
        bench.complete(SIBLING);
    };
    let cases = [
        ("not started", registered(task)),
        ("waiting", waiting(task)),
        ("waiting, cancel asked", then(waiting(task), cancelled)),
        ("waiting, its result is reused", waiting_for_reuse()),
        ("waiting, a parameter, cancel asked", then(waiting(NodeKind::Parameter), cancelled)),
        ("ready", ready(task)),
        ("running", running(task)),
        ("running, begun", begun()),
        ("running, its last try", second_try()),
        ("running, cancel asked", then(begun(), cancelled)),
        ("running, too long", then(begun(), too_long)),
        ("running, a builder", running(sublattice)),
        ("running, a builder, linked", builder_linked()),
        ("running, a builder, linked, cancel asked", then(builder_linked(), cancelled)),
        ("backoff", then(begun(), |bench| drop(bench.end(1, Outcome::Failed(Fault::Task))))),
        ("dispatching, taken over", importing()),
        ("dispatching, taken over, cancel asked", then(importing(), cancelled)),
        ("dispatching", dispatching()),
        ("dispatching, cancel asked", then(dispatching(), cancelled)),
        ("completed", ended(Outcome::Completed)),
        ("failed", ended(Outcome::Failed(Fault::Task))),
        ("cancelled", ended(Outcome::Killed)),
        ("failed, and the dispatch ended", then(second_try(), over)),
    ];
    cases.into_iter().map(|(name, bench)| Fixture { name, bench }).collect()
}

/// The events to try.
pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let node = SUBJECT;
    let (older, present) = (AttemptId::new(1, 1), AttemptId::new(1, 2));
    let new = Bench::unused();
    let ended = |attempt, outcome| Event::Ended { node, attempt, outcome };
    let restarted = |on_restart, attachable| Event::Restarted { on_restart, attachable };
    let lost = |attempt, on_restart| Event::Lost { node, attempt, on_restart };
    let child = |name, end| Event::ChildEnded { node, child: id(name), end };
    let input = Event::Ended {
        node: NodeId(0),
        attempt: AttemptId::new(1, 10),
        outcome: Outcome::Completed,
    };
    vec![
        ("start", Event::Start),
        ("inputs complete", input),
        ("restarted, rerun", restarted(OnRestart::Rerun, vec![])),
        ("restarted, fail", restarted(OnRestart::Fail, vec![])),
        ("restarted, attachable, rerun", restarted(OnRestart::Rerun, vec![node])),
        ("restarted, attachable, fail", restarted(OnRestart::Fail, vec![node])),
        ("granted", Event::Granted { node, attempt: new }),
        ("granted, present attempt", Event::Granted { node, attempt: present }),
        ("granted, older attempt", Event::Granted { node, attempt: older }),
        ("begun", Event::Begun { node, attempt: present }),
        ("begun, older attempt", Event::Begun { node, attempt: older }),
        ("not begun", Event::NotBegun { node, attempt: present }),
        ("not begun, older attempt", Event::NotBegun { node, attempt: older }),
        ("lost, rerun", lost(present, OnRestart::Rerun)),
        ("lost, fail", lost(present, OnRestart::Fail)),
        ("lost, rerun, older attempt", lost(older, OnRestart::Rerun)),
        ("lost, fail, older attempt", lost(older, OnRestart::Fail)),
        ("ended, completed", ended(present, Outcome::Completed)),
        ("ended, failed by the task", ended(present, Outcome::Failed(Fault::Task))),
        ("ended, failed by the executor", ended(present, Outcome::Failed(Fault::Executor))),
        ("ended, killed", ended(present, Outcome::Killed)),
        ("ended, completed, older attempt", ended(older, Outcome::Completed)),
        ("ended, failed, older attempt", ended(older, Outcome::Failed(Fault::Runner))),
        ("time limit", Event::TimeLimit { node, attempt: present }),
        ("time limit, older attempt", Event::TimeLimit { node, attempt: older }),
        ("retry due", Event::RetryDue { node }),
        ("cancel", Event::Cancel { nodes: vec![node] }),
        ("cancel all", Event::Cancel { nodes: vec![] }),
        ("cancel an unknown node", Event::Cancel { nodes: vec![node, NodeId(99)] }),
        ("linked", Event::Linked { node, child: id("child") }),
        ("linked, another", Event::Linked { node, child: id("other") }),
        ("build refused", Event::BuildRefused { node }),
        ("sub-dispatch completed", child("child", End::Completed)),
        ("sub-dispatch failed", child("child", End::Failed)),
        ("sub-dispatch cancelled", child("child", End::Cancelled)),
        ("another sub-dispatch completed", child("other", End::Completed)),
    ]
}
