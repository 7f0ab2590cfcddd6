//! `tidy`: rules that neither the compiler nor clippy knows.
//!
//! Judges text, file by file. Rules about who may use what live in `layers`.

mod errors;
mod text;

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::{repo, say};

/// The longest a source file may be, in lines.
const FILE_LINES_MAX: usize = 500;

/// Files that are longer than the limit, with the length they must not exceed. The list may only shrink.
const LONG_FILES: &[(&str, usize)] = &[];

/// Checks every file of this checkout.
///
/// # Errors
///
/// When a rule is broken, or a file cannot be read.
pub(crate) fn run() -> anyhow::Result<()> {
    let files = repo::files()?;
    let places = text::workplace_paths();
    let mut findings = Vec::new();
    let mut lengths = BTreeMap::new();
    for path in &files {
        let bytes =
            std::fs::read(repo::root().join(path)).with_context(|| path.display().to_string())?;
        let name = path.to_string_lossy().replace('\\', "/");
        findings.extend(text::leaked_paths(&name, &bytes, &places));
        let Ok(content) = std::str::from_utf8(&bytes) else {
            continue;
        };
        findings.extend(text::check(&name, content));
        if name.ends_with(".rs") || name.ends_with(".py") && !name.starts_with("protocol/") {
            lengths.insert(name, content.lines().count());
        }
    }
    findings.extend(check_lengths(&lengths, LONG_FILES));
    findings.extend(errors::check(&repo::root())?);
    say::verdict("tidy", &findings, &format!("{} files, nothing to say", files.len()))
}

/// Holds files to the limit, and long files to the length they had when they were written down.
fn check_lengths(lengths: &BTreeMap<String, usize>, long: &[(&str, usize)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, lines) in lengths {
        let limit =
            long.iter().find(|(path, _)| path == name).map_or(FILE_LINES_MAX, |(_, limit)| *limit);
        if *lines > limit {
            findings.push(format!(
                "{name}: {lines} lines, more than {limit}: split it by what it talks about"
            ));
        }
    }
    for (name, limit) in long {
        let lines = lengths.get(*name).copied().unwrap_or(0);
        if lines < *limit {
            findings.push(format!(
                "{name}: {lines} lines, less than the {limit} of LONG_FILES: shrink the entry"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::check_lengths;

    #[test]
    fn the_ratchet_only_turns_one_way() {
        let lengths = |lines| [("a.rs".to_owned(), lines)].into_iter().collect();
        assert!(check_lengths(&lengths(500), &[]).is_empty());
        assert_eq!(check_lengths(&lengths(501), &[]).len(), 1);
        assert!(check_lengths(&lengths(600), &[("a.rs", 600)]).is_empty());
        assert_eq!(check_lengths(&lengths(601), &[("a.rs", 600)]).len(), 1);
        assert_eq!(check_lengths(&lengths(599), &[("a.rs", 600)]).len(), 1);
    }
}
