//! The keeper: what stands between the server and the processes that are no Python runners.
//!
//! It is this program once more, under other names, and needs nothing that is installed. The
//! *guard* (`cov-keeper`) does nothing but outlive the *starter* (`cov-starter`), which starts
//! processes on request, tells how they ended, and ends them with all that they started. Each
//! process is first a *launcher* (`cov-launch`), which binds itself to the starter's life and then
//! becomes the program that was asked for. The two above are what the keeper and the zygote of
//! Python runners are, and go by the same rules: see `docs/decisions/0008` and `0014`.
//!
//! Nothing here may start a thread: processes that die with their parent die with its thread.

mod cgroups;
mod guard;
mod launch;
mod link;
mod processes;
mod starter;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use link::{Keeper, Process, Unstarted};

const GUARD: &str = "cov-keeper";
const STARTER: &str = "cov-starter";
const LAUNCHER: &str = "cov-launch";

/// This program, also when another file stands at its path by now.
const OWN_PROGRAM: &str = "/proc/self/exe";

static READY: AtomicBool = AtomicBool::new(false);

/// Lets a server in this program run other programs: the first line of `main`. Returns at once
/// when the program was started by somebody else; never returns when a server started it to be
/// its keeper.
///
/// ```
/// cov_exec::keeper::init();
/// println!("this is the program itself");
/// ```
#[expect(clippy::exit, reason = "what a keeper is for is done")]
pub fn init() {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    let code = match name.to_str() {
        Some(GUARD) => guard::main(&arguments),
        Some(STARTER) => starter::main(&arguments),
        Some(LAUNCHER) => launch::main(&arguments),
        Some(_) | None => return READY.store(true, Ordering::Relaxed),
    };
    std::process::exit(code);
}

/// Whether [`init`] was called, so that this program can be its own keeper.
fn is_ready() -> bool {
    READY.load(Ordering::Relaxed)
}

/// A command that starts `program` under one of the names above.
fn command(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.arg0(name);
    command
}

/// The time. A process of the keeper's is for itself, and nobody's to pause.
#[expect(clippy::disallowed_methods, reason = "no other clock reaches into this process")]
fn now() -> Instant {
    Instant::now()
}

/// Waits where nothing tells of what is waited for.
#[expect(clippy::disallowed_methods, reason = "no event tells that another's child is dead")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
