//! One dispatch on a bench: applies events, checks the invariants after each, and that a
//! rejected event changed nothing.

use cov_core::error::Fault;
use cov_core::executor::TaskPolicy;
use cov_core::graph::{Edge, EdgeKind, Graph, NodeKind};
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::state::DispatchState;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_engine::dispatch::{Dispatch, Plan, RestoredNode};
use cov_engine::effect::Effect;
use cov_engine::event::{Event, Outcome};
use cov_engine::invariants;
use cov_engine::machine::{Reject, Step, apply};
use cov_engine::phase::Phase;

/// A dispatch, the time and the attempts of a test.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    pub(crate) dispatch: Dispatch,
    now: i64,
    last: AttemptId,
}

/// A plan whose nodes all follow one policy. Edges only order.
pub(crate) fn plan(kinds: &[NodeKind], edges: &[(u32, u32)], policy: TaskPolicy) -> Plan {
    let edges: Vec<Edge> = edges
        .iter()
        .map(|(source, target)| Edge {
            source: NodeId(*source),
            target: NodeId(*target),
            name: String::new(),
            kind: EdgeKind::Wait,
        })
        .collect();
    let graph = Graph::new(kinds, &edges).unwrap();
    Plan { graph, executor_of: vec![0; kinds.len()], policies: vec![policy] }
}

/// A dispatch id.
pub(crate) fn id(text: &str) -> DispatchId {
    text.parse().unwrap()
}

impl Bench {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { dispatch: Dispatch::new(plan), now: 0, last: AttemptId::new(1, 0) }
    }

    /// Tasks without retries.
    pub(crate) fn tasks(count: usize, edges: &[(u32, u32)]) -> Self {
        Self::new(plan(&vec![NodeKind::Task; count], edges, TaskPolicy::default()))
    }

    /// A dispatch as it was stored, not yet told that the server restarted.
    pub(crate) fn restored(plan: Plan, state: DispatchState, nodes: Vec<RestoredNode>) -> Self {
        Self {
            dispatch: Dispatch::restore(plan, state, nodes).unwrap(),
            now: 0,
            last: AttemptId::new(2, 0),
        }
    }

    pub(crate) fn apply(&mut self, event: Event) -> Result<Step, Reject> {
        self.now += 1;
        let before = self.dispatch.clone();
        let told = format!("{event:?}");
        let outcome = apply(&mut self.dispatch, event, Timestamp::from_micros(self.now));
        match &outcome {
            Ok(step) => {
                invariants::check(&self.dispatch).unwrap_or_else(|rule| panic!("{told}: {rule}"));
                check_changes(&before, &self.dispatch, step, &told);
            }
            Err(reject) => {
                let (before, after) = (format!("{before:?}"), format!("{:?}", self.dispatch));
                assert_eq!(before, after, "{told} was rejected ({reject}) and changed something");
            }
        }
        outcome
    }

    /// Applies an event that must be accepted.
    pub(crate) fn ok(&mut self, event: Event) -> Vec<Effect> {
        let told = format!("{event:?}");
        self.apply(event).unwrap_or_else(|reject| panic!("{told}: {reject}")).effects
    }

    pub(crate) fn start(&mut self) -> Vec<Effect> {
        self.ok(Event::Start)
    }

    /// The next attempt id is the one after `last`.
    pub(crate) fn attempts_from(&mut self, last: AttemptId) {
        self.last = last;
    }

    /// An attempt id that no test uses.
    pub(crate) fn unused() -> AttemptId {
        AttemptId::new(1, 99)
    }

    /// Gives `node` a slot under a new attempt.
    pub(crate) fn grant(&mut self, node: u32) -> AttemptId {
        let attempt = AttemptId::from_bits(self.last.to_bits() + 1);
        self.last = attempt;
        let node = NodeId(node);
        let effects = self.ok(Event::Granted { node, attempt });
        assert_eq!(effects, [Effect::Submit { node, attempt }]);
        attempt
    }

    /// Gives `node` a slot under a new attempt, and lets it begin.
    pub(crate) fn run(&mut self, node: u32) -> AttemptId {
        let attempt = self.grant(node);
        self.ok(Event::Begun { node: NodeId(node), attempt });
        attempt
    }

    /// Ends the present attempt of `node`.
    pub(crate) fn end(&mut self, node: u32, outcome: Outcome) -> Vec<Effect> {
        let node = NodeId(node);
        let attempt = self.dispatch.node_state(node).unwrap().attempt.unwrap();
        self.ok(Event::Ended { node, attempt, outcome })
    }

    /// Runs `node` to its end.
    pub(crate) fn complete(&mut self, node: u32) -> Vec<Effect> {
        self.run(node);
        self.end(node, Outcome::Completed)
    }

    /// Runs `node` until it raises.
    pub(crate) fn fail(&mut self, node: u32) -> Vec<Effect> {
        self.run(node);
        self.end(node, Outcome::Failed(Fault::Task))
    }

    pub(crate) fn cancel(&mut self, nodes: &[u32]) -> Vec<Effect> {
        self.ok(Event::Cancel { nodes: nodes.iter().copied().map(NodeId).collect() })
    }

    pub(crate) fn status(&self) -> Status {
        self.dispatch.state().status
    }

    pub(crate) fn statuses(&self) -> Vec<Status> {
        let state = |node| self.dispatch.node_state(node).unwrap().status;
        self.dispatch.graph().nodes().map(state).collect()
    }

    pub(crate) fn phase(&self, node: u32) -> &Phase {
        self.dispatch.phase(NodeId(node)).unwrap()
    }

    pub(crate) fn fault(&self, node: u32) -> Option<Fault> {
        self.dispatch.node_state(NodeId(node)).unwrap().fault
    }
}

/// What a step says it changed is exactly what is to be stored anew.
fn check_changes(before: &Dispatch, after: &Dispatch, step: &Step, told: &str) {
    let stored =
        |dispatch: &Dispatch, node| (dispatch.node_state(node), dispatch.child(node).cloned());
    for node in after.graph().nodes() {
        let told_of = step.changed_nodes.contains(&node);
        let changed = stored(before, node) != stored(after, node);
        assert_eq!(told_of, changed, "{told}: node {node}: told of a change, and a change");
    }
    let changed = before.state() != after.state();
    assert_eq!(step.dispatch_changed, changed, "{told}: told of a change of the dispatch");
}
