//! What is read from a manifest, and where the fault of a refused one is said to be.

use serde_json::{Value, json};

use super::*;

fn parse(bytes: &[u8], nodes_max: usize) -> Result<Sent, Refusal> {
    super::parse(bytes, nodes_max, &LongNames::default())
}

fn asset() -> Value {
    json!({ "digest_alg": null, "digest": null, "uri": "", "remote_uri": null, "size": 0 })
}

fn node(id: i64, name: &str) -> Value {
    json!({
        "id": id,
        "metadata": {
            "task_group_id": id, "name": name, "executor": "local", "executor_data": {},
            "sub_dispatch_id": null, "status": "NEW_OBJECT", "start_time": null, "end_time": null
        },
        "assets": {
            "function": asset(), "function_string": asset(), "value": asset(), "output": asset(),
            "hooks": asset(), "error": asset(), "stdout": asset(), "stderr": asset()
        }
    })
}

fn link(source: i64, target: i64, name: &str, param: Value, index: Value) -> Value {
    let metadata = json!({ "edge_name": name, "param_type": param, "arg_index": index });
    json!({ "source": source, "target": target, "metadata": metadata })
}

fn manifest(nodes: Vec<Value>, links: Vec<Value>) -> Value {
    json!({
        "metadata": {
            "dispatch_id": "", "root_dispatch_id": "", "status": "NEW_OBJECT",
            "start_time": null, "end_time": null
        },
        "assets": { "result": asset(), "error": asset() },
        "lattice": {
            "metadata": {
                "name": "l", "executor": "dask", "executor_data": {}, "workflow_executor": "dask",
                "workflow_executor_data": {}, "python_version": "3.11.7",
                "covalent_version": "0.240.0"
            },
            "assets": {
                "workflow_function": asset(), "workflow_function_string": asset(),
                "doc": asset(), "inputs": asset(), "hooks": asset()
            },
            "transport_graph": { "nodes": nodes, "links": links }
        }
    })
}

fn read(value: &Value) -> Result<Manifest, Refusal> {
    parse(&serde_json::to_vec(value).unwrap(), 100).map(|sent| sent.manifest)
}

fn place(refusal: &Refusal) -> String {
    let steps = refusal.faults().first().map(|fault| fault.loc.clone()).unwrap_or_default();
    let text = |step: &Step| match step {
        Step::Member(name) => name.to_string(),
        Step::Index(index) => index.to_string(),
    };
    steps.iter().map(text).collect::<Vec<_>>().join(".")
}

#[test]
fn a_manifest_is_read_into_the_form_of_the_core() {
    let mut one = node(1, ":parameter:7");
    one["assets"]["value"] = json!({
        "digest_alg": "sha", "digest": "bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f", "size": 2
    });
    one["assets"]["output"] = one["assets"]["value"].clone();
    one["assets"]["stdout"]["size"] = json!(5);
    let mut zero = node(0, "add");
    zero["metadata"]["executor_data"] = json!({ "attributes": { "retries": 1 } });
    zero["assets"]["output"]["size"] = json!(9);
    let read = read(&manifest(
        vec![one, zero, node(2, ":postprocess:reconstruct")],
        vec![
            link(1, 0, "x", json!("arg"), json!(0)),
            link(0, 2, "node:0", json!("kwarg"), Value::Null),
            link(0, 2, "!waiting_edge", Value::Null, Value::Null),
        ],
    ))
    .unwrap();
    assert_eq!(read.dispatch_id, None);
    let kinds: Vec<_> = read.nodes.iter().map(|node| node.kind).collect();
    assert_eq!(kinds, [NodeKind::Task, NodeKind::Parameter, NodeKind::Postprocess]);
    assert_eq!(read.executors.len(), 2);
    assert_eq!(read.executors[read.nodes[0].executor as usize].policy().retries, 1);
    assert_eq!(read.nodes[1].executor, read.nodes[2].executor);
    let kinds: Vec<_> = read.edges.iter().map(|edge| edge.kind).collect();
    assert_eq!(kinds, [EdgeKind::Arg(0), EdgeKind::Kwarg, EdgeKind::Wait]);
    let announced: Vec<_> = read.assets.iter().map(|asset| asset.address.to_string()).collect();
    assert_eq!(announced, ["node 1 value", "node 1 output"]);
    assert!(read.graph(100).is_ok());
}

#[test]
fn every_fault_is_named_with_its_path() {
    let good = || manifest(vec![node(0, "a"), node(1, "b")], vec![]);
    let nodes = "/lattice/transport_graph/nodes";
    for (pointer, value, expected) in [
        ("/metadata", json!(7), "body.metadata"),
        ("/metadata/status", json!("DONE"), "body.metadata.status"),
        ("/metadata/dispatch_id", json!("../x"), "body.metadata.dispatch_id"),
        ("/metadata/dispatch_id", Value::Null, "body.metadata.dispatch_id"),
        ("/assets/result/size", json!("big"), "body.assets.result.size"),
        ("/lattice/metadata/name", json!(1), "body.lattice.metadata.name"),
        ("/lattice/metadata/executor_data", json!([]), "body.lattice.metadata.executor_data"),
        ("/lattice/assets/doc/size", json!(-1), "body.lattice.assets.doc.size"),
        (nodes, json!({}), "body.lattice.transport_graph.nodes"),
        ("/lattice/transport_graph/links", json!("x"), "body.lattice.transport_graph.links"),
    ] {
        let mut bad = good();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert_eq!(place(&read(&bad).unwrap_err()), expected, "{pointer}");
    }
    for (member, value, expected) in [
        ("id", json!(-1), "id"),
        ("id", json!(2), "id"),
        ("id", json!(0), "id"),
        ("id", json!("1"), "id"),
        ("id", json!(1.5), "id"),
        ("id", json!(4294967296_u64), "id"),
        ("metadata/task_group_id", json!(2), "metadata.task_group_id"),
        ("metadata/status", json!("running"), "metadata.status"),
        ("metadata/name", Value::Null, "metadata.name"),
        ("metadata/executor_data", json!(3), "metadata.executor_data"),
        ("assets/function/size", json!(-3), "assets.function.size"),
        ("assets/hooks", json!([1]), "assets.hooks"),
    ] {
        let mut bad = good();
        *bad.pointer_mut(&format!("{nodes}/1/{member}")).unwrap() = value.clone();
        let expected = format!("body.lattice.transport_graph.nodes.1.{expected}");
        assert_eq!(place(&read(&bad).unwrap_err()), expected, "{member} = {value}");
    }
}

#[test]
fn missing_members_are_named() {
    for (parent, member) in [
        ("", "lattice"),
        ("/lattice", "transport_graph"),
        ("/lattice/transport_graph", "nodes"),
        ("/lattice/transport_graph/nodes/0", "id"),
        ("/lattice/transport_graph/nodes/0/assets", "hooks"),
        ("/lattice/assets", "inputs"),
    ] {
        let mut bad = manifest(vec![node(0, "a")], vec![]);
        bad.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member);
        let refusal = read(&bad).unwrap_err();
        let expected = format!("body{parent}/{member}").replace('/', ".");
        assert_eq!(place(&refusal), expected);
        assert_eq!(refusal.faults()[0].kind, "missing");
    }
}

#[test]
fn links_and_digests_are_checked() {
    let at = |links: Vec<Value>| read(&manifest(vec![node(0, "a"), node(1, "b")], links));
    let links = "body.lattice.transport_graph.links";
    for (bad, expected) in [
        (link(0, -1, "x", json!("arg"), json!(0)), "0.target"),
        (link(0, 1, "x", json!("arg"), Value::Null), "0.metadata.arg_index"),
        (link(0, 1, "x", json!("arg"), json!(-1)), "0.metadata.arg_index"),
        (link(0, 1, "x", json!("star"), json!(0)), "0.metadata.param_type"),
    ] {
        assert_eq!(place(&at(vec![bad]).unwrap_err()), format!("{links}.{expected}"));
    }
    let mut bad = node(0, "a");
    bad["assets"]["hooks"] = json!({ "digest_alg": "sha", "digest": "12", "size": 2 });
    let refusal = read(&manifest(vec![bad], vec![])).unwrap_err();
    assert_eq!(place(&refusal), "body.lattice.transport_graph.nodes.0.assets.hooks.digest");
}

#[test]
fn reading_ends_with_the_node_that_is_one_too_many() {
    let mut value = manifest((0..4).map(|id| node(id, "a")).collect(), vec![]);
    // The last node is nonsense, but nobody gets that far.
    value["lattice"]["transport_graph"]["nodes"][3] = json!("nonsense");
    let bytes = serde_json::to_vec(&value).unwrap();
    assert_eq!(parse(&bytes, 2).unwrap_err().code(), ErrorCode::TooLarge);
    assert_eq!(parse(&bytes, 3).unwrap_err().code(), ErrorCode::TooLarge);
    assert_eq!(parse(&bytes, 4).unwrap_err().code(), ErrorCode::InvalidBody);
}

#[test]
fn what_is_no_json_is_malformed() {
    let bytes = serde_json::to_vec(&manifest(vec![node(0, "a")], vec![])).unwrap();
    for cut in [0, 1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        let refusal = parse(&bytes[..cut], 100).unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::MalformedJson, "cut at {cut}");
    }
}

#[test]
fn nesting_without_end_is_refused() {
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    let mut value = manifest(vec![node(0, "a")], vec![]);
    value["lattice"]["transport_graph"]["nodes"][0]["metadata"]["executor_data"] = json!("HERE");
    let text = value.to_string().replace("\"HERE\"", &format!("{{\"a\":{nested}}}"));
    assert_eq!(parse(text.as_bytes(), 100).unwrap_err().code(), ErrorCode::InvalidBody);
    assert_eq!(parse(nested.as_bytes(), 100).unwrap_err().code(), ErrorCode::InvalidBody);
}

/// Whatever is done to a manifest, it is read or refused as the sender's fault.
#[test]
fn damaged_manifests_are_the_senders_fault() {
    let value = manifest(
        vec![node(0, ":parameter:1"), node(1, "f\u{e4}\n")],
        vec![link(0, 1, "x", json!("arg"), json!(0))],
    );
    let whole = serde_json::to_vec(&value).unwrap();
    for at in 0..whole.len() {
        for byte in [b'0', b'-', b'"', b'{', b']', b',', b'\\', 0, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            let Err(refusal) = parse(&damaged, 100) else { continue };
            let kind = refusal.code().kind();
            use cov_core::error::ErrorKind::{Invalid, Malformed};
            assert!(matches!(kind, Invalid | Malformed), "{byte} at {at}: {kind:?}");
            assert!(!refusal.faults().is_empty());
        }
    }
}
