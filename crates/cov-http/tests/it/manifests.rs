//! Manifests in the shape of the SDK, for tests.

use cov_core::asset::ContentDigest;
use serde_json::{Value, json};

pub(crate) fn no_asset() -> Value {
    json!({ "digest_alg": null, "digest": null, "uri": "", "remote_uri": null, "size": 0 })
}

/// An asset as announced for `bytes`.
pub(crate) fn asset(bytes: &[u8]) -> Value {
    let mut digest = ContentDigest::default();
    digest.update(bytes);
    let content = digest.finish();
    json!({
        "digest_alg": "sha", "digest": content.sha1.to_string(), "uri": "", "remote_uri": null,
        "size": content.size
    })
}

/// A node without assets.
pub(crate) fn node(id: i64, name: &str) -> Value {
    json!({
        "id": id,
        "metadata": {
            "task_group_id": id, "name": name, "executor": "local", "executor_data": {},
            "sub_dispatch_id": null, "status": "NEW_OBJECT", "start_time": null, "end_time": null
        },
        "assets": {
            "function": no_asset(), "function_string": no_asset(), "value": no_asset(),
            "output": no_asset(), "hooks": no_asset(), "error": no_asset(), "stdout": no_asset(),
            "stderr": no_asset()
        }
    })
}

/// A task with a callable.
pub(crate) fn task(id: i64, name: &str, function: &[u8]) -> Value {
    let mut node = node(id, name);
    node["assets"]["function"] = asset(function);
    node
}

pub(crate) fn link(source: i64, target: i64) -> Value {
    let metadata = json!({ "edge_name": "x", "param_type": "arg", "arg_index": 0 });
    json!({ "source": source, "target": target, "metadata": metadata })
}

pub(crate) fn manifest(nodes: Vec<Value>, links: Vec<Value>) -> Value {
    json!({
        "metadata": {
            "dispatch_id": "", "root_dispatch_id": "", "status": "NEW_OBJECT",
            "start_time": null, "end_time": null
        },
        "assets": { "result": no_asset(), "error": no_asset() },
        "lattice": {
            "metadata": {
                "name": "l", "executor": "local", "executor_data": {},
                "workflow_executor": "local", "workflow_executor_data": {},
                "python_version": "3.11.7", "covalent_version": "0.240.0"
            },
            "assets": {
                "workflow_function": no_asset(), "workflow_function_string": no_asset(),
                "doc": no_asset(), "inputs": no_asset(), "hooks": no_asset()
            },
            "transport_graph": { "nodes": nodes, "links": links }
        }
    })
}
