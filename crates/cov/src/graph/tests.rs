//! What calls become: nodes, edges, assets; and what is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::{EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::transportable::{Encoding, TransportableObject};
use serde_json::json;

use super::{Call, Executor, Lattice, Node, Sublattice, build, collect, value};
use crate::program::ProgramName;
use crate::{Error, electron, lattice};

#[electron]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[electron(label = "sum up", retries = 2, time_limit = "1500ms", executor = "far")]
fn sum(numbers: Vec<i64>) -> i64 {
    numbers.into_iter().sum()
}

#[electron]
fn join(parts: BTreeMap<String, i64>, last: Option<i64>, pair: (i64, String)) -> String {
    format!("{parts:?} {last:?} {pair:?}")
}

#[electron]
fn word() -> String {
    "word".to_owned()
}

#[electron]
fn counted(count: i64) -> Result<Sublattice<Vec<i64>>, Error> {
    Sublattice::build("counted", || add::map(0..count, 1))
}

#[lattice(name = "inner work", retries = 5)]
fn inner(start: i64) -> Node<i64> {
    add::node(add::node(start, 1), 2)
}

fn asset_of<T>(lattice: &Lattice<T>, node: u32, key: AssetKey) -> TransportableObject {
    let bundle = lattice.bundle();
    let address = AssetAddress::of_node(NodeId(node), key);
    let index = bundle.manifest.assets.iter().position(|asset| asset.address == address).unwrap();
    TransportableObject::from_archive(bundle.bytes_of(index).unwrap()).unwrap()
}

fn function<T>(lattice: &Lattice<T>, node: u32) -> serde_json::Value {
    asset_of(lattice, node, AssetKey::Function).to_json().unwrap()
}

/// Each edge as `source -> target (kind)`.
fn edges<T>(lattice: &Lattice<T>) -> Vec<String> {
    let edges = lattice.bundle().manifest.edges.iter();
    edges
        .map(|edge| {
            let kind = match edge.kind {
                EdgeKind::Arg(index) => format!("{} {index}", edge.name),
                EdgeKind::Kwarg => format!("{}=", edge.name),
                EdgeKind::Wait => "wait".to_owned(),
            };
            format!("{} -> {} ({})", edge.source, edge.target, kind.trim())
        })
        .collect()
}

fn kinds<T>(lattice: &Lattice<T>) -> Vec<NodeKind> {
    lattice.bundle().manifest.nodes.iter().map(|node| node.kind).collect()
}

#[test]
fn calls_become_nodes_and_values_become_parameters() {
    let lattice = build("sums", || add::node(add::node(1, 2), 2)).unwrap();
    use NodeKind::{Forward, Parameter, Task};
    // The value 2 is there once.
    assert_eq!(kinds(&lattice), [Parameter, Parameter, Task, Task, Forward]);
    let expected = ["0 -> 2 (a 0)", "1 -> 2 (b 1)", "2 -> 3 (a 0)", "1 -> 3 (b 1)", "3 -> 4 (0)"];
    assert_eq!(edges(&lattice), expected);
    assert_eq!(asset_of(&lattice, 0, AssetKey::Output).to_bincode::<i64>().unwrap(), 1);
    assert_eq!(asset_of(&lattice, 1, AssetKey::Value).object_string, "2");
    let expected = json!({"electron": "cov::graph::tests::add", "output": "bincode"});
    assert_eq!(function(&lattice, 2), expected);
    assert_eq!(lattice.bundle().manifest.nodes[2].name, "add");
}

#[test]
fn one_value_in_its_encoding_is_the_result_as_it_stands() {
    let last = |lattice: &Lattice<i64>| *kinds(lattice).last().unwrap();
    let plain = build("one", || add::node(1, 2)).unwrap();
    assert_eq!(last(&plain), NodeKind::Forward);
    let functions = plain.bundle().manifest.assets.iter();
    let functions = functions.filter(|asset| asset.address.key == AssetKey::Function);
    assert_eq!(functions.count(), 1);
    let pickled = Call::python("m:f").output(Encoding::Cloudpickle);
    let pickled = build("other", || pickled.node::<i64>()).unwrap();
    assert_eq!(last(&pickled), NodeKind::Postprocess, "its result is JSON");
    let constant = build("constant", || 5_i64).unwrap();
    assert_eq!(last(&constant), NodeKind::Postprocess);
}

#[test]
fn collections_of_nodes_are_arguments_with_a_shape() {
    let lattice = build("collections", || {
        let one = add::node(1, 1);
        let parts = BTreeMap::from([("k".to_owned(), one)]);
        let text = join::node(parts, Some(one), (one, word::node()));
        (sum::node(vec![one, one]), sum::node([one]), text, sum::node(vec![7]))
    })
    .unwrap();
    let shape = |node| function(&lattice, node)["args"].clone();
    let expected =
        json!([{"map": [["value", "value"]]}, {"present": "value"}, {"tuple": ["value", "value"]}]);
    assert_eq!(shape(4), expected);
    assert_eq!(shape(5), json!([{"values": 2}]));
    assert_eq!(shape(6), json!([{"values": 1}]));
    assert_eq!(shape(8), json!(null), "a list that is one value has no shape");
    let into_sum = edges(&lattice).into_iter().filter(|edge| edge.contains("-> 5 "));
    assert_eq!(into_sum.collect::<Vec<_>>(), ["1 -> 5 (numbers 0)", "1 -> 5 (numbers 1)"]);
    let result = json!([{"tuple": ["value", "value", "value", "value"]}]);
    assert_eq!(shape(9), result);
}

#[test]
fn deeper_collections_and_mixtures_go_through_collect() {
    let lattice = build("deep", || {
        let one = add::node(1, 1);
        join::node(
            collect(BTreeMap::from([("k".to_owned(), 4i64)])),
            collect(Some(one)),
            collect((one, value("text".to_owned()))),
        )
    });
    assert_eq!(lattice.unwrap().electrons(), 2);
}

#[test]
fn settings_come_from_the_node_then_the_electron_then_the_lattice() {
    let mut builder = super::Builder::new("settings").defaults(super::Settings {
        retries: Some(9),
        executor: Some("near".into()),
        ..Default::default()
    });
    let output = builder.scope(|| {
        let first = sum::node(vec![1]).retries(4);
        let second = add::node(first, 1).time_limit(Duration::from_secs(3)).label("the second");
        (first, second)
    });
    let program = ProgramName { digest: "abc".into(), platform: "here".into() };
    let bundle = builder.finish(&output).unwrap().into_bundle(&program);
    let spec = |node: usize| {
        let node = &bundle.manifest.nodes[node];
        let spec = &bundle.manifest.executors[node.executor as usize];
        (spec.name.clone(), spec.data["attributes"].clone())
    };
    let attributes = json!({"retries": 4, "time_limit": 1.5, "program": "abc", "platform": "here"});
    let on = |name: &str, mut attributes: serde_json::Value| {
        attributes["on"] = json!({ "name": name, "data": { "attributes": {} } });
        ("rust".to_owned(), attributes)
    };
    assert_eq!(spec(1), on("far", attributes));
    let attributes = json!({"retries": 9, "time_limit": 3.0, "program": "abc", "platform": "here"});
    assert_eq!(spec(3), on("near", attributes));
    assert_eq!(bundle.manifest.nodes[3].name, "the second");
    assert_eq!(spec(4).0, "rust", "the result is put together by the program itself");
}

#[test]
fn electrons_of_every_language_run_on_every_executor() {
    let cluster = Executor::dask("tcp://10.0.0.7:8786");
    let lattice = build("engines", || {
        let first = add::node(1, 2).executor(cluster.clone()).retries(1);
        let second = Call::python("sums:double").arg::<i64>(first).node::<i64>();
        (second.executor(cluster.clone()).retries(1), add::node(3, 4).executor("local"))
    });
    let lattice = lattice.unwrap();
    let spec = |node: usize| {
        let node = &lattice.bundle().manifest.nodes[node];
        let spec = &lattice.bundle().manifest.executors[node.executor as usize];
        (spec.name.clone(), spec.data["attributes"].clone())
    };
    let told = json!({ "scheduler_address": "tcp://10.0.0.7:8786" });
    let on = json!({ "name": "dask", "data": { "attributes": told } });
    assert_eq!(spec(2), ("rust".to_owned(), json!({ "retries": 1, "on": on })));
    let told = json!({ "retries": 1, "scheduler_address": "tcp://10.0.0.7:8786" });
    assert_eq!(spec(3), ("dask".to_owned(), told));
    let on = json!({ "name": "local", "data": { "attributes": {} } });
    assert_eq!(spec(6), ("rust".to_owned(), json!({ "on": on })));
    assert!(lattice.needs_program());
}

#[test]
fn the_result_waits_for_all_that_nobody_waits_for() {
    let lattice = build("waiting", || {
        let first = word::node();
        let second = word::node().wait_for(first);
        word::node().wait_for([first, second])
    })
    .unwrap();
    let expected = ["0 -> 1 (wait)", "0 -> 2 (wait)", "1 -> 2 (wait)", "2 -> 3 (0)"];
    assert_eq!(edges(&lattice), expected);
    let side = build("side", || {
        let _side = word::node();
    });
    assert_eq!(edges(&side.unwrap()), ["0 -> 1 (wait)"]);
}

#[test]
fn what_python_takes_or_makes_is_json() {
    let lattice = build("mixed", || {
        let number = add::node(1, 2);
        let python = Call::python("sums:double").arg::<i64>(number).kwarg::<i64>("by", 3);
        let doubled = python.node::<i64>();
        (number, doubled, value(5))
    })
    .unwrap();
    // 0 and 1 are the arguments of `add`, 3 is for Python.
    assert_eq!(function(&lattice, 2)["output"], "json");
    assert_eq!(asset_of(&lattice, 0, AssetKey::Output).header.encoding, Encoding::Bincode);
    assert_eq!(asset_of(&lattice, 3, AssetKey::Output).header.encoding, Encoding::Json);
    assert_eq!(function(&lattice, 4), json!({"python": "sums:double", "output": "json"}));
    let executor = lattice.bundle().manifest.nodes[4].executor as usize;
    assert_eq!(lattice.bundle().manifest.executors[executor].name, "local");
    // The constant was recorded again, as the result needs it.
    assert_eq!(asset_of(&lattice, 5, AssetKey::Output).to_json::<i64>().unwrap(), 5);
    assert_eq!(function(&lattice, 6)["output"], "json");
    assert!(edges(&lattice).contains(&"3 -> 4 (by=)".to_owned()));
}

#[electron(output = "array")]
fn ramp(count: u32) -> Vec<f64> {
    (0..count).map(f64::from).collect()
}

#[test]
fn numbers_travel_as_arrays_where_it_is_said() {
    let lattice = build("numbers", || {
        let ramp = ramp::node(3);
        let python = Call::python("m:f").arg::<Vec<f64>>(ramp);
        python.arg::<Vec<u8>>(crate::array(vec![1u8])).output(Encoding::Array).node::<Vec<f64>>()
    })
    .unwrap();
    assert_eq!(function(&lattice, 1)["output"], "array");
    assert_eq!(asset_of(&lattice, 2, AssetKey::Output).header.encoding, Encoding::Array);
    assert_eq!(kinds(&lattice).last(), Some(&NodeKind::Forward));
}

#[test]
fn a_result_with_an_array_among_others_is_json() {
    let lattice = build("both", || (ramp::node(3), add::node(1, 2))).unwrap();
    assert_eq!(function(&lattice, 1)["output"], "array");
    assert_eq!(function(&lattice, 4)["output"], "json");
    assert_eq!(function(&lattice, 5)["output"], "json");
}

#[test]
fn sublattices_are_nodes_and_lattices_can_be_put_into_each_other() {
    let lattice = build("outer", || {
        let own = inner(1);
        let sub = inner::node(own);
        let dynamic = counted::node(sub);
        (sum::node(dynamic), add::each(counted::node(2), 3))
    })
    .unwrap();
    let count = |kind| kinds(&lattice).into_iter().filter(|found| *found == kind).count();
    assert_eq!((count(NodeKind::Task), count(NodeKind::Sublattice)), (3, 4));
    let built = inner::build(5).unwrap();
    assert_eq!((built.name(), built.electrons()), ("inner work", 2));
    let inputs = AssetAddress::of_dispatch(AssetKey::Inputs);
    let assets = &built.bundle().manifest.assets;
    let index = assets.iter().position(|asset| asset.address == inputs).unwrap();
    let inputs = TransportableObject::from_archive(built.bundle().bytes_of(index).unwrap());
    let expected = json!({"args": [], "kwargs": {"start": 5}});
    assert_eq!(inputs.unwrap().to_json::<serde_json::Value>().unwrap(), expected);
}

#[test]
fn faults_are_told_at_the_end() {
    let mut stray = None;
    build("first", || {
        let node = word::node();
        stray = Some(node);
        node
    })
    .unwrap();
    let stray = stray.unwrap();
    let error =
        build("second", || sum::node(collect([add::node(1, 2)])).wait_for(stray)).unwrap_err();
    assert!(matches!(&error, Error::ForeignNode { lattice } if lattice == "second"), "{error}");
    let error = build("circle", || {
        let first = add::node(1, 2);
        let second = add::node(first, 3);
        first.wait_for(second)
    });
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Manifest { .. }), "{error}");
    let error = build("keyword", || {
        let two = [word::node(), word::node()];
        Call::python("m:f").kwarg::<Vec<String>>("x", two).node::<()>()
    });
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Keyword { .. }), "{error}");
    let keys = BTreeMap::from([((1, 2), 3)]);
    let error = build("value", || Call::python("m:f").arg(keys).node::<()>()).unwrap_err();
    assert!(error.to_string().starts_with("m:f: a value of type `"), "{error}");
}

#[test]
fn an_electron_stays_a_function_and_is_registered() {
    assert_eq!(add(1, 2), 3);
    assert_eq!(sum(vec![1, 2, 3]), 6);
    let electrons = crate::electrons().unwrap();
    let sum = electrons["cov::graph::tests::sum"];
    assert_eq!((sum.label, sum.retries, sum.executor), ("sum up", Some(2), Some("far")));
    assert_eq!(sum.time_limit, Some(Duration::from_millis(1500)));
    assert_eq!(electrons["cov::graph::tests::counted"].kind, NodeKind::Sublattice);
    assert_eq!(electrons["cov::graph::tests::add#each"].kind, NodeKind::Sublattice);
}

#[test]
fn a_panic_while_a_graph_is_built_leaves_no_graph_behind() {
    let panicked = std::panic::catch_unwind(|| build("broken", || -> Node<i64> { panic!("here") }));
    assert!(panicked.is_err());
    let outside = std::panic::catch_unwind(|| add::node(1, 2));
    let said = outside.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("nodes are recorded inside of a lattice only"), "{said}");
    assert!(said.contains("graph/tests.rs"), "{said}");
}

#[test]
fn ten_thousand_electrons_share_what_is_the_same() {
    let lattice = build("wide", || sum::node(add::map(0..10_000, 1))).unwrap();
    assert_eq!(lattice.electrons(), 10_001);
    // The values, the functions of `add` and `sum`, and the inputs.
    assert_eq!(lattice.bundle().contents().len(), 10_000 + 2 + 1);
}
