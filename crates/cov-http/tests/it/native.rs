//! The native API.

use serde_json::json;

use crate::manifests::{link, manifest, node};
use crate::server::TestServer;

#[tokio::test]
async fn dispatches_are_listed_in_pages_and_shown_with_their_nodes() {
    let server = TestServer::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let name = "ä".repeat(5_000);
        let value = manifest(vec![node(0, ":parameter:1"), node(1, &name)], vec![link(0, 1)]);
        ids.push(server.register(&value).await);
    }
    let page = server.get("/api/v3/dispatches?limit=2&status=NEW_OBJECT").await.json();
    assert_eq!(page["total"], 3);
    let listed: Vec<_> = page["dispatches"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["dispatch_id"], ids[2].as_str());
    assert_eq!(listed[0]["node_count"], 2);
    let rest = server.get("/api/v3/dispatches?limit=2&offset=2").await.json();
    assert_eq!(rest["dispatches"].as_array().unwrap().len(), 1);
    let none = server.get("/api/v3/dispatches?status=FAILED&status=CANCELLED").await.json();
    assert_eq!(none, json!({ "dispatches": [], "total": 0 }));

    let shown = server.get(&format!("/api/v3/dispatches/{}", ids[0])).await.json();
    assert_eq!(shown["dispatch_id"], ids[0].as_str());
    assert_eq!(shown["lattice"]["name"], "l");
    let nodes = shown["nodes"].as_array().unwrap();
    assert_eq!((&nodes[0]["kind"], &nodes[1]["kind"]), (&json!("parameter"), &json!("task")));
    assert!(nodes[1]["name"].as_str().unwrap().len() <= 4_096);
    assert_eq!(nodes[1]["executor"], "local");
    server.stop().await;
}

#[tokio::test]
async fn refusals_are_problems_with_a_code_and_the_request_they_belong_to() {
    let server = TestServer::start().await;
    let answer = server.get("/api/v3/dispatches/nobody").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem: cov_core::error::Problem = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem.status, 404);
    assert_eq!(problem.code.as_str(), "COV2001");
    assert_eq!(problem.request_id.as_deref(), answer.header("x-request-id"));
    let answer = server.get("/api/v3/dispatches?limit=x").await;
    let problem: cov_core::error::Problem = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem.pointer.as_deref(), Some("query.limit"));
    server.stop().await;
}
