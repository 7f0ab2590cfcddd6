//! What is said of the server in the background and of the data that it keeps.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::units::{self, in_units};
use super::{Report, Screen, Tone};

/// A server was started.
#[derive(Debug, Serialize)]
pub(crate) struct Started {
    pub(crate) address: String,
    pub(crate) pid: u32,
    pub(crate) log: PathBuf,
}

impl Report for Started {
    const EVENT: &'static str = "started";

    fn text(&self, _screen: &Screen) -> String {
        let Self { address, pid, log } = self;
        format!("The server is ready at {address} (process {pid}). Its log: {}", log.display())
    }
}

/// A server runs already.
#[derive(Debug, Serialize)]
pub(crate) struct AlreadyRunning {
    pub(crate) address: String,
    pub(crate) pid: u32,
}

impl Report for AlreadyRunning {
    const EVENT: &'static str = "already_running";

    fn text(&self, _screen: &Screen) -> String {
        format!("A server runs already at {} (process {}).", self.address, self.pid)
    }
}

/// The server was stopped.
#[derive(Debug, Serialize)]
pub(crate) struct Stopped {
    pub(crate) pid: u32,
    /// Dispatches under way when it was asked to stop, if it said so.
    pub(crate) under_way: Option<u64>,
}

impl Report for Stopped {
    const EVENT: &'static str = "stopped";

    fn text(&self, _screen: &Screen) -> String {
        let rest = match self.under_way {
            None => "Dispatches that have not ended go on at the next start.".to_owned(),
            Some(0) => "No dispatch was under way.".to_owned(),
            Some(1) => {
                "1 dispatch was under way; unless it ended meanwhile, it goes on at the next start."
                    .to_owned()
            }
            Some(count) => format!(
                "{count} dispatches were under way; those that have not ended meanwhile go on at the next start."
            ),
        };
        format!("The server has stopped. {rest}")
    }
}

/// No server runs in the background.
#[derive(Debug, Serialize)]
pub(crate) struct NotRunning {}

impl Report for NotRunning {
    const EVENT: &'static str = "not_running";

    fn text(&self, _screen: &Screen) -> String {
        "No server runs in the background.".to_owned()
    }
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

impl Report for Running {
    const EVENT: &'static str = "status";

    fn text(&self, screen: &Screen) -> String {
        let state = match self.ready {
            true => screen.paint(Tone::Good, "ready"),
            false => screen.paint(Tone::Warn, "stopping"),
        };
        let uptime = self.uptime_seconds.map_or("unknown".to_owned(), in_units);
        let version = self.version.as_deref().unwrap_or("unknown");
        let Self { address, pid, dispatches_under_way, .. } = self;
        format!(
            "state                 {state}\n\
             address               {address}\n\
             process               {pid}\n\
             up for                {uptime}\n\
             version               {version}\n\
             dispatches under way  {dispatches_under_way}"
        )
    }
}

/// Dispatches were removed, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct Purged {
    pub(crate) dry_run: bool,
    pub(crate) dispatches: u64,
    pub(crate) contents: u64,
    pub(crate) bytes: u64,
}

impl Report for Purged {
    const EVENT: &'static str = "purged";

    fn text(&self, _screen: &Screen) -> String {
        let Self { dry_run, dispatches, contents, bytes } = self;
        let verb = if *dry_run { "Would remove" } else { "Removed" };
        format!(
            "{verb} {dispatches} dispatches and {contents} contents of {}.",
            units::bytes(*bytes)
        )
    }
}

/// A backup was written.
#[derive(Debug, Serialize)]
pub(crate) struct BackedUp {
    pub(crate) file: PathBuf,
    pub(crate) contents: u64,
    pub(crate) bytes: u64,
}

impl Report for BackedUp {
    const EVENT: &'static str = "backed_up";

    fn text(&self, _screen: &Screen) -> String {
        let Self { file, contents, bytes } = self;
        let (bytes, file) = (units::bytes(*bytes), file.display());
        format!("Wrote the database and {contents} large contents, {bytes}, to {file}.")
    }
}

/// What was brought back from a backup, as the server says it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Restored {
    pub(crate) data_dir: PathBuf,
    pub(crate) dispatches: u64,
    pub(crate) contents: u64,
    pub(crate) bytes: u64,
}

impl Report for Restored {
    const EVENT: &'static str = "restored";

    fn text(&self, _screen: &Screen) -> String {
        let Self { data_dir, dispatches, contents, .. } = self;
        let folder = data_dir.display();
        format!("Restored {dispatches} dispatches and {contents} large contents into {folder}.")
    }
}

/// Versions.
#[derive(Debug, Serialize)]
pub(crate) struct Version {
    pub(crate) client: &'static str,
    pub(crate) server_installed: Option<String>,
    pub(crate) server_running: Option<String>,
}

impl Report for Version {
    const EVENT: &'static str = "version";

    fn text(&self, _screen: &Screen) -> String {
        let installed = self.server_installed.as_deref().unwrap_or("none found");
        let running = self.server_running.as_deref().unwrap_or("none");
        format!(
            "cov                 {}\ncov-server          {installed}\nserver that runs    {running}",
            self.client
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_said_in_whole_sentences() {
        let stopped = |under_way| Stopped { pid: 1, under_way }.text(&Screen::pipe());
        assert!(stopped(Some(1)).contains("1 dispatch was"));
        assert!(stopped(Some(2)).contains("2 dispatches were"));
        assert!(stopped(None).ends_with("go on at the next start."));
    }
}
