//! `fuzz`: builds the fuzz targets with a nightly compiler and runs them for a while.
//!
//! Needs no cargo-fuzz: the flags below are all that it would add. Every run begins with the inputs in `fuzz/kept`, and
//! with `fuzz/seeds`. What a target finds stays in `fuzz/corpus`, on this machine, so that the next run goes on from
//! there; `--keep` takes over into `fuzz/kept` what of it reaches code that nothing shorter reaches.

mod kept;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

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

/// Seconds per target in the test command, unless this variable says otherwise.
const STEP_SECONDS: &str = "20";
const STEP_VARIABLE: &str = "COV_FUZZ_SECONDS";

/// Most memory of one target. MiB.
const MEMORY_MIB: &str = "2048";

/// Targets that run side by side.
const TOGETHER: usize = 2;

/// Runs `fuzz [--keep] [TARGET|all] [SECONDS]`.
///
/// # Errors
///
/// When there is no nightly compiler, or a target finds something.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (keeps, arguments) = match arguments {
        [first, rest @ ..] if first == "--keep" => (true, rest),
        all => (false, all),
    };
    let wanted = arguments.first().map_or("all", String::as_str);
    let seconds = arguments.get(1).map_or(SECONDS, String::as_str);
    let folder = repo::root().join("fuzz");
    let mut names = targets(&folder)?;
    names.retain(|name| wanted == "all" || wanted == name);
    anyhow::ensure!(!names.is_empty(), "no target `{wanted}` in fuzz/fuzz_targets");
    build(&folder)?;
    for name in names {
        let said = match keeps {
            true => format!("{} inputs are kept", keep(&folder, &name)?),
            false => format!("{} inputs", one(&folder, &name, seconds)?),
        };
        say::line(&format!("fuzz {name}: {said}"));
    }
    Ok(())
}

/// Runs every target for a short while.
///
/// # Errors
///
/// When a target finds something; when `must` is set, also when there is no nightly compiler.
pub(crate) fn step(must: bool) -> anyhow::Result<String> {
    if run::text(Command::new("cargo").args(["+nightly", "--version"])).is_err() && !must {
        return Ok("skipped: no nightly compiler".to_owned());
    }
    let seconds = std::env::var(STEP_VARIABLE).unwrap_or_else(|_| STEP_SECONDS.to_owned());
    let folder = repo::root().join("fuzz");
    let names = Mutex::new(targets(&folder)?);
    build(&folder)?;
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some(name) = names.lock().ok().and_then(|mut names| names.pop()) {
                    let outcome = one(&folder, &name, &seconds);
                    outcomes.lock().map(|mut outcomes| outcomes.push(outcome)).ok();
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().map_err(|_poisoned| anyhow::anyhow!("a run broke off"))?;
    let number = outcomes.len();
    let units: anyhow::Result<Vec<u64>> = outcomes.into_iter().collect();
    let sum: u64 = units?.into_iter().sum();
    Ok(format!("{number} targets, {seconds} s each, {sum} inputs"))
}

fn build(folder: &Path) -> anyhow::Result<()> {
    let mut build = Command::new("cargo");
    build.args(["+nightly", "build", "--release", "--target", HOST]).env("RUSTFLAGS", FLAGS);
    run::logged("fuzz build", build.current_dir(folder))
        .context("fuzzing needs a nightly compiler: rustup toolchain install nightly")?;
    Ok(())
}

/// Runs one target; returns how many inputs it has tried.
fn one(folder: &Path, name: &str, seconds: &str) -> anyhow::Result<u64> {
    let place = |kind: &str| -> anyhow::Result<PathBuf> {
        let place = folder.join(kind).join(name);
        std::fs::create_dir_all(&place)?;
        Ok(place)
    };
    let mut fuzz = Command::new(program(folder, name));
    fuzz.arg(place("corpus")?).arg(kept::unpack(folder, name)?);
    let seeds = folder.join("seeds").join(name);
    fuzz.args(seeds.is_dir().then_some(seeds));
    fuzz.arg(format!("-max_total_time={seconds}"));
    fuzz.arg(format!("-rss_limit_mb={MEMORY_MIB}"));
    fuzz.arg(format!("-artifact_prefix={}/", place("artifacts")?.display()));
    // An input that takes this long is a finding.
    fuzz.args(["-timeout=10", "-print_final_stats=1"]);
    let text = run::logged(&format!("fuzz {name}"), &mut fuzz)?;
    let line = text.lines().find(|line| line.contains("number_of_executed_units"));
    let units = line.and_then(|line| line.rsplit(' ').next()).and_then(|units| units.parse().ok());
    units.with_context(|| format!("{name} did not say how much it has tried"))
}

fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join("target").join(HOST).join("release").join(name)
}

/// Takes the inputs over that together reach all the code that any of them reaches; returns how many.
fn keep(folder: &Path, name: &str) -> anyhow::Result<usize> {
    let before = kept::unpack(folder, name)?;
    let merged = folder.join("target").join("merged").join(name);
    if merged.exists() {
        std::fs::remove_dir_all(&merged)?;
    }
    std::fs::create_dir_all(&merged)?;
    let mut merge = Command::new(program(folder, name));
    // How often code is reached is no reason to keep an input.
    merge.args(["-merge=1", "-use_counters=0"]).arg(&merged).arg(before);
    let found = folder.join("corpus").join(name);
    merge.args(found.is_dir().then_some(&found));
    run::logged(&format!("fuzz keep {name}"), &mut merge)?;
    let number = kept::pack(folder, name, &merged)?;
    // The next run begins with what is kept, and has more time for what is new.
    if found.is_dir() {
        std::fs::remove_dir_all(found)?;
    }
    Ok(number)
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
