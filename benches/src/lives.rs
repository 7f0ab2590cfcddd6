//! Graphs of electrons, and the whole life of a dispatch as the engine decides it.

use std::collections::VecDeque;

use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, Graph, NodeKind};
use cov_core::ids::{AttemptId, NodeId};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_engine::dispatch::{Dispatch, Plan};
use cov_engine::effect::Effect;
use cov_engine::event::{Event, Outcome};
use cov_engine::machine::apply;

/// The node `target` takes the result of `source` at a position.
#[must_use]
pub fn edge(source: u32, target: u32, position: u32) -> Edge {
    Edge {
        source: NodeId(source),
        target: NodeId(target),
        name: "x".into(),
        kind: EdgeKind::Arg(position),
    }
}

/// Each electron takes the result of the one before.
#[must_use]
pub fn chain(electrons: u32) -> Vec<Edge> {
    (1..electrons).map(|node| edge(node - 1, node, 0)).collect()
}

/// The first electron feeds all but the last, and the last one takes all their results.
#[must_use]
pub fn fan(electrons: u32) -> Vec<Edge> {
    let last = electrons - 1;
    (1..last).flat_map(|node| [edge(0, node, 0), edge(node, last, node - 1)]).collect()
}

/// What never changes about a dispatch of so many electrons, all of one executor.
///
/// # Panics
/// The edges make no graph.
#[must_use]
pub fn plan(electrons: u32, edges: &[Edge]) -> Plan {
    let kinds = vec![NodeKind::Task; electrons as usize];
    Plan {
        graph: Graph::new(&kinds, edges).expect("it has no cycle"),
        executor_of: vec![0; kinds.len()],
        policies: vec![ExecutorSpec::default().policy()],
    }
}

/// Runs a dispatch to its end: every electron is granted, begins and returns.
///
/// # Panics
/// The dispatch does not complete.
#[must_use]
pub fn run(mut dispatch: Dispatch) -> Dispatch {
    let mut events = VecDeque::from([Event::Start]);
    let mut attempts = 0;
    while let Some(event) = events.pop_front() {
        let step = apply(&mut dispatch, event, Timestamp::from_micros(i64::from(attempts)));
        for effect in step.expect("events come in order").effects {
            match effect {
                Effect::Enqueue { node, .. } => {
                    attempts += 1;
                    let attempt = AttemptId::new(1, attempts);
                    events.push_back(Event::Granted { node, attempt });
                }
                Effect::Submit { node, attempt } => events.extend([
                    Event::Begun { node, attempt },
                    Event::Ended { node, attempt, outcome: Outcome::Completed },
                ]),
                _ => {}
            }
        }
    }
    assert_eq!(dispatch.state().status, Status::Completed);
    dispatch
}
