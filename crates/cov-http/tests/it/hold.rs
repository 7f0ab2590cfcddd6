//! Status queries are held while a dispatch is under way and answered the moment it ends.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::client::Ask;
use crate::manifests::{manifest, task};
use crate::server::TestServer;

async fn running(server: &TestServer) -> String {
    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    let function = format!("/api/v0/files/{dispatch}/node_0/function.tobj");
    assert_eq!(server.ask(Ask::new("PUT", &function).body(*b"f")).await.status, 200);
    assert_eq!(server.start_dispatch(&dispatch).await.status, 202);
    server.tasks.taken().await;
    dispatch
}

fn query(dispatch: &str) -> Ask {
    let path = format!("/api/v2/dispatches?dispatch_id={dispatch}&status_only=True");
    Ask::new("GET", &path)
}

async fn status(server: &TestServer, ask: Ask) -> (String, Duration) {
    let asked = Instant::now();
    let answer = server.ask(ask).await.json();
    let status = answer["dispatches"][0]["status"].as_str().unwrap().to_owned();
    (status, asked.elapsed())
}

#[tokio::test]
async fn a_waiting_client_learns_of_the_end_at_once() {
    let server = TestServer::start().await;
    let dispatch = running(&server).await;
    let (first, took) = status(&server, query(&dispatch)).await;
    assert_ne!(first, "COMPLETED");
    assert!(took >= Duration::from_millis(250), "the first query is held a little: {took:?}");
    let again = status(&server, query(&dispatch));
    let complete = server.tasks.complete_next(b"out");
    let ((last, took), ()) = tokio::join!(again, complete);
    assert_eq!(last, "COMPLETED");
    assert!(took < Duration::from_secs(10), "held until the end, not until its limit: {took:?}");
    let (ended, took) = status(&server, query(&dispatch)).await;
    assert_eq!(ended, "COMPLETED");
    assert!(took < Duration::from_millis(250), "{took:?}");
    server.stop().await;
}

#[tokio::test]
async fn lists_and_what_is_not_under_way_are_answered_at_once() {
    let server = TestServer::start().await;
    let dispatch = running(&server).await;
    let other = server.register(&manifest(vec![task(0, "b", b"f")], vec![])).await;
    let two =
        format!("/api/v2/dispatches?dispatch_id={dispatch}&dispatch_id={other}&status_only=1");
    let full = format!("/api/v2/dispatches?dispatch_id={dispatch}");
    for ask in [
        Ask::new("GET", &two),
        Ask::new("GET", &full),
        Ask::new("GET", "/api/v2/dispatches?status_only=True"),
        query(&other),
        query(&other),
    ] {
        let (_, took) = status(&server, ask).await;
        assert!(took < Duration::from_millis(250), "{took:?}");
    }
    let unknown = server.ask(query("nobody")).await.json();
    assert_eq!(unknown, serde_json::json!({ "dispatches": [], "metadata": { "count": 0 } }));
    server.stop().await;
}

#[tokio::test]
async fn held_queries_end_when_the_server_stops() {
    let server = TestServer::start().await;
    let dispatch = running(&server).await;
    let _first = status(&server, query(&dispatch)).await;
    let held = query(&dispatch);
    let address = server.address;
    let held = tokio::spawn(async move { held.send(address).await });
    // The query is known to be held once the server has counted its connection; an answered one
    // would make the same end.
    server.close();
    let answer = timeout(Duration::from_secs(5), held).await.expect("an answer").unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(server.get("/readyz").await.status, 503);
    assert_eq!(server.get("/healthz").await.status, 200);
    let refused = Ask::new("POST", "/api/v2/dispatches").json(&manifest(vec![], vec![]));
    let refused = server.ask(refused).await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    server.stop().await;
}
