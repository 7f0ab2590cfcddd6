//! The server's end of the zygote: starts it, asks it for runners and for their end, and hears
//! what became of them.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use cov_core::frames::{self, FromZygote, Hello, Message as _, ToZygote};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::common::Common;
use super::pool::{Pool, Request};
use super::python::{self, Interpreter};
use super::{INLINE_BYTES_MAX, LocalOptions};

/// How long the interpreter may take to import what it needs.
const START_MAX: Duration = Duration::from_secs(60);

/// How long the zygote may take to end everything.
const STOP_MAX: Duration = Duration::from_secs(5);

/// A zygote that lived shorter than this is not replaced before there is a task.
const LIFE_MIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Zygote {
    child: Child,
    control: UnixStream,
    received: BytesMut,
    interpreter: Interpreter,
}

/// Starts a zygote and serves it until it dies or the executor stops.
pub(super) async fn run(pool: Arc<Pool>) {
    let started = Instant::now();
    let stopping = pool.common.stopping.clone();
    pool.common.options.metrics.maker_started(pool.kind.word());
    let zygote = start(&pool.common).await;
    let mut zygote = match zygote {
        Ok(zygote) => zygote,
        Err(message) => {
            if !stopping.is_cancelled() {
                tracing::error!(message, "Python tasks cannot run");
            }
            return pool.maker_failed(&message).await;
        }
    };
    let (requests, received) = mpsc::channel(pool.requests_max());
    let took_ms = started.elapsed().as_millis();
    tracing::info!(took_ms, python = %zygote.interpreter.path.display(), "runners can be made");
    pool.maker_up(requests);
    let lived = Instant::now();
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        () = zygote.serve(&pool, received) => {
            if !stopping.is_cancelled() {
                tracing::error!("the process that makes runners died");
            }
            end_groups(&pool.maker_lost(lived.elapsed() > LIFE_MIN));
        }
    }
    zygote.end().await;
}

/// Starts the interpreter and waits until it can make runners. The error says what to do.
async fn start(common: &Common) -> Result<Zygote, String> {
    common.prepare().await?;
    let (options, stopping) = (&common.options, &common.stopping);
    let interpreter = Interpreter::choose(options.python.as_deref());
    let laid_down = {
        let options = options.clone();
        tokio::task::spawn_blocking(move || lay_down(&options)).await
    };
    let laid_down = laid_down.unwrap_or_else(|error| Err(io::Error::other(error)));
    let (script, log) = laid_down.map_err(|error| common.unusable(&error))?;
    let mut zygote = spawn(options, interpreter, &script, log)?;
    let hello = tokio::select! {
        biased;
        () = stopping.cancelled() => {
            kill(&mut zygote.child).await;
            return Err("the executor is stopping".to_owned());
        }
        hello = tokio::time::timeout(START_MAX, zygote.next()) => hello,
    };
    let how = match hello {
        Ok(Some(FromZygote::Hello(hello))) if hello.version == frames::VERSION => {
            return Ok(zygote.greeted(&hello));
        }
        Ok(None) => match zygote.child.wait().await {
            Ok(status) => python::how_it_ended(status),
            Err(error) => format!("ended ({error})"),
        },
        Ok(Some(_)) => "speaks another version of the runner protocol".to_owned(),
        Err(_) => format!("was not ready within {} s", START_MAX.as_secs()),
    };
    kill(&mut zygote.child).await;
    let said = std::fs::read(log_path(&options.run_dir)).unwrap_or_default();
    let message = zygote.interpreter.not_usable(&how, &String::from_utf8_lossy(&said));
    Err(message)
}

fn log_path(run_dir: &Path) -> PathBuf {
    run_dir.join("zygote.log")
}

/// Lays down the script to start and the log it writes to.
fn lay_down(options: &LocalOptions) -> io::Result<(PathBuf, File)> {
    let script = python::install(&options.run_dir.join("python"))?;
    let log = File::create(log_path(&options.run_dir))?;
    Ok((script, log))
}

fn spawn(
    options: &LocalOptions,
    interpreter: Interpreter,
    script: &Path,
    log: File,
) -> Result<Zygote, String> {
    let spawned = (|| {
        let (ours, theirs) = super::runner::socket_pair()?;
        let error_log = log.try_clone()?;
        let child = Command::new(&interpreter.path)
            .arg(script)
            .arg(&options.run_dir)
            .arg(&options.spool_dir)
            .arg(&options.dispatcher_url)
            .arg(INLINE_BYTES_MAX.to_string())
            .args((!options.cgroups).then_some("--no-cgroups"))
            .envs(options.login.variables())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(error_log))
            // A terminal's Ctrl-C is for the server, which then decides about its runners.
            .process_group(0)
            .spawn()?;
        Ok((child, ours))
    })();
    match spawned {
        Ok((child, control)) => {
            Ok(Zygote { child, control, received: BytesMut::new(), interpreter })
        }
        Err(error) => Err(interpreter.not_started(&error)),
    }
}

impl Zygote {
    fn greeted(self, hello: &Hello) -> Self {
        let (python, covalent) = (&hello.python, &hello.covalent);
        tracing::debug!(pid = hello.pid, python, covalent, "the zygote is ready");
        if covalent.is_empty() {
            tracing::warn!(python, "covalent is not installed for the Python that runs tasks");
        }
        self
    }

    /// Returns when the zygote is gone.
    async fn serve(&mut self, pool: &Arc<Pool>, mut requests: mpsc::Receiver<Request>) {
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    if let Err(error) = self.send(request).await {
                        tracing::debug!(%error, "the zygote cannot be spoken with");
                        return;
                    }
                }
                report = self.next() => match report {
                    Some(report) => take(pool, report).await,
                    None => return,
                }
            }
        }
    }

    /// The next report; `None` when there will be none.
    async fn next(&mut self) -> Option<FromZygote> {
        loop {
            match FromZygote::from_frame(&self.received) {
                Ok(Some((report, used))) => {
                    self.received.advance(used);
                    return Some(report);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the zygote sent what is no frame");
                    return None;
                }
            }
            match self.control.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn send(&mut self, request: Request) -> io::Result<()> {
        let (message, socket) = match request {
            Request::Make { runner, socket } => (ToZygote::Fork { runner }, Some(socket)),
            Request::Kill { runner, grace } => {
                let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                (ToZygote::Kill { runner, grace_ms }, None)
            }
        };
        let frame = message.to_frame().map_err(io::Error::other)?;
        let sent = match &socket {
            Some(socket) => self.send_with(&frame, socket).await?,
            None => 0,
        };
        self.control.write_all(frame.get(sent..).unwrap_or_default()).await
    }

    /// Sends the beginning of a frame with a descriptor attached; returns how much was sent.
    async fn send_with(&self, frame: &[u8], socket: &OwnedFd) -> io::Result<usize> {
        let attempt = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let fds = [socket.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            let parts = [IoSlice::new(frame)];
            let flags = SendFlags::NOSIGNAL;
            Ok(rustix::net::sendmsg(&self.control, &parts, &mut ancillary, flags)?)
        };
        self.control.async_io(Interest::WRITABLE, attempt).await
    }

    /// Ends the zygote, and with it all runners.
    async fn end(mut self) {
        // The zygote takes the end of the connection as the order to end everything.
        drop(self.control);
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the zygote cannot be waited for"),
            Err(_) => {
                tracing::warn!("the zygote does not end and is killed");
                kill(&mut self.child).await;
            }
        }
    }
}

/// Only for one that has no runners, or does not end otherwise.
async fn kill(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None))
        && let Err(error) = child.kill().await
    {
        tracing::warn!(%error, "the zygote cannot be killed");
    }
}

async fn take(pool: &Arc<Pool>, report: FromZygote) {
    match report {
        FromZygote::Hello(_) => {}
        FromZygote::Forked { runner, pid } => pool.forked(runner, pid),
        FromZygote::Exited { runner, exit } => pool.exited(runner, exit),
        FromZygote::ForkFailed { runner, message } => {
            tracing::error!(message, "no runner could be made");
            pool.fork_failed(runner, &message).await;
        }
    }
}

/// Kills what is left of process groups whose leaders died with the zygote.
fn end_groups(groups: &[u32]) {
    for group in groups {
        let pid = i32::try_from(*group).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Usually it is gone already.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}
