//! A store that fails is told as such, with no word of what happened inside.

use cov_store::faulty::{Failure, Operation};

use crate::client::{Answer, Ask};
use crate::manifests::{manifest, task};
use crate::server::TestServer;

fn told(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("x-error-code"), Some(code));
    assert!(answer.header("retry-after").is_some());
    let body = String::from_utf8_lossy(&answer.body).to_lowercase();
    for inner in ["told to fail", "sqlite", "os error", "no storage"] {
        assert!(!body.contains(inner), "{body}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable_until_it_does() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    server.store_faults.fail_all(Operation::Read, Failure::Unavailable);
    for path in [
        "/api/v2/dispatches".to_owned(),
        format!("/api/v2/dispatches/{dispatch}"),
        format!("/api/v2/dispatches/{dispatch}/electrons/0/assets/output"),
        format!("/api/v0/files/{dispatch}/node_0/function.tobj"),
        "/api/v3/dispatches".to_owned(),
        format!("/api/v3/dispatches/{dispatch}"),
        "/api/v1/dispatches/list?status_filter=RUNNING".to_owned(),
    ] {
        told(&server.get(&path).await, 503, "COV3001");
    }
    server.store_faults.mend();
    assert_eq!(server.get(&format!("/api/v2/dispatches/{dispatch}")).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_full_disk_refuses_uploads_and_takes_them_when_there_is_space() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    let path = format!("/api/v0/files/{dispatch}/node_0/function.tobj");
    for operation in [Operation::Open, Operation::Write, Operation::Finish] {
        server.store_faults.fail_all(operation, Failure::Full);
        told(&server.ask(Ask::new("PUT", &path).body(*b"f")).await, 507, "COV3002");
        server.store_faults.mend();
        assert_eq!(server.get(&path).await.status, 404);
    }
    assert_eq!(server.ask(Ask::new("PUT", &path).body(*b"f")).await.status, 200);
    assert_eq!(server.get(&path).await.body, b"f");
    server.stop().await;
}
