//! What counts as the same, by example: 0 and 1 are parameters of 2, which feeds 3; 4 is alone.

use super::*;

fn edge(source: u32, target: u32, index: u32) -> Edge {
    let name = "x".to_owned();
    Edge { source: NodeId(source), target: NodeId(target), name, kind: EdgeKind::Arg(index) }
}

fn side() -> Side {
    let kinds =
        [NodeKind::Parameter, NodeKind::Parameter, NodeKind::Task, NodeKind::Task, NodeKind::Task];
    let edges = [edge(0, 2, 0), edge(1, 2, 1), edge(2, 3, 0)];
    let facts = |id: u8, value| NodeFacts {
        name: format!("node {id}"),
        value,
        function: Some(Sha1Digest::from_bytes([id; 20])),
        executor: ExecutorSpec::default(),
        status: Status::Completed,
    };
    let value = |byte| Some(Sha1Digest::from_bytes([byte; 20]));
    Side {
        graph: Graph::new(&kinds, &edges).unwrap(),
        nodes: vec![
            facts(0, value(9)),
            facts(1, value(8)),
            facts(2, None),
            facts(3, None),
            facts(4, None),
        ],
    }
}

fn reasons(earlier: &Side, new: &Side, reuse: bool) -> Vec<Reason> {
    plan(earlier, new, reuse).into_iter().map(|node| node.reason).collect()
}

#[test]
fn an_unchanged_complete_dispatch_is_reused_whole_when_asked() {
    use Reason::{NotAsked, Unchanged};
    assert_eq!(reasons(&side(), &side(), true), [Unchanged; 5]);
    assert_eq!(reasons(&side(), &side(), false), [NotAsked; 5]);
}

#[test]
fn a_changed_value_runs_everything_below_it_again() {
    let mut new = side();
    new.nodes[1].name = "another value".into();
    let nodes = plan(&side(), &new, true);
    let reasons: Vec<Reason> = nodes.iter().map(|node| node.reason).collect();
    use Reason::{Input, Unchanged, Upstream};
    assert_eq!(reasons, [Unchanged, Input, Upstream, Upstream, Unchanged]);
    assert_eq!(nodes[2].upstream, Some(NodeId(1)));
    assert_eq!(nodes[3].upstream, Some(NodeId(2)));
    assert_eq!(nodes[2].verdict, Verdict::RunAgain);
}

#[test]
fn a_replaced_electron_is_a_change_of_code_and_a_changed_function_only_warns() {
    let mut new = side();
    new.nodes[2].status = Status::PendingReplacement;
    new.nodes[4].function = None;
    new.nodes[0].function = None;
    let nodes = plan(&side(), &new, true);
    assert_eq!(nodes[2].reason, Reason::Code);
    assert_eq!(nodes[3].reason, Reason::Upstream);
    assert_eq!(nodes[4].verdict, Verdict::Reused);
    assert_eq!(nodes[4].warnings, [Warning::FunctionChanged]);
    assert!(nodes[0].warnings.is_empty(), "only tasks have a function of the user");
}

#[test]
fn what_was_not_complete_runs_again_and_taints_nothing() {
    let mut earlier = side();
    earlier.nodes[2].status = Status::Failed;
    earlier.nodes[3].status = Status::NewObject;
    let nodes = plan(&earlier, &side(), true);
    assert_eq!(nodes[2].reason, Reason::EarlierStatus);
    assert_eq!(nodes[3].reason, Reason::EarlierStatus);
    assert!(nodes[2].is_same() && nodes[4].verdict == Verdict::Reused);
}

#[test]
fn edges_are_compared_as_sets_and_added_nodes_are_new() {
    let mut earlier = side();
    earlier.nodes.pop();
    let mut new = side();
    let edges = [edge(0, 2, 1), edge(1, 2, 0), edge(2, 3, 0)];
    let kinds: Vec<NodeKind> = new.graph.nodes().map(|node| new.graph.kind(node)).collect();
    new.graph = Graph::new(&kinds, &edges).unwrap();
    use Reason::{Added, Input, Unchanged, Upstream};
    assert_eq!(reasons(&earlier, &new, true), [Unchanged, Unchanged, Input, Upstream, Added]);
}
