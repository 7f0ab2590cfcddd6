//! A server that does not see the files of its client: it looks for them elsewhere than the client
//! does, as one on another machine would.

use cov_client::Workflow;
use cov_client::blocking::Client;
use cov_core::asset::{AssetAddress, AssetKey, ContentDigest};
use cov_core::bundle::Bundle;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::manifest::ended::{NodeOutcome, Outcome};
use cov_core::manifest::{LatticeInfo, ManifestNode};
use cov_core::status::Status;
use cov_core::time::Timestamp;

use crate::dispatches::served;

/// A file in the folder of this test, and in none of the server's.
const FILE: &str = "tests/it/remote.rs";

fn bundle() -> Bundle {
    let mut bundle = Bundle::new(LatticeInfo { name: "old".into(), ..LatticeInfo::default() });
    let data = serde_json::json!({});
    bundle.manifest.executors.push(ExecutorSpec { name: "local".into(), data });
    bundle.manifest.nodes.push(ManifestNode {
        name: "task".into(),
        kind: NodeKind::Task,
        task_group: NodeId(0),
        executor: 0,
        status: Status::NewObject,
    });
    let function = bundle.content("function".into());
    bundle.asset(AssetAddress::of_node(NodeId(0), AssetKey::Function), function);
    bundle
}

fn outcome() -> Outcome {
    let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
    let node = NodeOutcome {
        status: Status::Completed,
        started_at: Some(at(2)),
        ended_at: Some(at(3)),
        fault: None,
    };
    Outcome {
        status: Status::Completed,
        registered_at: at(1),
        started_at: Some(at(2)),
        ended_at: at(4),
        parent: None,
        nodes: vec![node],
    }
}

#[test]
fn files_of_a_dispatch_that_ended_elsewhere_are_sent() {
    let place = served();
    let address = place.status()["address"].as_str().unwrap().to_owned();
    let client = Client::new(cov_client::Client::builder(address)).unwrap();
    let bytes = std::fs::read(FILE).unwrap();
    let mut digest = ContentDigest::default();
    digest.update(&bytes);
    let stdout = AssetAddress::of_node(NodeId(0), AssetKey::Stdout);
    let id = "00000000-old".parse().unwrap();
    let workflow = Workflow::new(bundle()).id(id).file(stdout, FILE, &digest.finish());

    let imported = client.import(&workflow, &outcome()).unwrap();
    assert_eq!((imported.status, imported.new), (Status::Completed, true), "{imported:?}");
    assert_eq!(imported.missing, Vec::new());
    let read = client.read_asset(&imported.dispatch_id, stdout, 1 << 20).unwrap();
    assert_eq!(read, bytes);
    assert_eq!(place.cov("ls --status completed").out.lines().count(), 2);
    let again = client.import(&workflow, &outcome()).unwrap();
    assert_eq!((again.status, again.new, again.missing), (Status::Completed, false, Vec::new()));
}
