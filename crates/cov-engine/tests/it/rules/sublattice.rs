//! Nodes that build a sub-dispatch.

use cov_core::error::Fault;
use cov_core::executor::TaskPolicy;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, NodeId};
use cov_core::status::Status::{Cancelled, Completed, Dispatching, Failed, NewObject, Running};
use cov_engine::effect::Effect;
use cov_engine::event::{Event, Outcome};
use cov_engine::machine::Reject;
use cov_engine::phase::End;

use super::{TASK, enqueue, finish};
use crate::harness::{Bench, id, plan};

/// A sublattice whose builder runs, and a task that needs it.
fn builder() -> Bench {
    let mut bench =
        Bench::new(plan(&[NodeKind::Sublattice, TASK], &[(0, 1)], TaskPolicy::default()));
    bench.start();
    bench.run(0);
    bench
}

fn link(bench: &mut Bench, child: &str) -> Vec<Effect> {
    bench.ok(Event::Linked { node: NodeId(0), child: id(child) })
}

#[test]
fn a_sublattice_is_built_then_dispatching_and_ends_as_its_child() {
    let (node, child) = (NodeId(0), id("child"));
    for (end, status) in
        [(End::Completed, Completed), (End::Failed, Failed), (End::Cancelled, Cancelled)]
    {
        let mut bench = builder();
        assert_eq!(link(&mut bench, "child"), []);
        let start = Effect::StartChild { node, child: child.clone() };
        assert_eq!(bench.end(0, Outcome::Completed), [start]);
        assert_eq!(bench.statuses(), [Dispatching, NewObject]);
        assert_eq!(bench.dispatch.child(node), Some(&child));
        let effects = bench.ok(Event::ChildEnded { node, child: child.clone(), end });
        let expected = if end == End::Completed { enqueue(1) } else { finish(end) };
        assert_eq!((effects, bench.statuses()), (vec![expected], vec![status, NewObject]));
    }
}

#[test]
fn a_built_graph_without_a_link_is_taken_over() {
    let node = NodeId(0);
    let mut bench = builder();
    assert_eq!(bench.end(0, Outcome::Completed), [Effect::ImportChild { node }]);
    assert_eq!(bench.statuses(), [Running, NewObject], "no sub-dispatch of its own is stored");
    let start = Effect::StartChild { node, child: id("child") };
    assert_eq!(link(&mut bench, "child"), [start]);
    assert_eq!(bench.statuses(), [Dispatching, NewObject]);
    let mut bench = builder();
    bench.end(0, Outcome::Completed);
    assert_eq!(bench.ok(Event::BuildRefused { node }), [finish(End::Failed)]);
}

#[test]
fn a_builder_that_ends_badly_after_its_link_has_its_child_cancelled() {
    let cancel = Effect::CancelChild { child: id("child") };
    for outcome in [Outcome::Failed(Fault::Task), Outcome::Killed] {
        let mut bench = builder();
        link(&mut bench, "child");
        let effects = bench.end(0, outcome);
        assert_eq!(effects.first(), Some(&cancel), "{outcome:?}");
        assert!(bench.status().is_terminal(), "the dispatch does not hang");
        assert_eq!(bench.dispatch.child(NodeId(0)), None);
    }
}

#[test]
fn a_builder_that_never_began_has_its_child_cancelled() {
    let mut bench = builder();
    link(&mut bench, "child");
    let (node, attempt) = (NodeId(0), AttemptId::new(1, 1));
    let effects = bench.ok(Event::NotBegun { node, attempt });
    assert_eq!(effects, [Effect::CancelChild { child: id("child") }, enqueue(0)]);
    let state = bench.dispatch.node_state(node).unwrap();
    assert_eq!(state.started_at, None, "what never began has not started");
    bench.run(0);
    assert!(bench.dispatch.node_state(node).unwrap().started_at.is_some());
    assert_eq!(bench.end(0, Outcome::Completed), [Effect::ImportChild { node }]);
}

#[test]
fn a_second_link_replaces_the_first() {
    let mut bench = builder();
    link(&mut bench, "first");
    assert_eq!(link(&mut bench, "second"), [Effect::CancelChild { child: id("first") }]);
    let again = Event::Linked { node: NodeId(0), child: id("second") };
    assert_eq!(bench.apply(again), Err(Reject::Duplicate));
}

#[test]
fn a_cancel_reaches_the_child_whenever_it_becomes_known() {
    let node = NodeId(0);
    let cancel = Effect::CancelChild { child: id("child") };
    let start = Effect::StartChild { node, child: id("child") };
    let mut at_work = builder();
    link(&mut at_work, "child");
    at_work.end(0, Outcome::Completed);
    assert_eq!(at_work.cancel(&[]), std::slice::from_ref(&cancel));
    assert_eq!(at_work.statuses(), [Dispatching, NewObject], "its end is its child's");

    let mut taken_over = builder();
    taken_over.end(0, Outcome::Completed);
    taken_over.cancel(&[0]);
    assert_eq!(link(&mut taken_over, "child"), [cancel.clone(), start.clone()]);

    let mut building = builder();
    link(&mut building, "child");
    building.cancel(&[0]);
    assert_eq!(building.end(0, Outcome::Completed), [cancel, start]);
}
