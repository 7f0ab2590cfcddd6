//! `cov replay`: one task again, in the foreground, with the function and the inputs that it had.
//! Nothing of it reaches the server.

mod command;
mod folder;
mod python;
mod rust;
mod start;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use cov_client::Node;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::command::{Command, Work};
use cov_core::graph::{Graph, NodeKind};
use cov_core::ids::DispatchId;
use cov_core::transportable::{Encoding, TransportableObject};
use serde_json::Value;

use self::folder::Folder;
use self::start::{SCRIPT, Start};
use crate::args::Replay;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::short;

/// What a function is, as far as running it goes.
#[derive(Debug, PartialEq, Eq)]
enum Language {
    Python,
    Rust(String),
    Command(Box<Command>),
    Collect,
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
    let language = language(&function)?;
    let address = client.address();
    let mut start = match &language {
        Language::Python => python::prepare(&folder, &node, &inputs, address, asked)?,
        Language::Command(command) => {
            let values = folder.inputs(&inputs).into_iter().map(|(_, path)| path).collect();
            command::prepare(command, values, folder.path(), (&id, &node), address)?
        }
        Language::Rust(_) => {
            let program = rust::fetch(context, &client, &id, &node, folder.path()).await?;
            let values = folder.inputs(&inputs);
            rust::prepare(&program, folder.path(), (&id, &node), values, address)?
        }
        Language::Collect => return Err(collects(&node)),
    };
    if asked.keep.is_some() {
        folder.write(SCRIPT, start.script().as_bytes())?;
        let script = folder.path().join(SCRIPT);
        context.printer.aside(&format!("`sh {}` runs the task.", script.display()));
        return Ok(Code::Done);
    }
    match &language {
        Language::Rust(electron) if asked.debug => rust::debug(&mut start, electron).await?,
        Language::Command(_) if asked.debug => command::trace(&mut start)?,
        _ => {}
    }
    let status = start.run().await?;
    ended(context, &language, status, &folder, &start)
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
        NodeKind::Forward => {
            ("the result, which another node made", format!("`cov result {begin}` shows it"))
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
    let unreadable = |error: &dyn std::fmt::Display| Error::Impossible {
        said: format!("the function of this node cannot be read: {error}"),
        hint: "`cov db check` says whether stored contents are damaged".to_owned(),
    };
    let object = TransportableObject::from_archive(archive).map_err(|error| unreadable(&error))?;
    if object.header.encoding != Encoding::Json {
        return Ok(Language::Python);
    }
    let document: Value = object.to_json().map_err(|error| unreadable(&error))?;
    if let Some(name) = document["electron"].as_str() {
        return Ok(Language::Rust(name.to_owned()));
    }
    if document["command"].is_null() && document["collect"].is_null() {
        return Ok(Language::Python);
    }
    match serde_json::from_value(document).map_err(|error| unreadable(&error))? {
        Work::Command(command) => Ok(Language::Command(Box::new(command))),
        Work::Collect(_) => Ok(Language::Collect),
    }
}

fn collects(node: &Node) -> Error {
    Error::Impossible {
        said: format!("node {} only puts the outputs of others together", node.node_id),
        hint: "replay one of them; `cov show` says which they are".to_owned(),
    }
}

/// Says how it ended here, beside what it printed itself.
fn ended(
    context: &Context,
    language: &Language,
    status: ExitStatus,
    folder: &Folder,
    start: &Start,
) -> Result<Code, Error> {
    let aside = |text: &str| context.printer.aside(text);
    let Some(code) = status.code() else {
        return Err(Error::Impossible {
            said: format!("it was ended by a signal ({status})"),
            hint: "that is what happened on the server too, if its fault was `runner`".to_owned(),
        });
    };
    let is_good = match language {
        Language::Command(command) => {
            let missing =
                start.folder.as_deref().and_then(|at| command::missing_output(command, at));
            match missing {
                Some(path) if command::is_success(command, code) => {
                    aside(&format!("It succeeded, but has not written {}.", path.display()));
                    false
                }
                _ => command::is_success(command, code),
            }
        }
        Language::Rust(_) if code == rust::EXIT_NO_SOCKET => {
            return Err(Error::Impossible {
                said: "the program cannot run a task in the foreground".to_owned(),
                hint: "it is built with an earlier version of this project's library".to_owned(),
            });
        }
        Language::Rust(_) => {
            let output = std::fs::read(folder.path().join(rust::OUTPUT)).ok();
            let output = output.and_then(|bytes| TransportableObject::from_archive(&bytes).ok());
            if let Some(output) = output {
                aside(&format!("it returned {}", output.object_string));
            }
            code == 0
        }
        Language::Python | Language::Collect => code == 0,
    };
    if is_good {
        if matches!(language, Language::Command(_)) {
            aside("It succeeded.");
        }
        return Ok(Code::Done);
    }
    aside(&format!("It failed here too (exit code {code})."));
    Ok(Code::Failed)
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
        let json = |value: Value| TransportableObject::from_json(&value).unwrap().to_archive();
        let of = |value| language(&json(value)).unwrap();
        assert_eq!(of(serde_json::json!({"python": "etl:load"})), Language::Python);
        assert_eq!(
            of(serde_json::json!({"electron": "etl::load"})),
            Language::Rust("etl::load".into())
        );
        let command = of(serde_json::json!({"command": {"argv": ["true"]}}));
        assert!(matches!(command, Language::Command(command) if command.argv.len() == 1));
        assert_eq!(of(serde_json::json!({"collect": "list"})), Language::Collect);
        assert!(language(&json(serde_json::json!({"command": {"argv": 1}}))).is_err());
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
