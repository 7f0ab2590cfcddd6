//! The launcher: what every process of the keeper is for a moment, until it becomes the program
//! that was asked for. Does what can only be done from inside.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cov_core::frames::Launch;
use rustix::process::{Resource, Rlimit, Signal};

use super::{LAUNCHER, OWN_PROGRAM, cgroups, command, pause};

/// Exit codes of a process that could not become the program, as shells have them.
const NOT_FOUND: i32 = 127;
const NOT_STARTED: i32 = 126;

/// How often, and after which time, a program is tried again that somebody has open for writing:
/// what a server has just written may be open, for a moment, in a process that it is starting.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Stands for what is not given.
const NOTHING: &str = "";

/// When memory runs out, what the keeper started goes before the server does.
const OOM_SCORE: &str = "500";

/// The command that starts a launcher for this program; its streams are left to the caller.
pub(super) fn launcher(launch: &Launch, cgroup: Option<&Path>) -> Command {
    let memory = launch.memory_bytes_max.map_or_else(String::new, |bytes| bytes.to_string());
    let mut command = command(Path::new(OWN_PROGRAM), LAUNCHER);
    command
        .arg(std::process::id().to_string())
        .arg(cgroup.map_or(OsStr::new(NOTHING), Path::as_os_str))
        .arg(memory)
        .arg(OsStr::from_bytes(&launch.program))
        .args(launch.arguments.iter().map(|argument| OsStr::from_bytes(argument)));
    for (name, value) in &launch.variables {
        command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
    }
    if let Some(folder) = &launch.folder {
        command.current_dir(OsStr::from_bytes(folder));
    }
    command
}

/// Becomes the program, or returns the exit code.
pub(super) fn main(arguments: &[OsString]) -> i32 {
    let [parent, cgroup, memory, program, arguments @ ..] = arguments else { return NOT_STARTED };
    if let Err(error) = prepare(parent, cgroup, memory) {
        return failed(program, &error);
    }
    let mut tries = 0..BUSY_TRIES;
    loop {
        let error = Command::new(program).args(arguments).exec();
        if error.kind() != io::ErrorKind::ExecutableFileBusy || tries.next().is_none() {
            return failed(program, &error);
        }
        pause(BUSY_PAUSE);
    }
}

fn prepare(parent: &OsStr, cgroup: &OsStr, memory: &OsStr) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if parent.to_str() != Some(&parent_id().to_string()) {
        return Err(io::Error::other("the process that asked for it is gone"));
    }
    if cgroup != NOTHING {
        cgroups::enter(Path::new(cgroup));
    }
    // It is a wish; not every system grants it.
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).ok();
    if let Some(bytes) = memory.to_str().and_then(|digits| digits.parse().ok()) {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        rustix::process::setrlimit(Resource::As, limit)?;
    }
    Ok(())
}

fn failed(program: &OsStr, error: &io::Error) -> i32 {
    // Its error stream is the task's: this is where it belongs.
    writeln!(io::stderr(), "{} cannot be started: {error}", program.display()).ok();
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_STARTED,
    }
}
