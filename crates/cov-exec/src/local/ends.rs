//! What is told of a runner that ended before it should have. Texts only.

use cov_core::frames::Exit;

use super::capture::Files;
use super::pool::Kind;
use crate::Program;

/// Exit code of a runner that lost its connection or could not begin.
const EXIT_DISCONNECTED: u32 = 75;

/// How much of what a program said goes into a message. Bytes.
const SAID_BYTES_MAX: usize = 2_000;

/// Why there is no runner: it ended before it said hello, or did not say it in time.
pub(super) fn never_greeted(kind: &Kind, exit: Option<Exit>, files: &Files) -> String {
    let how = match exit {
        Some(Exit::Code(code)) => format!("exited with code {code}"),
        Some(Exit::Signal(signal)) => format!("was ended by {}", signal_name(signal)),
        None => "said nothing for a minute, and was killed,".to_owned(),
    };
    match kind {
        Kind::Python => format!(
            "A fresh runner process {how} before it could take a task; see zygote.log in the run \
             folder."
        ),
        Kind::Program(_) => {
            let (out, err) = files.read();
            let said = [tail(&out), tail(&err)].concat();
            let said = match said.trim() {
                "" => "It printed nothing.".to_owned(),
                said => format!("It printed:\n{said}"),
            };
            format!(
                "The program {how} before it could take a task. The first line of its `main` must \
                 be `cov::runner::init()`. {said}"
            )
        }
    }
}

fn tail(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(SAID_BYTES_MAX);
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
}

/// What is said of a task whose process ended in the middle of it. `exit` is `None` when nobody
/// knows how it went.
pub(super) fn how_it_died(kind: &Kind, exit: Option<Exit>) -> String {
    let limit = match kind {
        Kind::Program(Program { memory_bytes_max, .. }) => *memory_bytes_max,
        Kind::Python => None,
    };
    let died = how_it_ended(exit);
    match (limit, exit) {
        (Some(bytes), Some(Exit::Signal(_))) => format!(
            "{died} Its memory is limited to {} MB: a program that gets no more is ended by \
             SIGABRT, with a line about it on its error stream.",
            bytes >> 20
        ),
        (Some(_) | None, _) => died,
    }
}

pub(super) fn how_it_ended(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Signal(9)) => "The process that ran this task was ended by SIGKILL (signal 9). If nobody \
             sent it, the system was out of memory: its out-of-memory killer ends processes this way."
            .to_owned(),
        Some(Exit::Signal(signal)) => {
            format!("The process that ran this task was ended by {}.", signal_name(signal))
        }
        Some(Exit::Code(EXIT_DISCONNECTED)) => "The process that ran this task lost its connection to the \
             server, or its files (did the task close descriptors that it did not open?)."
            .to_owned(),
        Some(Exit::Code(code)) => {
            format!("The process that ran this task exited with code {code} in the middle of it.")
        }
        None => "The process that ran this task was ended, because the one that made it died.".to_owned(),
    }
}

pub(super) fn signal_name(signal: u32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        _ => return format!("signal {signal}"),
    };
    format!("{name} (signal {signal})")
}
