//! One task in the foreground, for people who look for a fault. What it prints goes where the
//! program prints, and it may ask at the terminal. Talks to no server.

use std::io::{self, Write as _};
use std::path::Path;

use cov_core::frames::{Message as _, Outcome, Task, ToRunner};
use cov_core::ids::{AttemptId, NodeId};

use super::context::{self, Context};
use super::task::Electrons;
use super::{EXIT_DISCONNECTED, EXIT_UNUSABLE, Settings, panics, task};

/// Exit code when the task has failed.
const EXIT_FAILED: i32 = 1;

/// Runs the task in the file; returns the process's exit code.
pub(super) fn main(electrons: &Electrons, settings: Settings, file: &Path) -> i32 {
    let said = match read(file) {
        Ok(task) => match run(&task, electrons, &Settings { inline_bytes_max: 0, ..settings }) {
            Outcome::Completed(_) => return 0,
            Outcome::Failed(message) | Outcome::NotStored(message) => (EXIT_FAILED, message),
        },
        Err(error) => (EXIT_DISCONNECTED, format!("{} is no task: {error}", file.display())),
    };
    writeln!(io::stderr(), "{}", said.1.trim_end()).ok();
    said.0
}

/// Prints where an electron stands; returns the process's exit code.
pub(super) fn place(electrons: &Electrons, name: &str) -> i32 {
    let Some(electron) = electrons.get(name) else { return EXIT_UNUSABLE };
    writeln!(io::stdout(), "{}:{}", electron.file, electron.line).ok();
    0
}

fn read(file: &Path) -> io::Result<Task> {
    let bytes = std::fs::read(file)?;
    let message = ToRunner::from_frame(&bytes).map_err(io::Error::other)?;
    let tasks = message.map(|(ToRunner::Run(tasks), _)| tasks);
    let first = tasks.and_then(|tasks| tasks.into_iter().next());
    first.ok_or_else(|| io::Error::other("it is cut off, or holds none"))
}

fn run(task: &Task, electrons: &Electrons, settings: &Settings) -> Outcome {
    panics::install(false);
    context::set(Some(Context {
        dispatch_id: task.dispatch.clone(),
        node_id: NodeId(task.node),
        attempt: AttemptId::from_bits(task.attempt),
    }));
    task::run(task, electrons, settings)
}
