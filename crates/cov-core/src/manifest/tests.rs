//! What a manifest is refused for. Of its ends only: the rest is told to clients, and tested there.

use super::*;
use crate::graph::EdgeKind;

fn node(kind: NodeKind) -> ManifestNode {
    let (name, status) = ("n".to_owned(), Status::NewObject);
    ManifestNode { name, kind, task_group: NodeId(0), executor: 0, status }
}

fn edge(source: u32, target: u32, kind: EdgeKind) -> Edge {
    Edge { source: NodeId(source), target: NodeId(target), name: "x".to_owned(), kind }
}

fn check(kinds: &[NodeKind], edges: Vec<Edge>) -> Result<(), ManifestError> {
    let mut manifest = crate::bundle::Bundle::new(LatticeInfo::default()).manifest;
    manifest.nodes = kinds.iter().map(|kind| node(*kind)).collect();
    manifest.edges = edges;
    manifest.executors = vec![ExecutorSpec::default()];
    manifest.graph(10).map(drop)
}

#[test]
fn one_output_is_handed_on_and_by_one_node() {
    use EdgeKind::{Arg, Kwarg, Wait};
    use NodeKind::{Forward, Postprocess, Task};
    let refused = Err(ManifestError::Forward { node: NodeId(2) });
    let of = |edges: Vec<Edge>| check(&[Task, Task, Forward], edges);
    assert_eq!(of(vec![edge(0, 2, Arg(0)), edge(1, 2, Wait)]), Ok(()));
    assert_eq!(of(vec![]), refused);
    assert_eq!(of(vec![edge(0, 2, Wait)]), refused);
    assert_eq!(of(vec![edge(0, 2, Arg(0)), edge(1, 2, Arg(1))]), refused);
    assert_eq!(of(vec![edge(0, 2, Arg(0)), edge(1, 2, Kwarg)]), refused);
    assert_eq!(of(vec![edge(0, 2, Arg(0)), edge(2, 1, Wait)]), refused);
    let both = check(&[Postprocess, Task, Forward], vec![edge(1, 2, Arg(0))]);
    assert_eq!(both, Err(ManifestError::TwoEnds { first: NodeId(0), second: NodeId(2) }));
}
