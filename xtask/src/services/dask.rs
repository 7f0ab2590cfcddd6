//! How a private Dask cluster is made and run: a scheduler, and two workers of one thread each.
//!
//! It comes from the package index, with the plugins that send tasks to it; a task finds Covalent in its worker.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::server::Kind;
use super::{account, text};
use crate::python;

const WORKERS: u32 = 2;

/// Where the scheduler writes its address, below the directory of all servers.
const ADDRESS_FILE: &str = "dask/scheduler.json";

/// The scheduler.
pub(super) struct Scheduler;

/// The workers: one program that starts each of them anew when it dies.
pub(super) struct Workers;

impl Kind for Scheduler {
    fn name(&self) -> &'static str {
        "Dask"
    }

    fn package(&self) -> Option<&'static str> {
        None
    }

    fn program(&self) -> Option<PathBuf> {
        dask()
    }

    fn address(&self, _home: &Path, port: u16) -> Option<(&'static str, String)> {
        Some(("COV_TEST_DASK_ADDRESS", format!("tcp://127.0.0.1:{port}")))
    }

    fn preparation(&self, home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        std::fs::create_dir(home.join("dask"))?;
        Ok(None)
    }

    fn serving(&self, home: &Path, port: u16) -> anyhow::Result<Command> {
        let mut command = program("scheduler", home)?;
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--scheduler-file", &text(&home.join(ADDRESS_FILE))]);
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "Scheduler at:"
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

impl Kind for Workers {
    fn name(&self) -> &'static str {
        "Dask workers"
    }

    fn package(&self) -> Option<&'static str> {
        None
    }

    fn program(&self) -> Option<PathBuf> {
        dask()
    }

    fn wave(&self) -> usize {
        1
    }

    fn address(&self, _home: &Path, _port: u16) -> Option<(&'static str, String)> {
        None
    }

    fn preparation(&self, _home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        Ok(None)
    }

    /// The workers choose their ports themselves.
    fn serving(&self, home: &Path, _port: u16) -> anyhow::Result<Command> {
        let mut command = program("worker", home)?;
        command.args(["--host", "127.0.0.1", "--nworkers", &WORKERS.to_string()]);
        command.args(["--nthreads", "1", "--memory-limit", "0"]);
        command.args(["--scheduler-file", &text(&home.join(ADDRESS_FILE))]);
        command.args(["--local-directory", &text(&home.join("dask"))]);
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "Registered to:"
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }

    fn version(&self) -> Option<String> {
        None
    }
}

fn dask() -> Option<PathBuf> {
    let program = python::plugins_folder().join("bin").join("dask");
    program.is_file().then_some(program)
}

/// A part of Dask that leaves the user's own configuration alone, and the port of its dashboard too.
fn program(part: &str, home: &Path) -> anyhow::Result<Command> {
    let program = dask().context("Dask is not in the environment of the plugins")?;
    let mut command = account::program(&program, None, "TERM");
    command.args([part, "--dashboard-address", "127.0.0.1:0"]);
    command.env("HOME", home.join("dask")).env("DASK_CONFIG", home.join("dask"));
    command.env("DASK_TEMPORARY_DIRECTORY", home.join("dask"));
    command.env("COVALENT_CONFIG_DIR", home.join("dask").join("covalent"));
    Ok(command)
}
