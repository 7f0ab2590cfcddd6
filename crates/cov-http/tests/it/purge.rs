//! Purging over HTTP, while dispatches are under way.

use serde_json::json;

use crate::client::Ask;
use crate::manifests::{manifest, node, task};
use crate::server::TestServer;

fn purge(body: &serde_json::Value) -> Ask {
    Ask::new("POST", "/api/v3/purge").json(body)
}

#[tokio::test]
async fn only_what_has_ended_goes() {
    let server = TestServer::start().await;
    let held = server.register(&manifest(vec![node(0, "a")], vec![])).await;
    let ended = server.register(&manifest(vec![node(0, ":parameter:1")], vec![])).await;
    assert_eq!(server.start_dispatch(&ended).await.status, 202);
    let path = format!("/api/v2/dispatches?dispatch_id={ended}&status_only=True");
    while server.get(&path).await.json()["dispatches"][0]["status"] != "COMPLETED" {}

    let all = json!({"older_than_seconds": 0, "statuses": ["COMPLETED"]});
    let mut dry = all.clone();
    dry["dry_run"] = json!(true);
    let would = server.ask(purge(&dry)).await;
    assert_eq!((would.status, would.json()["dispatches"].as_u64()), (200, Some(1)));
    assert_eq!(would.json()["dry_run"], true);
    let done = server.ask(purge(&all)).await.json();
    assert_eq!(done["dispatches"], 1);
    assert_eq!(done["dry_run"], false);
    assert_eq!(server.get(&format!("/api/v3/dispatches/{ended}")).await.status, 404);
    assert_eq!(server.get(&format!("/api/v3/dispatches/{held}")).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_as_a_problem() {
    let server = TestServer::start().await;
    for (body, status) in [
        (json!({}), 422),
        (json!({"older_than_seconds": -1}), 422),
        (json!({"older_than_seconds": 0, "statuses": ["DONE"]}), 422),
        (json!({"older_than_seconds": 0, "dry_runs": true}), 422),
        (json!({"older_than_seconds": 0, "statuses": ["RUNNING"]}), 409),
    ] {
        let answer = server.ask(purge(&body)).await;
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
    }
    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    assert_eq!(server.get(&format!("/api/v3/dispatches/{dispatch}")).await.status, 200);
    server.stop().await;
}
