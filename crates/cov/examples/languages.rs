//! What the tests of the server run from Rust: calls of Python, results of Python, and what cannot
//! cross. Says on its output what came back, a line for each.
//!
//! ```text
//! languages ADDRESS FOLDER [named | read DISPATCH | again DISPATCH NODE | refused]
//! ```

#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]

use std::collections::{BTreeMap, BTreeSet};

use cov::core::array::to_npy;
use cov::core::ids::{DispatchId, NodeId};
use cov::core::transportable::{Encoding, TransportableObject};
use cov::graph::{Call, build};
use cov::{Client, Node, blocking, electron};
use serde::Deserialize;

type Failure = Box<dyn std::error::Error>;

/// What `ct.electron`s of the tests return.
#[derive(Debug, PartialEq, Deserialize)]
struct Plain {
    none: Option<u8>,
    truth: bool,
    large: i128,
    float: f64,
    text: String,
    bytes: Vec<u8>,
    pair: (i64, f64),
    set: BTreeSet<u32>,
    nested: BTreeMap<String, Vec<BTreeMap<u32, String>>>,
}

#[electron]
fn shout(text: String) -> String {
    text.to_uppercase()
}

fn main() -> Result<(), Failure> {
    cov::runner::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, folder, rest @ ..] = arguments.as_slice() else { return Err("no server".into()) };
    let client = blocking::Client::new(Client::builder(address.as_str()))?;
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["named"] => named(&client, folder),
        ["read", dispatch] => read(&client, &dispatch.parse()?),
        ["again", dispatch, node] => again(&client, &dispatch.parse()?, NodeId(node.parse()?)),
        ["refused"] => refused(&client, folder),
        other => Err(format!("what is {other:?}?").into()),
    }
}

/// Plain data and arrays to Python functions, and back.
fn named(client: &blocking::Client, folder: &str) -> Result<(), Failure> {
    let call = |name: &str| Call::python(format!("steps:{name}")).path(folder);
    let lattice = build("plain", || {
        let first: Node<Vec<i64>> = call("numbers").arg::<u32>(3).node();
        let total = call("total").arg::<Vec<Vec<i64>>>(vec![first, first]);
        let total: Node<i64> = total.kwarg::<i64>("more", 10).node();
        let words: Node<BTreeMap<String, Option<f64>>> = call("words").arg::<&str>("ä b").node();
        (total, words)
    })?;
    println!("{} {:?}", lattice.needs_program(), lattice.run(client)?);
    let numbers = vec![vec![1.5, -2.0], vec![f64::INFINITY, 0.0]];
    let lattice = build("array", || {
        let doubled = call("double").arg::<Vec<Vec<f64>>>(cov::array(numbers));
        doubled.output(Encoding::Array).node::<Vec<[f64; 2]>>()
    })?;
    println!("{:?}", lattice.run(client)?);
    // With its module in the folder that it runs in.
    let lattice = build("folder", || {
        Call::python("steps:numbers").arg::<u32>(1).node::<Vec<i64>>().work_dir(folder)
    })?;
    println!("{:?}", lattice.run(client)?);
    Ok(())
}

/// What an electron of the SDK returned.
fn read(client: &blocking::Client, dispatch: &DispatchId) -> Result<(), Failure> {
    let record = client.get_result(dispatch, true, false)?;
    match record.result::<Plain>() {
        Ok(plain) => println!("{plain:?}"),
        Err(error) => {
            let cause = std::error::Error::source(&error).and_then(|source| source.source());
            println!("{error}; {}", cause.map(ToString::to_string).unwrap_or_default());
        }
    }
    Ok(())
}

/// The same dispatch with other values of a parameter.
fn again(client: &blocking::Client, dispatch: &DispatchId, node: NodeId) -> Result<(), Failure> {
    let workflow = client.workflow(dispatch)?;
    println!("{}", workflow.parameters().map(|(_, name)| name).collect::<Vec<_>>().join(" "));
    let value = TransportableObject::from_json(&[10, 20])?;
    let changed = workflow.clone().value(node, &value);
    let made = client.redispatch_as(dispatch, &changed, true)?;
    let record = client.get_result(&made.dispatch_id, true, false)?;
    println!("{} {:?}", record.dispatch_id, record.result::<Vec<i64>>()?);
    let array = TransportableObject {
        header: cov::core::transportable::Header { encoding: Encoding::Array, ..value.header },
        object_string: "array".to_owned(),
        data: to_npy(&[0.5, 0.25])?.into(),
    };
    let changed = client.workflow(dispatch)?.value(node, &array);
    let made = client.redispatch_as(dispatch, &changed, true)?;
    let record = client.get_result(&made.dispatch_id, true, false)?;
    println!("{:?}", record.result::<Vec<f64>>()?);
    Ok(())
}

/// What cannot cross, in both directions.
fn refused(client: &blocking::Client, folder: &str) -> Result<(), Failure> {
    let now = || Call::python("steps:now").path(folder);
    let leaving = build("leaving", || now().node::<String>())?;
    let coming = build("coming", || {
        let pickled: Node<String> = now().output(Encoding::Cloudpickle).node();
        shout::node(pickled)
    })?;
    for lattice in [leaving, coming] {
        let record = client.dispatch_sync(&lattice.into_workflow()?)?;
        let said = record.nodes.iter().find_map(|node| node.error.as_ref()?.here());
        println!("{}", said.ok_or("it crossed")?.replace('\n', " | "));
    }
    Ok(())
}
