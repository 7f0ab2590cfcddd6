//! What makes no sense is refused with its reason, and nothing is stored.

use cov_http::{Limits, Options};
use serde_json::{Value, json};

use crate::client::{Answer, Ask, raw};
use crate::manifests::{link, manifest, node, task};
use crate::server::TestServer;

fn refused(answer: &Answer, status: u16, code: &str, what: &str) {
    let body = answer.json();
    assert_eq!(answer.status, status, "{what}: {body}");
    assert_eq!(answer.header("x-error-code"), Some(code), "{what}: {body}");
    assert!(answer.header("x-request-id").is_some(), "{what}");
}

fn place(answer: &Answer) -> String {
    let body = answer.json();
    let steps = body["detail"][0]["loc"].as_array().cloned().unwrap_or_default();
    let text = |step: &Value| step.as_str().map_or_else(|| step.to_string(), str::to_owned);
    steps.iter().map(text).collect::<Vec<_>>().join(".")
}

#[tokio::test]
async fn graphs_that_are_none_are_refused_with_the_place_of_the_fault() {
    let server = TestServer::start().await;
    let two = || vec![node(0, "a"), node(1, "b")];
    let graph = "body.lattice.transport_graph";
    let mut second_end = node(1, ":postprocess:");
    second_end["metadata"]["task_group_id"] = json!(1);
    for (what, bad, code, expected) in [
        ("cycle", manifest(two(), vec![link(0, 1), link(1, 0)]), "COV1003", "nodes"),
        ("loop", manifest(two(), vec![link(1, 1)]), "COV1003", "nodes.1"),
        ("dangling", manifest(two(), vec![link(0, 1), link(0, 2)]), "COV1003", "links.1"),
        ("no nodes to link", manifest(vec![], vec![link(0, 1)]), "COV1003", "links.0"),
        ("twice", manifest(vec![node(0, "a"), node(0, "b")], vec![]), "COV1003", "nodes.1.id"),
        ("gap", manifest(vec![node(0, "a"), node(2, "b")], vec![]), "COV1003", "nodes.1.id"),
        ("negative", manifest(vec![node(-1, "a")], vec![]), "COV1002", "nodes.0.id"),
        ("negative link", manifest(two(), vec![link(-1, 0)]), "COV1002", "links.0.source"),
        (
            "two ends",
            manifest(vec![node(0, ":postprocess:"), second_end], vec![]),
            "COV1003",
            "nodes.1",
        ),
    ] {
        let answer = server.ask(Ask::new("POST", "/api/v2/dispatches").json(&bad)).await;
        refused(&answer, 422, code, what);
        let found = place(&answer);
        assert!(found.starts_with(&format!("{graph}.{expected}")), "{what}: {found}");
    }
    assert_eq!(server.stored().await, 0);
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let server = TestServer::start().await;
    let whole = serde_json::to_vec(&manifest(vec![node(0, "a")], vec![])).unwrap();
    for (method, path) in [
        ("POST", "/api/v2/dispatches"),
        ("PUT", "/api/v2/dispatches/d/status"),
        ("PUT", "/api/v2/dispatches/d/electrons/0/job"),
        ("PATCH", "/api/v2/dispatches/d/electrons/0"),
    ] {
        let bodies: [&[u8]; 5] = [b"", b"not json", b"{", b"\xff\xfe", &whole[..whole.len() / 2]];
        for body in bodies {
            let answer = server.ask(Ask::new(method, path).body(body)).await;
            refused(&answer, 400, "COV1001", &format!("{method} {path} {body:?}"));
        }
        for body in ["7", "[]", "null", "{}", r#"{"status": 7, "metadata": 7}"#] {
            let answer = server.ask(Ask::new(method, path).body(body)).await;
            refused(&answer, 422, "COV1002", &format!("{method} {path} {body}"));
        }
    }
    assert_eq!(server.stored().await, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_body_is_read_as_json_whatever_its_type() {
    let server = TestServer::start().await;
    let good = manifest(vec![node(0, ":parameter:1")], vec![]);
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let ask = Ask::new("POST", "/api/v2/dispatches").json(&good);
        let ask = match kind {
            Some(kind) => ask.header("content-type", kind),
            None => ask,
        };
        assert_eq!(server.ask(ask).await.status, 201, "{kind:?}");
    }
    assert_eq!(server.stored().await, 3);
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![node(0, "a")], vec![])).await;
    let known = format!("/api/v2/dispatches/{dispatch}");
    let running = r#"{"status": "RUNNING"}"#;
    let completed = r#"{"status": "COMPLETED"}"#;
    let link = format!(r#"{{"sub_dispatch_id": "{dispatch}"}}"#);
    let files = "/api/v0/files";
    for unknown in ["00000000-0000-0000-0000-000000000000", "a.b", "..", "%00", "x%2Fy"] {
        let path = format!("/api/v2/dispatches/{unknown}");
        for (method, path, body) in [
            ("GET", path.clone(), ""),
            ("GET", format!("/api/v3/dispatches/{unknown}"), ""),
            ("PUT", format!("{path}/status"), running),
            ("PUT", format!("{path}/status"), r#"{"status": "CANCELLED"}"#),
            ("PATCH", format!("{path}/electrons/0"), &link),
            ("GET", format!("{path}/electrons/0/assets/output"), ""),
            ("POST", format!("{path}/electrons/0/assets/output"), ""),
            ("PUT", format!("{path}/electrons/0/job"), completed),
        ] {
            let answer = server.ask(Ask::new(method, &path).body(body)).await;
            refused(&answer, 404, "COV2001", &format!("{method} {path}"));
        }
    }
    let zeros = "00000000-0000-0000-0000-000000000000";
    for (method, path, body, code) in [
        ("GET", format!("{files}/{zeros}/hooks.json"), "", "COV2001"),
        ("PUT", format!("{files}/{zeros}/hooks.json"), "x", "COV2001"),
        ("GET", format!("{files}/{dispatch}/hooks.json"), "", "COV2003"),
        ("GET", format!("{files}/{dispatch}/node_0/results.tobj"), "", "COV2003"),
        ("GET", format!("{files}/{dispatch}/node_1/hooks.json"), "", "COV2002"),
        ("PUT", format!("{files}/{dispatch}/node_1/hooks.json"), "x", "COV2002"),
        ("GET", format!("{known}/electrons/1/assets/output"), "", "COV2002"),
        ("POST", format!("{known}/electrons/1/assets/output"), "", "COV2002"),
        ("PATCH", format!("{known}/electrons/1"), &link, "COV2002"),
        ("PUT", format!("{known}/electrons/1/job"), completed, "COV2002"),
        (
            "PUT",
            format!("{known}/status"),
            r#"{"status": "CANCELLED", "task_ids": [9]}"#,
            "COV2002",
        ),
        ("DELETE", known.clone(), "", "COV1007"),
        ("GET", "/api/v2/nothing".to_owned(), "", "COV1007"),
        ("GET", "/api/v3/nothing".to_owned(), "", "COV1007"),
        ("GET", "/nothing".to_owned(), "", "COV1007"),
    ] {
        let answer = server.ask(Ask::new(method, &path).body(body)).await;
        refused(&answer, 404, code, &format!("{method} {path} {body}"));
    }
    assert_eq!(server.stored().await, 1);
    server.stop().await;
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_refused() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![node(0, "a")], vec![])).await;
    let known = format!("/api/v2/dispatches/{dispatch}");
    for (method, path, body) in [
        ("GET", "/api/v2/dispatches?count=-1".to_owned(), ""),
        ("GET", "/api/v2/dispatches?count=two".to_owned(), ""),
        ("GET", "/api/v2/dispatches?offset=-1".to_owned(), ""),
        ("GET", "/api/v2/dispatches?status=DONE".to_owned(), ""),
        ("GET", "/api/v2/dispatches?latest=maybe".to_owned(), ""),
        ("GET", "/api/v2/dispatches?status_only=maybe".to_owned(), ""),
        ("GET", "/api/v3/dispatches?limit=1001".to_owned(), ""),
        ("GET", "/api/v3/dispatches?limit=-1".to_owned(), ""),
        ("GET", "/api/v3/dispatches?status=done".to_owned(), ""),
        ("GET", format!("{known}/electrons/-1/assets/output"), ""),
        ("GET", format!("{known}/electrons/x/assets/output"), ""),
        ("GET", format!("{known}/electrons/99999999999/assets/output"), ""),
        ("GET", format!("{known}/electrons/0/assets/result"), ""),
        ("GET", format!("{known}/electrons/0/assets/name"), ""),
        ("POST", format!("{known}/electrons/0/assets/..%2Fx"), ""),
        ("GET", "/api/v1/dispatches/list?status_filter=DONE".to_owned(), ""),
    ] {
        let answer = server.ask(Ask::new(method, &path).body(body)).await;
        refused(&answer, 422, "COV1004", &format!("{method} {path}"));
    }
    for (path, body) in [
        (format!("{known}/status"), r#"{"status": "PAUSED"}"#),
        (format!("{known}/status"), r#"{"status": "CANCELLED", "task_ids": [-1]}"#),
        (format!("{known}/status"), r#"{"status": "CANCELLED", "task_ids": 1}"#),
        (format!("{known}/electrons/0/job"), r#"{"status": "RUNNING"}"#),
        (format!("{known}/electrons/0/job"), r#"{"status": "DONE"}"#),
    ] {
        let answer = server.ask(Ask::new("PUT", &path).body(body)).await;
        refused(&answer, 422, "COV1002", body);
    }
    server.stop().await;
}

#[tokio::test]
async fn object_keys_that_lead_elsewhere_are_refused() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![node(0, "a")], vec![])).await;
    for key in [
        "..%2F..%2Fetc%2Fpasswd".to_owned(),
        "../../etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        "%2Fetc%2Fpasswd".to_owned(),
        format!("{dispatch}/../hooks.json"),
        format!("{dispatch}/node_0/..%2fhooks.json"),
        format!("{dispatch}/node_0/../../x/hooks.json"),
        format!("{dispatch}x/../{dispatch}/hooks.json"),
        format!("{dispatch}/hooks.json%00.tobj"),
        format!("{dispatch}/node_0/hooks.json%00"),
        format!("{dispatch}%2Fhooks.json"),
        format!("{dispatch}/node_0/extra.bin"),
        format!("{dispatch}/node_-1/hooks.json"),
        format!("{dispatch}/node_00/hooks.json"),
        format!("{dispatch}/"),
        dispatch.clone(),
        format!("{dispatch}/node_0\\..\\hooks.json"),
        format!("{dispatch}-evil/../{dispatch}/hooks.json"),
    ] {
        for method in ["GET", "PUT"] {
            let ask = Ask::new(method, &format!("/api/v0/files/{key}")).body("x");
            let answer = server.ask(ask).await;
            refused(&answer, 422, "COV1004", &format!("{method} {key}"));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_before_it_is_taken() {
    let limits = Limits {
        nodes: 3,
        manifest_bytes: 20_000,
        upload_bytes: 1_000,
        body_bytes: 500,
        header_bytes: 8_192,
        ..Limits::default()
    };
    let server = TestServer::with(Options { limits, ..Options::default() }).await;
    let nodes = |count| (0..count).map(|id| node(id, "a")).collect::<Vec<_>>();
    let register = |manifest: &Value| Ask::new("POST", "/api/v2/dispatches").json(manifest);
    let answer = server.ask(register(&manifest(nodes(4), vec![]))).await;
    refused(&answer, 413, "COV1005", "nodes");
    let long = manifest(vec![node(0, &"x".repeat(20_000))], vec![]);
    refused(&server.ask(register(&long)).await, 413, "COV1005", "manifest");
    let announced = Ask::new("POST", "/api/v2/dispatches").header("content-length", "20001");
    refused(&server.ask(announced).await, 413, "COV1005", "announced manifest");
    let mut chunked = b"7000\r\n".to_vec();
    chunked.extend_from_slice(&[b' '; 0x7000]);
    let unannounced =
        Ask::new("POST", "/api/v2/dispatches").header("transfer-encoding", "chunked").body(chunked);
    refused(&server.ask(unannounced).await, 413, "COV1005", "chunked manifest");
    assert_eq!(server.stored().await, 0);

    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    let file = format!("/api/v0/files/{dispatch}/node_0/hooks.json");
    let announced = Ask::new("PUT", &file).header("content-length", "1001");
    refused(&server.ask(announced).await, 413, "COV1005", "announced upload");
    let status = format!("/api/v2/dispatches/{dispatch}/status");
    let padded = format!("{{\"status\": \"RUNNING\", \"x\": \"{}\"}}", "x".repeat(500));
    refused(&server.ask(Ask::new("PUT", &status).body(padded)).await, 413, "COV1005", "body");
    let asset = format!("/api/v2/dispatches/{dispatch}/electrons/0/assets/output");
    let announced = Ask::new("POST", &asset).header("content-length", "1001");
    refused(&server.ask(announced).await, 413, "COV1005", "announcement");

    let headers = Ask::new("GET", "/").header("x-long", &"x".repeat(10_000));
    assert_eq!(server.ask(headers).await.status, 431);
    let many: String = (0..300).map(|number| format!("x-{number}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    assert_eq!(raw(server.address, many.as_bytes()).await.status, 431);
    server.stop().await;
}

#[tokio::test]
async fn uploads_that_are_not_what_was_announced_are_refused_and_the_dispatch_waits() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![task(0, "a", b"right")], vec![])).await;
    let path = format!("/api/v0/files/{dispatch}/node_0/function.tobj");
    let wrong: [&[u8]; 4] = [b"wrong", b"righ", b"rights", b""];
    for bytes in wrong {
        let answer = server.ask(Ask::new("PUT", &path).body(bytes)).await;
        refused(&answer, 409, "COV2103", &format!("{bytes:?}"));
        assert_eq!(server.get(&path).await.status, 404);
    }
    let answer = server.start_dispatch(&dispatch).await;
    refused(&answer, 409, "COV2102", "start");
    assert!(answer.json()["detail"].as_str().unwrap().contains("node 0 function"));
    let status = format!("/api/v2/dispatches?dispatch_id={dispatch}&status_only=True");
    assert_eq!(server.get(&status).await.json()["dispatches"][0]["status"], "NEW_OBJECT");

    assert_eq!(server.ask(Ask::new("PUT", &path).body(*b"right")).await.status, 200);
    assert_eq!(server.get(&path).await.body, b"right");
    assert_eq!(server.start_dispatch(&dispatch).await.status, 202);
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![task(0, "a", b"right")], vec![])).await;
    let path = format!("/api/v0/files/{dispatch}/node_0/function.tobj");
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nrig");
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(server.get(&path).await.status, 404);
    assert_eq!(server.start_dispatch(&dispatch).await.status, 409);
    server.stop().await;
}
