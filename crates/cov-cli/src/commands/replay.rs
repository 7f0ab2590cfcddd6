//! `cov replay`: one task again, in the foreground, with the function and the inputs that it had.
//! Nothing of it reaches the server.

mod folder;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use cov_client::Node;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::{Graph, NodeKind};
use cov_core::ids::DispatchId;
use cov_core::transportable::{Encoding, TransportableObject};
use tokio::process::Command;

use self::folder::Folder;
use crate::args::Replay;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::server_process::python;
use crate::view::short;

/// What a function is, as far as running it goes.
#[derive(Debug, PartialEq, Eq)]
enum Language {
    Python,
    Rust(String),
    Command,
}

pub(super) async fn run(context: &Context, asked: &Replay) -> Result<Code, Error> {
    let client = context.client(Patience::Once)?;
    let told = |error| context.told(error);
    let id = find::dispatch(context, &client, &asked.dispatch).await?;
    let node = client.node(&id, asked.node).await.map_err(told)?.node;
    check_kind(&id, &node)?;
    let edges = client.edges(&id).await.map_err(told)?;
    let dispatch = client.get(&id).await.map_err(told)?;
    let kinds: Vec<NodeKind> = dispatch.nodes.iter().map(|node| node.kind).collect();
    let graph = Graph::new(&kinds, &edges).map_err(|error| Error::Impossible {
        said: format!("the graph of the dispatch is damaged: {error}"),
        hint: "`cov db check` looks at everything that is stored".to_owned(),
    })?;
    let folder = Folder::make(asked.keep.as_deref())?;
    let inputs = graph.inputs(node.node_id);
    let function = folder.fetch(context, &client, &id, &node, &inputs).await?;
    if asked.keep.is_some() {
        let path = folder.path().display();
        context.printer.aside(&format!("Function and inputs are in {path}."));
        return Ok(Code::Done);
    }
    match language(&function)? {
        Language::Python => {}
        other => return Err(cannot(&id, &node, &other)),
    }
    folder.describe(&node, &inputs, client.address(), asked.debug)?;
    call(context, &folder, asked).await
}

/// Only what has a function can be run.
fn check_kind(id: &DispatchId, node: &Node) -> Result<(), Error> {
    let (begin, number) = (short(id), node.node_id);
    let (what, hint) = match node.kind {
        NodeKind::Parameter => {
            ("a value", format!("`cov result {begin} --node {number}` shows it"))
        }
        NodeKind::Sublattice => {
            let below = node.sub_dispatch_id.as_ref().map_or("its sub-dispatch".to_owned(), short);
            (
                "a sub-lattice, which only builds a dispatch",
                format!("replay a node of that one: `cov show {below}`"),
            )
        }
        NodeKind::Task | NodeKind::Helper | NodeKind::Postprocess => return Ok(()),
    };
    Err(Error::Impossible {
        said: format!("node {number} is {what}: there is nothing to run"),
        hint,
    })
}

/// What the function asset says of itself. JSON names a function, anything else is a pickle.
fn language(archive: &[u8]) -> Result<Language, Error> {
    let object = TransportableObject::from_archive(archive).map_err(|error| Error::Impossible {
        said: format!("the function of this node cannot be read: {error}"),
        hint: "`cov db check` says whether stored contents are damaged".to_owned(),
    })?;
    if object.header.encoding != Encoding::Json {
        return Ok(Language::Python);
    }
    let document: serde_json::Value = object.to_json().unwrap_or_default();
    Ok(match (document["electron"].as_str(), &document["command"]) {
        (Some(name), _) => Language::Rust(name.to_owned()),
        (None, serde_json::Value::Null) => Language::Python,
        (None, _) => Language::Command,
    })
}

fn cannot(id: &DispatchId, node: &Node, language: &Language) -> Error {
    let (begin, number) = (short(id), node.node_id);
    let keep = format!("`cov replay {begin} {number} --keep DIR` writes its inputs into a folder");
    let (said, hint) = match language {
        Language::Rust(name) => (
            format!("node {number} calls `{name}`, which is part of a Rust program"),
            format!("{keep}; call the function with them in a test of that program"),
        ),
        Language::Command | Language::Python => (
            format!("node {number} is a command, which only the server puts together"),
            format!("{keep}; function.json there shows the command"),
        ),
    };
    Error::Impossible { said, hint }
}

async fn call(context: &Context, folder: &Folder, asked: &Replay) -> Result<Code, Error> {
    let python = asked.python.clone().unwrap_or_else(python::usual);
    let mut child = Command::new(&python)
        .arg(folder.script())
        .arg(folder.path())
        .stdin(Stdio::inherit())
        .spawn()
        .map_err(|source| Error::File { what: "the Python", path: python, source })?;
    // Python hears of an interrupt too, and ends by itself or shows its debugger.
    let status = loop {
        tokio::select! {
            ended = child.wait() => break ended,
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let status = status.map_err(|source| Error::System { what: "the Python", source })?;
    match status.code() {
        Some(0) => Ok(Code::Done),
        Some(_) => {
            context.printer.aside("It failed here too.");
            Ok(Code::Failed)
        }
        None => Err(Error::Impossible {
            said: format!("Python was ended by a signal ({status})"),
            hint: "that is what happened on the server too, if its fault was `runner`".to_owned(),
        }),
    }
}

/// Where an asset of a node is put.
fn asset(node: &Node, key: AssetKey) -> AssetAddress {
    AssetAddress::of_node(node.node_id, key)
}

/// A name in the folder.
fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples;

    #[test]
    fn functions_say_what_they_are() {
        let json =
            |value: serde_json::Value| TransportableObject::from_json(&value).unwrap().to_archive();
        let of = |value| language(&json(value)).unwrap();
        assert_eq!(of(serde_json::json!({"python": "etl:load"})), Language::Python);
        assert_eq!(
            of(serde_json::json!({"electron": "etl::load"})),
            Language::Rust("etl::load".into())
        );
        assert_eq!(of(serde_json::json!({"command": {"argv": ["true"]}})), Language::Command);
        let mut pickle = TransportableObject::from_json(&1).unwrap();
        pickle.header.encoding = Encoding::Cloudpickle;
        assert_eq!(language(&pickle.to_archive()).unwrap(), Language::Python);
        assert!(language(b"?").is_err());
    }

    #[test]
    fn what_has_no_function_says_where_to_look() {
        let (dispatch, _) = samples::etl();
        let id = &dispatch.summary.dispatch_id;
        let said = |node: &Node| check_kind(id, node).err().map(|error| error.to_string());
        assert_eq!(said(&dispatch.nodes[0]).unwrap(), "node 0 is a value: there is nothing to run");
        assert_eq!(said(&dispatch.nodes[1]), None);
    }
}
