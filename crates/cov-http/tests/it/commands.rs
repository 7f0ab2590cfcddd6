//! Starting, cancelling and dispatching again over the native API, once and repeatedly.

use serde_json::{Value, json};

use crate::client::{Answer, Ask};
use crate::manifests::{manifest, task};
use crate::server::TestServer;

async fn post(server: &TestServer, dispatch: &str, command: &str, body: &Value) -> Answer {
    let path = format!("/api/v3/dispatches/{dispatch}/{command}");
    server.ask(Ask::new("POST", &path).json(body)).await
}

/// A registered dispatch of this many tasks.
async fn tasks(server: &TestServer, count: i64) -> String {
    let nodes = (0..count).map(|id| task(id, "a", b"f")).collect();
    let id = server.register(&manifest(nodes, vec![])).await;
    let path = format!("/api/v0/files/{id}/node_0/function.tobj");
    assert_eq!(server.ask(Ask::new("PUT", &path).body(*b"f")).await.status, 200);
    id
}

async fn one_task(server: &TestServer) -> String {
    tasks(server, 1).await
}

#[tokio::test]
async fn a_dispatch_is_started_once_however_often_it_is_asked_for() {
    let server = TestServer::start().await;
    let id = one_task(&server).await;
    for _ in 0..2 {
        let path = format!("/api/v3/dispatches/{id}/start");
        let answer = server.ask(Ask::new("POST", &path)).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json()["dispatch_id"], id.as_str());
        assert_eq!(answer.json()["status"], "RUNNING");
    }
    server.tasks.complete_next(b"done").await;
    server.stop().await;
}

#[tokio::test]
async fn cancelling_reaches_one_node_or_all() {
    let server = TestServer::start().await;
    let id = tasks(&server, 2).await;
    post(&server, &id, "start", &json!({})).await;
    server.tasks.taken().await;
    assert_eq!(post(&server, &id, "cancel", &json!({"nodes": [1]})).await.status, 202);
    assert_eq!(post(&server, &id, "cancel", &json!({"nodes": [7]})).await.status, 404);
    let path = format!("/api/v3/dispatches/{id}/cancel");
    assert_eq!(server.ask(Ask::new("POST", &path)).await.status, 202);
    let path = format!("/api/v3/dispatches/{id}");
    let ended = loop {
        let shown = server.get(&path).await.json();
        if shown["status"] != "RUNNING" {
            break shown;
        }
    };
    assert_eq!(ended["status"], "CANCELLED");
    assert_eq!(ended["nodes"][1]["status"], "CANCELLED");
    server.stop().await;
}

#[tokio::test]
async fn the_same_redispatch_under_the_same_id_is_made_once() {
    let server = TestServer::start().await;
    let id = one_task(&server).await;
    let again = json!({"dispatch_id": "again", "reuse": true, "start": false});
    for _ in 0..2 {
        let answer = post(&server, &id, "redispatch", &again).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        assert_eq!(answer.json()["dispatch_id"], "again");
        assert_eq!(answer.json()["status"], "NEW_OBJECT");
    }
    assert_eq!(server.stored().await, 2);
    // The same id for something else is taken; starting is no part of what is compared.
    let other = json!({"dispatch_id": "again", "reuse": false, "start": false});
    let refused = post(&server, &id, "redispatch", &other).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("COV2101")));
    let started = json!({"dispatch_id": "again", "reuse": true});
    assert_eq!(post(&server, &id, "redispatch", &started).await.json()["status"], "RUNNING");
    server.tasks.complete_next(b"done").await;
    let path = format!("/api/v3/dispatches/{id}");
    assert_eq!(server.get(&path).await.json()["status"], "NEW_OBJECT");
    server.stop().await;
}

#[tokio::test]
async fn two_who_redispatch_at_once_under_one_id_get_one_dispatch() {
    let server = TestServer::start().await;
    let id = one_task(&server).await;
    let again = json!({"dispatch_id": "again"});
    let both = tokio::join!(
        post(&server, &id, "redispatch", &again),
        post(&server, &id, "redispatch", &again)
    );
    assert_eq!((both.0.status, both.1.status), (201, 201));
    assert_eq!(server.stored().await, 2);
    server.stop().await;
}

#[tokio::test]
async fn without_a_chosen_id_every_redispatch_is_another() {
    let server = TestServer::start().await;
    let id = one_task(&server).await;
    for _ in 0..2 {
        let answer = post(&server, &id, "redispatch", &json!({"start": false})).await;
        assert_ne!(answer.json()["dispatch_id"], id.as_str());
    }
    assert_eq!(server.stored().await, 3);
    server.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_as_a_problem() {
    let server = TestServer::start().await;
    let id = one_task(&server).await;
    for (command, body, status) in [
        ("cancel", json!({"nodes": ["x"]}), 422),
        ("cancel", json!({"node": [0]}), 422),
        ("cancel", json!("all"), 422),
        ("redispatch", json!({"dispatch_id": "a/b"}), 422),
        ("redispatch", json!({"dispatch_id": id}), 409),
        ("redispatch", json!({"reuse": "yes"}), 422),
    ] {
        let answer = post(&server, &id, command, &body).await;
        assert_eq!(answer.status, status, "{command} {body}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
    }
    for command in ["start", "cancel", "redispatch"] {
        let answer = post(&server, "nobody", command, &json!({})).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("COV2001")));
    }
    server.stop().await;
}
