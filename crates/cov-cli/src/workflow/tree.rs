//! A document with the place of everything in it: what TOML and YAML have in common. Knows
//! nothing of workflows.

use super::fault::{Fault, Span};

/// The longest file. Bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How deep lists and tables may be nested.
pub(crate) const DEPTH_MAX: usize = 24;

/// Most values of one document, those that a YAML alias repeats included.
pub(crate) const VALUES_MAX: usize = 500_000;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a file can say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A member of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

impl Node {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// It as JSON. Floats are finite: see [`finite`].
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(entries) => {
                let members = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
                serde_json::Value::Object(members.collect())
            }
        }
    }
}

/// A number that JSON can hold, too.
pub(crate) fn finite(number: f64, span: Span) -> Result<Value, Fault> {
    match number.is_finite() {
        true => Ok(Value::Float(number)),
        false => Err(Fault::new(span, "a number has to be finite")),
    }
}

pub(crate) fn too_deep(span: Span) -> Fault {
    Fault::new(span, format!("lists and tables are nested deeper than {DEPTH_MAX}"))
}

pub(crate) fn too_many(span: Span) -> Fault {
    Fault::new(span, format!("the file has more than {VALUES_MAX} values"))
}
