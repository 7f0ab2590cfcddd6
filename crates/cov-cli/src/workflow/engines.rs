//! `executors` and `on`: where the tasks of a file run, if not on the server that takes it.

use std::collections::BTreeMap;

use serde_json::Map;

use super::fault::Fault;
use super::reader::{Reader, Table};
use super::tree::{Entry, Value};

/// The key of an executor's own name, where the file calls it something else.
const TYPE: &str = "type";

/// An executor of the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Engine {
    /// The name by which the server knows it.
    pub(crate) name: String,
    /// What it is told.
    pub(crate) attributes: Map<String, serde_json::Value>,
}

/// The executors that the file describes, by the names that it gives them.
#[derive(Debug, Default)]
pub(super) struct Engines(BTreeMap<String, Engine>);

impl Engines {
    /// Reads `executors` of the file.
    pub(super) fn read(reader: &mut Reader<'_>, file: Table<'_>) -> Self {
        let Some(node) = file.get("executors") else { return Self::default() };
        let entries = reader.entries(node).unwrap_or_default();
        let engines = entries.iter().filter_map(|entry| {
            let is_name = reader.check_name(&entry.key, entry.key_span, "an executor");
            let engine = engine(reader, entry)?;
            is_name.then(|| (entry.key.clone(), engine))
        });
        Self(engines.collect())
    }

    /// What `on` of a table names: one of the file's executors, or else one of the server's.
    pub(super) fn named(&self, reader: &mut Reader<'_>, table: Table<'_>) -> Option<Engine> {
        let node = table.get("on")?;
        let name = reader.text(node)?;
        if name.is_empty() || name.contains("${{") {
            let fault = Fault::new(node.span, "this is no name of an executor");
            reader.fail(fault.help("`cov executors` shows those of the server"));
            return None;
        }
        let own = || Engine { name: name.clone(), attributes: Map::new() };
        Some(self.0.get(&name).cloned().unwrap_or_else(own))
    }
}

fn engine(reader: &mut Reader<'_>, entry: &Entry) -> Option<Engine> {
    let mut engine = Engine { name: entry.key.clone(), attributes: Map::new() };
    for member in reader.entries(&entry.node)? {
        if matches!(&member.node.value, Value::Text(text) if text.contains("${{")) {
            reader.fail(Fault::new(member.node.span, "nothing can be referred to here"));
        } else if member.key == TYPE {
            engine.name = reader.text(&member.node)?;
        } else {
            engine.attributes.insert(member.key.clone(), member.node.to_json());
        }
    }
    Some(engine)
}
