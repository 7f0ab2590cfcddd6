//! Dispatches that ended elsewhere: kept as they are, told apart from others, run by nobody.

use cov_client::{Client, Ending, Kind, Redispatch, Workflow};
use cov_core::asset::{AssetAddress, AssetKey, ContentDigest};
use cov_core::bundle::Bundle;
use cov_core::error::ErrorCode;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::manifest::ended::{NodeOutcome, Outcome, ParentNode};
use cov_core::manifest::{LatticeInfo, ManifestNode};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_core::transportable::TransportableObject;

use crate::native::Server;

/// A parameter and a task that added one to it.
fn bundle() -> Bundle {
    let mut bundle = Bundle::new(LatticeInfo { name: "flow".into(), ..LatticeInfo::default() });
    bundle
        .manifest
        .executors
        .push(ExecutorSpec { name: "local".into(), data: serde_json::json!({}) });
    for (id, (name, kind)) in
        (0..).zip([(":parameter:1", NodeKind::Parameter), (":postprocess:", NodeKind::Postprocess)])
    {
        bundle.manifest.nodes.push(ManifestNode {
            name: name.into(),
            kind,
            task_group: NodeId(id),
            executor: 0,
            status: Status::NewObject,
        });
    }
    bundle.manifest.edges.push(Edge {
        source: NodeId(0),
        target: NodeId(1),
        name: "x".into(),
        kind: EdgeKind::Arg(0),
    });
    let archive = |value: i32| TransportableObject::from_json(&value).unwrap().to_archive();
    let one = bundle.content(archive(1).into());
    let two = bundle.content(archive(2).into());
    let printed = bundle.content("adding".into());
    let of = AssetAddress::of_node;
    bundle.asset(of(NodeId(0), AssetKey::Value), one);
    bundle.asset(of(NodeId(0), AssetKey::Output), one);
    bundle.asset(of(NodeId(1), AssetKey::Function), two);
    bundle.asset(of(NodeId(1), AssetKey::Output), two);
    bundle.asset(of(NodeId(1), AssetKey::Stdout), printed);
    bundle.asset(AssetAddress::of_dispatch(AssetKey::Result), two);
    bundle
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn outcome(parent: Option<ParentNode>) -> Outcome {
    let node = |start, end| NodeOutcome {
        status: Status::Completed,
        started_at: Some(at(start)),
        ended_at: Some(at(end)),
        fault: None,
    };
    Outcome {
        status: Status::Completed,
        registered_at: at(1),
        started_at: Some(at(2)),
        ended_at: at(5),
        parent,
        nodes: vec![node(2, 2), node(3, 4)],
    }
}

fn workflow(id: &str) -> Workflow {
    Workflow::new(bundle()).id(id.parse().unwrap())
}

fn code_of(error: &cov_client::Error) -> Option<ErrorCode> {
    error.problem().map(|problem| problem.code)
}

async fn import(client: &Client, id: &str) {
    assert!(client.import(&workflow(id), &outcome(None)).await.unwrap().new);
}

#[tokio::test]
async fn an_ended_dispatch_is_kept_as_it_was() {
    let server = Server::start().await;
    let client = &server.client;
    let imported = client.import(&workflow("old"), &outcome(None)).await.unwrap();
    assert_eq!((imported.status, imported.new), (Status::Completed, true));
    let id = "old".parse().unwrap();
    let record = client.get_result(&id, false, false).await.unwrap();
    assert_eq!((record.start_time, record.end_time), (Some(at(2)), Some(at(5))));
    assert_eq!(record.result::<i32>().unwrap(), 2);
    let added = record.get_node_result(NodeId(1)).unwrap();
    assert_eq!((added.start_time, added.end_time), (Some(at(3)), Some(at(4))));
    assert_eq!(added.stdout.as_ref().unwrap().here().unwrap(), "adding");
    assert_eq!(client.summary(&id, false).await.unwrap().created_at, at(1));
    server.stop().await;
}

#[tokio::test]
async fn it_comes_once_and_only_as_it_was() {
    let server = Server::start().await;
    let client = &server.client;
    import(client, "old").await;
    let again = client.import(&workflow("old"), &outcome(None)).await.unwrap();
    assert_eq!((again.status, again.new), (Status::Completed, false));
    let other = Outcome { ended_at: at(6), ..outcome(None) };
    let error = client.import(&workflow("old"), &other).await.unwrap_err();
    assert_eq!(code_of(&error), Some(ErrorCode::DispatchExists));
    server.register("taken").await;
    let error = client.import(&workflow("taken"), &outcome(None)).await.unwrap_err();
    assert_eq!(code_of(&error), Some(ErrorCode::DispatchExists));
    server.stop().await;
}

#[tokio::test]
async fn what_failed_elsewhere_ended_without_a_result() {
    let server = Server::start().await;
    let failed = Outcome { status: Status::Failed, ..outcome(None) };
    let imported = server.client.import(&workflow("failed"), &failed).await.unwrap();
    let ending = server.client.ending(&imported.dispatch_id).await.unwrap();
    let Ending::Otherwise(summary) = ending else { panic!("it failed") };
    assert_eq!(summary.status, Status::Failed);
    server.stop().await;
}

#[tokio::test]
async fn what_has_not_ended_is_refused() {
    let server = Server::start().await;
    let running = Outcome { status: Status::Running, ..outcome(None) };
    let error = server.client.import(&workflow("new"), &running).await.unwrap_err();
    assert_eq!((error.kind(), code_of(&error)), (Kind::Refused, Some(ErrorCode::InvalidBody)));
    let gone = server.client.summary(&"new".parse().unwrap(), false).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn a_sub_dispatch_stands_below_its_node() {
    let server = Server::start().await;
    let client = &server.client;
    let parent = |node| Some(ParentNode { dispatch: "above".parse().unwrap(), node: NodeId(node) });
    let orphan = client.import(&workflow("below"), &outcome(parent(1))).await.unwrap_err();
    assert_eq!(orphan.kind(), Kind::NotFound);
    import(client, "above").await;
    let beside = client.import(&workflow("below"), &outcome(parent(9))).await.unwrap_err();
    assert_eq!(code_of(&beside), Some(ErrorCode::NodeNotFound));
    client.import(&workflow("below"), &outcome(parent(1))).await.unwrap();
    let summary = client.summary(&"below".parse().unwrap(), false).await.unwrap();
    assert_eq!(summary.root_dispatch_id.as_str(), "above");
    let record = client.get_result(&"above".parse().unwrap(), false, false).await.unwrap();
    let node = record.get_node_result(NodeId(1)).unwrap();
    assert_eq!(node.sub_dispatch_id.as_ref().unwrap().as_str(), "below");
    server.stop().await;
}

#[tokio::test]
async fn what_it_left_is_used_by_a_redispatch() {
    // Nothing ever ends here, so that what ends was taken over.
    let server = Server::start().await;
    let client = &server.client;
    import(client, "old").await;
    let how = Redispatch { reuse: true, ..Redispatch::default() };
    let again = client.redispatch(&"old".parse().unwrap(), &how).await.unwrap();
    let record = client.get_result(&again.dispatch_id, true, false).await.unwrap();
    assert_eq!(record.status, Status::Completed);
    let added = record.get_node_result(NodeId(1)).unwrap();
    assert_eq!(added.output::<i32>().unwrap(), 2);
    server.stop().await;
}

#[tokio::test]
async fn files_are_read_by_a_server_on_the_same_machine() {
    let server = Server::start().await;
    let client = &server.client;
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = (folder.path().join("stderr.log"), vec![b'x'; 100_000]);
    std::fs::write(&path, &bytes).unwrap();
    let mut digest = ContentDigest::default();
    digest.update(&bytes);
    let stderr = AssetAddress::of_node(NodeId(1), AssetKey::Stderr);
    let with_file = workflow("old").file(stderr, &path, &digest.finish());
    let imported = client.import(&with_file, &outcome(None)).await.unwrap();
    assert_eq!((imported.status, imported.missing), (Status::Completed, Vec::new()));
    let mut record = client.get_result(&"old".parse().unwrap(), false, false).await.unwrap();
    client.fetch(&mut record).await.unwrap();
    let there = record.get_node_result(NodeId(1)).unwrap().stderr.as_ref().unwrap();
    assert_eq!(there.here().unwrap().len(), 100_000);
    server.stop().await;
}
