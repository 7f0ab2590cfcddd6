//! Workflow files: text in TOML or YAML to a checked workflow, and that to a manifest with its
//! assets. Touches no file and no server itself: a [`Folder`] finds and reads what the text
//! names.
//!
//! In order: `toml` or `yaml` makes a `tree` with the place of everything; `read` makes a `model`
//! of it; `check` sees whether it fits together; `settings` brings the values of the parameters;
//! `expand` repeats tasks; `plan` and `node` write the manifest.

mod check;
mod contents;
mod engines;
mod expand;
mod fault;
mod keys;
mod model;
mod node;
mod plan;
mod read;
mod reader;
mod settings;
mod shell;
mod template;
#[cfg(test)]
mod tests;
mod toml;
mod tree;
mod yaml;

use bytes::Bytes;
use cov_core::bundle::Bundle;
use cov_core::trigger::Dictionary;

pub use self::fault::Faults;
pub use self::keys::schema;

use self::fault::{Fault, Span};
use self::model::Model;
use self::reader::Reader;

/// The language that a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// By the end of the file's name; TOML, if it says nothing.
    pub fn of(name: &str) -> Self {
        let is_yaml = [".yaml", ".yml"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
        if is_yaml { Self::Yaml } else { Self::Toml }
    }
}

/// What surrounds a workflow file.
pub trait Folder {
    /// The folder of the file, absolute.
    fn path(&self) -> &str;

    /// The files that match a pattern, absolute and in order; at most so many, or an error.
    fn glob(&self, pattern: &str, limit: usize) -> Result<Vec<String>, String>;

    /// The content of a file of at most so many bytes.
    fn read(&self, path: &str, limit: u64) -> Result<Bytes, String>;
}

/// A workflow file that was read and checked.
#[derive(Debug)]
pub struct Workflow {
    file_name: String,
    text: String,
    model: Model,
    warnings: Vec<Fault>,
}

/// What is sent to a server.
#[derive(Debug)]
pub struct Plan {
    /// The name of the workflow.
    pub name: String,
    /// How many tasks run.
    pub tasks: usize,
    /// Triggers as a server knows them, without the dispatch that they belong to.
    pub triggers: Vec<Dictionary>,
    /// The manifest with its assets.
    pub bundle: Bundle,
}

impl Workflow {
    /// Reads and checks a file. `file_name` is for messages, and for the workflow's name if it has
    /// none.
    ///
    /// # Errors
    /// Everything that is wrong with it, as far as it can be told at once.
    pub fn parse(file_name: &str, text: &str, format: Format) -> Result<Self, Faults> {
        let faults = |faults| Faults::new(file_name, text, faults);
        if text.len() > tree::TEXT_BYTES_MAX {
            let message = format!("the file has more than {} bytes", tree::TEXT_BYTES_MAX);
            return Err(Faults::new(file_name, "", vec![Fault::nowhere(message)]));
        }
        let root = match format {
            Format::Toml => toml::parse(text),
            Format::Yaml => yaml::parse(text),
        };
        let root = root.map_err(faults)?;
        let mut reader = Reader { file: text, faults: Vec::new() };
        let model = read::model(&mut reader, &root);
        if !reader.faults.is_empty() {
            return Err(faults(reader.faults));
        }
        let found = check::check(&model);
        if found.iter().any(|fault| !fault.is_warning()) {
            return Err(faults(found));
        }
        let (file_name, text) = (file_name.to_owned(), text.to_owned());
        Ok(Self { file_name, text, model, warnings: found })
    }

    /// What is strange about it.
    pub fn warnings(&self) -> Option<Faults> {
        if self.warnings.is_empty() {
            return None;
        }
        Some(Faults::new(&self.file_name, &self.text, self.warnings.clone()))
    }

    /// Its name.
    pub fn name(&self) -> String {
        let stem = self.file_name.rsplit('/').next().unwrap_or(&self.file_name);
        let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
        self.model.name.clone().unwrap_or_else(|| stem.to_owned())
    }

    /// Makes the manifest, with the parameters that `sets` changes.
    ///
    /// # Errors
    /// Parameters that are not set or do not fit, patterns without files, files that cannot be
    /// read, and what is larger than the limits.
    pub fn plan(&self, sets: &[(String, String)], folder: &dyn Folder) -> Result<Plan, Faults> {
        let settings = settings::settle(&self.model, sets);
        let plan = settings.and_then(|settings| {
            let plan = plan::plan(&self.model, &self.name(), &settings, folder)?;
            let graph = plan.bundle.manifest.graph(usize::MAX);
            // What is checked before makes a graph; if not, that is told and not sent.
            graph.map_err(|error| vec![Fault::new(Span::default(), error.to_string())])?;
            Ok(plan)
        });
        plan.map_err(|faults| Faults::new(&self.file_name, &self.text, faults))
    }
}
