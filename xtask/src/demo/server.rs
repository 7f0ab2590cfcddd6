//! A server of ours as a child process: started, found by the line it prints, stopped.
//!
//! Whatever happens, the child does not outlive this value.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::run;

/// How long the server may take to say that it is ready.
const READY_MAX: Duration = Duration::from_secs(20);

/// How long it may take to stop: its own grace period, and a little.
const STOP_MAX: Duration = Duration::from_secs(15);

/// A running server.
pub(super) struct Server {
    child: Option<Child>,
    /// Where it listens, such as `http://127.0.0.1:34567`.
    pub(super) address: String,
    /// How long it took from its start to the line that says so.
    pub(super) ready_after: Duration,
}

impl Server {
    /// Starts `program` and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not start, ends, or says nothing in time; the error shows the end of its log.
    pub(super) fn start(
        program: &Path,
        data: &Path,
        python: &Path,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        let errors = File::create(log).with_context(|| log.display().to_string())?;
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .arg("--python")
            .arg(python)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("the server has no stdout")?;
        let mut server =
            Self { child: Some(child), address: String::new(), ready_after: Duration::ZERO };
        server.address = read_address(stdout).with_context(|| {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            format!("the server is not ready; its log ends with:\n{}", run::tail(&text, 20))
        })?;
        server.ready_after = started.elapsed();
        Ok(server)
    }

    /// Asks the server to stop, and waits until it is gone. Returns how long that took.
    ///
    /// # Errors
    ///
    /// When it has to be killed.
    pub(super) fn stop(mut self) -> anyhow::Result<Duration> {
        let Some(mut child) = self.child.take() else {
            return Ok(Duration::ZERO);
        };
        let asked = Instant::now();
        let pid = child.id().to_string();
        run::text(Command::new("kill").args(["-TERM", &pid]))?;
        let (gone, wait) = mpsc::sync_channel(1);
        let waiter = std::thread::spawn(move || gone.send(child.wait()).ok());
        let Ok(status) = wait.recv_timeout(STOP_MAX) else {
            run::text(Command::new("kill").args(["-KILL", &pid]))?;
            anyhow::bail!("the server did not stop within {} s of SIGTERM", STOP_MAX.as_secs());
        };
        waiter.join().ok();
        status?;
        Ok(asked.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Waits for the line that names the address; what follows it is read and dropped.
fn read_address(stdout: ChildStdout) -> anyhow::Result<String> {
    let (found, address) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = address_in(&line) {
                found.try_send(address).ok();
            }
        }
    });
    address.recv_timeout(READY_MAX).context("no line with an address on its stdout")
}

/// The address that a line names.
fn address_in(line: &str) -> Option<String> {
    let start = line.find("http://")?;
    let rest = &line[start..];
    let end = rest
        .find(|letter: char| letter.is_whitespace() || letter == '"' || letter == ',')
        .unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches(['/', '.']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn the_address_is_found_in_any_sentence() {
        let cases = [
            ("cov-server listening on http://127.0.0.1:4001", Some("http://127.0.0.1:4001")),
            ("ready: http://127.0.0.1:4001/.", Some("http://127.0.0.1:4001")),
            ("{\"address\":\"http://127.0.0.1:4001\"}", Some("http://127.0.0.1:4001")),
            ("starting", None),
        ];
        for (line, expected) in cases {
            assert_eq!(address_in(line).as_deref(), expected, "{line}");
        }
    }
}
