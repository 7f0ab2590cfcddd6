//! The Python files of the host, which travel in this program.

use std::io;
use std::path::{Path, PathBuf};

use crate::local::python;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../python/", $name))),)*]
    };
}

/// Those that runners do not have.
const FILES: &[(&str, &str)] = files![
    "cov_plugins/__init__.py",
    "cov_plugins/attempts.py",
    "cov_plugins/calls.py",
    "cov_plugins/catalogue.py",
    "cov_plugins/dask_cluster.py",
    "cov_plugins/dask_job.py",
    "cov_plugins/dask_lane.py",
    "cov_plugins/frames.py",
    "cov_plugins/hearing.py",
    "cov_plugins/host.py",
    "cov_plugins/landing.py",
    "cov_plugins/lane.py",
    "cov_plugins/managed.py",
    "cov_plugins/old.py",
    "cov_plugins/questions.py",
    "cov_plugins/remote.py",
    "cov_plugins/secrecy.py",
    "cov_plugins/surroundings.py",
    "cov_plugins/worker/__init__.py",
    "cov_plugins/worker/call.py",
    "cov_plugins/worker/commands.py",
    "cov_plugins/worker/fetch.py",
    "cov_plugins/worker/guard.py",
    "cov_plugins/worker/loader.py",
    "cov_plugins/worker/processes.py",
    "cov_plugins/worker/programs.py",
    "cov_plugins/worker/values.py",
    "cov_plugins/worker/wire.py",
];

/// Writes the files below `folder`; returns the one to start.
pub(super) fn install(folder: &Path) -> io::Result<PathBuf> {
    python::lay_down(FILES, folder)?;
    python::install(folder)
}
