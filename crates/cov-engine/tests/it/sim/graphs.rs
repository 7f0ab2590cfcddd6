//! Random plans: chains, fans, diamonds and random acyclic graphs, with every kind of node.

use std::time::Duration;

use cov_core::executor::TaskPolicy;
use cov_core::graph::{Edge, EdgeKind, Graph, NodeKind};
use cov_core::ids::NodeId;
use cov_core::status::Status;
use cov_engine::dispatch::{Plan, RestoredNode};

use super::rng::Rng;

/// A plan of `nodes` nodes for `executors` executors, of which about one in `one_in` is a
/// sublattice, or none if that is 0.
pub(crate) fn plan(rng: &mut Rng, nodes: usize, executors: usize, one_in: usize) -> Plan {
    let kinds: Vec<NodeKind> = (0..nodes).map(|_| kind(rng, one_in)).collect();
    let mut pairs = shape(rng, nodes);
    if rng.chance(20) && !pairs.is_empty() {
        let twice = pairs[rng.below(pairs.len())];
        pairs.push(twice);
    }
    let edges: Vec<Edge> = pairs
        .into_iter()
        .map(|(source, target)| Edge {
            source: node_id(source),
            target: node_id(target),
            name: String::new(),
            kind: EdgeKind::Wait,
        })
        .collect();
    let graph = Graph::new(&kinds, &edges).unwrap();
    let executor_of = (0..nodes).map(|_| u32::try_from(rng.below(executors)).unwrap()).collect();
    let policies = (0..executors).map(|_| policy(rng)).collect();
    Plan { graph, executor_of, policies }
}

/// The nodes of a new dispatch as they are registered: in some, results are reused.
pub(crate) fn registered(rng: &mut Rng, plan: &Plan) -> Vec<RestoredNode> {
    let reuse = if rng.chance(10) { 30 } else { 0 };
    let node = |_| {
        let mut node = RestoredNode::default();
        if rng.chance(reuse) {
            node.state.status = Status::PendingReuse;
        }
        node
    };
    plan.graph.nodes().map(node).collect()
}

fn node_id(index: usize) -> NodeId {
    NodeId(u32::try_from(index).unwrap())
}

fn kind(rng: &mut Rng, one_in: usize) -> NodeKind {
    if one_in > 0 && rng.below(one_in) == 0 {
        return NodeKind::Sublattice;
    }
    match rng.below(20) {
        13 | 14 => NodeKind::Parameter,
        15 => NodeKind::Helper,
        16 => NodeKind::Postprocess,
        17 => NodeKind::Forward,
        _ => NodeKind::Task,
    }
}

fn policy(rng: &mut Rng) -> TaskPolicy {
    let retries = if rng.chance(50) { 0 } else { u32::try_from(rng.between(1, 3)).unwrap() };
    let time_limit = rng.chance(40).then(|| Duration::from_secs(5));
    TaskPolicy { retries, time_limit }
}

fn shape(rng: &mut Rng, nodes: usize) -> Vec<(usize, usize)> {
    match rng.below(6) {
        0 => (1..nodes).map(|node| (node - 1, node)).collect(),
        1 => (1..nodes).map(|node| (0, node)).collect(),
        2 => (1..nodes).map(|node| (node - 1, nodes - 1)).collect(),
        3 => diamonds(nodes),
        4 => layers(rng, nodes),
        _ => any_order(rng, nodes),
    }
}

/// One node, three beside each other, one node, and so on.
fn diamonds(nodes: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for top in (0..nodes).step_by(4) {
        for side in top + 1..(top + 4).min(nodes) {
            pairs.push((top, side));
            if top + 4 < nodes {
                pairs.push((side, top + 4));
            }
        }
    }
    pairs
}

/// Every node needs one or two of the layer above.
fn layers(rng: &mut Rng, nodes: usize) -> Vec<(usize, usize)> {
    let width = rng.between(2, nodes.div_ceil(3).max(2));
    let mut pairs = Vec::new();
    for node in width..nodes {
        let above = (node / width - 1) * width;
        for _ in 0..rng.between(1, 2) {
            pairs.push((above + rng.below(width), node));
        }
    }
    pairs
}

/// Every node needs up to three of those before it.
fn any_order(rng: &mut Rng, nodes: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for node in 1..nodes {
        for _ in 0..rng.below(4) {
            pairs.push((rng.below(node), node));
        }
    }
    pairs
}
