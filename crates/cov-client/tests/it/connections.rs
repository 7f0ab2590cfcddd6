//! Refused, cut, slow and overloaded: what is tried again, how often, and what the error says.

use std::time::Duration;

use cov_client::{Client, Error, Filter, Kind, RetryPolicy};
use cov_core::error::ErrorCode;
use cov_core::status::Status;

use crate::script::{Act, Stage};

const EMPTY_PAGE: &str = r#"{"dispatches":[],"total":0}"#;

fn client(address: &str) -> Client {
    let retry = RetryPolicy {
        tries_max: 3,
        backoff_first: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    Client::builder(address).retry(retry).jitter_seed(7).build().unwrap()
}

async fn list(stage: &Stage) -> Result<u64, Error> {
    let page = client(&stage.url()).list(&Filter::default()).await?;
    Ok(page.total)
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_reported_with_its_tries() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);

    let error = client(&address).health().await.unwrap_err();

    assert_eq!((error.kind(), error.tries()), (Kind::Unreachable, 3));
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("3 times"), "{text}");
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn a_cut_connection_is_tried_again() {
    for cut in [Act::Cut, Act::CutBody] {
        let mut stage = Stage::open(vec![cut, Act::json(200, EMPTY_PAGE)]).await;
        assert_eq!(list(&stage).await.unwrap(), 0);
        assert_eq!(stage.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_connection_that_is_always_cut_ends_as_interrupted() {
    let mut stage = Stage::open(vec![Act::CutBody]).await;
    let error = list(&stage).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { tries: 3, .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert_eq!(stage.requests().len(), 3);
}

#[tokio::test]
async fn a_silent_server_is_given_up_after_the_time_limit() {
    let stage = Stage::open(vec![Act::Silence]).await;
    let client = Client::builder(stage.url())
        .retry(RetryPolicy::never())
        .try_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let error = client.list(&Filter::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (Kind::TimedOut, 1));
    assert!(error.to_string().contains("20ms"), "{error}");
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again() {
    let busy = Act::answer(503, "retry-after: 0\r\n", "");
    let mut stage = Stage::open(vec![busy.clone(), busy, Act::json(200, EMPTY_PAGE)]).await;
    assert_eq!(list(&stage).await.unwrap(), 0);
    assert_eq!(stage.requests(), ["GET /api/v3/dispatches?limit=20&offset=0 HTTP/1.1"; 3]);
}

#[tokio::test]
async fn a_server_that_asks_for_too_much_patience_is_not_asked_again() {
    let mut stage = Stage::open(vec![Act::answer(503, "retry-after: 3600\r\n", "")]).await;
    let error = list(&stage).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (Kind::Unavailable, 1));
    assert_eq!(stage.requests().len(), 1);
}

#[tokio::test]
async fn the_servers_problem_is_kept() {
    let body = r#"{"type":"t","title":"not found","status":404,"detail":"dispatch x does not exist","code":"COV2001","hint":"look","request_id":"r1"}"#;
    let mut stage =
        Stage::open(vec![Act::answer(404, "content-type: application/problem+json\r\n", body)])
            .await;
    let error = client(&stage.url()).get(&"x".parse().unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (Kind::NotFound, 1));
    let problem = error.problem().unwrap();
    assert_eq!(problem.code, ErrorCode::DispatchNotFound);
    assert_eq!(problem.hint.as_deref(), Some("look"));
    assert!(error.to_string().starts_with("dispatch x does not exist (COV2001"));
    assert_eq!(stage.requests(), ["GET /api/v3/dispatches/x HTTP/1.1"]);
}

#[tokio::test]
async fn an_error_without_a_problem_says_its_status() {
    let mut stage = Stage::open(vec![Act::answer(500, "content-type: text/html\r\n", "<p>")]).await;
    let error = list(&stage).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (Kind::Server, 1));
    assert!(error.problem().is_none());
    assert!(error.to_string().contains("500"), "{error}");
    assert_eq!(stage.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_of_another_program_is_unreadable() {
    for body in ["<html>", r#"{"dispatches":{}}"#, r#"{"total":1}"#] {
        let stage = Stage::open(vec![Act::json(200, body)]).await;
        assert_eq!(list(&stage).await.unwrap_err().kind(), Kind::Unreadable);
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read() {
    let stage = Stage::open(vec![Act::json(200, &" ".repeat(2000))]).await;
    let client = Client::builder(stage.url()).answer_bytes_max(1000).build().unwrap();
    let error = client.list(&Filter::default()).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 1000, .. }), "{error:?}");
}

#[tokio::test]
async fn readiness_is_asked_once_and_answered_by_the_status() {
    for (status, ready) in [(200, true), (503, false)] {
        let mut stage = Stage::open(vec![Act::json(status, "{}")]).await;
        assert_eq!(client(&stage.url()).ready().await.unwrap(), ready);
        assert_eq!(stage.requests(), ["GET /readyz HTTP/1.1"]);
    }
    let stage = Stage::open(vec![Act::json(404, "{}")]).await;
    let error = client(&stage.url()).ready().await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn records_are_read_with_members_of_newer_servers() {
    let summary = r#""dispatch_id":"d","root_dispatch_id":"d","parent_dispatch_id":null,"name":"flow","status":"RUNNING","node_count":1,"completed_node_count":0,"created_at":"2026-01-01T00:00:00.000001","updated_at":"2026-01-01T00:00:00","started_at":null,"ended_at":null,"colour":"red""#;
    let lattice = r#"{"name":"flow","executor":{"name":"local","data":{}},"workflow_executor":{"name":"local","data":{}},"python_version":"3.11.7","sdk_version":null}"#;
    let node = r#"{"node_id":0,"name":"task","kind":"task","executor":"local","status":"NEW_OBJECT","weight":3}"#;
    let body = format!(r#"{{{summary},"lattice":{lattice},"nodes":[{node}]}}"#);
    let stage = Stage::open(vec![Act::json(200, &body)]).await;

    let dispatch = client(&stage.url()).get(&"d".parse().unwrap()).await.unwrap();

    assert_eq!(dispatch.summary.status, Status::Running);
    assert_eq!(dispatch.lattice.python_version.as_deref(), Some("3.11.7"));
    assert_eq!(dispatch.nodes[0].name, "task");
    assert_eq!(dispatch.nodes[0].started_at, None);
}
