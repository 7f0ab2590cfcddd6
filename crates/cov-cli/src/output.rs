//! What commands say, and the two forms in which it is shown. Decides nothing.

mod human;
mod json;

use std::io::{self, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What a command has to say.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Report {
    /// A server was started.
    Started { address: String, pid: u32, log: PathBuf },
    /// A server runs already.
    AlreadyRunning { address: String, pid: u32 },
    /// The server was stopped.
    Stopped {
        pid: u32,
        /// Dispatches under way when it was asked to stop, if it said so.
        under_way: Option<u64>,
    },
    /// No server runs in the background.
    NotRunning,
    /// A server runs.
    Status(Running),
    /// Dispatches were removed, or would be.
    Purged { dry_run: bool, dispatches: u64, contents: u64, bytes: u64 },
    /// A backup was written.
    BackedUp { file: PathBuf, contents: u64, bytes: u64 },
    /// A data directory was filled.
    Restored(Restored),
    /// Versions.
    Version {
        client: &'static str,
        server_installed: Option<String>,
        server_running: Option<String>,
    },
}

/// What was brought back from a backup, as the server says it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Restored {
    pub(crate) data_dir: PathBuf,
    pub(crate) dispatches: u64,
    pub(crate) contents: u64,
    pub(crate) bytes: u64,
}

/// What is known of a server that runs.
#[derive(Debug, Serialize)]
pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) pid: u32,
    pub(crate) uptime_seconds: Option<u64>,
    pub(crate) version: Option<String>,
    pub(crate) ready: bool,
    pub(crate) dispatches_under_way: u64,
}

/// Shows reports on the standard output.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Shows a report.
    pub(crate) fn print(&self, report: &Report) -> Result<(), Error> {
        let text = if self.json { json::text(report)? } else { human::text(report) };
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
    }
}

/// Chooses how errors are shown: lines are not broken, so that paths and commands can be copied.
pub(crate) fn prepare() {
    let chosen = miette::set_hook(Box::new(|_| {
        Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).terminal_links(false).build())
    }));
    debug_assert!(chosen.is_ok(), "nobody chose before");
}
