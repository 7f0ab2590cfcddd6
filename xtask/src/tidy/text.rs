//! Rules about the text of a single file.
//!
//! Knows nothing about crates or dependencies.

use crate::repo;

/// Written in two halves, so that this file passes its own rule.
const MARKS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];

/// Directories under which other people's checkouts live, too: their names say nothing about this workplace.
const COMMON_PARENTS: &[&str] =
    &["/", "/tmp", "/home", "/opt", "/srv", "/usr/src", "/var/tmp", "/mnt"];

/// The directories of this machine that no file may name: the checkout, its parent, the user's home.
pub(super) fn workplace_paths() -> Vec<String> {
    let root = repo::root();
    let mut paths = vec![root.to_string_lossy().into_owned()];
    let parent = root.parent().map(|parent| parent.to_string_lossy().into_owned());
    paths.extend(
        parent
            .filter(|parent| !COMMON_PARENTS.contains(&parent.as_str()))
            .map(|parent| parent + "/"),
    );
    paths.extend(std::env::var("HOME").ok().filter(|home| home.len() > 1).map(|home| home + "/"));
    paths
}

/// Finds names of this machine's directories, also in binary files.
pub(super) fn leaked_paths(name: &str, bytes: &[u8], places: &[String]) -> Vec<String> {
    let leaks = |place: &&String| contains_path(bytes, place.as_bytes());
    places
        .iter()
        .filter(leaks)
        .map(|place| format!("{name}: names a directory of this machine ({place})"))
        .collect()
}

/// Whether `path` stands in `bytes` as a path of its own, not as the tail of a longer one.
fn contains_path(bytes: &[u8], path: &[u8]) -> bool {
    let is_part_of_a_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~' | b'}');
    bytes.windows(path.len()).enumerate().any(|(start, window)| {
        let before = start.checked_sub(1).and_then(|index| bytes.get(index)).copied();
        window == path && !before.is_some_and(is_part_of_a_name)
    })
}

/// Checks what every text file, and what every Rust file must hold to.
pub(super) fn check(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if name.starts_with("protocol/golden/") {
        return findings;
    }
    let is_code =
        [".rs", ".py", ".toml", ".sh", ".yml", ".sql"].iter().any(|end| name.ends_with(end));
    if is_code {
        findings.extend(marks(name, text));
    }
    if name.ends_with(".rs") && !text.starts_with("//!") && !text.starts_with("#![") {
        findings.push(format!(
            "{name}: does not start with `//!`: what is it for, and what must it not do?"
        ));
    }
    if name.ends_with(".rs") && text.starts_with("#![") && !text.contains("\n//!") {
        findings.push(format!("{name}: has no `//!`: what is it for, and what must it not do?"));
    }
    if text.contains("\r\n") {
        findings.push(format!("{name}: lines end in CR LF"));
    }
    if !text.is_empty()
        && !text.ends_with('\n')
        && !name.ends_with(".json")
        && !name.ends_with(".snap")
    {
        findings.push(format!("{name}: the last line has no end"));
    }
    findings
}

fn marks(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for mark in MARKS.iter().filter(|mark| contains_word(line, mark)) {
            findings.push(format!("{name}:{}: {mark}: finish it, or open an issue", index + 1));
        }
    }
    findings
}

fn contains_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_letter) && !after.is_some_and(is_letter)
    })
}

#[cfg(test)]
mod tests {
    use super::{MARKS, check, leaked_paths};

    #[test]
    fn a_file_without_a_module_doc_is_found() {
        assert_eq!(check("crates/a/src/lib.rs", "fn f() {}\n").len(), 1);
        assert_eq!(check("crates/a/src/lib.rs", "#![deny(missing_docs)]\nfn f() {}\n").len(), 1);
        assert!(check("crates/a/src/lib.rs", "//! What it is for.\n").is_empty());
    }

    #[test]
    fn marks_are_found_as_words() {
        for mark in MARKS {
            assert_eq!(check("a.py", &format!("# {mark}: later\n")).len(), 1, "{mark}");
            assert!(check("a.py", &format!("# {mark}LIST\n")).is_empty(), "{mark}");
        }
        assert!(check("a.md", &format!("{}\n", MARKS[0])).is_empty());
    }

    #[test]
    fn line_ends_are_checked() {
        assert_eq!(check("a.md", "one\r\ntwo\n").len(), 1);
        assert_eq!(check("a.md", "one").len(), 1);
    }

    #[test]
    fn directories_of_this_machine_are_found() {
        let places = vec!["/somewhere/checkout".to_owned()];
        assert_eq!(leaked_paths("a.bin", b"\x00see /somewhere/checkout/x\xff", &places).len(), 1);
        assert!(leaked_paths("a.bin", b"see {{HOME}}/somewhere/checkout/x", &places).is_empty());
        assert!(leaked_paths("a.bin", b"nothing", &places).is_empty());
    }
}
