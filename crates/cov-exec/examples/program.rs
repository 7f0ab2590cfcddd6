//! A program that is a runner, as those made with `cov` are, but with nothing of it: it says what
//! a runner says in frames, and knows a few tasks, each named by the bytes of its function.

use std::fs::OpenOptions;
use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};

use cov_core::frames::{self, Blob, FromRunner, Hello, Message as _, Outcome, Task, ToRunner};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

fn main() -> ExitCode {
    if std::env::var_os("COV_RUNNER").is_none() {
        return ExitCode::SUCCESS;
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "{error}").ok();
            ExitCode::from(75)
        }
    }
}

fn serve() -> io::Result<()> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut say = stream.try_clone()?;
    let mut say =
        |message: FromRunner| say.write_all(&message.to_frame().map_err(io::Error::other)?);
    let (version, pid, nothing) = (frames::VERSION, std::process::id(), String::new());
    let (python, cloudpickle, covalent) = (nothing.clone(), nothing.clone(), nothing);
    say(FromRunner::Hello(Hello { version, pid, python, cloudpickle, covalent }))?;
    let queue = take_queue(&stream)?;
    let mut received = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        while let Some((ToRunner::Run(tasks), used)) =
            ToRunner::from_frame(&received).map_err(io::Error::other)?
        {
            received.drain(..used);
            for task in tasks {
                let attempt = task.attempt;
                say(FromRunner::Begun { attempt })?;
                let outcome = run(&task);
                let nothing = || Blob::Inline(Vec::new());
                let (stdout, stderr) = (nothing(), nothing());
                say(FromRunner::Ended { attempt, outcome, stdout, stderr })?;
            }
        }
        match rustix::net::recv(&queue, &mut chunk[..], RecvFlags::empty())? {
            (0, _) => return Ok(()),
            (count, _) => received.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
}

/// Tasks come from the socket that the server attaches to the first byte of the connection.
fn take_queue(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let queue = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    queue.ok_or_else(|| io::Error::other("no queue of tasks came"))
}

fn run(task: &Task) -> Outcome {
    let Blob::Inline(name) = &task.function else { return Outcome::Failed("a file".to_owned()) };
    let text = match &**name {
        b"pid" => std::process::id().to_string(),
        b"dispatch" => task.dispatch.clone(),
        b"program" => std::env::var("COV_PROGRAM").unwrap_or_default(),
        b"allocate" => vec![1_u8; 400 << 20].iter().filter(|byte| **byte == 1).count().to_string(),
        b"fail" => return Outcome::Failed("told to".to_owned()),
        b"abort" => {
            writeln!(io::stderr(), "last words").ok();
            std::process::abort()
        }
        b"spin" => {
            // Its output is caught in a file that others follow.
            let path = std::env::var_os("COV_RUNNER_STDOUT").unwrap_or_default();
            let file = OpenOptions::new().append(true).open(path);
            file.and_then(|mut file| file.write_all(b"spinning\n")).ok();
            Command::new("setsid").args(["sleep", "3600"]).spawn().ok();
            loop {
                std::hint::spin_loop();
            }
        }
        _ => return Outcome::Failed("no such task".to_owned()),
    };
    Outcome::Completed(Blob::Inline(text.into_bytes()))
}
