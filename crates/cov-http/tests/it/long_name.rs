//! A node name of many megabytes: taken, kept and given back without being copied whole.

use crate::client::Ask;
use crate::manifests::{manifest, node};
use crate::server::TestServer;

#[tokio::test]
async fn a_name_of_many_megabytes_comes_back_as_it_was() {
    let server = TestServer::start().await;
    // Escapes and characters of every width, so that pieces are cut everywhere.
    let name = format!(":parameter:{}", "b'\\x00\"\u{1}ä€𝄞\n".repeat(400_000));
    let value = manifest(vec![node(0, &name), node(1, "f")], vec![]);
    let answer = server.ask(Ask::new("POST", "/api/v2/dispatches").json(&value)).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let answer = answer.json();
    let dispatch = answer["metadata"]["dispatch_id"].as_str().unwrap();
    let export = server.get(&format!("/api/v2/dispatches/{dispatch}")).await.json();
    for text in [&answer, &export] {
        let nodes = text["lattice"]["transport_graph"]["nodes"].as_array().unwrap();
        assert!(nodes[0]["metadata"]["name"] == name.as_str(), "the name has changed");
        assert_eq!(nodes[1]["metadata"]["name"], "f");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_long_name_is_the_same_name_in_a_redispatch() {
    let server = TestServer::start().await;
    let long = |end: &str| format!(":parameter:{}{end}", "ä\u{1}".repeat(400_000));
    let of = |name: &str| manifest(vec![node(0, name), node(1, "f")], vec![]);
    let post = |path: String, value| server.ask(Ask::new("POST", &path).json(&value));
    let first = post("/api/v2/dispatches".to_owned(), of(&long("1"))).await.json();
    let first = first["metadata"]["dispatch_id"].as_str().unwrap().to_owned();
    for (end, reason) in [("1", "earlier_status"), ("2", "input")] {
        let path = format!("/api/v2/dispatches/{first}/redispatches?reuse_previous_results=True");
        let again = post(path, of(&long(end))).await;
        assert_eq!(again.status, 201);
        let again = again.json();
        let again = again["metadata"]["dispatch_id"].as_str().unwrap().to_owned();
        let plan = server.get(&format!("/api/v3/dispatches/{again}/redispatch-plan")).await.json();
        assert_eq!(plan["nodes"][0]["reason"], reason, "{plan}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_long_name_that_is_no_text_is_refused() {
    let server = TestServer::start().await;
    let whole = manifest(vec![node(0, &"x".repeat(2_000_000)), node(1, "f")], vec![]).to_string();
    for fault in ["\\ud834", "\\q", "\n"] {
        let body = whole.replacen("xxx", &format!("xx{fault}"), 1);
        let answer = server.ask(Ask::new("POST", "/api/v2/dispatches").body(body)).await;
        assert_eq!(answer.status, 400, "{fault:?}");
        assert_eq!(answer.header("x-error-code"), Some("COV1001"), "{fault:?}");
    }
    server.stop().await;
}
