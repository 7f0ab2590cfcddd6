//! Graphs as they are drawn, at a fixed time.

use insta::assert_snapshot;

use super::*;
use crate::output::json_line;
use crate::view::samples;

fn shown((dispatch, edges): (Dispatch, Vec<Edge>)) -> Shown {
    Shown { dispatch, edges, sub_dispatches: Vec::new(), all: false, statuses: Vec::new() }
}

#[test]
fn sub_dispatches_stand_below_their_nodes() {
    let mut outer = shown(samples::etl());
    let mut middle = shown(samples::failed());
    let inner = shown(samples::fan(5));
    let under = |shown: &mut Shown, node: usize, below: Shown, id: &str| {
        let mut below = below;
        below.dispatch.summary.dispatch_id = id.parse().unwrap();
        shown.dispatch.nodes[node].kind = NodeKind::Sublattice;
        shown.dispatch.nodes[node].sub_dispatch_id = Some(id.parse().unwrap());
        shown.sub_dispatches.push(below);
    };
    under(&mut middle, 4, inner, "c2222222-0000");
    under(&mut outer, 2, middle, "b1111111-0000");
    assert_snapshot!(outer.text(&Screen::for_tests(100)), @"
    etl  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
    COMPLETED after 19.9 s, 6 of 6 nodes complete, registered 3 min ago

    NODE                            STATUS      TOOK
    1 load                          COMPLETED  2.0 s
    ├─ 2 parse                      COMPLETED  1.9 s  sub-dispatch b1111111
    │    ╎ 1 load                   COMPLETED  2.0 s
    │    ╎ ├─ 2 parse               COMPLETED  1.9 s
    │    ╎ ├─ 3 parse               FAILED     6.0 s  your code, 2 attempts
    │    ╎ └─ 4 train               –                 sub-dispatch c2222222
    │    ╎      ╎ 0 split           COMPLETED  1.0 s
    │    ╎      ╎ ├─ 1…5 square ×4  COMPLETED  40 ms  each; longest 50 ms
    │    ╎      ╎ ├─ 3 square       FAILED     30 ms
    │    ╎      ╎ └─ 6 sum          –
    │    ╎      ╎    7 result       –
    │    ╎    5 result              –
    ├─ 3 parse                      COMPLETED  6.0 s  3 attempts
    └─ 4 train                      COMPLETED  7.6 s
       5 result                     COMPLETED  90 ms
    ");
    let line: serde_json::Value = serde_json::from_str(&json_line(&outer).unwrap()).unwrap();
    let below = &line["sub_dispatches"][0]["sub_dispatches"][0];
    assert_eq!(below["dispatch_id"], "c2222222-0000");
    assert_eq!(below["sub_dispatches"], serde_json::json!([]));
}

#[test]
fn a_graph_is_a_tree() {
    let screen = Screen::for_tests(100);
    assert_snapshot!(shown(samples::etl()).text(&screen), @"
    etl  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
    COMPLETED after 19.9 s, 6 of 6 nodes complete, registered 3 min ago

    NODE         STATUS      TOOK
    1 load       COMPLETED  2.0 s
    ├─ 2 parse   COMPLETED  1.9 s
    ├─ 3 parse   COMPLETED  6.0 s  3 attempts
    └─ 4 train   COMPLETED  7.6 s
       5 result  COMPLETED  90 ms
    ");
    assert_snapshot!(shown(samples::failed()).text(&screen), @"
    etl  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
    FAILED after 19.9 s, 3 of 6 nodes complete, registered 3 min ago

    NODE         STATUS      TOOK
    1 load       COMPLETED  2.0 s
    ├─ 2 parse   COMPLETED  1.9 s
    ├─ 3 parse   FAILED     6.0 s  your code, 2 attempts
    └─ 4 train   –
       5 result  –
    ");
    assert_snapshot!(shown(samples::running()).text(&screen), @"
    etl  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
    RUNNING for 3 min 19 s, 2 of 6 nodes complete, registered 3 min ago

    NODE         STATUS           TOOK
    1 load       COMPLETED       2.0 s
    ├─ 2 parse   RUNNING    3 min 17 s
    ├─ 3 parse   –
    └─ 4 train   –
       5 result  –
    ");
}

#[test]
fn equals_are_counted_unless_all_are_asked_for() {
    let screen = Screen::for_tests(100);
    let mut fan = shown(samples::fan(9));
    assert_snapshot!(fan.text(&screen), @"
    fan  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
    FAILED after 19.9 s, 9 of 12 nodes complete, registered 3 min ago

    NODE              STATUS      TOOK
    0 split           COMPLETED  1.0 s
    ├─ 1…9 square ×8  COMPLETED  60 ms  each; longest 90 ms
    ├─ 3 square       FAILED     30 ms
    └─ 10 sum         –
       11 result      –
    ");
    fan.all = true;
    assert_eq!(fan.text(&screen).lines().count(), 3 + 1 + 12);
    fan.statuses = vec![Status::Failed];
    assert_snapshot!(fan.text(&screen), @"
    fan  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
    FAILED after 19.9 s, 9 of 12 nodes complete, registered 3 min ago

    NODE      STATUS   TOOK
    3 square  FAILED  30 ms
    ");
    fan.statuses = vec![Status::Cancelled];
    assert!(fan.text(&screen).ends_with("No node is in this state."));
}

#[test]
fn instances_of_a_repeated_task_are_equals() {
    let screen = Screen::for_tests(100);
    let mut fan = shown(samples::fan(9));
    for node in fan.dispatch.nodes.iter_mut().filter(|node| node.name == "square") {
        node.name = format!("square[a b,{}]", node.node_id);
    }
    let text = fan.text(&screen);
    assert!(text.contains("1…9 square ×8 ") && text.contains("3 square[a b,3] "), "{text}");
}

#[test]
fn a_large_graph_is_shown_by_name() {
    assert_snapshot!(shown(samples::fan(3_000)).text(&Screen::for_tests(100)), @"
    fan  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
    FAILED after 19.9 s, 3000 of 3003 nodes complete, registered 3 min ago

    NODES  NAME    STATES
        1  result  1 NEW_OBJECT
        1  split   1 COMPLETED
     3000  square  2999 COMPLETED, 1 FAILED
        1  sum     1 NEW_OBJECT

    --all shows every node, --status failed those in a state
    ");
}

#[test]
fn a_long_chain_stays_on_one_level() {
    let (mut dispatch, _) = samples::etl();
    let task = |id| samples::node(id, "step", NodeKind::Task, Status::Completed, (0, 5));
    dispatch.nodes = (0..1_500).map(task).collect();
    let edges = (1..1_500).map(|id| samples::edge(id - 1, id)).collect();
    let text = shown((dispatch, edges)).text(&Screen::pipe());
    assert!(text.ends_with("\n1499 step  COMPLETED  5 ms"), "{text}");
}

#[test]
fn programs_get_nodes_and_edges() {
    let line = json_line(&shown(samples::etl())).unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&value["event"], &value["name"]), (&"dispatch".into(), &"etl".into()));
    assert_eq!(value["nodes"][3]["failed_attempts"], 2);
    assert_eq!(
        value["edges"][0],
        serde_json::json!({"source": 0, "target": 1, "name": "", "kind": {"arg": 0}})
    );
}
