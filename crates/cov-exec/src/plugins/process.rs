//! The host's process: starts it, speaks with it, and ends it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use cov_core::frames::host::{FromHost, ToHost};
use cov_core::frames::{self, Message as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{PluginOptions, files};
use crate::local::python::{self, Interpreter};
use crate::local::{INLINE_BYTES_MAX, runner};

/// How long the interpreter may take to import what it needs.
const START_MAX: Duration = Duration::from_secs(120);

/// How long the host may take to end everything that plugins started.
const STOP_MAX: Duration = Duration::from_secs(12);

/// How long what plugins write may grow before it is thrown away. Bytes.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Threads beyond one for each task: what was killed may hold its own for a while.
const THREADS_MORE: usize = 32;

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    interpreter: Interpreter,
}

#[derive(Debug)]
pub(super) struct Reader {
    half: OwnedReadHalf,
    received: BytesMut,
}

#[derive(Debug)]
pub(super) struct Writer {
    half: OwnedWriteHalf,
    unsent: BytesMut,
}

impl Reader {
    /// The next message; `None` when there will be none. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<FromHost> {
        loop {
            match FromHost::from_frame(&self.received) {
                Ok(Some((message, used))) => {
                    self.received.advance(used);
                    return Some(message);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the host of plugins sent what is no frame");
                    return None;
                }
            }
            match self.half.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

impl Writer {
    /// Takes a message that [`Writer::flush`] sends.
    ///
    /// # Errors
    /// It fits no frame.
    pub(super) fn put(&mut self, message: &ToHost) -> Result<(), frames::Error> {
        let frame = message.to_frame()?;
        self.unsent.extend_from_slice(&frame);
        Ok(())
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends a part of what was put. May be dropped and called again.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.half.write_buf(&mut self.unsent).await?;
        Ok(())
    }
}

impl Process {
    /// Starts the interpreter and waits until it can take tasks. The error says what to do.
    pub(super) async fn start(
        options: &PluginOptions,
        stopping: &CancellationToken,
    ) -> Result<Self, String> {
        let interpreter = Interpreter::choose(options.python.as_deref());
        let laid_down = {
            let options = options.clone();
            tokio::task::spawn_blocking(move || lay_down(&options)).await
        };
        let laid_down = laid_down.unwrap_or_else(|error| Err(io::Error::other(error)));
        let (script, log) = laid_down.map_err(|error| unusable(options, &error))?;
        let mut process = spawn(options, interpreter, &script, log)?;
        let hello = tokio::select! {
            biased;
            () = stopping.cancelled() => {
                process.end().await;
                return Err("the executor is stopping".to_owned());
            }
            hello = tokio::time::timeout(START_MAX, process.reader.next()) => hello,
        };
        let how = match hello {
            Ok(Some(FromHost::Hello(hello))) if hello.version == frames::VERSION => {
                let (python, covalent) = (&hello.python, &hello.covalent);
                tracing::info!(pid = hello.pid, python, covalent, "executor plugins can be used");
                return Ok(process);
            }
            Ok(None) => process.how_it_ended().await,
            Ok(Some(_)) => "speaks another version of the protocol".to_owned(),
            Err(_) => format!("was not ready within {} s", START_MAX.as_secs()),
        };
        let said = std::fs::read(log_path(options)).unwrap_or_default();
        let said = process.interpreter.not_usable(&how, &String::from_utf8_lossy(&said));
        process.end().await;
        Err(format!("Executor plugins cannot be used. {said}"))
    }

    /// Waits for the end of one that said that it ends.
    pub(super) async fn how_it_ended(&mut self) -> String {
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) => python::how_it_ended(status),
            Ok(Err(error)) => format!("ended ({error})"),
            Err(_) => "closed its connection".to_owned(),
        }
    }

    /// Ends the process, and with it everything that plugins started on this machine.
    pub(super) async fn end(mut self) {
        // The process takes the end of the connection as the order to end everything.
        drop((self.reader, self.writer));
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the host of plugins cannot be waited for"),
            Err(_) => {
                tracing::warn!("the host of plugins does not end and is killed");
                if let Err(error) = self.child.kill().await {
                    tracing::warn!(%error, "the host of plugins cannot be killed");
                }
            }
        }
    }
}

fn folder(options: &PluginOptions) -> PathBuf {
    options.run_dir.join("plugins")
}

fn log_path(options: &PluginOptions) -> PathBuf {
    options.run_dir.join("plugins.log")
}

fn unusable(options: &PluginOptions, error: &io::Error) -> String {
    let (run_dir, spool_dir) = (options.run_dir.display(), options.spool_dir.display());
    format!("The folders for executor plugins ({run_dir}, {spool_dir}) cannot be used: {error}")
}

/// Lays down the script to start and the log it writes to.
fn lay_down(options: &PluginOptions) -> io::Result<(PathBuf, File)> {
    let folder = folder(options);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    std::fs::create_dir_all(&options.spool_dir)?;
    let script = files::install(&folder.join("python"))?;
    let path = log_path(options);
    trim_log_at(&path);
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    Ok((script, log))
}

/// Empties a log that has become too long.
pub(super) fn trim_log(options: &PluginOptions) {
    trim_log_at(&log_path(options));
}

fn trim_log_at(path: &Path) {
    let is_long = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX);
    if is_long && let Err(error) = OpenOptions::new().write(true).truncate(true).open(path) {
        tracing::warn!(%error, path = %path.display(), "a log cannot be emptied");
    }
}

fn spawn(
    options: &PluginOptions,
    interpreter: Interpreter,
    script: &Path,
    log: File,
) -> Result<Process, String> {
    let most = options.concurrency.values().copied().max().unwrap_or(0);
    let threads = most.max(options.default_concurrency) + THREADS_MORE;
    let spawned = (|| {
        let (ours, theirs) = runner::socket_pair()?;
        let error_log = log.try_clone()?;
        let child = Command::new(&interpreter.path)
            .arg(script)
            .arg("--plugins")
            .arg(folder(options))
            .arg(std::path::absolute(&options.spool_dir)?)
            .arg(&options.dispatcher_url)
            .arg(INLINE_BYTES_MAX.to_string())
            .arg(threads.to_string())
            .arg(options.executor_dir.as_deref().map_or(Ok(PathBuf::new()), std::path::absolute)?)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(error_log))
            // A terminal's Ctrl-C is for the server.
            .process_group(0)
            .spawn()?;
        Ok((child, ours))
    })();
    let (child, control): (Child, UnixStream) =
        spawned.map_err(|error| interpreter.not_started(&error))?;
    let (reader, writer) = control.into_split();
    Ok(Process {
        child,
        reader: Reader { half: reader, received: BytesMut::new() },
        writer: Writer { half: writer, unsent: BytesMut::new() },
        interpreter,
    })
}
