//! Holds what must not stay behind: server processes, a command, a directory. Ends all of it once, at the end or
//! when a signal comes.
//!
//! Knows nothing about databases.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::STEP_MAX;
use crate::{run, say};

/// What is held.
pub(super) struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    home: Option<PathBuf>,
    servers: Vec<Server>,
    /// Programs that somebody else waits for: they are only told to end.
    others: Vec<u32>,
}

/// A running server, and the signal that makes it stop without waiting for its clients.
struct Server {
    child: Child,
    stop: &'static str,
}

impl Keeper {
    /// Holds nothing yet, and listens for SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    ///
    /// When the signals cannot be listened for.
    pub(super) fn new() -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let watched = Arc::clone(&shared);
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                watched.end_others();
                watched.stop();
                leave(signal);
            }
        });
        Ok(Self { shared })
    }

    /// A new directory, which every account can enter and which is removed at the end.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(super) fn home(&self) -> anyhow::Result<PathBuf> {
        let home = new_directory(&std::env::temp_dir())?;
        self.shared.held().home = Some(home.clone());
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755))?;
        Ok(home)
    }

    /// The directory that [`Keeper::home`] has made, while it is there.
    #[cfg(test)]
    pub(super) fn directory(&self) -> Option<PathBuf> {
        self.shared.held().home.clone()
    }

    /// Starts a server; `stop` is the name of the signal that ends it quickly. Returns its process id.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn spawn_server(
        &self,
        command: &mut Command,
        stop: &'static str,
    ) -> anyhow::Result<(u32, Option<std::process::ChildStderr>)> {
        let mut held = self.shared.held();
        let mut child = spawn(command)?;
        let stderr = child.stderr.take();
        let id = child.id();
        held.servers.push(Server { child, stop });
        Ok((id, stderr))
    }

    /// Ends one server that is not wanted any more.
    pub(super) fn stop_server(&self, id: u32) {
        let mut held = self.shared.held();
        let (gone, kept) = std::mem::take(&mut held.servers)
            .into_iter()
            .partition(|server| server.child.id() == id);
        held.servers = kept;
        drop(held);
        end(gone);
    }

    /// Starts a program that ends by itself. Whoever waits for it must call [`Keeper::forget`] then.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn spawn_other(&self, command: &mut Command) -> anyhow::Result<Child> {
        let mut held = self.shared.held();
        let child = spawn(command)?;
        held.others.push(child.id());
        Ok(child)
    }

    /// Says that a program has ended.
    pub(super) fn forget(&self, id: u32) {
        self.shared.held().others.retain(|other| *other != id);
        self.shared.changed.notify_all();
    }

    /// Runs a command to its end. A signal to this program is passed on to it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn run_command(&self, command: &mut Command) -> anyhow::Result<ExitStatus> {
        let mut child = self.spawn_other(command)?;
        let status = child.wait();
        self.forget(child.id());
        Ok(status?)
    }

    /// Waits until a signal ends this program.
    pub(super) fn wait_for_signal(&self) -> ! {
        loop {
            std::thread::park();
        }
    }

    /// Stops the servers, waits until they are gone, and removes the directory. A second call finds nothing to do.
    pub(super) fn stop(&self) {
        self.shared.stop();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut held = self.held();
        end(std::mem::take(&mut held.servers));
        if let Some(home) = held.home.take() {
            remove(&home);
        }
    }

    /// Tells the programs to end, and waits until those who wait for them have seen it.
    fn end_others(&self) {
        for signal in ["TERM", "KILL"] {
            let held = self.held();
            for id in &held.others {
                send(signal, *id);
            }
            let waited =
                self.changed.wait_timeout_while(held, STEP_MAX, |held| !held.others.is_empty());
            let (held, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if held.others.is_empty() {
                return;
            }
        }
    }
}

/// A run that was killed leaves its directory, and process ids come again: then the next number is tried.
fn new_directory(parent: &Path) -> anyhow::Result<PathBuf> {
    let process = std::process::id();
    for number in 0..1_000 {
        let path = parent.join(format!("cov-services-{process}-{number}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    anyhow::bail!("{}: too many old directories of ours, cov-services-…", parent.display())
}

fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.spawn().with_context(|| format!("cannot start {name}"))
}

/// Asks all servers first and waits afterwards, so that they stop side by side.
fn end(servers: Vec<Server>) {
    for server in &servers {
        send(server.stop, server.child.id());
    }
    for server in servers {
        let Server { mut child, .. } = server;
        let id = child.id();
        let (gone, wait) = std::sync::mpsc::sync_channel(1);
        let waiter = std::thread::spawn(move || gone.send(child.wait()).ok());
        if wait.recv_timeout(STEP_MAX).is_err() {
            say::error(&format!("process {id} does not stop and is killed"));
            send("KILL", id);
        }
        waiter.join().ok();
    }
}

/// A process that has gone already is no fault.
fn send(signal: &str, id: u32) {
    run::text(Command::new("kill").args([&format!("-{signal}"), &id.to_string()])).ok();
}

fn remove(home: &Path) {
    if let Err(error) = std::fs::remove_dir_all(home) {
        say::error(&format!("{} cannot be removed: {error}", home.display()));
    }
}

#[expect(clippy::exit, reason = "ends while the main thread waits for a child")]
fn leave(signal: i32) {
    std::process::exit(128 + signal);
}
