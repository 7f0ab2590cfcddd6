//! The part of the layers that no manifest shows: who starts processes, and where Covalent's shapes are named.
//!
//! Reads Rust sources as text. Comments do not count; test code does not either.

use std::path::Path;

use crate::repo;

/// A text that only some places may contain.
struct Rule {
    texts: &'static [&'static str],
    homes: &'static [&'static str],
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        texts: &["process::Command", "process::{Command", "command_group"],
        homes: &["crates/cov-exec/", "crates/cov-cli/", "xtask/", "benches/"],
        reason: "only cov-exec starts processes, and cov-cli the server",
    },
    Rule {
        texts: &[
            "/api/v1/",
            "/api/v2/",
            "remote_uri",
            "digest_alg",
            "workflow_executor_data",
            "completed_electron_num",
        ],
        // Benches send what the SDK does.
        homes: &[
            "crates/cov-http/src/covalent",
            "crates/cov-cli/src/covalent",
            "xtask/",
            "benches/",
        ],
        reason: "Covalent's shapes are known to crates/cov-http/src/covalent, and its database to crates/cov-cli/src/covalent",
    },
    Rule {
        texts: &["sqlx::query", "SELECT ", "INSERT INTO "],
        homes: &[
            "crates/cov-store/",
            "crates/cov-triggers/",
            "crates/cov-cli/src/covalent/",
            "xtask/",
        ],
        reason: "only cov-store speaks SQL for our own data",
    },
];

/// Reads all sources of the project.
pub(super) fn check() -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in repo::files()? {
        if !is_product_code(&path) {
            continue;
        }
        let text = std::fs::read_to_string(repo::root().join(&path))?;
        findings.extend(check_file(&path.to_string_lossy(), &text));
    }
    Ok(findings)
}

fn is_product_code(path: &Path) -> bool {
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let is_test =
        path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "examples");
    is_rust && !is_test
}

/// Checks one file; `path` is relative to the root.
pub(super) fn check_file(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for rule in RULES.iter().filter(|rule| !rule.homes.iter().any(|home| path.starts_with(home))) {
        for (number, line) in product_lines(text) {
            if let Some(found) = rule.texts.iter().find(|wanted| line.contains(**wanted)) {
                findings.push(format!("{path}:{number}: `{}`: {}", found.trim_end(), rule.reason));
            }
        }
    }
    findings
}

/// Lines of code with their numbers, up to a test module inside the file.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    let product =
        lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]" || line.starts_with(' '));
    product
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}
