//! A command, put together from its templates and the values that it had, as the server does it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cov_client::Node;
use cov_core::array::{Array, Number};
use cov_core::command::{self, Form, Input, Part, Template, Values};
use cov_core::ids::DispatchId;
use cov_core::transportable::{Encoding, TransportableObject};

use super::start::Start;
use crate::error::Error;

/// The shells that workflow files know, which can say what they do.
const SHELLS: [&str; 2] = ["sh", "bash"];

/// Lays down what the command reads, below `folder`, and says how it is started.
pub(super) fn prepare(
    command: &command::Command,
    inputs: Vec<PathBuf>,
    folder: &Path,
    of: (&DispatchId, &Node),
    address: &str,
) -> Result<Start, Error> {
    let mut inputs = Inputs { values: inputs, folder: folder.join("inputs") };
    let (work, tmp) = (folder.join("work"), folder.join("tmp"));
    for path in [&work, &tmp] {
        fs::create_dir_all(path).map_err(|source| file_error("the folder", path, source))?;
    }
    let work = command.workdir.as_ref().map_or(work.clone(), |path| work.join(path));
    fs::create_dir_all(&work)
        .map_err(|source| file_error("the folder of the command,", &work, source))?;
    let mut words = Vec::new();
    for template in &command.argv {
        words.extend(template.words(&mut inputs)?);
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (dispatch, node) = of;
    let mut variables = vec![
        ("COV_DISPATCH_ID".to_owned(), dispatch.to_string()),
        ("COV_NODE_ID".to_owned(), node.node_id.to_string()),
        ("COVALENT_DISPATCHER_URL".to_owned(), address.to_owned()),
        ("TMPDIR".to_owned(), text(&tmp)),
    ];
    for (name, template) in &command.env {
        variables.push((name.clone(), template.fill(&mut inputs)?));
    }
    let stdin = match &command.stdin {
        Some(template) => inputs.stdin(template, &folder.join("stdin"))?,
        None => PathBuf::from("/dev/null"),
    };
    Ok(Start { words, variables, folder: Some(work), stdin: Some(stdin) })
}

/// Has a shell say each command before it runs it.
pub(super) fn trace(start: &mut Start) -> Result<(), Error> {
    match start.words.first() {
        Some(shell) if SHELLS.contains(&shell.as_str()) => {
            start.words.insert(1, "-x".to_owned());
            Ok(())
        }
        _ => Err(Error::Impossible {
            said: "--debug traces what a shell does, and this command is no line for a shell"
                .to_owned(),
            hint: "--keep DIR writes a script that starts it, for a debugger of your own"
                .to_owned(),
        }),
    }
}

/// Whether the command counts this exit code as success.
pub(super) fn is_success(command: &command::Command, code: i32) -> bool {
    match command.success.as_slice() {
        [] => code == 0,
        codes => codes.contains(&code),
    }
}

/// Why its output is not where it should be, if it is not.
pub(super) fn missing_output(command: &command::Command, folder: &Path) -> Option<PathBuf> {
    match &command.output {
        command::Output::Stdout => None,
        command::Output::File(name) => Some(folder.join(name)).filter(|path| !path.is_file()),
    }
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { what, path: path.to_owned(), source }
}

/// The values of the node, each in a file with its archive.
struct Inputs {
    values: Vec<PathBuf>,
    folder: PathBuf,
}

impl Inputs {
    /// Values as bytes; each of several ends with a newline.
    fn bytes(&self, input: &Input) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        for single in input.singles() {
            let path = self.values.get(single.input as usize).ok_or_else(|| damaged(&single))?;
            let archive = fs::read(path).map_err(|source| file_error("the input", path, source))?;
            let bytes = plain(&archive).ok_or_else(|| damaged(&single))?;
            all.extend_from_slice(&bytes);
            if input.count > 1 && bytes.last().is_some_and(|byte| *byte != b'\n') {
                all.push(b'\n');
            }
        }
        Ok(all)
    }

    /// The path of a file that holds what the template gives.
    fn stdin(&mut self, template: &Template, path: &Path) -> Result<PathBuf, Error> {
        let parts = match template {
            Template::Text(text) => vec![Part::Text(text.clone())],
            Template::Parts(parts) => parts.clone(),
        };
        if let [Part::Input(input)] = parts.as_slice()
            && input.form == Form::File
        {
            return Ok(PathBuf::from(self.path(input)?));
        }
        let mut all = Vec::new();
        for part in &parts {
            match part {
                Part::Text(text) => all.extend_from_slice(text.as_bytes()),
                Part::Input(input) if input.form == Form::Text => all.extend(self.bytes(input)?),
                Part::Input(input) => all.extend(input.words(self)?.join("\n").into_bytes()),
            }
        }
        fs::write(path, all).map_err(|source| file_error("the input", path, source))?;
        Ok(path.to_owned())
    }
}

impl Values for Inputs {
    type Error = Error;

    fn text(&mut self, input: &Input) -> Result<String, Error> {
        let text = String::from_utf8(self.bytes(input)?).map_err(|_no_text| damaged(input))?;
        Ok(match input.form {
            Form::Line => text.trim_end_matches('\n').to_owned(),
            Form::Text | Form::File | Form::Files => text,
        })
    }

    fn path(&mut self, input: &Input) -> Result<String, Error> {
        let folder = match input.count {
            1 => self.folder.join(input.input.to_string()),
            count => self.folder.join(format!("{}+{count}", input.input)),
        };
        let path = folder.join(input.file_name());
        let written =
            fs::create_dir_all(&folder).map_err(|source| file_error("the folder", &folder, source));
        written?;
        fs::write(&path, self.bytes(input)?)
            .map_err(|source| file_error("the input", &path, source))?;
        Ok(path.to_string_lossy().into_owned())
    }
}

fn damaged(input: &Input) -> Error {
    Error::Impossible {
        said: format!("input {} of the command cannot be handed over", input.input),
        hint: "commands read texts, bytes, arrays and JSON, and no pickles; the server says the \
               same in the failure of the node"
            .to_owned(),
    }
}

/// A value as a command reads it: a text as it is, bytes as they are, an array as `.npy`, anything
/// else as JSON.
fn plain(archive: &[u8]) -> Option<Vec<u8>> {
    let object = TransportableObject::from_archive(archive).ok()?;
    match object.header.encoding {
        Encoding::Json => match object.to_json().ok()? {
            serde_json::Value::String(text) => Some(text.into_bytes()),
            _ => Some(object.data.to_vec()),
        },
        Encoding::Array => {
            let array = Array::from_npy(&object.data).ok()?;
            let is_bytes = array.number() == Number::U8 && array.shape().len() == 1;
            let count = array.shape().first().copied().unwrap_or_default();
            let start = object.data.len().checked_sub(count).filter(|_| is_bytes);
            Some(object.data.get(start.unwrap_or_default()..)?.to_vec())
        }
        Encoding::Cloudpickle | Encoding::Bincode => None,
    }
}
