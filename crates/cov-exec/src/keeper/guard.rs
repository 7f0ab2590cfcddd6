//! The guard: the starter's parent, which does nothing but outlive it.
//!
//! When the starter is killed, its processes die and what they left is adopted by the guard, which
//! ends it. The guard holds the starter's end of the control connection open until then: to the
//! server the starter is gone when everything is.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::cgroups::Cgroups;
use super::{OWN_PROGRAM, STARTER, command, processes};

/// Says that no cgroups are to be made.
pub(super) const WITHOUT_CGROUPS: &str = "--no-cgroups";

/// How long what a dead starter left may take to die. What lasts longer waits for a device, or is
/// not this user's to kill; no task could be run if that were waited for.
const LEFT_MAX: Duration = Duration::from_secs(10);

const ENDED_BY_SIGNAL: i32 = 1;

/// Starts the starter, and ends after everything else has; returns the exit code.
pub(super) fn main(arguments: &[OsString]) -> i32 {
    let groups = match arguments.iter().any(|argument| argument == WITHOUT_CGROUPS) {
        true => Cgroups::default(),
        false => Cgroups::create(),
    };
    let lock = groups.lock();
    let kept = keep();
    groups.kill_all();
    if !processes::end_all(Some(LEFT_MAX)) {
        say("some of what tasks started cannot be killed");
    }
    drop(lock);
    groups.remove_all();
    match kept {
        Ok(code) => code,
        Err(error) => {
            say(&format!("the keeper failed: {error}"));
            1
        }
    }
}

/// Returns the starter's exit code, when it has ended.
fn keep() -> io::Result<i32> {
    rustix::thread::set_name(c"cov-keeper")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Whoever wants the end of all sends these to the server, or to the starter. What is caught
    // is not inherited by what the starter starts, other than what is ignored.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let me = std::process::id().to_string();
    let starter = command(Path::new(OWN_PROGRAM), STARTER).arg(me).spawn()?;
    let starter = Pid::from_child(&starter);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == starter => {
                return Ok(status.exit_status().unwrap_or(ENDED_BY_SIGNAL));
            }
            // An orphan, of which nothing else is left.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn say(text: &str) {
    // Nobody is left to tell if the log is gone.
    writeln!(io::stderr(), "{text}").ok();
}
