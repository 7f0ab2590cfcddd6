//! Runs one task: from the bytes of a function and its inputs to the bytes of its output.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cov_core::frames::{Blob, Outcome, Task, WorkDir};
use cov_core::ids::NodeId;
use cov_core::transportable::{Encoding, TransportableObject};

use super::space::when_there_is_space;
use super::{Settings, panics};
use crate::electron::{Electron, Inputs};
use crate::function::{COLLECT, Function, Target};
use crate::macro_support::chain;
use crate::shape::Shape;
use crate::value::{Leaf, collect};

/// Longest message of a failure. Bytes.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

pub(super) type Electrons = HashMap<&'static str, &'static Electron>;

/// Runs a task and lays down its output, or what went wrong.
pub(super) fn run(task: &Task, electrons: &Electrons, settings: &Settings) -> Outcome {
    let ran = panics::catch(|| attempt(task, electrons));
    match ran.and_then(|returned| returned) {
        Ok(object) => store(&object.to_parts(), task.attempt, settings),
        Err(message) => Outcome::Failed(shortened(message)),
    }
}

/// What the electron returned.
fn attempt(task: &Task, electrons: &Electrons) -> Result<TransportableObject, String> {
    let function = read_function(task)?;
    if !task.kwargs.is_empty() {
        return Err(format!(
            "`{}` is a Rust electron and takes no keyword arguments",
            function.target.name()
        ));
    }
    enter(task)?;
    let leaves = task.args.iter().map(|argument| read_leaf(argument.node, &argument.value));
    let leaves = leaves.collect::<Result<Vec<Leaf>, String>>()?;
    match &function.target {
        Target::Rust(name) if name == COLLECT => {
            let shape = function.args.first().unwrap_or(&Shape::Value);
            collect(shape, &leaves, function.output).map_err(|error| error.to_string())
        }
        Target::Rust(name) => {
            let electron = electrons.get(&**name).ok_or_else(|| unknown(name, electrons))?;
            let mut inputs = Inputs::new(name, &leaves, &function.args, function.output);
            electron.run(&mut inputs).map_err(|failure| failure.0)
        }
        Target::Python(name) => {
            Err(format!("`{name}` is a Python electron, but its executor is one for Rust"))
        }
    }
}

fn read_function(task: &Task) -> Result<Function, String> {
    let object = read_object(&task.function).map_err(|error| format!("the function: {error}"))?;
    match object.header.encoding {
        Encoding::Json => {
            object.to_json().map_err(|error| format!("the function: {}", chain(&error)))
        }
        Encoding::Cloudpickle => {
            Err("this is a Python function, but its executor is one for Rust".to_owned())
        }
        Encoding::Bincode | Encoding::Array => {
            Err("the function is not encoded as json".to_owned())
        }
    }
}

fn unknown(name: &str, electrons: &Electrons) -> String {
    let mut known: Vec<&str> =
        electrons.keys().copied().filter(|name| !name.ends_with("#each")).collect();
    known.sort_unstable();
    format!("this program has no electron `{name}`; it has: {}", known.join(", "))
}

fn read_leaf(node: u32, value: &Blob) -> Result<Leaf, String> {
    let object =
        read_object(value).map_err(|error| format!("the output of node {node}: {error}"))?;
    Ok(Leaf { node: NodeId(node), object })
}

fn read_object(blob: &Blob) -> Result<TransportableObject, String> {
    let read = match blob {
        Blob::Inline(bytes) => TransportableObject::from_archive(bytes),
        Blob::File(path) => {
            let path = Path::new(OsStr::from_bytes(path));
            let bytes = std::fs::read(path);
            let bytes =
                bytes.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            TransportableObject::from_bytes(&bytes.into())
        }
    };
    read.map_err(|error| chain(&error))
}

/// Goes where the task is to run.
fn enter(task: &Task) -> Result<(), String> {
    let Some(WorkDir { path, unique }) = &task.work_dir else { return Ok(()) };
    let mut folder = PathBuf::from(OsStr::from_bytes(path));
    if *unique {
        folder.push(&task.dispatch);
        folder.push(format!("node_{}", task.node));
    }
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::env::set_current_dir(&folder))
        .map_err(|error| format!("the folder {} cannot be entered: {error}", folder.display()))
}

/// The output for the server: in the frame, or in a file when it is large.
fn store(archive: &[Bytes], attempt: u64, settings: &Settings) -> Outcome {
    let spooled = settings.spooled(attempt, "output");
    let length: usize = archive.iter().map(Bytes::len).sum();
    let Some(path) = spooled.filter(|_| length > settings.inline_bytes_max) else {
        return Outcome::Completed(Blob::Inline(archive.concat()));
    };
    let written = when_there_is_space(|| {
        // A part of it would keep the space that others wait for.
        write(&path, archive).inspect_err(|_| drop(std::fs::remove_file(&path)))
    });
    match written {
        Ok(()) => Outcome::Completed(Blob::File(path_bytes(&path))),
        Err(error) => Outcome::NotStored(format!(
            "The task returned, but its output could not be written to the server's disk: {error}\n"
        )),
    }
}

fn write(path: &Path, parts: &[Bytes]) -> io::Result<()> {
    let mut file = File::create(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))
}

pub(super) fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Keeps the beginning and the end of a very long message.
fn shortened(text: String) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text;
    }
    let half = MESSAGE_BYTES_MAX / 2;
    let (head, tail) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
    let parts = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    format!("{}\n[...]\n{}", parts.0, parts.1)
}
