//! Shows that forbidden edges are found: each case states a workspace and what the check says about it.

use serde_json::{Value, json};

use super::{LAYERS, Workspace, sources};

/// Name, whether it is ours, dependencies as (name, kind).
type Package<'a> = (&'a str, bool, &'a [(&'a str, &'a str)]);

/// A metadata document with these packages.
fn document(packages: &[Package<'_>]) -> Value {
    let kind = |kind: &str| {
        if kind == "normal" { Value::Null } else { json!(kind) }
    };
    let package = |(name, _, deps): &Package<'_>| {
        let deps: Vec<Value> =
            deps.iter().map(|(to, k)| json!({"name": to, "kind": kind(k)})).collect();
        json!({"id": format!("{name}-id"), "name": name, "dependencies": deps})
    };
    let node = |(name, _, deps): &Package<'_>| {
        let dep = |(to, k): &(&str, &str)| json!({"pkg": format!("{to}-id"), "dep_kinds": [{"kind": kind(k)}]});
        let deps: Vec<Value> = deps.iter().map(dep).collect();
        json!({"id": format!("{name}-id"), "deps": deps})
    };
    let members: Vec<String> = packages
        .iter()
        .filter(|(_, ours, _)| *ours)
        .map(|(name, ..)| format!("{name}-id"))
        .collect();
    json!({
        "workspace_members": members,
        "packages": packages.iter().map(package).collect::<Vec<_>>(),
        "resolve": {"nodes": packages.iter().map(node).collect::<Vec<_>>()},
    })
}

fn findings(packages: &[Package<'_>]) -> Vec<String> {
    Workspace::read(&document(packages)).unwrap().check()
}

#[test]
fn allowed_edges_pass() {
    let none: Vec<String> = Vec::new();
    let engine: &[(&str, &str)] = &[("cov-core", "normal")];
    assert_eq!(findings(&[("cov-core", true, &[]), ("cov-engine", true, engine)]), none);
    let client: &[(&str, &str)] =
        &[("cov-core", "normal"), ("cov-http", "dev"), ("tokio", "normal")];
    let packages = [
        ("cov-core", true, &[][..]),
        ("cov-http", true, &[]),
        ("cov-client", true, client),
        ("tokio", false, &[]),
    ];
    assert_eq!(findings(&packages), none);
}

#[test]
fn an_edge_upwards_is_found() {
    let core: &[(&str, &str)] = &[("cov-engine", "normal")];
    let found = findings(&[("cov-core", true, core), ("cov-engine", true, &[])]);
    assert_eq!(found, ["cov-core must not depend on cov-engine"]);
}

#[test]
fn an_edge_sideways_is_found() {
    let exec: &[(&str, &str)] = &[("cov-store", "normal")];
    let found = findings(&[("cov-store", true, &[]), ("cov-exec", true, exec)]);
    assert_eq!(found, ["cov-exec must not depend on cov-store"]);
}

#[test]
fn an_edge_for_tests_does_not_serve_the_code() {
    let client: &[(&str, &str)] = &[("cov-http", "normal")];
    let found = findings(&[("cov-http", true, &[]), ("cov-client", true, client)]);
    assert_eq!(found, ["cov-client must not depend on cov-http"]);
    let cli: &[(&str, &str)] = &[("cov-server", "dev")];
    let found = findings(&[("cov-server", true, &[]), ("cov-cli", true, cli)]);
    assert_eq!(found, ["cov-cli must not depend on cov-server in its tests"]);
}

#[test]
fn a_build_script_counts_as_code() {
    let engine: &[(&str, &str)] = &[("cov-store", "build")];
    let found = findings(&[("cov-store", true, &[]), ("cov-engine", true, engine)]);
    assert_eq!(found, ["cov-engine must not depend on cov-store"]);
}

#[test]
fn an_unknown_crate_is_found() {
    let found = findings(&[("cov-sidecar", true, &[])]);
    assert_eq!(found, ["cov-sidecar has no layer: say in xtask/src/layers.rs what it may use"]);
}

#[test]
fn a_library_in_the_wrong_crate_is_found() {
    let engine: &[(&str, &str)] = &[("sqlx", "normal")];
    let found = findings(&[("cov-dispatcher", true, engine), ("sqlx", false, &[])]);
    assert_eq!(
        found,
        ["cov-dispatcher must not use sqlx: only cov-store, cov-triggers, cov-cli may"]
    );
    let tests: &[(&str, &str)] = &[("tokio", "dev")];
    assert!(findings(&[("cov-core", true, tests), ("tokio", false, &[])]).is_empty());
}

#[test]
fn impurity_is_found_however_deep() {
    let engine: &[(&str, &str)] = &[("helper", "normal")];
    let helper: &[(&str, &str)] = &[("deeper", "normal")];
    let deeper: &[(&str, &str)] = &[("tokio", "normal")];
    let packages = [
        ("cov-engine", true, engine),
        ("helper", false, helper),
        ("deeper", false, deeper),
        ("tokio", false, &[]),
    ];
    assert_eq!(
        findings(&packages),
        ["cov-engine must stay pure, but cov-engine -> helper -> deeper -> tokio"]
    );
}

#[test]
fn layers_only_point_downwards() {
    for (position, layer) in LAYERS.iter().enumerate() {
        for used in layer.uses {
            let below = LAYERS.iter().take(position).any(|lower| lower.name == *used);
            assert!(below, "{} uses {used}, which does not stand below it", layer.name);
        }
    }
}

#[test]
fn sources_are_judged_by_place() {
    let spawns = "//! Doc.\nfn f() { std::process::Command::new(\"x\"); }\n";
    let cases = [
        ("crates/cov-http/src/lib.rs", spawns, 1),
        ("crates/cov-exec/src/lib.rs", spawns, 0),
        ("crates/cov-store/src/lib.rs", "// process::Command in a comment\n", 0),
        ("crates/cov-http/src/v3.rs", "const KEY: &str = \"remote_uri\";\n", 1),
        ("crates/cov-http/src/covalent/manifest.rs", "const KEY: &str = \"remote_uri\";\n", 0),
        ("crates/cov-engine/src/x.rs", "#[cfg(test)]\nmod t { use std::process::Command; }\n", 0),
    ];
    for (path, text, expected) in cases {
        assert_eq!(sources::check_file(path, text).len(), expected, "{path}: {text}");
    }
}
