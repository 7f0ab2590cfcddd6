//! The server: reads its configuration, wires the parts together, starts them in order and stops
//! them in reverse. Decides nothing about dispatches and knows no route.
//!
//! The program `cov-server` is one caller; another program can hold a server of its own with
//! [`Builder`].

pub mod args;
pub mod clock;
pub mod config;
mod error;
mod listen;
mod remote_host;
mod server;
pub mod signal;
pub mod telemetry;
mod triggers;

use std::io::{self, Write as _};
use std::path::Path;

use cov_store::SqliteStore;

pub use crate::config::Config;
pub use crate::error::{Error, Kind};
pub use crate::listen::{Listen, NoAddress};
pub use crate::server::{Builder, Server};
pub use crate::triggers::TriggerServer;

use crate::signal::Signals;

/// Files that may be open at once, if the system allows so many: connections, contents, pipes of
/// runners.
const OPEN_FILES_MAX: u64 = 16 * 1024;

/// Lets a server in this program run programs and commands: the first line of `main`. It returns
/// at once, except where a server has started this program to keep what it runs; then it never
/// returns. Without it, tasks in Python run, and others fail with a message that says so.
///
/// ```
/// cov_server::init();
/// ```
pub fn init() {
    cov_exec::keeper::init();
}

/// Runs a server until a signal ends it. Prints one line on the standard output when it is ready.
///
/// # Errors
/// It does not start, or it ends by itself.
pub async fn run(config: Config) -> Result<(), Error> {
    let part = "the handling of signals";
    let mut signals =
        Signals::catch().map_err(|source| Error::Part { part, source: Box::new(source) })?;
    raise_file_limit();
    let mut server = tokio::select! {
        server = Running::start(config) => server?,
        (name, _) = signals.next() => {
            tracing::info!(signal = name, "asked to stop before the start was complete");
            return Ok(());
        }
    };
    announce(&server.url());
    let outcome = tokio::select! {
        (name, _) = signals.next() => {
            tracing::info!(signal = name, "asked to stop");
            Ok(())
        }
        error = server.ended() => Err(error),
    };
    signals.exit_on_next();
    outcome?;
    server.stop().await;
    Ok(())
}

/// Fills the data directory from a backup, and says on the standard output, in one line of JSON,
/// what was brought back.
///
/// # Errors
/// The directory is not empty, the archive is no whole backup, or the disk does not do its part;
/// the directory is as it was.
pub async fn restore(archive: &Path, config: &Config) -> Result<(), Error> {
    let failed = |source| Error::Restore { path: archive.to_path_buf(), source };
    let restored = SqliteStore::restore(archive, &config.data_dir).await.map_err(failed)?;
    let said = serde_json::json!({
        "data_dir": std::path::absolute(&config.data_dir).unwrap_or(config.data_dir.clone()),
        "dispatches": restored.dispatches,
        "contents": restored.contents,
        "bytes": restored.bytes,
    });
    writeln!(io::stdout(), "{said}").map_err(|source| {
        let part = "the standard output";
        Error::Part { part, source: Box::new(source) }
    })
}

/// One of the two kinds of servers.
#[derive(Debug)]
enum Running {
    Whole(Box<Server>),
    TriggersOnly(Box<TriggerServer>),
}

impl Running {
    async fn start(config: Config) -> Result<Self, Error> {
        let triggers_only = config.triggers_only;
        let builder = Builder::new(config);
        match triggers_only {
            true => Ok(Self::TriggersOnly(Box::new(builder.start_triggers_only().await?))),
            false => Ok(Self::Whole(Box::new(builder.start().await?))),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Whole(server) => server.url(),
            Self::TriggersOnly(server) => server.url(),
        }
    }

    async fn ended(&mut self) -> Error {
        match self {
            Self::Whole(server) => server.ended().await,
            Self::TriggersOnly(server) => server.ended().await,
        }
    }

    async fn stop(self) {
        match self {
            Self::Whole(server) => server.stop().await,
            Self::TriggersOnly(server) => server.stop().await,
        }
    }
}

fn announce(url: &str) {
    let mut out = io::stdout().lock();
    let line = writeln!(out, "cov-server ready at {url}");
    if let Err(error) = line.and_then(|()| out.flush()) {
        tracing::debug!(error = %error, "nobody reads the standard output");
    }
}

fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES_MAX, |maximum| maximum.min(OPEN_FILES_MAX));
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %error, "the limit of open files stays as it is");
    }
}
