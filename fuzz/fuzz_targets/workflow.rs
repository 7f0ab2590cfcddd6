//! A workflow file with any edits: read and planned or refused in words, never a panic, and what is planned is a graph.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use cov_cli::workflow::{Folder, Format, Workflow};
use libfuzzer_sys::fuzz_target;

/// A file with every key, in both languages.
const WHOLE_TOML: &str = include_str!("../seeds/workflow/whole.toml");
const WHOLE_YAML: &str = include_str!("../seeds/workflow/whole.yaml");

/// What is done to the file at one place.
#[derive(Debug, Arbitrary)]
struct Edit<'a> {
    at: u16,
    remove: u8,
    insert: &'a str,
}

/// A file, made of a whole one or by itself.
#[derive(Debug, Arbitrary)]
struct Input<'a> {
    is_yaml: bool,
    own: Option<&'a str>,
    edits: Vec<Edit<'a>>,
    sets: Vec<(&'a str, &'a str)>,
}

/// A folder in which every path is a short file, and every pattern matches two.
#[derive(Debug)]
struct Anything;

impl Folder for Anything {
    fn path(&self) -> &str {
        "/folder"
    }

    fn glob(&self, pattern: &str, _limit: usize) -> Result<Vec<String>, String> {
        match pattern.is_empty() {
            true => Err("the pattern is empty".to_owned()),
            false => Ok(vec!["/folder/a.csv".to_owned(), "/folder/b".to_owned()]),
        }
    }

    fn read(&self, path: &str, _limit: u64) -> Result<Bytes, String> {
        Ok(Bytes::copy_from_slice(path.as_bytes()))
    }
}

fuzz_target!(|input: Input<'_>| {
    let (format, whole) = match input.is_yaml {
        true => (Format::Yaml, WHOLE_YAML),
        false => (Format::Toml, WHOLE_TOML),
    };
    let mut letters: Vec<char> = input.own.unwrap_or(whole).chars().collect();
    for Edit { at, remove, insert } in input.edits {
        let start = usize::from(at) % (letters.len() + 1);
        let end = (start + usize::from(remove)).min(letters.len());
        letters.splice(start..end, insert.chars());
    }
    let text: String = letters.into_iter().collect();
    match Workflow::parse("any.file", &text, format) {
        Err(faults) => told(&faults),
        Ok(workflow) => {
            let sets = input.sets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            match workflow.plan(&sets.collect::<Vec<_>>(), &Anything) {
                Err(faults) => told(&faults),
                Ok(plan) => assert!(plan.bundle.manifest.graph(usize::MAX).is_ok()),
            }
        }
    }
});

/// Faults can be drawn: their places lie within the file.
fn told(faults: &cov_cli::workflow::Faults) {
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none());
    let mut text = String::new();
    handler.render_report(&mut text, faults).expect("a string takes everything");
    assert!(!text.is_empty());
}
