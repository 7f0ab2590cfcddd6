//! The server in the background as a process: where it is remembered, whether it lives, how it is
//! started and stopped. Does not talk HTTP.

mod identity;
mod launch;
pub(crate) mod python;
mod state;

pub(crate) use self::identity::{has_ended, uptime};
pub(crate) use self::launch::{FATAL, launch, not_started, program, ready_line};
pub(crate) use self::state::{Lock, Record, State};

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;

/// Pause between two looks at a process that is not a child of this one.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a stopping server may take beyond its grace period.
const STOP_BEYOND_GRACE_MAX: Duration = Duration::from_secs(20);

/// The server's own default.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// Asks a server to stop and waits until it is gone.
pub(crate) async fn stop(record: &Record, now: bool) -> Result<(), Error> {
    send(record, Signal::TERM)?;
    if now {
        // Another signal than the first, since equal ones that come together count as one.
        send(record, Signal::INT)?;
    }
    wait_for_end(record).await
}

/// Waits until a server that was told to end is gone, as long as its grace period allows.
pub(crate) async fn wait_for_end(record: &Record) -> Result<(), Error> {
    let limit = record.grace().unwrap_or(GRACE_DEFAULT) + STOP_BEYOND_GRACE_MAX;
    let gone = async {
        while !has_ended(record) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(limit, gone)
        .await
        .map_err(|_elapsed| Error::StillRunning { pid: record.pid, seconds: limit.as_secs() })
}

fn send(record: &Record, signal: Signal) -> Result<(), Error> {
    let pid = i32::try_from(record.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(()) };
    match kill_process(pid, signal) {
        // It ended in between.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::System { what: "a signal to the server", source: errno.into() }),
    }
}
