//! A peer program as a child process: asked line by line, each answer within a time, ended with all it started.
//!
//! Knows the line protocol's outer form, not what the members of an answer mean.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::watch;

/// How long a program may take to end once it has answered to `stop`.
const END_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Looks for what a program leaves behind.
const LOOKS_MAX: u32 = 50;

/// A running peer program. Whatever happens, nothing that it started outlives this value.
pub(super) struct Program {
    child: Child,
    requests: Option<ChildStdin>,
    answers: mpsc::Receiver<String>,
    /// Processes that the program said are its server's.
    roots: Vec<u32>,
    /// See [`watch::Subject`].
    mark: String,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It took longer than it may.
    TooLong,
    /// The program is gone, or answers what is no JSON.
    Broken(String),
}

impl Program {
    /// Starts it; its standard error goes to `log`. All that it starts has `mark`, `NAME=value`, in its environment.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn start(command: &mut Command, mark: &str, log: File) -> anyhow::Result<Self> {
        let (name, value) = mark.split_once('=').context("a mark is NAME=value")?;
        let mut child = command
            .env(name, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let requests = child.stdin.take();
        let stdout = child.stdout.take().context("the program has no stdout")?;
        let (send, answers) = mpsc::sync_channel(4);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, requests, answers, roots: Vec::new(), mark: mark.to_owned() })
    }

    /// The id of its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Remembers processes that must be gone when this value is.
    pub(super) fn owns(&mut self, roots: &[u32]) {
        self.roots = roots.to_vec();
    }

    /// Sends one request and waits for its answer.
    pub(super) fn ask(&mut self, request: &Value, limit: Duration) -> Result<Value, Silence> {
        let requests =
            self.requests.as_mut().ok_or_else(|| Silence::Broken("it is stopped".into()))?;
        writeln!(requests, "{request}")
            .and_then(|()| requests.flush())
            .map_err(|fault| Silence::Broken(format!("the peer program is gone: {fault}")))?;
        match self.answers.recv_timeout(limit) {
            Ok(line) => serde_json::from_str(&line)
                .map_err(|fault| Silence::Broken(format!("an answer that is no JSON: {fault}"))),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(Silence::TooLong),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(Silence::Broken("the peer program has ended".into()))
            }
        }
    }

    /// Asks it to stop, and ends what does not.
    pub(super) fn stop(mut self, limit: Duration) {
        let has_answered = self.ask(&json!({"do": "stop"}), limit).is_ok();
        self.requests = None;
        let end = Instant::now() + END_MAX;
        while has_answered && Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let own = std::process::id();
        // More than one look: while one is taken, what is to be ended may start something.
        for _ in 0..LOOKS_MAX {
            let mut roots = self.roots.clone();
            // An id that was waited for may belong to somebody else by now.
            if matches!(self.child.try_wait(), Ok(None)) {
                roots.push(self.child.id());
            }
            let left = watch::descendants(&roots, &self.mark);
            let left: Vec<String> =
                left.into_iter().filter(|pid| *pid != own).map(|pid| pid.to_string()).collect();
            if left.is_empty() {
                break;
            }
            Command::new("kill").arg("-9").args(left).stderr(Stdio::null()).status().ok();
            std::thread::sleep(LOOK);
        }
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::process::Command;
    use std::time::Duration;

    use serde_json::json;

    use super::{Program, Silence};

    const MARK: &str = "COMPARE_DATA=of a test";

    fn shell(script: &str) -> Program {
        let null = File::options().write(true).open("/dev/null").unwrap();
        Program::start(Command::new("sh").args(["-c", script]), MARK, null).unwrap()
    }

    #[test]
    fn each_request_has_its_answer_in_time() {
        let mut echo = shell("while read line; do echo \"$line\"; done");
        let request = json!({"do": "run", "n": 3});
        assert_eq!(echo.ask(&request, Duration::from_secs(10)), Ok(request));
        let mut silent = shell("read line; read line");
        assert_eq!(silent.ask(&json!({}), Duration::from_millis(50)), Err(Silence::TooLong));
    }

    #[test]
    fn a_program_that_ends_or_babbles_is_broken() {
        for script in ["exit 1", "read line; echo what", "read line"] {
            let answer = shell(script).ask(&json!({}), Duration::from_secs(10));
            assert!(matches!(answer, Err(Silence::Broken(_))), "{script}: {answer:?}");
        }
    }

    #[test]
    fn what_a_program_started_ends_with_it() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let script = "sh -c 'echo 1; sleep 1000; true' & read line; read line";
        let mut command = Command::new("sh");
        let log = File::from(OwnedFd::from(writer));
        let mut program = Program::start(command.args(["-c", script]), MARK, log).unwrap();
        drop(command);
        program.ask(&json!({}), Duration::from_secs(10)).unwrap();
        drop(program);
        // Ends when the last process is gone that has the other end as its standard error.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
