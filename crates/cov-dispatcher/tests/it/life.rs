//! The life of a dispatch from registration to its end, as it is stored.

use cov_core::asset::AssetKey;
use cov_core::error::Fault;
use cov_core::graph::{EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::status::Status;
use serde_json::json;

use crate::support::{Flow, World, lattice, of_node, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_passes_values_on() {
    let world = World::new().await;
    let record = world.run(&Flow::chain(20)).await;
    let dispatch = record.summary.dispatch_id.clone();
    assert_eq!(record.summary.status, Status::Completed);
    assert_eq!(record.summary.completed_node_count, 20);
    for node in 0..20 {
        assert_eq!(world.output(&dispatch, node).await, (node + 1).to_string());
        let state = record.nodes[node as usize].state;
        assert!(state.started_at < state.ended_at, "node {node}: {state:?}");
        assert_eq!(world.executor().runs(&dispatch, node), 1);
    }
    let ends: Vec<_> = record.nodes.iter().map(|node| node.state.ended_at).collect();
    assert!(ends.is_sorted());
    assert_eq!(record.summary.ended_at, *ends.last().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_diamonds_keywords_and_waits() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let parameter = flow.parameter(json!(10));
    let top = flow.task(json!({}), &[parameter]);
    let (left, right) = (flow.task(json!({}), &[top]), flow.task(json!({}), &[top, parameter]));
    let bottom = flow.task(json!({}), &[left, right, left]);
    flow.edge(top, bottom, EdgeKind::Kwarg);
    let after = flow.task(json!({"return": "after"}), &[]);
    flow.edge(bottom, after, EdgeKind::Wait);
    let record = world.run(&flow).await;
    let dispatch = record.summary.dispatch_id.clone();
    assert!(statuses(&record).iter().all(|status| *status == Status::Completed));
    assert_eq!(world.executor().runs(&dispatch, parameter), 0);
    for (node, expected) in [(top, "11"), (left, "12"), (right, "22"), (bottom, "58")] {
        assert_eq!(world.output(&dispatch, node).await, expected, "node {node}");
    }
    assert_eq!(world.output(&dispatch, after).await, "\"after\"");
    let state = |node: u32| record.nodes[node as usize].state;
    assert!(state(bottom).ended_at < state(after).started_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hands_on_another_output_ends_with_it() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let made = flow.task(json!({"return": "made"}), &[]);
    let last = flow.task(json!({"return": "last"}), &[made]);
    let end = flow.forward(made);
    flow.edge(last, end, EdgeKind::Wait);
    let record = world.run(&flow).await;
    let dispatch = record.summary.dispatch_id.clone();
    assert!(statuses(&record).iter().all(|status| *status == Status::Completed));
    assert_eq!(world.output(&dispatch, end).await, "\"made\"");
    assert_eq!(world.handle().result_address(&dispatch).await.unwrap().node, Some(NodeId(end)));
    assert_eq!(world.executor().runs(&dispatch, end), 0);
    let state = |node: u32| record.nodes[node as usize].state;
    assert_eq!(state(end).started_at, state(last).ended_at);
    assert_eq!(state(end).ended_at, record.summary.ended_at);
    let mut failing = Flow::new();
    let bad = failing.task(json!({"fail": "boom"}), &[]);
    failing.forward(bad);
    let record = world.run(&failing).await;
    assert_eq!(statuses(&record), [Status::Failed, Status::NewObject]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_in_gets_every_value() {
    let world = World::with_slots(8).await;
    let mut flow = Flow::fan(500, &json!({"gate": "g", "then": {}}));
    let all: Vec<u32> = (0..500).collect();
    let sum = flow.task(json!({}), &all);
    let dispatch = world.dispatch(&flow).await;
    world.executor().until(|executor| executor.running() == 8).await;
    world.gates.open("g");
    world.end(&dispatch).await;
    assert_eq!(world.output(&dispatch, sum).await, "501");
    assert_eq!(world.executor().most(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_go_by_file() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let text = "x".repeat(300_000);
    let large = flow.task(json!({"return": text}), &[]);
    let print = json!({"print": text, "then": {"return": 1}});
    let after = flow.task(print, &[]);
    flow.edge(large, after, EdgeKind::Wait);
    let record = world.run(&flow).await;
    let dispatch = record.summary.dispatch_id.clone();
    assert_eq!(record.summary.status, Status::Completed);
    assert_eq!(world.output(&dispatch, large).await.len(), 300_002);
    assert_eq!(world.text(&dispatch, of_node(after, AssetKey::Stdout)).await, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_gets_inputs_that_are_not_stored_yet() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let parameter = flow.parameter(json!(1));
    let first = flow.task(json!({"gate": "g", "then": {}}), &[parameter]);
    let large = flow.task(json!({"return": "x".repeat(100_000)}), &[first]);
    let second = flow.task(json!({}), &[first]);
    flow.edge(large, second, EdgeKind::Wait);
    let dispatch = world.dispatch(&flow).await;
    world.executor().until_runs(&dispatch, first, 1).await;
    let held = world.tap().hold().await;
    world.gates.open("g");
    world.executor().until_runs(&dispatch, second, 1).await;
    drop(held);
    world.end(&dispatch).await;
    assert_eq!(world.output(&dispatch, second).await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_stops_what_stands_below_it_and_nothing_else() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let bad = flow.task(json!({"print": "so far", "then": {"fail": "boom: 7"}}), &[]);
    let below = flow.task(json!({}), &[bad]);
    let lowest = flow.task(json!({}), &[below]);
    let beside = flow.task(json!({}), &[]);
    let end = flow.task_of(NodeKind::Postprocess, json!({}), &[lowest, beside]);
    flow.manifest.nodes[bad as usize].name = "bad".into();
    let record = world.run(&flow).await;
    let dispatch = record.summary.dispatch_id.clone();
    let (new, failed, completed) = (Status::NewObject, Status::Failed, Status::Completed);
    assert_eq!(statuses(&record), [failed, new, new, completed, new]);
    assert_eq!(record.summary.status, failed);
    assert_eq!(record.nodes[0].state.fault, Some(Fault::Task));
    assert_eq!(world.error(&dispatch, bad).await, "boom: 7");
    assert_eq!(world.text(&dispatch, of_node(bad, AssetKey::Stdout)).await, "so far");
    assert_eq!(world.output(&dispatch, end).await, "");
    let summary = cov_core::asset::AssetAddress::of_dispatch(AssetKey::Error);
    let text = world.text(&dispatch, summary).await;
    assert_eq!(text, "The following tasks failed:\n0: bad");
    assert_eq!(world.executor().runs(&dispatch, below), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_text_names_the_tasks_of_sub_dispatches() {
    let world = World::new().await;
    let inner = lattice(&[json!({"fail": "deep"}), json!({})]);
    let middle = lattice(&[inner, json!({})]);
    let mut flow = Flow::new();
    flow.task_of(NodeKind::Sublattice, json!({"return": middle}), &[]);
    flow.task(json!({"fail": "beside"}), &[]);
    let record = world.run(&flow).await;
    let dispatch = record.summary.dispatch_id.clone();
    assert_eq!(statuses(&record), [Status::Failed, Status::Failed]);
    let summary = cov_core::asset::AssetAddress::of_dispatch(AssetKey::Error);
    let expected = "The following tasks failed:\n0: task 0\n    0: task 0\n        0: task 0\
                    \n1: task 1";
    assert_eq!(world.text(&dispatch, summary).await, expected);
    assert!(world.error(&dispatch, 0).await.contains("The following tasks failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_executor_fails_the_node_and_says_which_are_known() {
    let world = World::new().await;
    let mut flow = Flow::chain(2);
    flow.on(0, "slurm", json!({"retries": 5}));
    flow.task(json!({}), &[]);
    let record = world.run(&flow).await;
    let (failed, new) = (Status::Failed, Status::NewObject);
    assert_eq!(statuses(&record), [failed, new, Status::Completed]);
    assert_eq!(record.nodes[0].state.fault, Some(Fault::Executor));
    let error = world.error(&record.summary.dispatch_id, 0).await;
    assert!(error.contains("slurm") && error.contains("local"), "{error}");
    assert_eq!(world.executor().runs(&record.summary.dispatch_id, 0), 0);
}

#[tokio::test(start_paused = true)]
async fn retries_wait_longer_each_time() {
    let world = World::in_memory(1).await;
    let mut flow = Flow::new();
    let fail = json!({"fail": "not yet"});
    let tries = json!({"tries": [fail, fail, fail, {"return": 4}]});
    let node = flow.task(tries, &[]);
    flow.on(node, "local", json!({"retries": 3}));
    let begin = tokio::time::Instant::now();
    let record = world.run(&flow).await;
    let dispatch = record.summary.dispatch_id.clone();
    assert_eq!(record.summary.status, Status::Completed);
    assert_eq!(world.executor().runs(&dispatch, node), 4);
    assert_eq!(record.nodes[0].state.failed_attempts, 3);
    // 100, 200 and 400 ms.
    let took = begin.elapsed();
    assert!((700..750).contains(&took.as_millis()), "{took:?}");
    assert_eq!(world.error(&dispatch, node).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_task_over_its_time_limit_is_killed_and_may_be_tried_again() {
    let world = World::in_memory(1).await;
    let mut flow = Flow::new();
    let node = flow.task(json!({"tries": [{"hang": true}, {"hang": true}]}), &[]);
    flow.on(node, "local", json!({"retries": 1, "time_limit": 2.5}));
    let begin = tokio::time::Instant::now();
    let record = world.run(&flow).await;
    let took = begin.elapsed();
    assert!((5_100..5_200).contains(&took.as_millis()), "{took:?}");
    assert_eq!(statuses(&record), [Status::Failed]);
    assert_eq!(record.nodes[0].state.fault, Some(Fault::Timeout));
    assert_eq!(world.executor().kills().len(), 2);
    let error = world.error(&record.summary.dispatch_id, node).await;
    assert!(error.contains("2.5 s"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_never_began_is_made_again_and_is_no_failure() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let tries = json!({"tries": [{"not_begun": 1}, {"not_begun": 1}, {"return": "done"}]});
    let node = flow.task(tries, &[]);
    let record = world.run(&flow).await;
    assert_eq!(record.summary.status, Status::Completed);
    assert_eq!(record.nodes[0].state.failed_attempts, 0);
    assert_eq!(world.executor().runs(&record.summary.dispatch_id, node), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_task_prints_can_be_read() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let script = json!({"print": "hello", "then": {"gate": "g", "then": {"return": 1}}});
    let node = flow.task(script, &[]);
    let dispatch = world.dispatch(&flow).await;
    world.executor().until_runs(&dispatch, node, 1).await;
    world.until(&dispatch, |record| statuses(record) == [Status::Running]).await;
    assert_eq!(world.text(&dispatch, of_node(node, AssetKey::Stdout)).await, "hello");
    let live = world.record(&dispatch).await;
    assert!(
        live.nodes[0].assets.iter().any(|(address, state)| {
            address.key == AssetKey::Stdout && state.stored_size() == 5
        })
    );
    world.gates.open("g");
    world.end(&dispatch).await;
    assert_eq!(world.text(&dispatch, of_node(node, AssetKey::Stdout)).await, "hello");
}
