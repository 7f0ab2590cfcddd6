//! `fuzz`: builds the fuzz targets with a nightly compiler and runs them for a while.
//!
//! Needs no cargo-fuzz: the flags below are all that it would add.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::{repo, run, say};

/// Coverage for libFuzzer, and the address sanitizer.
const FLAGS: &str = "-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Ccodegen-units=1 --cfg fuzzing";

/// Naming the target keeps the flags away from build scripts.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// Seconds per target, unless the command line says otherwise.
const SECONDS: &str = "60";

/// Runs `fuzz [TARGET|all] [SECONDS]`.
///
/// # Errors
///
/// When there is no nightly compiler, or a target finds something.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let wanted = arguments.first().map_or("all", String::as_str);
    let seconds = arguments.get(1).map_or(SECONDS, String::as_str);
    let folder = repo::root().join("fuzz");
    let mut names = targets(&folder)?;
    names.retain(|name| wanted == "all" || wanted == name);
    anyhow::ensure!(!names.is_empty(), "no target `{wanted}` in fuzz/fuzz_targets");
    let mut build = Command::new("cargo");
    build.args(["+nightly", "build", "--release", "--target", HOST]).env("RUSTFLAGS", FLAGS);
    run::logged("fuzz build", build.current_dir(&folder))
        .context("fuzzing needs a nightly compiler: rustup toolchain install nightly")?;
    for name in names {
        let corpus = folder.join("corpus").join(&name);
        std::fs::create_dir_all(&corpus)?;
        let artifacts = folder.join("artifacts").join(&name);
        std::fs::create_dir_all(&artifacts)?;
        let program = folder.join("target").join(HOST).join("release").join(&name);
        let mut fuzz = Command::new(program);
        fuzz.arg(&corpus).arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        fuzz.arg(format!("-artifact_prefix={}/", artifacts.display()));
        let text = run::logged(&format!("fuzz {name}"), &mut fuzz)?;
        let units = text.lines().find(|line| line.contains("number_of_executed_units"));
        say::line(&format!("fuzz {name}: {}", units.unwrap_or("ran").trim()));
    }
    Ok(())
}

fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.join("fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
