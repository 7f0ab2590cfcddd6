//! Tests of the graph: what is refused, and properties of what is built.

use proptest::prelude::*;

use super::*;

fn edge(source: u32, target: u32, name: &str, kind: EdgeKind) -> Edge {
    Edge { source: NodeId(source), target: NodeId(target), name: name.into(), kind }
}

fn tasks(count: usize) -> Vec<NodeKind> {
    vec![NodeKind::Task; count]
}

#[test]
fn dangling_edges_are_refused_with_edge_and_node() {
    let edges = [edge(0, 1, "a", EdgeKind::Arg(0)), edge(1, 7, "a", EdgeKind::Arg(0))];
    assert_eq!(
        Graph::new(&tasks(2), &edges),
        Err(GraphError::DanglingEdge { edge: 1, node: NodeId(7), nodes: 2 })
    );
}

#[test]
fn cycles_and_self_loops_are_refused() {
    let ring = [edge(0, 1, "", EdgeKind::Wait), edge(1, 0, "", EdgeKind::Wait)];
    assert_eq!(Graph::new(&tasks(2), &ring), Err(GraphError::Cycle { node: NodeId(0) }));
    let own = [edge(0, 0, "", EdgeKind::Wait)];
    assert_eq!(Graph::new(&tasks(1), &own), Err(GraphError::Cycle { node: NodeId(0) }));
}

#[test]
fn an_argument_given_twice_is_refused() {
    let edges = [edge(0, 2, "a", EdgeKind::Arg(0)), edge(1, 2, "b", EdgeKind::Arg(0))];
    assert_eq!(
        Graph::new(&tasks(3), &edges),
        Err(GraphError::DuplicateArgument { edge: 1, node: NodeId(2) })
    );
    let keywords = |second| {
        let to = |source, name| edge(source, 2, name, EdgeKind::Kwarg);
        Graph::new(&tasks(3), &[to(0, "a"), to(0, "b"), to(0, "a"), to(1, second)]).map(drop)
    };
    assert_eq!(keywords("c"), Ok(()), "the same source may stand there twice");
    let twice = GraphError::DuplicateArgument { edge: 3, node: NodeId(2) };
    assert_eq!(keywords("a"), Err(twice.clone()));
    assert_eq!(keywords("b"), Err(twice));
}

#[test]
fn inputs_are_ordered_by_argument_and_waiting_edges_are_left_out() {
    let edges = [
        edge(2, 3, "b", EdgeKind::Arg(1)),
        edge(1, 3, "a", EdgeKind::Arg(0)),
        edge(0, 3, "k", EdgeKind::Kwarg),
        edge(0, 3, "!waiting_edge", EdgeKind::Wait),
        edge(0, 3, "node:0", EdgeKind::Kwarg),
    ];
    let graph = Graph::new(&tasks(4), &edges).unwrap();
    let inputs = graph.inputs(NodeId(3));
    assert_eq!(inputs.args, [NodeId(1), NodeId(2)]);
    assert_eq!(inputs.kwargs, [("k".to_owned(), NodeId(0)), ("node:0".to_owned(), NodeId(0))]);
    assert_eq!(graph.in_degree(NodeId(3)), 5);
    assert_eq!(graph.children(NodeId(0)).len(), 3);
}

proptest! {
    #[test]
    fn any_edges_give_a_graph_or_an_error(
        nodes in 0_usize..20,
        raw in prop::collection::vec((0_u32..24, 0_u32..24, 0_u32..3), 0..60),
    ) {
        let edges: Vec<Edge> =
            raw.iter().map(|(s, t, _)| edge(*s, *t, "", EdgeKind::Wait)).collect();
        if let Ok(graph) = Graph::new(&tasks(nodes), &edges) {
            prop_assert_eq!(graph.edges().count(), edges.len());
            let degrees: u32 = graph.nodes().map(|node| graph.in_degree(node)).sum();
            prop_assert_eq!(degrees as usize, edges.len());
        }
    }

    #[test]
    fn edges_that_point_forward_are_always_legal(
        raw in prop::collection::vec((0_u32..30, 1_u32..30), 0..80),
    ) {
        let edges: Vec<Edge> = raw
            .iter()
            .enumerate()
            .map(|(i, (s, step))| edge(*s, s + step, &i.to_string(), EdgeKind::Kwarg))
            .collect();
        let graph = Graph::new(&tasks(60), &edges).unwrap();
        let mut listed: Vec<Edge> = graph.edges().collect();
        let mut given = edges;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        given.sort_by(|a, b| a.name.cmp(&b.name));
        prop_assert_eq!(listed, given);
    }
}
