//! What a record tells of its values, from every encoding.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::*;
use crate::transportable::{Attributes, Header};

/// `pickle.dumps(value, protocol=5)` of plain data.
fn pickled(base64: &str) -> TransportableObject {
    TransportableObject {
        header: Header {
            py_version: "3.11.7".into(),
            cloudpickle_version: "2.2.0".into(),
            attrs: Attributes::default(),
            encoding: Encoding::Cloudpickle,
        },
        object_string: "printed".into(),
        data: base64::engine::general_purpose::STANDARD.decode(base64).unwrap().into(),
    }
}

fn node(id: u32, kind: NodeKind, output: Option<Value>) -> NodeResult {
    NodeResult {
        node_id: NodeId(id),
        node_name: format!("n{id}"),
        start_time: None,
        end_time: None,
        status: Status::Completed,
        output,
        error: None,
        sublattice_result: None,
        stdout: None,
        stderr: None,
        kind,
        sub_dispatch_id: None,
    }
}

fn record(result: Option<Value>) -> Result {
    let id = "d-1".parse().unwrap();
    Result { result, status: Result::COMPLETED, ..Result::new(LatticeInfo::default(), id) }
}

fn of_python(base64: &str) -> Result {
    record(Some(Fetched::Here(pickled(base64))))
}

#[test]
fn plain_data_of_python_is_read() {
    // 42, None, {"a": [1, 2.5, None], "b": [True, "x"]}
    assert_eq!(of_python("gAVLKi4=").result::<i64>().unwrap(), 42);
    of_python("gAVOLg==").result::<()>().unwrap();
    assert_eq!(of_python("gAVOLg==").result::<Option<i64>>().unwrap(), None);
    let data = "gAWVJgAAAAAAAAB9lCiMAWGUXZQoSwFHQAQAAAAAAABOZYwBYpRdlCiIjAF4lGV1Lg==";
    let map: BTreeMap<String, serde_json::Value> = of_python(data).result().unwrap();
    assert_eq!(map["a"], serde_json::json!([1, 2.5, null]));
    assert_eq!(map["b"], serde_json::json!([true, "x"]));
}

#[test]
fn objects_of_python_are_refused_with_what_and_how() {
    // datetime.date(2026, 1, 1)
    let date = "gAWVIAAAAAAAAACMCGRhdGV0aW1llIwEZGF0ZZSTlEMEB+oBAZSFlFKULg==";
    let error = of_python(date).result::<Vec<i64>>().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the result") && text.contains("cloudpickle"), "{text}");
    assert!(text.contains("Vec<i64>"), "{text}");
}

#[test]
fn json_and_bincode_are_read() {
    let json = TransportableObject::from_json(&[1, 2]).unwrap();
    assert_eq!(record(Some(Fetched::Here(json))).result::<Vec<u8>>().unwrap(), [1, 2]);
    let bincode = TransportableObject::from_bincode(&("a", 7_u64), "x".into()).unwrap();
    let read: (String, u64) = record(Some(Fetched::Here(bincode))).result().unwrap();
    assert_eq!(read, ("a".to_owned(), 7));
}

#[test]
fn what_is_not_here_says_so() {
    let error = record(None).result::<i64>().unwrap_err();
    assert_eq!(error.to_string(), "the result is not there: the status is COMPLETED");
    let error = record(Some(Fetched::There { bytes: 7 })).result::<i64>().unwrap_err();
    assert_eq!(error.to_string(), "the result has 7 bytes and was not fetched");
}

#[test]
fn post_processing_gets_the_electrons_in_order() {
    let one = |number: i64| Some(Fetched::Here(TransportableObject::from_json(&number).unwrap()));
    let mut record = record(None);
    record.nodes = vec![
        node(0, NodeKind::Task, one(1)),
        node(1, NodeKind::Parameter, one(2)),
        node(2, NodeKind::Sublattice, one(3)),
        node(3, NodeKind::Helper, one(4)),
        node(4, NodeKind::Postprocess, None),
    ];
    let sum = |outputs: &[&TransportableObject]| {
        outputs.iter().map(|output| output.decode::<i64>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(record.post_process(sum).unwrap(), [1, 3]);
    record.nodes[2].output = Some(Fetched::There { bytes: 9 });
    let error = record.post_process(sum).unwrap_err();
    assert_eq!(error.to_string(), "the output of node 2 (n2) has 9 bytes and was not fetched");
}

#[test]
fn a_record_survives_its_text_and_is_printed() {
    let mut record = record(Some(Fetched::Here(pickled("gAVLKi4="))));
    record.nodes = vec![node(0, NodeKind::Task, Some(Fetched::There { bytes: 9 }))];
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Result>(&text).unwrap(), record);
    let printed = record.to_string();
    assert!(printed.contains("result: printed\n"), "{printed}");
    assert!(printed.contains("n0(0): (9 bytes)\n"), "{printed}");
}
