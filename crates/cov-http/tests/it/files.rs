//! Bytes of assets: whole, in part, while a task runs, and the announcement without a body.

use crate::client::Ask;
use crate::manifests::{manifest, node, task};
use crate::server::TestServer;

#[tokio::test]
async fn assets_come_back_whole_or_in_part() {
    let server = TestServer::start().await;
    let large: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    for bytes in [b"0123456789".as_slice(), &large] {
        let dispatch = server.register(&manifest(vec![task(0, "a", bytes)], vec![])).await;
        let path = format!("/api/v0/files/{dispatch}/node_0/function.tobj");
        assert_eq!(server.ask(Ask::new("PUT", &path).body(bytes)).await.status, 200);
        let whole = server.get(&path).await;
        assert_eq!(whole.status, 200);
        assert!(whole.body == bytes, "{} of {} bytes", whole.body.len(), bytes.len());
        assert_eq!(whole.header("content-length"), Some(bytes.len().to_string().as_str()));
        let tag = whole.header("etag").unwrap().to_owned();

        let part = server.ask(Ask::new("GET", &path).header("range", "bytes=3-6")).await;
        assert_eq!((part.status, part.body.as_slice()), (206, &bytes[3..7]));
        let expected = format!("bytes 3-6/{}", bytes.len());
        assert_eq!(part.header("content-range"), Some(expected.as_str()));
        let tail = server.ask(Ask::new("GET", &path).header("range", "bytes=-4")).await;
        assert_eq!((tail.status, tail.body.as_slice()), (206, &bytes[bytes.len() - 4..]));
        let beyond = Ask::new("GET", &path).header("range", "bytes=99999999-");
        assert_eq!(server.ask(beyond).await.status, 416);
        let known = Ask::new("GET", &path).header("if-none-match", &tag);
        assert_eq!(server.ask(known).await.status, 304);

        let head = server.ask(Ask::new("HEAD", &path)).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_known_content_is_not_asked_for_again() {
    let server = TestServer::start().await;
    let value = manifest(vec![task(0, "a", b"same"), task(1, "b", b"same")], vec![]);
    let uris = |answer: &serde_json::Value| -> Vec<String> {
        let nodes = answer["lattice"]["transport_graph"]["nodes"].as_array().unwrap();
        let uri = |node: &serde_json::Value| node["assets"]["function"]["remote_uri"].clone();
        nodes.iter().map(|node| uri(node).as_str().unwrap().to_owned()).collect()
    };
    let register = || Ask::new("POST", "/api/v2/dispatches").json(&value);
    let first = server.ask(register()).await.json();
    let wanted: Vec<String> = uris(&first).into_iter().filter(|uri| !uri.is_empty()).collect();
    assert_eq!(wanted.len(), 1, "one content, one upload");
    let path = wanted[0].strip_prefix(&format!("http://{}", server.address)).unwrap();
    assert_eq!(server.ask(Ask::new("PUT", path).body(*b"same")).await.status, 200);
    let second = server.ask(register()).await.json();
    assert!(uris(&second).iter().all(String::is_empty));
    let id = second["metadata"]["dispatch_id"].as_str().unwrap();
    assert_eq!(server.start_dispatch(id).await.status, 202);
    server.stop().await;
}

#[tokio::test]
async fn an_announcement_is_answered_without_its_body() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![node(0, "a")], vec![])).await;
    let path = format!("/api/v2/dispatches/{dispatch}/electrons/0/assets/output");
    let ask = Ask::new("POST", &path).header("content-length", "733");
    let answer = server.ask(ask).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["size"], 733);
    let uri = format!("http://{}/api/v0/files/{dispatch}/node_0/results.tobj", server.address);
    assert_eq!(answer.json()["remote_uri"], uri.as_str());
    // Nothing is promised to others before it is there.
    let export = server.get(&format!("/api/v2/dispatches/{dispatch}")).await.json();
    let node = &export["lattice"]["transport_graph"]["nodes"][0];
    assert_eq!(node["assets"]["output"]["size"], 0);
    server.stop().await;
}

#[tokio::test]
async fn what_a_running_task_prints_can_be_read() {
    let server = TestServer::start().await;
    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    let function = format!("/api/v0/files/{dispatch}/node_0/function.tobj");
    assert_eq!(server.ask(Ask::new("PUT", &function).body(*b"f")).await.status, 200);
    assert_eq!(server.start_dispatch(&dispatch).await.status, 202);
    server.tasks.taken().await;
    let path = format!("/api/v0/files/{dispatch}/node_0/stdout.log");
    let answer = loop {
        let answer = server.get(&path).await;
        // The task may be known to the executor a moment before the store has it as running.
        if answer.status == 200 {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(answer.body, b"so far\n");
    let export = server.get(&format!("/api/v2/dispatches/{dispatch}")).await.json();
    let node = &export["lattice"]["transport_graph"]["nodes"][0];
    assert_eq!(node["assets"]["stdout"]["size"], 7);
    server.stop().await;
}
