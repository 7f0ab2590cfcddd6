//! `demo`: from an empty directory to the result of a real workflow, with the Covalent SDK as PyPI has it.
//!
//! Says each thing it does before it does it, and leaves nothing running.

mod server;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;

use crate::{python, repo, run, say};
use server::Server;

/// The workflow that is run.
const WORKFLOW: &str = "examples/report.py";

/// Runs the demo.
///
/// # Errors
///
/// When something that is needed cannot be had, or the workflow does not end as it should: the error says what to do.
pub(crate) fn run() -> anyhow::Result<()> {
    let started = Instant::now();
    say::line(
        "1. Building the release binaries of the server and the command line (minutes, the first time)",
    );
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "cov-server",
        "--package",
        "cov-cli",
    ]);
    run::logged("demo build", build.current_dir(repo::root()))?;

    let venv = repo::target().join("demo-venv");
    say::line(&format!("2. Covalent's SDK 0.240.0 from PyPI, unchanged, in {}", venv.display()));
    let python = python::demo()?;

    let place = Place::make()?;
    let log = run::log_path("demo server")?;
    say::line("3. Starting the server on a free port, with a temporary data directory");
    let program = repo::target().join("release").join("cov-server");
    let server = Server::start(&program, &place.data, &python, &log)?;
    say::line(&format!(
        "   ready after {} ms at {}",
        server.ready_after.as_millis(),
        server.address
    ));

    say::line(&format!("4. Running {WORKFLOW} through the SDK"));
    say::line("");
    let status =
        workflow(&python, &place, &server.address).status().context("cannot start the workflow")?;
    say::line("");

    say::line("5. Stopping the server");
    let stopped = server.stop()?;
    anyhow::ensure!(
        status.success(),
        "the workflow did not end as it should; the server's log: {}",
        log.display()
    );
    say::line(&format!("   gone after {} ms; its data directory is removed", stopped.as_millis()));
    say::line("");
    say::line(&format!("Done in {}. Where to look:", run::seconds(started.elapsed())));
    say::line(&format!("   the workflow        {WORKFLOW}"));
    say::line(&format!("   the server's log    {}", log.display()));
    say::line(
        "   a server of yours   target/release/cov start   (then: pip install covalent, and change nothing)",
    );
    say::line("   what is inside      ARCHITECTURE.md");
    Ok(())
}

fn workflow(python: &PathBuf, place: &Place, address: &str) -> Command {
    let mut command = Command::new(python);
    command
        .arg(WORKFLOW)
        .args(["--server", address])
        .current_dir(repo::root())
        .stdin(Stdio::null());
    // The SDK writes its configuration and its caches below these.
    command.env("HOME", &place.home).env("COVALENT_CONFIG_DIR", place.home.join("config"));
    for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env(name, place.home.join(name));
    }
    command
}

/// The temporary directories of one run; removed when it ends.
struct Place {
    root: PathBuf,
    data: PathBuf,
    home: PathBuf,
}

impl Place {
    fn make() -> anyhow::Result<Self> {
        let root = std::env::temp_dir().join(format!("cov-demo-{}", std::process::id()));
        let place = Self { data: root.join("data"), home: root.join("home"), root };
        for folder in [&place.data, &place.home] {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.root) {
            say::error(&format!("{} is left behind: {error}", self.root.display()));
        }
    }
}
