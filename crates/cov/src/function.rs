//! What a node's function asset says: which electron runs, how its arguments are put together and
//! how its output is encoded. This is the form in which Rust and Python electrons travel by name.

use std::borrow::Cow;

use cov_core::transportable::Encoding;
use serde::{Deserialize, Serialize};

use crate::shape::Shape;

/// Name of the electron that puts values together and computes nothing.
pub(crate) const COLLECT: &str = "cov::collect";

/// Which electron.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Target {
    /// A Rust electron, by its registered name.
    #[serde(rename = "electron")]
    Rust(Cow<'static, str>),
    /// A Python function, as `module:function`.
    #[serde(rename = "python")]
    Python(Cow<'static, str>),
}

impl Target {
    pub(crate) fn is_rust(&self) -> bool {
        matches!(self, Self::Rust(_))
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Rust(name) | Self::Python(name) => name,
        }
    }
}

/// The document, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Function {
    /// Which electron.
    #[serde(flatten)]
    pub(crate) target: Target,
    /// How its output is to be encoded.
    pub(crate) output: Encoding,
    /// The shapes of the positional arguments. Empty: each argument is one value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<Shape>,
    /// Where a Python module is looked for first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) path: Vec<String>,
}
