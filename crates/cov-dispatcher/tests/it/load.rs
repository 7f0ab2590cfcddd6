//! Many dispatches at once.

use std::sync::Arc;

use cov_core::status::Status;
use serde_json::json;

use crate::support::{Flow, World};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_dispatches_all_end_and_no_task_is_lost() {
    let world = World::with_slots(8).await;
    let world = Arc::new(world);
    let mut runs = tokio::task::JoinSet::new();
    for number in 0..200_u32 {
        let world = Arc::clone(&world);
        runs.spawn(async move {
            let flow = match number % 4 {
                0 => Flow::chain(5),
                1 => Flow::fan(10, &json!({})),
                2 => Flow::fan(3, &json!({"tries": [{"not_begun": 1}, {}]})),
                _ => Flow::fan(2, &json!({"fail": "on purpose"})),
            };
            let nodes = flow.manifest.nodes.len();
            let dispatch = world.dispatch(&flow).await;
            if number % 10 == 9 {
                world.handle().cancel(&dispatch, &[]).await.unwrap();
            }
            let record = world.end(&dispatch).await;
            (number, nodes, record)
        });
    }
    let mut ended = 0;
    while let Some(run) = runs.join_next().await {
        let (number, nodes, record) = run.unwrap();
        assert_eq!(record.nodes.len(), nodes);
        let expected = match number % 4 {
            _ if number % 10 == 9 => record.summary.status,
            3 => Status::Failed,
            _ => Status::Completed,
        };
        assert_eq!(record.summary.status, expected, "dispatch {number}");
        assert!(
            record.nodes.iter().all(|node| node.state.status.is_terminal() || number % 10 == 9)
        );
        ended += 1;
    }
    assert_eq!(ended, 200);
    // More than eight at once would have stopped the executor.
    assert_eq!(world.executor().running(), 0);
    // Every slot came back.
    let all = world.dispatch(&Flow::fan(20, &json!({"gate": "g", "then": {}}))).await;
    world.executor().until(|executor| executor.running() == 8).await;
    world.gates.open("g");
    world.end(&all).await;
}
