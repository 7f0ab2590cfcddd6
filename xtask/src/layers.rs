//! `check-layers`: which crate may depend on which, and which may use which library.
//!
//! The allow-list below is the architecture. A new edge is a decision: it gets a page in `docs/decisions/` and a line
//! here. What is not listed is forbidden, also for a crate this file has never heard of.

mod sources;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::{repo, say};

/// One crate: what it may use in its code, and beyond that in its tests only.
struct Layer {
    name: &'static str,
    uses: &'static [&'static str],
    tests_use: &'static [&'static str],
}

const fn layer(
    name: &'static str,
    uses: &'static [&'static str],
    tests_use: &'static [&'static str],
) -> Layer {
    Layer { name, uses, tests_use }
}

/// From the bottom to the top. Nobody uses a crate that stands on a later line, except in tests.
const LAYERS: &[Layer] = &[
    layer("cov-core", &[], &[]),
    layer("cov-engine", &["cov-core"], &[]),
    // On itself: its tests run the suite that its feature `test-util` holds.
    layer("cov-store", &["cov-core", "cov-engine"], &["cov-store"]),
    layer("cov-exec", &["cov-core"], &[]),
    // On itself: as the store.
    layer("cov-triggers", &["cov-core"], &["cov-triggers"]),
    layer(
        "cov-dispatcher",
        &["cov-core", "cov-engine", "cov-store", "cov-exec", "cov-triggers"],
        &[],
    ),
    layer(
        "cov-http",
        &["cov-core", "cov-dispatcher", "cov-triggers"],
        &["cov-engine", "cov-store", "cov-exec"],
    ),
    layer(
        "cov-client",
        &["cov-core"],
        // On itself: its tests need every feature.
        &[
            "cov-client",
            "cov-http",
            "cov-dispatcher",
            "cov-triggers",
            "cov-store",
            "cov-exec",
            "cov-engine",
        ],
    ),
    layer("cov-macros", &[], &["cov"]),
    layer("cov", &["cov-core", "cov-client", "cov-macros"], &[]),
    layer(
        "cov-server",
        &[
            "cov-core",
            "cov-engine",
            "cov-store",
            "cov-exec",
            "cov-triggers",
            "cov-dispatcher",
            "cov-http",
            "cov-client",
        ],
        &[],
    ),
    layer("cov-cli", &["cov-core", "cov-client"], &[]),
    layer(
        "cov-benches",
        &[
            "cov",
            "cov-core",
            "cov-engine",
            "cov-store",
            "cov-exec",
            "cov-triggers",
            "cov-dispatcher",
            "cov-http",
            "cov-client",
        ],
        &[],
    ),
    // Examples stand where their users do.
    layer("branch-trigger", &["cov-core", "cov-triggers", "cov-server"], &["cov-triggers"]),
    layer("device-executor", &["cov-core", "cov-exec", "cov-server"], &["cov-client"]),
    layer("xtask", &[], &[]),
];

/// A library that only some crates may name as a dependency; tests are free.
const LIBRARIES: &[(&str, &[&str])] = &[
    (
        "tokio",
        &[
            "cov-store",
            "cov-exec",
            "cov-triggers",
            "cov-dispatcher",
            "cov-http",
            "cov-client",
            "cov",
            "cov-server",
            "cov-cli",
            "cov-benches",
            "branch-trigger",
            "device-executor",
        ],
    ),
    ("sqlx", &["cov-store", "cov-triggers", "cov-cli"]),
    ("object_store", &["cov-store"]),
    ("notify", &["cov-triggers"]),
    ("axum", &["cov-http"]),
    ("tower-http", &["cov-http"]),
    ("hyper", &["cov-http", "cov-client"]),
    ("figment", &["cov-server"]),
    ("clap", &["cov-server", "cov-cli"]),
    ("anyhow", &["cov-server", "cov-cli", "cov-benches", "xtask"]),
    ("miette", &["cov-server", "cov-cli"]),
    (
        "prometheus-client",
        &["cov-exec", "cov-triggers", "cov-dispatcher", "cov-http", "cov-server", "cov-benches"],
    ),
];

/// Crates that must stay pure, and what must not be anywhere below them.
const PURE: &[&str] = &["cov-core", "cov-engine"];
const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "async-std",
    "smol",
    "hyper",
    "sqlx",
    "socket2",
    "rustix",
    "rand",
    "notify",
    "rayon",
];

/// One dependency as a crate's manifest states it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    test_only: bool,
}

/// What cargo knows about the workspace, reduced to what the layers need.
#[derive(Debug, Default)]
struct Workspace {
    members: BTreeSet<String>,
    /// The dependencies that the members' manifests state.
    stated: Vec<Edge>,
    /// Package id to (name, ids of its normal and build dependencies).
    resolved: BTreeMap<String, (String, Vec<String>)>,
}

/// Checks the workspace of this checkout.
///
/// # Errors
///
/// When an edge is forbidden, or cargo does not answer.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::read(&metadata()?)?;
    let mut findings = workspace.check();
    findings.extend(sources::check()?);
    let edges = workspace.stated.iter().filter(|edge| workspace.members.contains(&edge.to)).count();
    let clean =
        format!("{} crates, {edges} edges between them, none forbidden", workspace.members.len());
    say::verdict("check-layers", &findings, &clean)
}

fn metadata() -> anyhow::Result<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--all-features"])
        .current_dir(repo::root())
        .output()
        .context("cargo metadata does not start")?;
    anyhow::ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout)
        .context("cargo metadata printed something else than JSON")
}

impl Workspace {
    /// Reads the document that `cargo metadata` prints.
    fn read(document: &Value) -> anyhow::Result<Self> {
        let member_ids: BTreeSet<&str> =
            array(document, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        let mut workspace = Self::default();
        let mut names = BTreeMap::new();
        for package in array(document, "packages")? {
            let (id, name) = (text(package, "id")?, text(package, "name")?);
            names.insert(id, name);
            if !member_ids.contains(id) {
                continue;
            }
            workspace.members.insert(name.to_owned());
            for dependency in array(package, "dependencies")? {
                workspace.stated.push(Edge {
                    from: name.to_owned(),
                    to: text(dependency, "name")?.to_owned(),
                    test_only: dependency.get("kind").and_then(Value::as_str) == Some("dev"),
                });
            }
        }
        let resolve = document.get("resolve").context("cargo metadata: no `resolve`")?;
        for node in array(resolve, "nodes")? {
            let id = text(node, "id")?;
            let below = array(node, "deps")?
                .iter()
                .filter(|dep| !is_test_only(dep))
                .map(|dep| text(dep, "pkg"));
            let below =
                below.map(|pkg| pkg.map(str::to_owned)).collect::<anyhow::Result<Vec<_>>>()?;
            let name = names.get(id).copied().unwrap_or(id).to_owned();
            workspace.resolved.insert(id.to_owned(), (name, below));
        }
        Ok(workspace)
    }

    fn check(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for member in &self.members {
            if LAYERS.iter().all(|layer| layer.name != member) {
                findings.push(format!(
                    "{member} has no layer: say in xtask/src/layers.rs what it may use"
                ));
            }
        }
        findings.extend(self.stated.iter().filter_map(|edge| self.check_edge(edge)));
        findings.extend(PURE.iter().filter_map(|name| self.check_purity(name)));
        findings
    }

    fn check_edge(&self, edge: &Edge) -> Option<String> {
        let Edge { from, to, test_only } = edge;
        if self.members.contains(to) {
            let layer = LAYERS.iter().find(|layer| layer.name == from)?;
            let allowed = layer.uses.contains(&to.as_str())
                || *test_only && layer.tests_use.contains(&to.as_str());
            let place = if *test_only { "in its tests" } else { "" };
            return (!allowed)
                .then(|| format!("{from} must not depend on {to} {place}").trim_end().to_owned());
        }
        let (_, users) = LIBRARIES.iter().find(|(library, _)| library == to)?;
        let allowed = *test_only || users.contains(&from.as_str());
        (!allowed).then(|| format!("{from} must not use {to}: only {} may", users.join(", ")))
    }

    /// Names the way from a pure crate down to an impure library, if there is one.
    fn check_purity(&self, name: &str) -> Option<String> {
        let start = self.resolved.iter().find(|(_, (package, _))| package == name)?.0;
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = vec![start.as_str()];
        while let Some(id) = queue.pop() {
            let Some((package, below)) = self.resolved.get(id) else {
                continue;
            };
            if IMPURE.contains(&package.as_str()) {
                return Some(format!("{name} must stay pure, but {}", self.way(&came_from, id)));
            }
            for next in below {
                if next != start && !came_from.contains_key(next.as_str()) {
                    came_from.insert(next, id);
                    queue.push(next);
                }
            }
        }
        None
    }

    fn way(&self, came_from: &BTreeMap<&str, &str>, end: &str) -> String {
        let mut ids = vec![end];
        while let Some(previous) = ids.last().and_then(|id| came_from.get(id)) {
            ids.push(previous);
        }
        let names =
            ids.iter().rev().filter_map(|id| self.resolved.get(*id)).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(" -> ")
    }
}

fn is_test_only(dependency: &Value) -> bool {
    let kinds = dependency.get("dep_kinds").and_then(Value::as_array);
    kinds.is_some_and(|kinds| {
        kinds.iter().all(|kind| kind.get("kind").and_then(Value::as_str) == Some("dev"))
    })
}

fn array<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    value
        .get(key)
        .and_then(Value::as_array)
        .with_context(|| format!("cargo metadata: no list `{key}`"))
}

fn text<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    value
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("cargo metadata: no text `{key}`"))
}
