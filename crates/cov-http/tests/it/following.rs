//! Waiting for the end, following events, and reading results and logs while they grow.

use serde_json::{Value, json};

use crate::client::Ask;
use crate::manifests::{manifest, node, task};
use crate::server::TestServer;

/// A running dispatch of one task.
async fn running(server: &TestServer) -> String {
    let id = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    let function = format!("/api/v3/dispatches/{id}/assets/0/function");
    assert_eq!(server.ask(Ask::new("PUT", &function).body(*b"f")).await.status, 204);
    assert_eq!(server.start_dispatch(&id).await.status, 202);
    server.tasks.taken().await;
    id
}

/// Kind and data of each event of a stream.
fn events_of(body: &[u8]) -> Vec<(String, Value)> {
    let text = std::str::from_utf8(body).unwrap();
    let member = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
    };
    let blocks = text.split("\n\n").filter_map(|block| {
        Some((member(block, "event")?, serde_json::from_str(&member(block, "data")?).unwrap()))
    });
    blocks.collect()
}

#[tokio::test]
async fn a_wait_ends_with_the_dispatch() {
    let server = TestServer::start().await;
    let id = running(&server).await;
    for path in [format!("/api/v3/dispatches/{id}"), format!("/api/v3/dispatches/{id}/summary")] {
        assert_eq!(server.get(&path).await.json()["status"], "RUNNING");
        assert_eq!(server.get(&format!("{path}?wait=61")).await.status, 422);
        assert_eq!(server.get(&format!("{path}?wait=soon")).await.status, 422);
    }
    let path = format!("/api/v3/dispatches/{id}/summary?wait=60");
    let (summary, ()) = tokio::join!(server.get(&path), server.tasks.complete_next(b"out"));
    assert_eq!(summary.json()["status"], "COMPLETED");
    assert_eq!(summary.json()["completed_node_count"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_result_is_waited_for_in_the_request_that_reads_it() {
    let server = TestServer::start().await;
    let nodes = vec![node(0, ":parameter:1"), task(1, ":postprocess:", b"f")];
    let id = server.register(&manifest(nodes, vec![])).await;
    let path = format!("/api/v3/dispatches/{id}/result?wait=60");
    let refused = server.get(&path).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("COV2104")));
    assert!(refused.json()["detail"].as_str().unwrap().contains("is NEW_OBJECT"));
    let function = format!("/api/v3/dispatches/{id}/assets/1/function");
    assert_eq!(server.ask(Ask::new("PUT", &function).body(*b"f")).await.status, 204);
    server.start_dispatch(&id).await;
    server.tasks.taken().await;
    let still = server.get(&format!("/api/v3/dispatches/{id}/result?wait=1")).await;
    assert_eq!((still.status, &still.json()["code"]), (409, &json!("COV2104")));
    assert_eq!(server.get(&format!("/api/v3/dispatches/{id}/result?wait=61")).await.status, 422);
    let (result, ()) = tokio::join!(server.get(&path), server.tasks.complete_next(b"0123456789"));
    assert_eq!((result.status, result.body.as_slice()), (200, &b"0123456789"[..]));
    let part = server.ask(Ask::new("GET", &path).header("Range", "bytes=2-4")).await;
    assert_eq!((part.status, part.body.as_slice()), (206, &b"234"[..]));
    assert_eq!(server.get("/api/v3/dispatches/none/result?wait=1").await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn what_did_not_complete_has_no_result_to_wait_for() {
    let server = TestServer::start().await;
    let id = running(&server).await;
    let path = format!("/api/v3/dispatches/{id}/result?wait=60");
    let cancel = Ask::new("POST", &format!("/api/v3/dispatches/{id}/cancel"));
    let (refused, _cancelled) = tokio::join!(server.get(&path), server.ask(cancel));
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("COV2104")));
    assert!(refused.json()["detail"].as_str().unwrap().contains("is CANCELLED"));
    server.stop().await;
}

#[tokio::test]
async fn a_waiting_client_is_answered_when_the_server_stops() {
    let server = TestServer::start().await;
    let id = running(&server).await;
    let path = format!("/api/v3/dispatches/{id}?wait=60");
    let waiting = server.get(&path);
    let (answer, ()) = tokio::join!(waiting, async { server.close() });
    assert_eq!(answer.json()["status"], "RUNNING");
    server.stop().await;
}

#[tokio::test]
async fn the_events_of_a_dispatch_end_with_it() {
    let server = TestServer::start().await;
    let id = running(&server).await;
    let path = format!("/api/v3/dispatches/{id}/events");
    let (answer, ()) = tokio::join!(server.get(&path), server.tasks.complete_next(b"out"));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let events = events_of(&answer.body);
    let (kind, summary) = &events[0];
    assert_eq!((kind.as_str(), &summary["dispatch_id"]), ("summary", &json!(id)));
    let seen = |kind: &str, status: &str| {
        events.iter().any(|(known, data)| known == kind && data["status"] == status)
    };
    if summary["status"] != "COMPLETED" {
        assert!(seen("node", "COMPLETED") && seen("dispatch", "COMPLETED"), "{events:?}");
        assert_eq!(events.last().unwrap().1["status"], "COMPLETED");
    }
    // What has ended is told at once.
    let over = events_of(&server.get(&path).await.body);
    assert_eq!(over.len(), 1);
    assert_eq!(over[0].1["status"], "COMPLETED");
    assert_eq!(server.get("/api/v3/dispatches/nobody/events").await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn the_events_of_all_dispatches_are_resumed_and_end_with_the_server() {
    let server = TestServer::start().await;
    let (one, two) = (running(&server).await, running(&server).await);
    let resume = |from: &str| Ask::new("GET", "/api/v3/events").header("Last-Event-ID", from);
    // Everything since the start of the server is kept; the stream ends when it closes.
    let (answer, ()) = tokio::join!(server.ask(resume("1-0")), async {
        server.get("/readyz").await;
        server.close();
    });
    let events = events_of(&answer.body);
    for id in [&one, &two] {
        let of_it: Vec<&(String, Value)> =
            events.iter().filter(|(_, data)| data["dispatch_id"] == id.as_str()).collect();
        assert_eq!(of_it[0].0, "registered", "{events:?}");
        assert!(of_it.iter().any(|(kind, data)| kind == "dispatch" && data["status"] == "RUNNING"));
    }
    let refused = server.ask(resume("yesterday")).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (422, Some("COV1004")));
    let lost = events_of(&server.ask(resume("0-7")).await.body);
    assert!(lost.is_empty() || lost[0].0 == "lagged", "{lost:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_log_is_followed_until_its_task_has_ended() {
    let server = TestServer::start().await;
    let id = running(&server).await;
    let path = format!("/api/v3/dispatches/{id}/nodes/0/stdout");
    assert_eq!(server.get(&path).await.body, b"so far\n");
    let following = format!("{path}?follow=true");
    let (answer, ()) = tokio::join!(server.get(&following), async {
        // Not before the follower has seen the task at work.
        server.get("/readyz").await;
        server.tasks.complete_next(b"out").await;
    });
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    // The held task printed nothing that is kept, so all there can be is what it printed so far.
    assert!([&b"so far\n"[..], b""].contains(&answer.body.as_slice()), "{:?}", answer.body);
    let after = server.get(&following).await;
    assert_eq!((after.status, after.body.len()), (200, 0));
    for (refused, status) in [
        (format!("/api/v3/dispatches/{id}/nodes/0/output?follow=true"), 422),
        (format!("/api/v3/dispatches/{id}/nodes/9/stdout?follow=true"), 404),
        (format!("/api/v3/dispatches/{id}/nodes/9/stdout"), 404),
        (format!("/api/v3/dispatches/{id}/nodes/0/shoes"), 422),
        (format!("/api/v3/dispatches/{id}/nodes/0/error"), 404),
    ] {
        assert_eq!(server.get(&refused).await.status, status, "{refused}");
    }
    server.stop().await;
}

#[tokio::test]
async fn outputs_and_results_are_read_whole_or_in_part() {
    let server = TestServer::start().await;
    let nodes = vec![node(0, ":parameter:1"), task(1, ":postprocess:", b"f")];
    let id = server.register(&manifest(nodes, vec![])).await;
    let result = format!("/api/v3/dispatches/{id}/result");
    assert_eq!(server.get(&result).await.json()["code"], "COV2003");
    let function = format!("/api/v3/dispatches/{id}/assets/1/function");
    assert_eq!(server.ask(Ask::new("PUT", &function).body(*b"f")).await.status, 204);
    server.start_dispatch(&id).await;
    server.tasks.complete_next(b"0123456789").await;
    server.get(&format!("/api/v3/dispatches/{id}?wait=60")).await;
    for path in [result, format!("/api/v3/dispatches/{id}/nodes/1/output")] {
        assert_eq!(server.get(&path).await.body, b"0123456789", "{path}");
        let part = server.ask(Ask::new("GET", &path).header("Range", "bytes=2-4")).await;
        assert_eq!((part.status, part.body.as_slice()), (206, &b"234"[..]));
        assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    }
    let path = format!("/api/v3/dispatches/{id}/assets/result");
    assert_eq!(server.get(&path).await.body, b"0123456789");
    let refused = server.ask(Ask::new("PUT", &path).body(*b"mine")).await;
    assert_eq!(refused.status, 422);
    server.stop().await;
}

#[tokio::test]
async fn executors_are_listed_by_name() {
    let server = TestServer::start().await;
    let listed = server.get("/api/v3/executors").await.json();
    let local = listed["executors"].as_array().unwrap().iter().find(|one| one["name"] == "local");
    assert_eq!(local.unwrap()["slots"], 4);
    server.stop().await;
}
