//! Lists with filters, and from page to page while new dispatches come.

use serde_json::Value;

use crate::client::Ask;
use crate::manifests::{manifest, node};
use crate::server::TestServer;

async fn register(server: &TestServer, name: &str) -> String {
    let mut value = manifest(vec![node(0, "a")], vec![]);
    value["lattice"]["metadata"]["name"] = name.into();
    server.register(&value).await
}

fn ids(page: &Value) -> Vec<&str> {
    let listed = page["dispatches"].as_array().unwrap().iter();
    listed.map(|one| one["dispatch_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_follow_each_other_while_new_dispatches_come() {
    let server = TestServer::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(register(&server, "flow").await);
    }
    let mut seen = Vec::new();
    let mut path = "/api/v3/dispatches?limit=2".to_owned();
    loop {
        let page = server.get(&path).await.json();
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        register(&server, "late").await;
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/api/v3/dispatches?limit=2&cursor={cursor}");
    }
    made.reverse();
    assert_eq!(seen, made);
    let lost = server.get("/api/v3/dispatches?cursor=nobody").await;
    assert_eq!((lost.status, lost.json()["pointer"].as_str()), (422, Some("query.cursor")));
    server.stop().await;
}

#[tokio::test]
async fn filters_are_by_name_time_and_parent() {
    let server = TestServer::start().await;
    let (one, two) = (register(&server, "one").await, register(&server, "two & three").await);
    let list = async |query: &str| {
        let page = server.ask(Ask::new("GET", &format!("/api/v3/dispatches?{query}"))).await;
        ids(&page.json()).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list("name=one").await, [one.as_str()]);
    assert_eq!(list("name=two+%26+three").await, [two.as_str()]);
    assert_eq!(list("name=o").await, [""; 0]);
    let begin: String = one.chars().take(8).collect();
    assert_eq!(list(&format!("prefix={begin}")).await, [one.as_str()]);
    assert_eq!(list("prefix=%25").await, [""; 0]);
    let shown = server.get(&format!("/api/v3/dispatches/{two}")).await.json();
    let second = shown["created_at"].as_str().unwrap();
    assert_eq!(list(&format!("since={second}")).await, [two.as_str()]);
    assert_eq!(list(&format!("until={second}")).await, [one.as_str()]);
    assert_eq!(list("roots=true&until=2100-01-01T00:00:00Z").await.len(), 2);
    for query in ["since=yesterday", "until=1", "roots=maybe", "cursor=a/b", "limit=1001"] {
        let path = format!("/api/v3/dispatches?{query}");
        assert_eq!(server.get(&path).await.status, 422, "{query}");
    }
    server.stop().await;
}
