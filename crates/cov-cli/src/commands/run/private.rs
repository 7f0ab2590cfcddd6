//! A server for one run: on a Unix socket that only this user can open, with a folder of its own.
//! It ends with this program, however that ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cov_client::Client;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::args::Run;
use crate::error::Error;
use crate::server_process::{not_started, program, ready_line};

/// How long the server may take until it is ready. It loads what an earlier run left.
const READY_MAX: Duration = Duration::from_secs(60);

/// How long it may take to end.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The longest path of a socket that systems take. Bytes.
const SOCKET_BYTES_MAX: usize = 100;

/// The server of a run.
#[derive(Debug)]
pub(super) struct Private {
    child: Child,
    address: String,
    /// Where its socket is, if not in the folder of the run.
    socket_folder: Option<PathBuf>,
}

impl Private {
    /// Starts one and waits until it is ready.
    pub(super) async fn start(folder: &Path, run: &Run) -> Result<Self, Error> {
        let (socket, socket_folder) = socket(folder)?;
        let log = folder.join(super::LOG);
        let log_error = |source| Error::File { what: "the log", path: log.clone(), source };
        let errors = File::options().create(true).append(true).open(&log).map_err(log_error)?;
        let begin = errors.metadata().map_err(log_error)?.len();
        let mut command = Command::new(program()?);
        command.arg("--data-dir").arg(folder.join("data"));
        command.arg("--listen").arg(format!("unix:{}", socket.display()));
        command.args(["--no-triggers", "--grace", "1"]);
        command.arg("--with-parent").arg(std::process::id().to_string());
        if let Some(workers) = run.workers {
            command.arg("--workers").arg(workers.to_string());
        }
        if let Some(python) = &run.python {
            command.arg("--python").arg(python);
        }
        let mut child = command
            // What is set for a server in the background is not meant for this one.
            .env_remove("COV_CONFIG")
            .env_remove("COV_DATA_DIR")
            .env_remove("COV_LISTEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            // A terminal's Ctrl-C is for this program, which then cancels the run.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::System { what: "cov-server", source })?;
        let ready = tokio::time::timeout(READY_MAX, ready_line(&mut child)).await;
        match ready {
            Ok(Some(address)) => Ok(Self { child, address, socket_folder }),
            Ok(None) | Err(_) => {
                child.start_kill().ok();
                let how = child.wait().await;
                let how = how.map_or_else(|error| error.to_string(), |end| end.to_string());
                Err(not_started(how, &log, begin))
            }
        }
    }

    /// A client for it.
    pub(super) fn client(&self) -> Result<Client, Error> {
        let pid = self.child.id().unwrap_or_default();
        let client = Client::builder(self.address.as_str()).build();
        client.map_err(|source| Error::NoAnswer { pid, source })
    }

    /// Has it end, and waits for that.
    pub(super) async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            kill_process(pid, Signal::TERM).ok();
        }
        if tokio::time::timeout(STOP_MAX, self.child.wait()).await.is_err() {
            self.child.kill().await.ok();
        }
        if let Some(folder) = &self.socket_folder {
            std::fs::remove_dir_all(folder).ok();
        }
    }
}

/// Where the socket is: in the folder of the run, if its path is not too long for that.
fn socket(folder: &Path) -> Result<(PathBuf, Option<PathBuf>), Error> {
    let socket = folder.join("socket");
    if socket.as_os_str().len() <= SOCKET_BYTES_MAX {
        return Ok((socket, None));
    }
    use std::os::unix::fs::DirBuilderExt as _;
    let short = std::env::temp_dir().join(format!("cov-run-{}", std::process::id()));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&short);
    made.map_err(|source| Error::File { what: "a folder", path: short.clone(), source })?;
    Ok((short.join("socket"), Some(short)))
}
