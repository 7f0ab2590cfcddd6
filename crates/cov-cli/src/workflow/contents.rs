//! The bytes of a workflow's assets: each content once, and how values and functions are encoded.

use std::collections::HashMap;

use bytes::Bytes;
use cov_core::array::{self, Number};
use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};
use serde_json::Value;

use super::model::{Action, Task};
use super::template::{Piece, Template};

/// The largest input file. Bytes.
pub(super) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// All contents of a workflow together. Bytes.
pub(super) const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How much of a value is shown in lists. Bytes.
const PREVIEW_BYTES_MAX: usize = 120;

#[derive(Debug, Default)]
pub(super) struct Contents {
    known: HashMap<Bytes, u32>,
    bytes: Vec<Bytes>,
    total: u64,
}

impl Contents {
    /// Takes in a content and returns its index: the same for the same bytes.
    pub(super) fn add(&mut self, bytes: Vec<u8>) -> u32 {
        if let Some(index) = self.known.get(bytes.as_slice()) {
            return *index;
        }
        let bytes = Bytes::from(bytes);
        let index = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.total += bytes.len() as u64;
        self.bytes.push(bytes.clone());
        self.known.insert(bytes, index);
        index
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.total
    }

    /// All contents, by index.
    pub(super) fn into_bytes(self) -> Vec<Bytes> {
        self.bytes
    }
}

/// A document as an archive, with a name for people.
pub(super) fn function(document: &Value, name: &str) -> Vec<u8> {
    let printed = if name.is_empty() { preview(&document.to_string()) } else { name.to_owned() };
    archive(Encoding::Json, printed, document.to_string().into_bytes())
}

/// A value as an archive.
pub(super) fn value_archive(value: &Value) -> Vec<u8> {
    function(value, "")
}

/// The content of a file as an archive: text if it is text, bytes otherwise.
pub(super) fn file_archive(bytes: Bytes) -> Vec<u8> {
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            archive(Encoding::Json, preview(text), Value::from(text).to_string().into_bytes())
        }
        Err(_) => {
            // One dimension is never too many.
            let mut data = array::head(Number::U8, &[bytes.len()]).unwrap_or_default();
            data.extend_from_slice(&bytes);
            archive(Encoding::Array, format!("{} bytes", bytes.len()), data)
        }
    }
}

fn archive(encoding: Encoding, object_string: String, data: Vec<u8>) -> Vec<u8> {
    let header = Header {
        py_version: String::new(),
        cloudpickle_version: String::new(),
        attrs: Attributes::default(),
        encoding,
    };
    TransportableObject { header, object_string, data: data.into() }.to_archive()
}

/// The beginning of a text.
pub(super) fn preview(text: &str) -> String {
    if text.len() <= PREVIEW_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = PREVIEW_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// A path, taken from the folder of the file unless it is absolute.
pub(super) fn absolute(folder: &str, path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    match path {
        "" | "." => folder.to_owned(),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("{}/{path}", folder.trim_end_matches('/')),
    }
}

/// What a task does, as people wrote it.
pub(super) fn source(task: &Task) -> Vec<u8> {
    let text = match &task.action {
        Action::Words(words) => words.iter().map(written).collect::<Vec<_>>().join(" "),
        Action::Shell { script, .. } => written(script),
        Action::Python { function, .. } => function.clone(),
    };
    text.into_bytes()
}

fn written(template: &Template) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Reference(reference) => format!("${{{{ {} }}}}", reference.target),
    };
    template.pieces.iter().map(piece).collect()
}
