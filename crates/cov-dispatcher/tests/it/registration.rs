//! Registration and uploads: which contents are asked for, and what is refused.

use std::collections::HashSet;

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState};
use cov_core::ids::DispatchId;
use cov_core::manifest::ManifestError;
use cov_core::status::Status;
use cov_dispatcher::{Error, Options};
use cov_store::faulty::Operation;
use serde_json::json;

use crate::support::{Flow, World, of_node, statuses};

const HOOKS: AssetKey = AssetKey::Hooks;

/// Three tasks with the same hooks and different functions.
fn with_hooks() -> Flow {
    let mut flow = Flow::new();
    for index in 0..3 {
        flow.task(json!({"return": index}), &[]);
        flow.asset(of_node(index, HOOKS), "{}");
    }
    flow
}

async fn state(world: &World, dispatch: &DispatchId, address: AssetAddress) -> AssetState {
    let record = world.record(dispatch).await;
    let all = record.assets.iter().chain(record.nodes.iter().flat_map(|node| &node.assets));
    all.copied().find(|(one, _)| *one == address).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn each_content_is_asked_for_once() {
    let world = World::new().await;
    let flow = with_hooks();
    let first = world.handle().register(flow.manifest.clone()).await.unwrap();
    let functions = (0..3).map(|node| of_node(node, AssetKey::Function));
    let expected: HashSet<_> = functions.chain([of_node(0, HOOKS)]).collect();
    assert_eq!(first.uploads, expected);
    // Another's pending upload is not counted on.
    let second = world.handle().register(flow.manifest.clone()).await.unwrap();
    assert_eq!(second.uploads, expected);
    for (address, bytes) in &flow.bytes {
        if expected.contains(address) {
            world.upload(&first.dispatch, *address, bytes.clone()).await.unwrap();
        }
    }
    // What is stored is not asked for.
    let third = world.handle().register(flow.manifest.clone()).await.unwrap();
    assert_eq!(third.uploads, HashSet::new());
    for dispatch in [&third.dispatch, &second.dispatch] {
        world.handle().start(dispatch).await.unwrap();
        assert_eq!(world.end(dispatch).await.summary.status, Status::Completed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_serves_every_asset_of_its_dispatch_with_these_bytes() {
    let world = World::new().await;
    let flow = with_hooks();
    let registered = world.handle().register(flow.manifest.clone()).await.unwrap();
    let other = world.handle().register(flow.manifest.clone()).await.unwrap();
    let dispatch = registered.dispatch;
    world.upload(&dispatch, of_node(0, HOOKS), "{}").await.unwrap();
    for node in 0..3 {
        let state = state(&world, &dispatch, of_node(node, HOOKS)).await;
        assert!(matches!(state, AssetState::Present(_)), "node {node} {state:?}");
    }
    let function = state(&world, &dispatch, of_node(0, AssetKey::Function)).await;
    assert!(matches!(function, AssetState::Awaited(_)), "{function:?}");
    let elsewhere = state(&world, &other.dispatch, of_node(1, HOOKS)).await;
    assert!(matches!(elsewhere, AssetState::Awaited(_)), "{elsewhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_its_assets_and_they_can_still_come() {
    let world = World::new().await;
    let flow = Flow::chain(3);
    let registered = world.handle().register(flow.manifest.clone()).await.unwrap();
    let dispatch = registered.dispatch;
    let (address, bytes) = flow.bytes[0].clone();
    for _ in 0..2 {
        let refused = world.handle().start(&dispatch).await;
        let Err(Error::AssetsMissing { missing, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(missing.len(), 3);
        assert_eq!(world.record(&dispatch).await.summary.status, Status::NewObject);
    }
    world.upload(&dispatch, address, bytes).await.unwrap();
    world.handle().start(&dispatch).await.unwrap();
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
}

/// Cancelling makes an owner of a dispatch that is not started; a start must neither skip its
/// checks for it nor run with what that owner read before the uploads.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_beside_another_command_sees_what_was_uploaded() {
    let world = World::new().await;
    for _ in 0..10 {
        let flow = Flow::fan(2, &json!({"tries": [{"return": world.tap().commits()}]}));
        let registered = world.handle().register(flow.manifest.clone()).await.unwrap();
        let dispatch = registered.dispatch;
        // Holds the owner of the dispatch in a commit.
        let held = world.tap().hold().await;
        let reads = world.faults.calls(Operation::Read);
        let (handle, cancelled) = (world.handle().clone(), dispatch.clone());
        let cancel =
            tokio::spawn(
                async move { handle.cancel(&cancelled, &[cov_core::ids::NodeId(1)]).await },
            );
        while world.faults.calls(Operation::Read) == reads {
            tokio::task::yield_now().await;
        }
        let missing = world.handle().start(&dispatch).await;
        assert!(matches!(missing, Err(Error::AssetsMissing { .. })), "{missing:?}");
        let (address, bytes) = flow.bytes[0].clone();
        let uploading = world.upload(&dispatch, address, bytes);
        let (uploaded, ()) = tokio::join!(uploading, async { drop(held) });
        uploaded.unwrap();
        world.handle().start(&dispatch).await.unwrap();
        cancel.await.unwrap().unwrap();
        let record = world.end(&dispatch).await;
        assert_eq!(statuses(&record), [Status::Completed, Status::Cancelled]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_not_what_was_announced_change_nothing() {
    let world = World::new().await;
    let flow = Flow::chain(1);
    let dispatch = world.handle().register(flow.manifest.clone()).await.unwrap().dispatch;
    let (address, bytes) = flow.bytes[0].clone();
    let other = Bytes::from("x".repeat(bytes.len()));
    for wrong in [Bytes::from("longer than it was announced"), Bytes::new(), other.clone()] {
        let refused = world.upload(&dispatch, address, wrong).await;
        assert!(matches!(refused, Err(Error::Mismatch { .. })), "{refused:?}");
    }
    // A length that is not announced is found out on the way.
    let mut upload = world.handle().upload(&dispatch, address, None).await.unwrap();
    let refused = upload.write(Bytes::from("longer than announced")).await;
    assert!(matches!(refused, Err(Error::Mismatch { .. })), "{refused:?}");
    let awaited = state(&world, &dispatch, address).await;
    assert!(matches!(awaited, AssetState::Awaited(_)), "{awaited:?}");

    world.upload(&dispatch, address, bytes.clone()).await.unwrap();
    let refused = world.upload(&dispatch, address, other.clone()).await;
    assert!(matches!(refused, Err(Error::Mismatch { .. })), "{refused:?}");
    world.upload(&dispatch, address, bytes.clone()).await.unwrap();
    assert_eq!(world.text(&dispatch, address).await, "{}");

    // Once it is started, the same bytes are welcome and others are not.
    world.handle().start(&dispatch).await.unwrap();
    world.end(&dispatch).await;
    world.upload(&dispatch, address, bytes).await.unwrap();
    let refused = world.upload(&dispatch, address, other).await;
    assert!(matches!(refused, Err(Error::IllegalState { .. })), "{refused:?}");
    let late = world.upload(&dispatch, of_node(0, AssetKey::Value), "late").await;
    assert!(matches!(late, Err(Error::IllegalState { .. })), "{late:?}");
    // What a task sends beside its report changes nothing.
    world.upload(&dispatch, of_node(0, AssetKey::Output), "99").await.unwrap();
    assert_eq!(world.output(&dispatch, 0).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upload_leaves_nothing() {
    let world = World::new().await;
    let flow = Flow::chain(1);
    let dispatch = world.handle().register(flow.manifest.clone()).await.unwrap().dispatch;
    let (address, bytes) = flow.bytes[0].clone();
    let mut upload = world.handle().upload(&dispatch, address, None).await.unwrap();
    upload.write(bytes.slice(..1)).await.unwrap();
    drop(upload);
    let awaited = state(&world, &dispatch, address).await;
    assert!(matches!(awaited, AssetState::Awaited(_)), "{awaited:?}");
    world.upload(&dispatch, address, bytes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_are_kept_whole() {
    let world = World::new().await;
    let mut flow = Flow::chain(2);
    let long = "é".repeat(40_000);
    flow.manifest.nodes[1].name.clone_from(&long);
    let record = world.run(&flow).await;
    let dispatch = record.summary.dispatch_id.clone();
    assert_eq!(record.nodes[0].name, "task 0");
    assert!(record.nodes[1].name.len() <= 256 && long.starts_with(&record.nodes[1].name));
    assert_eq!(world.text(&dispatch, of_node(1, AssetKey::Name)).await, long);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_can_be_chosen_once() {
    let world = World::new().await;
    let mut flow = Flow::chain(1);
    flow.manifest.dispatch_id = Some("mine".parse().unwrap());
    assert_eq!(world.register(&flow).await.as_str(), "mine");
    let refused = world.handle().register(flow.manifest.clone()).await;
    assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
    // The first is unharmed.
    let dispatch = "mine".parse().unwrap();
    world.handle().start(&dispatch).await.unwrap();
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    let options = Options { nodes_max: 3, upload_bytes_max: 100, ..Options::default() };
    let world = World::with_options(options).await;
    let refused = world.handle().register(Flow::chain(4).manifest).await;
    let too_many = matches!(refused, Err(Error::Manifest(ManifestError::TooManyNodes { .. })));
    assert!(too_many, "{refused:?}");
    let flow = Flow::chain(3);
    let dispatch = world.register(&flow).await;
    let address = AssetAddress::of_dispatch(AssetKey::Doc);
    let refused = world.handle().upload(&dispatch, address, Some(101)).await.map(|_| ());
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    let mut upload = world.handle().upload(&dispatch, address, None).await.unwrap();
    upload.write(Bytes::from("x".repeat(100))).await.unwrap();
    let refused = upload.write(Bytes::from("y")).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    let announced = Announced { size: 101, sha1: None };
    let refused = world.handle().announce(&dispatch, address, announced).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_manifest_stores_nothing() {
    let world = World::new().await;
    let mut flow = Flow::chain(2);
    flow.manifest.dispatch_id = Some("cycle".parse().unwrap());
    flow.edge(1, 0, cov_core::graph::EdgeKind::Wait);
    let refused = world.handle().register(flow.manifest).await;
    assert!(matches!(refused, Err(Error::Manifest(_))), "{refused:?}");
    let unknown = world.handle().summary(&"cycle".parse().unwrap()).await;
    assert!(matches!(unknown, Err(Error::DispatchNotFound { .. })), "{unknown:?}");
    let nowhere = world.handle().upload(&"cycle".parse().unwrap(), of_node(0, HOOKS), None).await;
    assert!(matches!(nowhere.map(|_| ()), Err(Error::DispatchNotFound { .. })));
}

/// A task whose function was announced without a digest, and two functions of the same size.
fn without_digest() -> (Flow, Bytes, Bytes) {
    let mut flow = Flow::new();
    let script =
        |value: u32| Bytes::from(json!({"gate": "g", "then": {"return": value}}).to_string());
    flow.task(json!({"gate": "g", "then": {"return": 1}}), &[]);
    let size = script(1).len() as u64;
    flow.manifest.assets[0].announced = Announced { size, sha1: None };
    (flow, script(1), script(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_ends_after_the_start_replaces_nothing() {
    let world = World::new().await;
    let (flow, first, second) = without_digest();
    let dispatch = world.handle().register(flow.manifest).await.unwrap().dispatch;
    let function = of_node(0, AssetKey::Function);
    let begin = async || world.handle().upload(&dispatch, function, None).await.unwrap();
    let (mut late, mut equal) = (begin().await, begin().await);
    world.upload(&dispatch, function, first.clone()).await.unwrap();
    late.write(second).await.unwrap();
    equal.write(first).await.unwrap();
    world.handle().start(&dispatch).await.unwrap();
    world.executor().until_runs(&dispatch, 0, 1).await;
    let before = state(&world, &dispatch, function).await;
    let refused = late.finish().await.unwrap_err();
    assert!(matches!(refused, Error::IllegalState { .. }), "{refused:?}");
    equal.finish().await.unwrap();
    assert_eq!(state(&world, &dispatch, function).await, before);
    world.gates.open("g");
    world.end(&dispatch).await;
    assert_eq!(world.output(&dispatch, 0).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_an_upload_that_is_being_stored() {
    let world = World::new().await;
    let (flow, first, second) = without_digest();
    let dispatch = world.handle().register(flow.manifest).await.unwrap().dispatch;
    let function = of_node(0, AssetKey::Function);
    let mut late = world.handle().upload(&dispatch, function, None).await.unwrap();
    world.upload(&dispatch, function, first).await.unwrap();
    late.write(second).await.unwrap();
    let begun = world.tap().begun();
    let held = world.tap().hold().await;
    let storing = tokio::spawn(late.finish());
    world.tap().until_another_begins(begun).await;
    let handle = world.handle().clone();
    let starting = tokio::spawn(async move { handle.start(&dispatch).await.map(|_| dispatch) });
    drop(held);
    storing.await.unwrap().unwrap();
    let dispatch = starting.await.unwrap().unwrap();
    world.gates.open("g");
    world.end(&dispatch).await;
    assert_eq!(world.output(&dispatch, 0).await, "2", "it runs with what is stored");
}
