//! Cargo's helpers that a toolchain does not bring: found on the path, else built once under `target/tools`.
//!
//! Installs nothing outside the build directory.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::{repo, run, say};

/// A helper, by the name of its crate and its program, with the version that is built when none is there.
struct Tool {
    name: &'static str,
    version: &'static str,
    arguments: &'static [&'static str],
}

const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.18.9",
    // Without the advisory database there is nothing to download, so it is built without an HTTP client's extras;
    // unoptimised, since it runs for a second and compiles for minutes.
    arguments: &["--debug", "--no-default-features"],
};

const NEXTEST: Tool = Tool { name: "cargo-nextest", version: "0.9.136", arguments: &["--debug"] };

const HACK: Tool = Tool { name: "cargo-hack", version: "0.6.41", arguments: &["--debug"] };

const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    // It neither serves nor watches here.
    arguments: &["--debug", "--no-default-features", "--features", "search"],
};

/// Crates whose tests also run with each of their features alone. Not cov-client: its tests name every feature of it.
const FEATURED: &[&str] = &["cov-core", "cov-triggers"];

/// Checks bans, licences and sources against deny.toml. The advisory database is not consulted.
///
/// # Errors
///
/// When a rule is broken, or cargo-deny cannot be had.
pub(crate) fn deny() -> anyhow::Result<()> {
    let program = find_or_build(&DENY)?;
    let mut command = Command::new(program);
    command.args(["--all-features", "--log-level", "warn", "check", "bans", "licenses", "sources"]);
    let text = run::logged("deny", command.current_dir(repo::root()))?;
    say::line(&format!("deny: {}", run::tail(&text, 1)));
    Ok(())
}

/// The path of cargo-nextest.
///
/// # Errors
///
/// When it is neither there nor can be built.
pub(crate) fn nextest() -> anyhow::Result<PathBuf> {
    find_or_build(&NEXTEST)
}

/// The path of mdbook.
///
/// # Errors
///
/// When it is neither there nor can be built.
pub(crate) fn mdbook() -> anyhow::Result<PathBuf> {
    find_or_build(&MDBOOK)
}

/// Checks each crate by itself, as one who depends on it alone builds it: with each feature alone, with none, with all.
/// In a build of the whole workspace, one crate's feature can hide that another one needs it.
///
/// # Errors
///
/// When one does not build without warnings, or cargo-hack cannot be had.
pub(crate) fn features() -> anyhow::Result<String> {
    let program = find_or_build(&HACK)?;
    let each = ["--each-feature", "--exclude-features", "default,_sqlx", "--keep-going"];
    let mut check = Command::new(&program);
    check.args(["hack", "clippy", "--workspace", "--exclude", "xtask", "--exclude", "cov-benches"]);
    check.args(each).args(["--locked", "--", "-D", "warnings"]).current_dir(repo::root());
    let text = run::logged("features", &mut check)?;
    let mut test = Command::new(&program);
    test.args(["hack", "test", "--lib"]).args(FEATURED.iter().flat_map(|name| ["-p", name]));
    test.args(each).args(["--locked", "--quiet"]).current_dir(repo::root());
    run::logged("tests of features", &mut test)?;
    let builds = text.lines().filter(|line| line.contains("info: running")).count();
    Ok(format!("{builds} builds of crates alone"))
}

fn find_or_build(tool: &Tool) -> anyhow::Result<PathBuf> {
    let home = repo::target().join("tools");
    let built = home.join("bin").join(tool.name);
    for candidate in [PathBuf::from(tool.name), built.clone()] {
        if run::text(Command::new(&candidate).arg("--version")).is_ok() {
            return Ok(candidate);
        }
    }
    say::line(&format!(
        "    building {} {} into {} (once)",
        tool.name,
        tool.version,
        home.display()
    ));
    let mut install = Command::new(env!("CARGO"));
    install
        .args(["install", tool.name, "--version", tool.version, "--locked", "--root"])
        .arg(&home);
    install.args(tool.arguments).env("CARGO_PROFILE_DEV_DEBUG", "0").current_dir(repo::root());
    run::logged(&format!("install {}", tool.name), &mut install)
        .with_context(|| format!("{} is not on the path and cannot be built", tool.name))?;
    Ok(built)
}
