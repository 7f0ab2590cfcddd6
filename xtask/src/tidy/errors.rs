//! The pages of `docs/errors` and the codes of `cov-core` must match one to one.
//!
//! A code is the word `COV` with four digits inside a string of `crates/cov-core/src/error.rs` (or of the files under
//! `crates/cov-core/src/error/`).

use std::collections::BTreeSet;
use std::path::Path;

const CODES: &[&str] = &["crates/cov-core/src/error.rs", "crates/cov-core/src/error"];
const PAGES: &str = "docs/errors";

/// Compares codes and pages below `root`; says nothing while there is no code yet.
///
/// # Errors
///
/// When a file cannot be read.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut codes = BTreeSet::new();
    for place in CODES {
        for file in rust_files(&root.join(place))? {
            codes.extend(codes_in(&std::fs::read_to_string(file)?));
        }
    }
    let mut pages = BTreeSet::new();
    let folder = root.join(PAGES);
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let stem = name.strip_suffix(".md").unwrap_or(&name).to_owned();
            if stem != "README" {
                pages.insert(stem);
            }
        }
    }
    Ok(compare(&codes, &pages))
}

fn compare(codes: &BTreeSet<String>, pages: &BTreeSet<String>) -> Vec<String> {
    let missing = codes.difference(pages).map(|code| format!("{PAGES}/{code}.md is missing"));
    let idle = pages
        .difference(codes)
        .map(|page| format!("{PAGES}/{page}.md explains a code that nobody raises"));
    missing.chain(idle).collect()
}

fn rust_files(place: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_path_buf()]);
    }
    if !place.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let path = entry?.path();
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.extension().is_some_and(|extension| extension == "rs") && !is_tests {
            files.push(path);
        }
    }
    Ok(files)
}

/// All codes named in the code of a file: comments and tests may name others.
fn codes_in(source: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for line in source.lines().take_while(|line| *line != "#[cfg(test)]") {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (position, _) in line.match_indices("\"COV") {
            let code: String =
                line.chars().skip(line[..position].chars().count() + 1).take(7).collect();
            if code.len() == 7 && code.chars().skip(3).all(|digit| digit.is_ascii_digit()) {
                codes.insert(code);
            }
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{codes_in, compare};

    fn set(items: &[&str]) -> BTreeSet<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn codes_are_read_from_strings_only() {
        let source = "// \"COV0001\"\nA => \"COV1001\", B => \"COV1002\",\n\"COV_DIR\"\n#[cfg(test)]\n\"COV9999\"\n";
        assert_eq!(codes_in(source), set(&["COV1001", "COV1002"]));
    }

    #[test]
    fn a_missing_and_an_idle_page_are_found() {
        assert!(compare(&set(&["COV1001"]), &set(&["COV1001"])).is_empty());
        let found = compare(&set(&["COV1001"]), &set(&["COV1002"]));
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|line| line.contains("COV1001.md is missing")), "{found:?}");
    }
}
