//! Dispatches one electron a number of times and prints how long each `dispatch_sync` took.
//!
//! The electron's function comes from a file with an archive, which Python makes:
//!
//! ```text
//! python -c 'import covalent as ct; from covalent._workflow.transportable_object import TransportableObject as T
//! open("function.tobj", "wb").write(T(lambda: 3).serialize())'
//! cargo run --example one_electron -- http://127.0.0.1:48008 function.tobj 20
//! ```

use cov_client::{Client, Workflow};
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::bundle::Bundle;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::manifest::{LatticeInfo, ManifestNode};
use cov_core::status::Status;

#[expect(clippy::print_stdout, reason = "an example talks to its user")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: one_electron ADDRESS FUNCTION_FILE [COUNT]";
    let (address, file) = arguments.next().zip(arguments.next()).ok_or(usage)?;
    let count: usize = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let client = Client::builder(address).build()?;
    let function = std::fs::read(file)?;
    for _ in 0..count {
        let begun = tokio::time::Instant::now();
        let record = client.dispatch_sync(&one_electron(function.clone())).await?;
        let took = begun.elapsed();
        let node = record.get_node_result(NodeId(0)).ok_or("there is a node")?;
        println!("{} in {took:?}: {:?}", record.status, node.output::<i64>());
    }
    Ok(())
}

fn one_electron(function: Vec<u8>) -> Workflow {
    let mut bundle = Bundle::new(LatticeInfo { name: "one".into(), ..LatticeInfo::default() });
    let data = serde_json::json!({});
    bundle.manifest.executors.push(ExecutorSpec { name: "local".into(), data });
    bundle.manifest.nodes.push(ManifestNode {
        name: "electron".into(),
        kind: NodeKind::Task,
        task_group: NodeId(0),
        executor: 0,
        status: Status::NewObject,
    });
    let function = bundle.content(function.into());
    bundle.asset(AssetAddress::of_node(NodeId(0), AssetKey::Function), function);
    Workflow::new(bundle)
}
