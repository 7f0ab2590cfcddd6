//! Whole files: what they become, and what is said of wrong ones.

mod errors;
mod plans;
mod props;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Faults, Folder, Format, Plan, Workflow};

/// Files in memory.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file =
            |(name, text): &(&str, &str)| (format!("/here/{name}"), text.as_bytes().to_vec());
        Self(files.iter().map(file).collect())
    }
}

impl Folder for Files {
    fn path(&self) -> &str {
        "/here"
    }

    fn glob(&self, pattern: &str, limit: usize) -> Result<Vec<String>, String> {
        let pattern = glob::Pattern::new(&super::contents::absolute("/here", pattern));
        let pattern = pattern.map_err(|error| error.to_string())?;
        let found = self.0.keys().filter(|path| pattern.matches(path)).cloned();
        Ok(found.take(limit).collect())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Bytes, String> {
        let bytes = self.0.get(path).ok_or("there is no such file")?;
        match bytes.len() as u64 > limit {
            true => Err("it is too large".to_owned()),
            false => Ok(bytes.clone().into()),
        }
    }
}

/// As people see it, without colours.
pub(super) fn shown(faults: &Faults) -> String {
    let theme = miette::GraphicalTheme::unicode_nocolor();
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100);
    let mut text = String::new();
    handler.render_report(&mut text, faults).unwrap();
    text
}

pub(super) fn parse(name: &str, text: &str) -> Result<Workflow, Faults> {
    Workflow::parse(name, text, Format::of(name))
}

pub(super) fn plan_with(
    text: &str,
    sets: &[(&str, &str)],
    files: &[(&str, &str)],
) -> Result<Plan, Faults> {
    let sets: Vec<_> = sets.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    parse("test.toml", text)?.plan(&sets, &Files::of(files))
}

pub(super) fn plan(text: &str) -> Plan {
    plan_with(text, &[], &[]).unwrap_or_else(|faults| panic!("{}", shown(&faults)))
}
