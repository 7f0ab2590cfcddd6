//! Any nodes and edges as a transport graph: refused, or acyclic with every edge in place.

#![no_main]

use arbitrary::Arbitrary;
use cov_core::graph::{Edge, EdgeKind, Graph, NodeKind};
use cov_core::ids::NodeId;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct AnyEdge {
    source: u8,
    target: u8,
    argument: Option<u8>,
    name: u8,
}

fuzz_target!(|input: (Vec<bool>, Vec<AnyEdge>)| {
    let (nodes, any) = input;
    let kind = |task: &bool| if *task { NodeKind::Task } else { NodeKind::Parameter };
    let kinds: Vec<NodeKind> = nodes.iter().map(kind).collect();
    let edges: Vec<Edge> = any.iter().map(edge).collect();
    let Ok(graph) = Graph::new(&kinds, &edges) else { return };
    assert_eq!(graph.len(), nodes.len());
    assert_eq!(graph.edges().count(), edges.len());
    assert_eq!(sorted_count(&graph), graph.len(), "an accepted graph has a cycle");
});

fn edge(any: &AnyEdge) -> Edge {
    let kind = any.argument.map_or(EdgeKind::Wait, |position| EdgeKind::Arg(position.into()));
    Edge {
        source: NodeId(any.source.into()),
        target: NodeId(any.target.into()),
        name: char::from(any.name).to_string(),
        kind,
    }
}

/// How many nodes a topological sort reaches.
fn sorted_count(graph: &Graph) -> usize {
    let mut waiting: Vec<u32> = graph.nodes().map(|node| graph.in_degree(node)).collect();
    let mut ready: Vec<NodeId> = graph.nodes().filter(|node| graph.in_degree(*node) == 0).collect();
    let mut reached = 0;
    while let Some(node) = ready.pop() {
        reached += 1;
        for child in graph.children(node) {
            let left = &mut waiting[child.0 as usize];
            *left -= 1;
            if *left == 0 {
                ready.push(*child);
            }
        }
    }
    reached
}
