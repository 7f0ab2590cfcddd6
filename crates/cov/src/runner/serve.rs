//! The loop of a runner: frames in, frames out. Between tasks it undoes what a task did to the
//! process as a whole, as far as a program can: working directory and streams.

use std::fs::File;
use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use cov_core::frames::{self, FromRunner, Hello, Message as _, Outcome, Task, ToRunner};
use cov_core::ids::{AttemptId, NodeId};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

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
    /// Where tasks come from: the queue that the server attached to its first byte, if it did;
    /// otherwise the stream.
    queue: Option<OwnedFd>,
    received: Vec<u8>,
    /// Where it is read to. A message of the queue that did not fit would be cut off.
    chunk: Vec<u8>,
    /// What is to be told with what comes next.
    unsent: Vec<u8>,
    capture: Capture,
    folder: PathBuf,
}

impl<'a> Runner<'a> {
    fn open(electrons: Electrons, settings: &'a Settings) -> io::Result<Self> {
        let stream = take_stdin()?;
        let capture = Capture::open(settings)?;
        let folder = std::env::current_dir()?;
        let (received, chunk, unsent) = (Vec::new(), vec![0; READ_BYTES], Vec::new());
        let queue = None;
        Ok(Self { electrons, settings, stream, queue, received, chunk, unsent, capture, folder })
    }

    fn serve(mut self) -> io::Result<()> {
        self.send(&FromRunner::Hello(Hello {
            version: frames::VERSION,
            pid: std::process::id(),
            python: String::new(),
            cloudpickle: String::new(),
            covalent: String::new(),
        }))?;
        (self.queue, self.received) = first_bytes(&self.stream)?;
        while let Some(ToRunner::Run(tasks)) = self.next()? {
            tasks.iter().try_for_each(|task| self.run(task))?;
        }
        Ok(())
    }

    /// The next message; `None` when the server is gone. If one is there already, the begin of its
    /// task is told with the end of the last one.
    fn next(&mut self) -> io::Result<Option<ToRunner>> {
        if self.received.is_empty() {
            self.read(RecvFlags::DONTWAIT)?;
        }
        if self.received.is_empty() {
            self.flush()?;
        }
        self.receive()
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
        let ended = FromRunner::Ended { attempt, outcome, stdout, stderr };
        self.unsent.extend(ended.to_frame().map_err(io::Error::other)?);
        Ok(())
    }

    fn send(&mut self, message: &FromRunner) -> io::Result<()> {
        self.unsent.extend(message.to_frame().map_err(io::Error::other)?);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.unsent)?;
        self.unsent.clear();
        Ok(())
    }

    /// The next message; `None` when the server is gone.
    fn receive(&mut self) -> io::Result<Option<ToRunner>> {
        loop {
            let message = ToRunner::from_frame(&self.received).map_err(io::Error::other)?;
            if let Some((message, used)) = message {
                self.received.drain(..used);
                return Ok(Some(message));
            }
            if self.read(RecvFlags::empty())? == Some(0) {
                return Ok(None);
            }
        }
    }

    /// Reads what comes next; returns how much, or nothing if nothing is there.
    fn read(&mut self, flags: RecvFlags) -> io::Result<Option<usize>> {
        let source = self.queue.as_ref().map_or(self.stream.as_fd(), |queue| queue.as_fd());
        match rustix::net::recv(source, self.chunk.as_mut_slice(), flags) {
            Ok((count, _)) => {
                self.received.extend_from_slice(self.chunk.get(..count).unwrap_or_default());
                Ok(Some(count))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits for what comes first on the connection: a byte with the queue of tasks attached to it, or,
/// from whoever keeps none, the first of the tasks.
fn first_bytes(stream: &UnixStream) -> io::Result<(Option<OwnedFd>, Vec<u8>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(stream, &mut parts, &mut ancillary, flags)
    })?;
    let queue = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let count = if queue.is_some() { 0 } else { received.bytes };
    Ok((queue, byte.get(..count).unwrap_or_default().to_vec()))
}

/// Takes the connection, and gives tasks a standard input that is empty.
fn take_stdin() -> io::Result<UnixStream> {
    let own: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(own))
}
