//! The example's server, as its users start it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Stdio;

use cov_client::{Client, Workflow};
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::bundle::Bundle;
use cov_core::command::{Command, Template, Work};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::manifest::{LatticeInfo, ManifestNode};
use cov_core::status::Status;
use cov_core::transportable::TransportableObject;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

/// Starts the server and waits until it says where it is.
async fn serve(data: &Path) -> (Child, Client) {
    let mut server = tokio::process::Command::new(env!("CARGO_BIN_EXE_device-executor-server"))
        .args(["--listen", "127.0.0.1:0", "--workers", "4", "--data-dir"])
        .arg(data)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    out.read_line(&mut line).await.unwrap();
    let address = line.trim().strip_prefix("cov-server ready at ").unwrap();
    (server, Client::builder(address).build().unwrap())
}

/// Commands that may all begin at once, if nothing but their order among themselves keeps them.
fn commands(executor: &str, script: &str) -> Workflow {
    let mut bundle = Bundle::new(LatticeInfo { name: executor.into(), ..LatticeInfo::default() });
    let data = serde_json::json!({});
    bundle.manifest.executors.push(ExecutorSpec { name: executor.into(), data });
    let argv = ["sh", "-c", script].map(Template::from).to_vec();
    let work = Work::Command(Command { argv, ..Command::default() });
    let function = TransportableObject::from_json(&work).unwrap().to_archive();
    let function = bundle.content(function.into());
    for node in (0..4).map(NodeId) {
        bundle.manifest.nodes.push(ManifestNode {
            name: "measure".into(),
            kind: NodeKind::Task,
            task_group: node,
            executor: 0,
            status: Status::NewObject,
        });
        bundle.asset(AssetAddress::of_node(node, AssetKey::Function), function);
    }
    Workflow::new(bundle)
}

#[tokio::test]
async fn commands_of_the_device_run_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = serve(&folder.path().join("data")).await;
    let shown = client.own_executors().await.unwrap();
    let slots = |name: &str| shown.iter().find(|one| one.name == name).map(|one| one.slots);
    assert_eq!((slots("device"), slots("command")), (Some(1), Some(4)));
    // A folder can be made by one of them only, until it is removed.
    let taken = folder.path().join("taken").display().to_string();
    let script = format!("mkdir {taken} && sleep 0.05 && rmdir {taken}");
    let record = client.dispatch_sync(&commands("device", &script)).await.unwrap();
    assert_eq!(record.status, Status::Completed, "{:?}", record.error);
    let record = client.dispatch_sync(&commands("command", &script)).await.unwrap();
    assert_eq!(record.status, Status::Failed, "others run beside each other");
    drop(server);
}
