//! One server: its files are made, it is started on a free port, and it says that it is ready.
//!
//! What differs between them is in [`Kind`].

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;

use anyhow::Context as _;

use super::STEP_MAX;
use super::keeper::Keeper;
use crate::run;

/// A free port may be taken between the moment we see it and the moment the server wants it: then another one is tried.
const PORTS_MAX: u32 = 3;

/// How many lines of a failed server's log are shown.
const TAIL_LINES: usize = 20;

/// What distinguishes one server from the others.
pub(super) trait Kind {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// Debian's package, if it comes in one.
    fn package(&self) -> Option<&'static str>;

    /// The server's program, when it is installed.
    fn program(&self) -> Option<PathBuf>;

    /// Which servers must be ready before this one starts: all of a lower number.
    fn wave(&self) -> usize {
        0
    }

    /// The environment variable that names the server to tests, and what it holds; none for a server that only others
    /// talk to.
    fn address(&self, home: &Path, port: u16) -> Option<(&'static str, String)>;

    /// The program that makes the files of the server below `home`, and what it reads from its standard input; none
    /// where they are made already.
    ///
    /// # Errors
    ///
    /// When something that it needs is missing.
    fn preparation(&self, home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>>;

    /// The program that serves these files on a port.
    ///
    /// # Errors
    ///
    /// As [`Kind::preparation`].
    fn serving(&self, home: &Path, port: u16) -> anyhow::Result<Command>;

    /// What the line says that comes when clients are served.
    fn ready_mark(&self) -> &'static str;

    /// The signal that ends the server without waiting for its clients.
    fn stop_signal(&self) -> &'static str;

    /// Name and version, for people; none for a part of another server.
    fn version(&self) -> Option<String> {
        let asked = self.program().map(|program| run::text(Command::new(program).arg("--version")));
        let text = asked.and_then(Result::ok).unwrap_or_default();
        let number = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit());
        let version = text.split_whitespace().find(number).unwrap_or("?");
        Some(format!("{} {}", self.name(), version.split('-').next().unwrap_or(version)))
    }
}

/// A program that makes a server's files. It does not outlive this value.
pub(super) struct Preparation<'a> {
    keeper: &'a Keeper,
    child: Child,
    log: PathBuf,
    name: &'static str,
}

impl<'a> Preparation<'a> {
    /// Starts to make the server's files, if a program has to make them.
    ///
    /// # Errors
    ///
    /// When the program for it cannot be started.
    pub(super) fn begin(
        kind: &dyn Kind,
        keeper: &'a Keeper,
        home: &Path,
    ) -> anyhow::Result<Option<Self>> {
        let log = run::log_path(kind.name())?;
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let Some((mut command, input)) = kind.preparation(home)? else { return Ok(None) };
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let mut child = keeper.spawn_other(&mut command)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input to the end tells why in its exit code.
            std::thread::spawn(move || stdin.write_all(&input).ok());
        }
        Ok(Some(Self { keeper, child, log, name: kind.name() }))
    }

    /// Waits until the files are there.
    ///
    /// # Errors
    ///
    /// When the program fails: the error shows the end of its log.
    pub(super) fn wait(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        anyhow::ensure!(
            status.success(),
            "the files of {} cannot be made: {status}\n{}",
            self.name,
            end_of(&self.log)
        );
        Ok(())
    }
}

impl Drop for Preparation<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        self.keeper.forget(self.child.id());
    }
}

/// A server that has been started and is not known to be ready.
pub(super) struct Attempt {
    id: u32,
    port: u16,
    ready: mpsc::Receiver<()>,
}

/// Starts the server on a free port and does not wait for it.
///
/// # Errors
///
/// When it cannot be started.
pub(super) fn begin(kind: &dyn Kind, keeper: &Keeper, home: &Path) -> anyhow::Result<Attempt> {
    let port = free_port()?;
    let log = run::log_path(kind.name())?;
    let file = OpenOptions::new().append(true).open(&log)?;
    let mut command = kind.serving(home, port)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(Stdio::piped());
    let (id, stderr) = keeper.spawn_server(&mut command, kind.stop_signal())?;
    let stderr = stderr.context("the server has no stderr")?;
    Ok(Attempt { id, port, ready: watch(stderr, file, kind.ready_mark()) })
}

/// Waits until the server serves clients, trying other ports. Returns the port.
///
/// # Errors
///
/// When it ends, or says nothing in time: the error shows the end of its log.
pub(super) fn await_ready(
    first: Attempt,
    kind: &dyn Kind,
    keeper: &Keeper,
    home: &Path,
) -> anyhow::Result<u16> {
    let mut attempt = first;
    for number in 1..=PORTS_MAX {
        if attempt.ready.recv_timeout(STEP_MAX).is_ok() {
            return Ok(attempt.port);
        }
        keeper.stop_server(attempt.id);
        if number < PORTS_MAX {
            attempt = begin(kind, keeper, home)?;
        }
    }
    anyhow::bail!("{} is not ready\n{}", kind.name(), end_of(&run::log_path(kind.name())?))
}

/// Copies the server's messages to the log, and reports the one that says it is ready.
fn watch(stderr: ChildStderr, mut log: File, mark: &'static str) -> mpsc::Receiver<()> {
    let (found, ready) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            // A full disk costs the log, not the server.
            writeln!(log, "{line}").ok();
            if line.contains(mark) {
                found.try_send(()).ok();
            }
        }
    });
    ready
}

/// A port that nobody listens on.
///
/// # Errors
///
/// When there is none.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn end_of(log: &Path) -> String {
    run::tail(&std::fs::read_to_string(log).unwrap_or_default(), TAIL_LINES)
}
