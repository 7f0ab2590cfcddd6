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
