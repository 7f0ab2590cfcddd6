//! No web page drives the server, on no route, and no body of such a request is read.

use crate::client::{Ask, raw};
use crate::server::TestServer;

const ROUTES: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/healthz"),
    ("POST", "/api/v2/dispatches"),
    ("GET", "/api/v2/dispatches"),
    ("PUT", "/api/v2/dispatches/x/status"),
    ("PUT", "/api/v0/files/x/hooks.json"),
    ("GET", "/api/v3/dispatches"),
    ("GET", "/no/such/route"),
];

#[tokio::test]
async fn foreign_pages_and_foreign_names_are_refused_everywhere() {
    let server = TestServer::start().await;
    for (method, path) in ROUTES {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("host", "evil.example"),
        ] {
            // The announced body never comes: whoever waited for it would not answer.
            let ask = Ask::new(method, path).header(name, value).header("content-length", "9");
            let answer = server.ask(ask).await;
            assert_eq!(answer.status, 403, "{method} {path} {name}: {value}");
            assert_eq!(answer.header("x-error-code"), Some("COV1006"));
            assert_eq!(answer.json()["code"], "COV1006");
            assert!(answer.header("access-control-allow-origin").is_none());
            assert!(answer.header("x-request-id").is_some());
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn our_own_page_and_plain_clients_are_served() {
    let server = TestServer::start().await;
    let origin = format!("http://{}", server.address);
    let own = Ask::new("GET", "/healthz").header("origin", &origin);
    assert_eq!(server.ask(own).await.status, 200);
    let local = Ask::new("GET", "/healthz").header("host", "localhost:1");
    assert_eq!(server.ask(local).await.status, 200);
    assert_eq!(
        raw(server.address, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").await.status,
        422
    );
    assert_eq!(raw(server.address, b"GET /healthz HTTP/1.0\r\n\r\n").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn addresses_in_answers_lead_back_to_where_the_client_found_us() {
    let server = TestServer::start().await;
    let manifest = crate::manifests::manifest(vec![crate::manifests::task(0, "f", b"f")], vec![]);
    let ask = Ask::new("POST", "/api/v2/dispatches").header("host", "localhost:4711");
    let answer = server.ask(ask.json(&manifest)).await.json();
    let node = &answer["lattice"]["transport_graph"]["nodes"][0];
    let uri = node["assets"]["function"]["remote_uri"].as_str().unwrap();
    assert!(uri.starts_with("http://localhost:4711/api/v0/files/"), "{uri}");
    server.stop().await;
}
