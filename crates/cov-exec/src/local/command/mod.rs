//! Commands: programs that know nothing of this one, run for one task each.
//!
//! The keeper starts the command in a scratch folder of the attempt, below `commands` in the run
//! folder: `work` to run in, `inputs` for values that are handed over as files, `tmp` for its
//! temporary files. What it prints goes straight to files. Nothing of what it reads or writes passes
//! through memory as a whole.

mod archive;
mod collect;
mod inputs;
mod output;
mod text;

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cov_core::command::{self, Work};
use cov_core::error::Fault;
use cov_core::frames::{Exit, Launch};
use cov_core::ids::AttemptId;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use self::inputs::Inputs;
use super::Login;
use super::capture::{Files, Spool};
use super::common::Common;
use super::ends::{how_it_ended, signal_name};
use crate::metrics::{COMMAND, Cause};
use crate::{Event, Outcome, Payload, Task};

/// Folder for the scratch folders, in the run folder.
const FOLDER: &str = "commands";

/// How much of what a failed command said goes into its failure. Bytes.
const SAID_BYTES_MAX: usize = 4 * 1024;

/// Runs commands.
#[derive(Debug)]
pub(super) struct Commands {
    common: Arc<Common>,
    running: Mutex<HashMap<AttemptId, Running>>,
    prepared: OnceCell<()>,
    /// Numbers the files of what is printed.
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Running {
    killed: CancellationToken,
    files: Files,
}

/// Why a task could not be run, and whose fault that is.
#[derive(Debug)]
struct Failed {
    fault: Fault,
    message: String,
}

impl Failed {
    /// The task asks for what cannot be.
    fn task(message: impl Into<String>) -> Self {
        Self { fault: Fault::Task, message: message.into() }
    }

    /// The system refuses something; the next attempt may have more luck.
    fn system(what: &str, error: &io::Error) -> Self {
        Self { fault: Fault::Runner, message: format!("{what}: {error}") }
    }
}

/// What is ready to be started.
struct Ready {
    launch: Launch,
    streams: [OwnedFd; 3],
    /// Where it runs.
    folder: PathBuf,
    command: command::Command,
    place: Place,
}

impl Commands {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Self {
            common,
            running: Mutex::default(),
            prepared: OnceCell::new(),
            numbers: AtomicU64::new(0),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<AttemptId, Running>> {
        // Each change is one step.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a task over. It runs at once: the caller keeps to the number of slots.
    pub(super) fn submit(self: &Arc<Self>, task: Task) {
        let killed = CancellationToken::new();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let files = Files::of(&self.common.options.run_dir.join(FOLDER), number);
        let running = Running { killed: killed.clone(), files: files.clone() };
        self.running().insert(task.attempt, running);
        let commands = Arc::clone(self);
        self.common.tasks.spawn(async move { commands.run(task, files, killed).await });
    }

    /// Ends an attempt, if it runs here.
    pub(super) fn kill(&self, attempt: AttemptId) {
        if let Some(running) = self.running().get(&attempt) {
            running.killed.cancel();
        }
    }

    /// What an attempt has printed so far, if it runs here.
    pub(super) async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        let files = self.running().get(&attempt)?.files.clone();
        tokio::task::spawn_blocking(move || files.read()).await.ok()
    }

    async fn run(&self, task: Task, files: Files, killed: CancellationToken) {
        let attempt = task.attempt;
        let scratch = self.scratch(attempt);
        let outcome = match self.work(task, &files, &killed, &scratch).await {
            Ok(outcome) => outcome,
            Err(Failed { fault, message }) => Outcome::Failed { fault, message },
        };
        if self.common.stopping.is_cancelled() {
            return;
        }
        let spool = self.common.spool(attempt);
        let printed = blocking(move || files.collect(&spool)).await;
        self.running().remove(&attempt);
        self.common.report_end(attempt, outcome, printed.unwrap_or_default()).await;
        self.common.tasks.spawn_blocking(move || remove(&scratch));
    }

    fn scratch(&self, attempt: AttemptId) -> PathBuf {
        self.common.options.run_dir.join(FOLDER).join(format!("{:016x}", attempt.to_bits()))
    }

    async fn work(
        &self,
        task: Task,
        files: &Files,
        killed: &CancellationToken,
        scratch: &Path,
    ) -> Result<Outcome, Failed> {
        self.prepare().await?;
        self.common.report(task.attempt, Event::Begun).await;
        let place = Place {
            scratch: scratch.to_owned(),
            files: files.clone(),
            spool: self.common.spool(task.attempt),
            dispatcher_url: self.common.options.dispatcher_url.clone(),
            login: self.common.options.login.clone(),
        };
        let begun = blocking(move || begin(&task, place)).await??;
        let Ready { launch, streams, folder, command, place } = match begun {
            Begin::Collected(output) => return Ok(Outcome::Completed(output)),
            Begin::Command(ready) => *ready,
        };
        let exit = self.wait(launch, streams, killed).await?;
        if killed.is_cancelled() {
            return Ok(Outcome::Killed);
        }
        blocking(move || finish(&command, exit, &folder, &place)).await?
    }

    /// Starts the process and waits until it, and all that it started, is gone.
    async fn wait(
        &self,
        launch: Launch,
        streams: [OwnedFd; 3],
        killed: &CancellationToken,
    ) -> Result<Option<Exit>, Failed> {
        if killed.is_cancelled() {
            return Ok(None);
        }
        let started = self.common.keeper.start(launch, streams).await;
        let mut process =
            started.map_err(|error| Failed { fault: Fault::Runner, message: error.to_string() })?;
        let metrics = &self.common.options.metrics;
        metrics.started(COMMAND);
        tokio::select! {
            exit = process.ended() => {
                let cause = match exit {
                    Some(Exit::Code(_)) => Cause::Done,
                    Some(Exit::Signal(_)) | None => Cause::Died,
                };
                metrics.ended(COMMAND, cause);
                return Ok(exit);
            }
            () = killed.cancelled() => {}
        }
        process.kill(self.common.options.kill_grace).await;
        let exit = process.ended().await;
        metrics.ended(COMMAND, Cause::Killed);
        Ok(exit)
    }

    /// Lays down the folder for scratch folders, once, and removes what an earlier life left.
    async fn prepare(&self) -> Result<(), Failed> {
        let prepared = self.prepared.get_or_try_init(|| async {
            self.common
                .prepare()
                .await
                .map_err(|why| Failed { fault: Fault::Runner, message: why })?;
            let folder = self.common.options.run_dir.join(FOLDER);
            let made = blocking(move || {
                remove(&folder);
                DirBuilder::new().recursive(true).mode(0o700).create(&folder)
            });
            made.await?.map_err(|error| Failed::system("no scratch folder can be made", &error))
        });
        prepared.await.copied()
    }
}

/// Where an attempt finds and leaves what belongs to it.
struct Place {
    scratch: PathBuf,
    files: Files,
    spool: Spool,
    dispatcher_url: String,
    login: Login,
}

enum Begin {
    Command(Box<Ready>),
    /// There was nothing to start.
    Collected(Payload),
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failed> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failed { fault: Fault::Server, message: error.to_string() })
}

fn begin(task: &Task, place: Place) -> Result<Begin, Failed> {
    match inputs::work(&task.function)? {
        Work::Command(command) => {
            ready(task, command, place).map(|ready| Begin::Command(Box::new(ready)))
        }
        Work::Collect(collect) => {
            let values: Vec<&Payload> = task.args.iter().map(|(_, value)| value).collect();
            collect::collect(&collect, &values, &place.spool.file(Spool::OUTPUT))
                .map(Begin::Collected)
        }
    }
}

/// Lays down what the command reads, and its folder.
fn ready(task: &Task, command: command::Command, place: Place) -> Result<Ready, Failed> {
    let failed = |error: io::Error| Failed::system("the scratch folder cannot be used", &error);
    let Place { scratch, files, dispatcher_url, login, .. } = &place;
    let (work, tmp) = (scratch.join("work"), scratch.join("tmp"));
    DirBuilder::new().recursive(true).mode(0o700).create(&work).map_err(failed)?;
    std::fs::create_dir(&tmp).map_err(failed)?;
    let folder = match &command.workdir {
        // A path that is absolute replaces the scratch folder.
        Some(path) => work.join(path),
        None => work,
    };
    std::fs::create_dir_all(&folder).map_err(|error| {
        Failed::task(format!("the folder to run in, {}: {error}", folder.display()))
    })?;
    let values = task.args.iter().map(|(_, value)| value).collect();
    let mut inputs = Inputs::new(values, scratch.join("inputs"));
    let mut words = inputs.words(&command.argv)?.into_iter();
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        return Err(Failed::task("the command has no program"));
    };
    let mut variables = vec![
        variable("COV_DISPATCH_ID", task.dispatch.as_str().as_bytes()),
        variable("COV_NODE_ID", task.node.to_string().as_bytes()),
        variable("COVALENT_DISPATCHER_URL", dispatcher_url.as_bytes()),
        variable("TMPDIR", tmp.as_os_str().as_bytes()),
    ];
    let login = login.variables();
    variables.extend(login.iter().map(|(name, value)| variable(name, value.as_bytes())));
    for (name, template) in &command.env {
        variables.push(variable(name, inputs.text(template)?.as_bytes()));
    }
    let stdin = match &command.stdin {
        Some(template) => inputs.file(template, &scratch.join("stdin"))?,
        None => PathBuf::from("/dev/null"),
    };
    let stdin = File::open(stdin).map_err(failed)?;
    let (stdout, stderr) = files.create().map_err(failed)?;
    let launch = Launch {
        program: program.into_bytes(),
        arguments: words.map(String::into_bytes).collect(),
        variables,
        folder: Some(folder.as_os_str().as_bytes().to_vec()),
        memory_bytes_max: None,
    };
    Ok(Ready { launch, streams: [stdin.into(), stdout, stderr], folder, command, place })
}

fn variable(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.to_vec())
}

/// What became of a command that has ended.
fn finish(
    command: &command::Command,
    exit: Option<Exit>,
    folder: &Path,
    place: &Place,
) -> Result<Outcome, Failed> {
    let code = match exit {
        Some(Exit::Code(code)) => i32::try_from(code).unwrap_or(i32::MAX),
        Some(Exit::Signal(signal)) => {
            let how = match signal {
                9 => " If nobody sent it, the system was out of memory.",
                _ => "",
            };
            let how = format!("The command was ended by {}.{how}", signal_name(signal));
            return Err(Failed::task(how + &said(&place.files)));
        }
        // It died with the keeper, and through no fault of its own.
        None => {
            let message = how_it_ended(None);
            return Err(Failed { fault: Fault::Runner, message });
        }
    };
    let succeeded = match command.success.as_slice() {
        [] => code == 0,
        codes => codes.contains(&code),
    };
    if !succeeded {
        let message = format!("The command exited with code {code}.{}", said(&place.files));
        return Err(Failed::task(message));
    }
    let path = match &command.output {
        command::Output::Stdout => place.files.out().to_owned(),
        command::Output::File(name) => folder.join(name),
    };
    let output = output::archive(&path, &place.spool.file(Spool::OUTPUT));
    output.map(Outcome::Completed).map_err(|error| match &command.output {
        command::Output::File(name) => Failed::task(format!(
            "The command succeeded, but its output `{name}` cannot be read in {}: {error}",
            folder.display()
        )),
        command::Output::Stdout => Failed::system("what it printed cannot be read", &error),
    })
}

/// The last lines that a command printed to its error stream, or else at all.
fn said(files: &Files) -> String {
    let streams = [(files.err(), "error stream"), (files.out(), "output")];
    for (path, name) in streams {
        let said = output::tail(path, SAID_BYTES_MAX).unwrap_or_default();
        let said = said.trim_end();
        if !said.is_empty() {
            return format!(" The end of its {name}:\n{said}");
        }
    }
    " It printed nothing.".to_owned()
}

/// Removes a folder with all that is in it, if it is there.
fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        let folder = folder.display();
        tracing::warn!(%error, %folder, "a scratch folder could not be removed");
    }
}
