//! The other half of a program with electrons: when a server starts it as a runner, it takes
//! tasks from its socket and runs them, one after the other, until the socket closes.
//!
//! The server starts the program with one end of a socket pair as its standard input and these
//! environment variables:
//!
//! | variable | what it says |
//! |---|---|
//! | `COV_RUNNER` | any value but the empty one: be a runner |
//! | `COV_RUNNER_STDOUT`, `COV_RUNNER_STDERR` | the files in which the task's output is caught |
//! | `COV_RUNNER_SPOOL` | the folder for large outputs; without it they travel in frames |
//! | `COV_RUNNER_INLINE_BYTES_MAX` | up to which size outputs travel in frames; 131072 if not set |
//! | `COV_PROGRAM` | the digest of this program, for the graphs that its electrons build |
//!
//! People who look for a fault run a single task in the foreground, with or without a debugger
//! (`cov replay` does): standard streams are left alone, and there is no socket.
//!
//! | variable | what it says |
//! |---|---|
//! | `COV_RUNNER_TASK` | the file of one frame with the task; its output goes to the spool |
//! | `COV_RUNNER_PLACE` | print where the electron of this name stands, and run nothing |

mod capture;
mod context;
mod one;
mod panics;
mod serve;
mod space;
mod task;

pub use context::{Context, context};
use task::Electrons;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells a program that it shall be a runner.
pub const VARIABLE: &str = "COV_RUNNER";

/// Exit code of a runner that lost its connection or its files.
pub const EXIT_DISCONNECTED: i32 = 75;

/// Exit code of a program that cannot be a runner, such as one with two electrons of one name.
pub const EXIT_UNUSABLE: i32 = 78;

/// Payloads up to this travel in frames, if the server does not say otherwise. Bytes.
const INLINE_BYTES_MAX: usize = 128 * 1024;

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Whether [`init`] was called, so that a server can run this program's electrons.
#[cfg(feature = "client")]
pub(crate) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Relaxed)
}

/// Lets a server run this program's electrons: the first line of `main`. Returns at once when the
/// program was started by somebody else; never returns when it was started as a runner.
///
/// ```
/// cov::runner::init();
/// println!("this is the program itself");
/// ```
///
/// # Panics
/// When two electrons of this program have the same name: no server could tell them apart.
#[track_caller]
#[expect(clippy::panic, reason = "documented; a program with two electrons of one name is wrong")]
#[expect(clippy::exit, reason = "a runner has done all it is for")]
pub fn init() {
    let electrons = crate::electrons();
    INITIALISED.store(true, Ordering::Relaxed);
    let is_runner = std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
    match electrons {
        Ok(electrons) if is_runner => std::process::exit(be_runner(electrons)),
        Ok(_) => {}
        Err(error) if is_runner => {
            writeln!(std::io::stderr(), "{error}").ok();
            std::process::exit(EXIT_UNUSABLE);
        }
        Err(error) => panic!("{error}"),
    }
}

/// Does what the environment asks for; returns the process's exit code.
fn be_runner(electrons: Electrons) -> i32 {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let settings = Settings::read();
    match (set("COV_RUNNER_PLACE"), set("COV_RUNNER_TASK")) {
        (Some(name), _) => one::place(&electrons, &name.to_string_lossy()),
        (None, Some(file)) => one::main(&electrons, settings, &PathBuf::from(file)),
        (None, None) => serve::main(electrons, &settings),
    }
}

/// What the server says in the environment.
#[derive(Debug, Clone)]
struct Settings {
    stdout: Option<PathBuf>,
    stderr: Option<PathBuf>,
    spool: Option<PathBuf>,
    inline_bytes_max: usize,
}

impl Settings {
    fn read() -> Self {
        let path = |name: &str| {
            let value = std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
            value.map(PathBuf::from)
        };
        let number = std::env::var("COV_RUNNER_INLINE_BYTES_MAX").ok();
        Self {
            stdout: path("COV_RUNNER_STDOUT"),
            stderr: path("COV_RUNNER_STDERR"),
            spool: path("COV_RUNNER_SPOOL"),
            inline_bytes_max: number.and_then(|text| text.parse().ok()).unwrap_or(INLINE_BYTES_MAX),
        }
    }

    /// Where a large output of an attempt goes, by the ending that the server expects.
    fn spooled(&self, attempt: u64, ending: &str) -> Option<PathBuf> {
        Some(self.spool.as_ref()?.join(format!("attempt-{attempt:016x}.{ending}")))
    }
}
