//! The loop of a runner: frames in, frames out. Between tasks it undoes what a task did to the
//! process as a whole, as far as a program can: working directory and streams.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use cov_core::frames::{self, FromRunner, Hello, Message as _, Outcome, Task, ToRunner};
use cov_core::ids::{AttemptId, NodeId};

use super::capture::Capture;
use super::context::{self, Context};
use super::task::Electrons;
use super::{EXIT_DISCONNECTED, Settings, panics, task};
use crate::macro_support::chain;

const READ_BYTES: usize = 64 * 1024;

/// Runs tasks until the server closes the connection; returns the process's exit code.
pub(super) fn main(electrons: Electrons, settings: &Settings) -> i32 {
    panics::install(true);
    prefer_for_oom_killer();
    match Runner::open(electrons, settings).and_then(Runner::serve) {
        Ok(()) => 0,
        Err(error) => {
            let text = format!("the runner lost its connection or its files: {}\n", chain(&error));
            io::stderr().write_all(text.as_bytes()).ok();
            EXIT_DISCONNECTED
        }
    }
}

/// When memory runs out, a runner goes before the server does.
fn prefer_for_oom_killer() {
    const PATH: &str = "/proc/self/oom_score_adj";
    let score = std::fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse().ok());
    if score.is_some_and(|score: i32| score < 500) {
        // It is a wish; not every system grants it.
        std::fs::write(PATH, "500").ok();
    }
}

struct Runner<'a> {
    electrons: Electrons,
    settings: &'a Settings,
    stream: UnixStream,
    received: Vec<u8>,
    capture: Capture,
    folder: PathBuf,
}

impl<'a> Runner<'a> {
    fn open(electrons: Electrons, settings: &'a Settings) -> io::Result<Self> {
        let stream = take_stdin()?;
        let capture = Capture::open(settings)?;
        let folder = std::env::current_dir()?;
        Ok(Self { electrons, settings, stream, received: Vec::new(), capture, folder })
    }

    fn serve(mut self) -> io::Result<()> {
        self.send(&FromRunner::Hello(Hello {
            version: frames::VERSION,
            pid: std::process::id(),
            python: String::new(),
            cloudpickle: String::new(),
            covalent: String::new(),
        }))?;
        while let Some(ToRunner::Run(tasks)) = self.receive()? {
            tasks.iter().try_for_each(|task| self.run(task))?;
        }
        Ok(())
    }

    fn run(&mut self, task: &Task) -> io::Result<()> {
        let attempt = task.attempt;
        self.send(&FromRunner::Begun { attempt })?;
        context::set(Some(Context {
            dispatch_id: task.dispatch.clone(),
            node_id: NodeId(task.node),
            attempt: AttemptId::from_bits(attempt),
        }));
        let outcome = task::run(task, &self.electrons, self.settings);
        context::set(None);
        std::env::set_current_dir(&self.folder)?;
        self.capture.restore()?;
        if let Outcome::Failed(message) = &outcome {
            writeln!(io::stderr(), "{message}").ok();
        }
        let (stdout, stderr) = self.capture.take(self.settings, attempt)?;
        self.send(&FromRunner::Ended { attempt, outcome, stdout, stderr })
    }

    fn send(&mut self, message: &FromRunner) -> io::Result<()> {
        let frame = message.to_frame().map_err(io::Error::other)?;
        self.stream.write_all(&frame)
    }

    /// The next message; `None` when the server is gone.
    fn receive(&mut self) -> io::Result<Option<ToRunner>> {
        let mut chunk = [0; READ_BYTES];
        loop {
            let message = ToRunner::from_frame(&self.received).map_err(io::Error::other)?;
            if let Some((message, used)) = message {
                self.received.drain(..used);
                return Ok(Some(message));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    self.received.extend_from_slice(chunk.get(..count).unwrap_or_default())
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Takes the connection, and gives tasks a standard input that is empty.
fn take_stdin() -> io::Result<UnixStream> {
    let own: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(own))
}
