//! A whole workflow in one request: what is taken, what is refused, and what a repetition does.

use cov_core::asset::SmallContent;
use cov_core::manifest::document::MEDIA_TYPE;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::{Answer, Ask};
use crate::server::TestServer;

fn asset(node: u32, key: &str, bytes: &[u8], body: bool) -> Value {
    let content = SmallContent::new(bytes.to_vec().into()).content;
    json!({"node": node, "key": key, "size": content.size, "sha1": content.sha1, "body": body})
}

fn flow(count: u32, assets: Vec<Value>) -> Value {
    let nodes: Vec<Value> = (0..count).map(|id| json!({"name": format!("task {id}")})).collect();
    json!({"lattice": {"name": "flow"}, "nodes": nodes, "assets": assets})
}

fn framed(manifest: &Value, bodies: &[&[u8]]) -> Vec<u8> {
    let manifest = serde_json::to_vec(manifest).unwrap();
    let size = u32::try_from(manifest.len()).unwrap().to_le_bytes();
    [&size[..], &manifest, &bodies.concat()].concat()
}

fn ask(query: &str, body: Vec<u8>) -> Ask {
    let path = format!("/api/v3/dispatches{query}");
    Ask::new("POST", &path).header("Content-Type", MEDIA_TYPE).body(body)
}

async fn bytes_of(server: &TestServer, id: &str, node: u32, key: &str) -> Answer {
    server.get(&format!("/api/v3/dispatches/{id}/nodes/{node}/{key}")).await
}

#[tokio::test]
async fn one_request_dispatches() {
    let server = TestServer::start().await;
    let large = vec![7_u8; 300_000];
    // The second task has the function of the first; its bytes come once.
    let assets = vec![
        asset(0, "function", b"small", true),
        asset(1, "function", b"small", false),
        asset(2, "function", &large, true),
    ];
    let answer = server.ask(ask("", framed(&flow(3, assets), &[b"small", &large]))).await;
    assert_eq!(answer.status, 201, "{:?}", answer.json());
    let id = answer.json()["dispatch_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(format!("/api/v3/dispatches/{id}").as_str()));
    assert_eq!(answer.json()["status"], "RUNNING");
    assert_eq!(answer.json()["missing"], json!([]));
    for (node, bytes) in [(0, &b"small"[..]), (1, b"small"), (2, &large)] {
        assert_eq!(bytes_of(&server, &id, node, "function").await.body, bytes);
    }
    for _ in 0..3 {
        server.tasks.complete_next(b"out").await;
    }
    let path = format!("/api/v3/dispatches/{id}?wait=30");
    assert_eq!(server.get(&path).await.json()["status"], "COMPLETED");
    server.stop().await;
}

#[tokio::test]
async fn what_the_server_holds_is_not_sent_again() {
    let server = TestServer::start().await;
    let first = flow(1, vec![asset(0, "function", b"shared", true)]);
    assert_eq!(server.ask(ask("", framed(&first, &[b"shared"]))).await.status, 201);
    let content = |bytes: &[u8]| {
        let asset = asset(0, "function", bytes, true);
        json!({"sha1": asset["sha1"], "size": asset["size"]})
    };
    let asked = json!([content(b"shared"), content(b"other")]);
    let known = server.ask(Ask::new("POST", "/api/v3/contents/known").json(&asked)).await;
    assert_eq!(known.json(), json!([true, false]));
    let second = flow(1, vec![asset(0, "function", b"shared", false)]);
    let answer = server.ask(ask("", framed(&second, &[]))).await.json();
    assert_eq!(answer["status"], "RUNNING");
    server.stop().await;
}

#[tokio::test]
async fn a_manifest_alone_says_what_is_missing_and_starts_when_it_has_come() {
    let server = TestServer::start().await;
    let manifest = flow(1, vec![asset(0, "function", b"late", true)]);
    let answer = server.ask(Ask::new("POST", "/api/v3/dispatches").json(&manifest)).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["missing"], json!([{"node": 0, "key": "function"}]));
    assert_eq!(answer.json()["status"], "NEW_OBJECT");
    let id = answer.json()["dispatch_id"].as_str().unwrap().to_owned();
    let start = Ask::new("POST", &format!("/api/v3/dispatches/{id}/start"));
    assert_eq!(server.ask(start.clone()).await.json()["code"], "COV2102");
    let path = format!("/api/v3/dispatches/{id}/assets/0/function");
    assert_eq!(server.ask(Ask::new("PUT", &path).body(*b"lat!")).await.status, 409);
    assert_eq!(server.ask(Ask::new("PUT", &path).body(*b"late")).await.status, 204);
    assert_eq!(server.ask(start).await.json()["status"], "RUNNING");
    server.stop().await;
}

#[tokio::test]
async fn the_same_request_under_the_same_key_is_one_dispatch() {
    let server = TestServer::start().await;
    let manifest = flow(1, vec![asset(0, "function", b"f", true)]);
    let send = |manifest: &Value, key: &str, bodies: &[&[u8]]| {
        ask("", framed(manifest, bodies)).header("Idempotency-Key", key)
    };
    let first = server.ask(send(&manifest, "k", &[b"f"])).await;
    let again = server.ask(send(&manifest, "k", &[b"f"])).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json()["dispatch_id"], again.json()["dispatch_id"]);
    let other = server.ask(send(&manifest, "l", &[b"f"])).await;
    assert_ne!(first.json()["dispatch_id"], other.json()["dispatch_id"]);
    // How the bytes come is no part of what is asked for.
    let light = flow(1, vec![asset(0, "function", b"f", false)]);
    assert_eq!(server.ask(send(&light, "k", &[])).await.status, 201);
    let changed = flow(2, vec![asset(0, "function", b"f", true)]);
    let refused = server.ask(send(&changed, "k", &[b"f"])).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("COV2101")));
    assert_eq!(server.stored().await, 2);
    for key in ["", &"x".repeat(256)] {
        assert_eq!(server.ask(send(&manifest, key, &[b"f"])).await.status, 422);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_broke_is_completed_by_the_next_one() {
    let server = TestServer::start().await;
    // More than one step of small contents, so that the first one is durable before the end.
    let parts: Vec<Vec<u8>> = (0..300_u32).map(|n| n.to_le_bytes().repeat(8_000)).collect();
    let assets = (0..).zip(&parts).map(|(node, bytes)| asset(node, "function", bytes, true));
    let manifest = flow(300, assets.collect());
    let bodies: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let whole = framed(&manifest, &bodies);
    let cut = whole[..whole.len() - 10].to_vec();
    let send = |body: Vec<u8>| ask("", body).header("Idempotency-Key", "k");
    let broken = server.ask(send(cut)).await;
    assert_eq!((broken.status, broken.json()["code"].as_str()), (409, Some("COV2103")));
    assert_eq!(server.stored().await, 1);
    let completed = server.ask(send(whole)).await;
    assert_eq!(completed.status, 201);
    assert_eq!(completed.json()["status"], "RUNNING");
    let id = completed.json()["dispatch_id"].as_str().unwrap().to_owned();
    assert_eq!(bytes_of(&server, &id, 299, "function").await.body, parts[299]);
    assert_eq!(server.stored().await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_redispatch_takes_a_new_workflow() {
    let server = TestServer::start().await;
    let value = |bytes: &[u8]| {
        let mut manifest =
            flow(2, vec![asset(0, "value", bytes, true), asset(0, "output", bytes, false)]);
        manifest["nodes"][0]["kind"] = json!("parameter");
        manifest["nodes"][1]["kind"] = json!("parameter");
        manifest
    };
    let first = server.ask(ask("", framed(&value(b"1"), &[b"1"]))).await.json();
    let id = first["dispatch_id"].as_str().unwrap();
    server.get(&format!("/api/v3/dispatches/{id}?wait=30")).await;
    let body = framed(&value(b"2"), &[b"2"]);
    let path = format!("/api/v3/dispatches/{id}/redispatch?reuse=true");
    let send = Ask::new("POST", &path).header("Content-Type", MEDIA_TYPE).body(body);
    let second = server.ask(send).await;
    assert_eq!(second.status, 201, "{:?}", second.json());
    let new = second.json()["dispatch_id"].as_str().unwrap().to_owned();
    assert_eq!(bytes_of(&server, &new, 0, "value").await.body, b"2");
    let plan = server.get(&format!("/api/v3/dispatches/{new}/redispatch-plan")).await.json();
    let verdicts = [&plan["nodes"][0]["verdict"], &plan["nodes"][1]["verdict"]];
    assert_eq!(verdicts, [&json!("run_again"), &json!("reused")]);
    // What would be taken over the next time is another question.
    server.get(&format!("/api/v3/dispatches/{new}?wait=30")).await;
    let path = format!("/api/v3/dispatches/{new}/redispatch-plan");
    let next = server.get(&format!("{path}?reuse=true")).await.json();
    assert_eq!(next["nodes"][0]["verdict"], "reused");
    let next = server.get(&format!("{path}?reuse=false")).await.json();
    assert_eq!(next["nodes"][0]["reason"], "not_asked");
    assert_eq!(server.get(&format!("{path}?reuse=maybe")).await.status, 422);
    server.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    let server = TestServer::start().await;
    let good = || flow(1, vec![asset(0, "function", b"f", true)]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut manifest = good();
        change(&mut manifest);
        framed(&manifest, &[b"f"])
    };
    for (what, body, status, code) in [
        ("nothing", Vec::new(), 400, "COV1001"),
        ("half a length", vec![1, 0], 400, "COV1001"),
        ("a cut manifest", framed(&good(), &[])[..20].to_vec(), 400, "COV1001"),
        ("a length over the limit", vec![255; 8], 413, "COV1005"),
        ("no JSON", [&4_u32.to_le_bytes()[..], b"nope"].concat(), 400, "COV1001"),
        ("a misspelt member", with(&|m| m["node"] = json!([])), 422, "COV1002"),
        ("a missing member", with(&|m| m["lattice"] = json!({})), 422, "COV1002"),
        ("an unknown key", with(&|m| m["assets"][0]["key"] = json!("x")), 422, "COV1002"),
        ("no digest", with(&|m| m["assets"][0]["sha1"] = json!("x")), 422, "COV1002"),
        ("an asset of no node", with(&|m| m["assets"][0]["node"] = json!(7)), 422, "COV1003"),
        ("an asset of ours", with(&|m| m["assets"][0]["key"] = json!("stdout")), 422, "COV1003"),
        ("an empty asset", with(&|m| m["assets"][0]["size"] = json!(0)), 422, "COV1003"),
        ("a huge asset", with(&|m| m["assets"][0]["size"] = json!(1_u64 << 60)), 413, "COV1005"),
        ("no executor", with(&|m| m["nodes"][0]["executor"] = json!(3)), 422, "COV1003"),
        (
            "a cycle",
            with(&|m| m["edges"] = json!([{"source": 0, "target": 0, "kind": "wait"}])),
            422,
            "COV1003",
        ),
        ("other bytes", framed(&good(), &[b"g"]), 409, "COV2103"),
        ("too few bytes", framed(&good(), &[]), 409, "COV2103"),
        ("too many bytes", framed(&good(), &[b"ff"]), 409, "COV2103"),
    ] {
        let answer = server.ask(ask("", body)).await;
        let said = (answer.status, answer.json()["code"].as_str().map(str::to_owned));
        assert_eq!(said, (status, Some(code.to_owned())), "{what}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    }
    assert_eq!(server.ask(ask("?start=maybe", framed(&good(), &[b"f"]))).await.status, 422);
    assert_eq!(server.stored().await, 0);
    server.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the contents of a workflow are, each arrives at its node; and a body with one byte
    /// changed is answered, not suffered.
    #[test]
    fn bodies_of_any_sizes_arrive(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60_000), 1..6),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = TestServer::start().await;
            let assets = (0..).zip(&parts).map(|(node, bytes)| asset(node, "function", bytes, true));
            let manifest = flow(u32::try_from(parts.len()).unwrap(), assets.collect());
            let bodies: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let mut body = framed(&manifest, &bodies);
            if let Some((at, byte)) = &damage {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            let answer = server.ask(ask("?start=false", body)).await;
            match damage {
                None => {
                    assert_eq!(answer.status, 201);
                    let id = answer.json()["dispatch_id"].as_str().unwrap().to_owned();
                    for (node, bytes) in (0..).zip(&parts) {
                        assert_eq!(&bytes_of(&server, &id, node, "function").await.body, bytes);
                    }
                }
                Some(_) => assert!((200..500).contains(&answer.status), "{}", answer.status),
            }
            server.stop().await;
        });
    }
}
