//! Whole workflows through the client: sent, followed, read, saved; also from blocking code.

use std::time::Duration;

use bytes::Bytes;
use cov_client::{Client, Ending, Event, Filter, Kind, Workflow, blocking, saved};
use cov_core::asset::{AssetAddress, AssetKey, SmallContent};
use cov_core::bundle::Bundle;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::manifest::{LatticeInfo, ManifestNode};
use cov_core::result::Fetched;
use cov_core::status::Status;
use cov_core::transportable::TransportableObject;

use crate::native::Server;

/// One task and the end of the lattice, with a function of this size.
fn bundle(size: usize) -> Bundle {
    let mut bundle = Bundle::new(LatticeInfo { name: "flow".into(), ..LatticeInfo::default() });
    let data = serde_json::json!({});
    bundle.manifest.executors.push(ExecutorSpec { name: "local".into(), data });
    let function = bundle.content(Bytes::from(vec![7; size]));
    for (index, kind) in (0..).zip([NodeKind::Task, NodeKind::Postprocess]) {
        bundle.manifest.nodes.push(ManifestNode {
            name: format!("node {index}"),
            kind,
            task_group: NodeId(index),
            executor: 0,
            status: Status::NewObject,
        });
        bundle.asset(AssetAddress::of_node(NodeId(index), AssetKey::Function), function);
    }
    let inputs = TransportableObject::from_json(&serde_json::json!({"args": [1]})).unwrap();
    let inputs = bundle.content(inputs.to_archive().into());
    bundle.asset(AssetAddress::of_dispatch(AssetKey::Inputs), inputs);
    bundle
}

#[tokio::test]
async fn what_is_behind_a_state_can_be_asked_for() {
    let server = Server::with_threes().await;
    let mut flow = bundle(10);
    let edge =
        Edge { source: NodeId(0), target: NodeId(1), name: String::new(), kind: EdgeKind::Arg(0) };
    flow.manifest.edges.push(edge.clone());
    let record = server.client.dispatch_sync(&Workflow::new(flow)).await.unwrap();
    let id = record.dispatch_id;
    assert_eq!(server.client.edges(&id).await.unwrap(), [edge]);
    let node = server.client.node(&id, NodeId(0)).await.unwrap();
    assert_eq!((node.node.status, node.failure), (Status::Completed, None));
    let missing = server.client.node(&id, NodeId(7)).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    for (reuse, verdict, reason) in
        [(true, "reused", "unchanged"), (false, "run_again", "not_asked")]
    {
        let plan = server.client.redispatch_preview(&id, reuse).await.unwrap();
        assert_eq!((plan[0].verdict.as_str(), plan[0].reason.as_str()), (verdict, reason));
    }
    let executors = server.client.executors().await.unwrap();
    assert!(
        executors.executors.iter().any(|one| one.name == "local" && one.slots == 4),
        "{executors:?}"
    );
    let prefix = Some(id.as_str()[..8].to_owned());
    let found = server.client.list(&Filter { prefix, ..Filter::default() }).await.unwrap();
    assert_eq!((found.total, &found.dispatches[0].dispatch_id), (1, &id));
    server.stop().await;
}

async fn total(client: &Client) -> u64 {
    client.list(&Filter::default()).await.unwrap().total
}

#[tokio::test]
async fn a_workflow_is_sent_waited_for_and_read() {
    let server = Server::with_threes().await;
    let workflow = Workflow::new(bundle(10));
    let client = server.client.clone();
    // As a task of a runtime: every future of the client can be sent to another thread.
    let sent = workflow.clone();
    let record = tokio::spawn(async move { client.dispatch_sync(&sent).await }).await.unwrap();
    let record = record.unwrap();
    assert_eq!(record.status, Status::Completed);
    assert_eq!(record.lattice.name, "flow");
    assert_eq!(record.result::<i64>().unwrap(), 3);
    assert_eq!(record.inputs::<serde_json::Value>().unwrap()["args"][0], 1);
    let node = record.get_node_result(NodeId(0)).unwrap();
    assert_eq!(node.output::<u8>().unwrap(), 3);
    assert_eq!(node.stdout, Some(Fetched::Here("it is three\n".into())));
    assert_eq!(record.get_all_node_outputs().count(), 2);
    assert_eq!(record.post_process(|outputs| outputs.len()).unwrap(), 1);
    // The same workflow again is the same dispatch.
    let again = server.client.dispatch(&workflow).await.unwrap();
    assert_eq!((&again.dispatch_id, again.status), (workflow.dispatch_id(), Status::Completed));
    assert_eq!(total(&server.client).await, 1);
    let short = server.client.get_result(workflow.dispatch_id(), true, true).await.unwrap();
    assert_eq!((short.status, short.nodes.len()), (Status::Completed, 0));
    server.stop().await;
}

#[tokio::test]
async fn what_is_registered_is_started_later() {
    let server = Server::with_threes().await;
    let workflow = Workflow::new(bundle(300_000)).id("mine".parse().unwrap());
    let registered = server.client.register(&workflow).await.unwrap();
    assert_eq!((registered.dispatch_id.as_str(), registered.status), ("mine", Status::NewObject));
    assert!(registered.missing.is_empty());
    server.client.start(&registered.dispatch_id).await.unwrap();
    let summary = server.client.summary(&registered.dispatch_id, true).await.unwrap();
    assert_eq!(summary.status, Status::Completed);
    // Another workflow cannot have the same id; the same contents need not be sent again.
    let other = Workflow::new(bundle(300_001)).id("mine".parse().unwrap());
    assert_eq!(server.client.register(&other).await.unwrap_err().kind(), Kind::Refused);
    let second = Workflow::new(bundle(300_000));
    assert!(server.client.register(&second).await.unwrap().missing.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn an_ending_is_waited_for_before_the_start_and_behind_the_end() {
    let server = Server::with_threes().await;
    let client = server.client.clone();
    let registered = client.register(&Workflow::new(bundle(10))).await.unwrap();
    let id = registered.dispatch_id;
    let later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.start(&id).await.unwrap();
    };
    let (before, ()) = tokio::join!(client.ending(&id), later);
    for ending in [before, client.ending(&id).await] {
        let Ending::Returned(download) = ending.unwrap() else { panic!("it completed") };
        let archive = download.collect(1_000).await.unwrap();
        let object = TransportableObject::from_bytes(&archive).unwrap();
        assert_eq!(object.decode::<i64>().unwrap(), 3);
    }
    let nowhere = client.ending(&"nowhere".parse().unwrap()).await.unwrap_err();
    assert_eq!(nowhere.kind(), Kind::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn a_redispatch_takes_over_what_is_the_same() {
    let server = Server::with_threes().await;
    let first = server.client.dispatch_sync(&bundle(10).into()).await.unwrap();
    let again = Workflow::new(bundle(10));
    let made = server.client.redispatch_as(&first.dispatch_id, &again, true).await.unwrap();
    assert_eq!(&made.dispatch_id, again.dispatch_id());
    let record = server.client.get_result(&made.dispatch_id, true, false).await.unwrap();
    assert_eq!(record.result::<i64>().unwrap(), 3);
    server.stop().await;
}

#[tokio::test]
async fn files_belong_to_a_workflow() {
    let server = Server::with_threes().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source");
    std::fs::write(&path, "source").unwrap();
    let content = SmallContent::new("source".into()).content;
    let address = AssetAddress::of_node(NodeId(0), AssetKey::FunctionString);
    let workflow = Workflow::new(bundle(10)).file(address, &path, &content);
    let made = server.client.register(&workflow).await.unwrap();
    assert!(made.missing.is_empty());
    let read = server.client.read_asset(&made.dispatch_id, address, 1..3).await.unwrap();
    assert_eq!(read.collect(100).await.unwrap(), "ou");
    // What is not in the file is not taken, and cannot be sent.
    let lost = Workflow::new(bundle(10)).file(address, folder.path().join("none"), &content);
    server.client.register(&lost).await.unwrap();
    let other = SmallContent::new("others".into()).content;
    let lost = Workflow::new(bundle(10)).file(address, folder.path().join("none"), &other);
    assert_eq!(server.client.register(&lost).await.unwrap_err().kind(), Kind::Workflow);
    let wrong = Workflow::new(bundle(10)).file(address, &path, &other);
    assert_eq!(server.client.register(&wrong).await.unwrap_err().kind(), Kind::Refused);
    server.stop().await;
}

#[tokio::test]
async fn events_are_followed_to_the_end_of_a_dispatch() {
    let server = Server::with_threes().await;
    let registered = server.client.register(&bundle(10).into()).await.unwrap();
    let mut events = server.client.events(Some(&registered.dispatch_id));
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first, Event::Summary(summary) if summary.status == Status::NewObject));
    server.client.start(&registered.dispatch_id).await.unwrap();
    let mut nodes = 0;
    let mut last = None;
    while let Some(event) = events.next().await.unwrap() {
        nodes += usize::from(matches!(event, Event::Node { status: Status::Completed, .. }));
        last = Some(event);
    }
    assert_eq!(nodes, 2);
    assert!(matches!(last, Some(Event::Dispatch { status: Status::Completed, .. })), "{last:?}");
    let mut of_nobody = server.client.events(Some(&"nobody".parse().unwrap()));
    assert_eq!(of_nobody.next().await.unwrap_err().kind(), Kind::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn records_are_saved_with_what_was_not_fetched_and_loaded_again() {
    let server = Server::with_threes().await;
    let mut record = server.client.dispatch_sync(&bundle(10).into()).await.unwrap();
    let whole = record.clone();
    // As if it had been too large to come with the record.
    record.nodes[1].output = Some(Fetched::There { bytes: 1 });
    let folder = tempfile::tempdir().unwrap();
    let saved = server.client.save_result(&mut record, Some(folder.path())).await.unwrap();
    assert_eq!(saved, folder.path().join(record.dispatch_id.as_str()));
    let loaded = saved::load(folder.path(), &record.dispatch_id).await.unwrap();
    assert_eq!(loaded, record);
    let output = AssetAddress::of_node(NodeId(1), AssetKey::Output);
    let bytes = saved::read(&loaded, output).await.unwrap();
    let value = TransportableObject::from_archive(&bytes).unwrap();
    assert_eq!(Some(Fetched::Here(value)), whole.nodes[1].output);
    let lost = saved::load(folder.path(), &"nobody".parse().unwrap()).await.unwrap_err();
    assert_eq!(lost.kind(), Kind::Workflow);
    server.client.fetch(&mut record).await.unwrap();
    assert_eq!(record.nodes, whole.nodes);
    server.stop().await;
}

#[tokio::test]
async fn a_log_is_followed_and_pages_are_turned() {
    let server = Server::with_threes().await;
    for _ in 0..3 {
        server.client.dispatch_sync(&bundle(10).into()).await.unwrap();
    }
    let mut filter = Filter { limit: 2, name: Some("flow".into()), ..Filter::default() };
    let mut seen = Vec::new();
    loop {
        let page = server.client.list(&filter).await.unwrap();
        seen.extend(page.dispatches);
        filter.cursor = page.cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 3);
    let log = server.client.follow_log(&seen[0].dispatch_id, NodeId(0), false).await.unwrap();
    assert_eq!(log.collect(100).await.unwrap(), "it is three\n");
    server.stop().await;
}

#[test]
fn blocking_code_does_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::with_threes());
    let client = blocking::Client::new(Client::builder(server.client.address())).unwrap();
    let record = client.dispatch_sync(&bundle(10).into()).unwrap();
    assert_eq!(record.result::<i64>().unwrap(), 3);
    let id = record.dispatch_id;
    assert_eq!(client.summary(&id, true).unwrap().status, Status::Completed);
    assert_eq!(client.list(&Filter::default()).unwrap().total, 1);
    let mut events = client.events(Some(&id));
    assert!(matches!(events.next_event().unwrap(), Some(Event::Summary(_))));
    assert_eq!(events.next_event().unwrap(), None);
    runtime.block_on(server.stop());
}

#[tokio::test]
async fn what_the_server_holds_is_dispatched_again_with_another_value() {
    let server = Server::with_threes().await;
    let client = &server.client;
    let mut bundle = bundle(300_000);
    let number = |number: i64| TransportableObject::from_json(&number).unwrap();
    let parameter = NodeId(2);
    bundle.manifest.nodes.push(ManifestNode {
        name: "1".into(),
        kind: NodeKind::Parameter,
        task_group: parameter,
        executor: 0,
        status: Status::NewObject,
    });
    let value = bundle.content(number(1).to_archive().into());
    for key in [AssetKey::Value, AssetKey::Output] {
        bundle.asset(AssetAddress::of_node(parameter, key), value);
    }
    let first = client.dispatch_sync(&bundle.clone().into()).await.unwrap();
    assert_eq!(first.nodes[2].output::<i64>().unwrap(), 1);

    let held = client.workflow(&first.dispatch_id).await.unwrap();
    assert_ne!(held.dispatch_id(), &first.dispatch_id);
    assert_eq!(held.manifest().nodes, bundle.manifest.nodes);
    assert_eq!(held.parameters().collect::<Vec<_>>(), [(parameter, "1")]);
    let changed = held.value(NodeId(0), &number(5)).value(parameter, &number(2));
    let changed = changed.value(parameter, &number(7));
    let made = client.redispatch_as(&first.dispatch_id, &changed, true).await.unwrap();
    assert!(made.missing.is_empty());
    let again = client.get_result(&made.dispatch_id, true, false).await.unwrap();
    assert_eq!(again.nodes[2].output::<i64>().unwrap(), 7);
    assert_eq!((again.nodes[2].node_name.as_str(), again.inputs), ("7", None));
    // Unchanged, as a dispatch of its own: nothing is sent but names.
    let held = client.workflow(&first.dispatch_id).await.unwrap();
    let own = client.dispatch_sync(&held).await.unwrap();
    assert_eq!(own.nodes[2].output::<i64>().unwrap(), 1);
    assert!(own.inputs.is_some());
    let unknown = client.workflow(&"unknown".parse().unwrap()).await.unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
    server.stop().await;
}
