//! Starts `cov-server` so that it outlives this program, and waits for the line in which it says
//! where it listens.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::identity::start_ticks;
use super::state::{Lock, Record, State};
use crate::error::Error;

const PROGRAM: &str = "cov-server";

/// How the server begins the line that says it is ready.
const READY: &str = "cov-server ready at ";

/// How the server begins an error that ends it.
pub(crate) const FATAL: &str = "cov-server: ";

/// How long a server may take until it is ready. It reloads unfinished dispatches before.
const READY_MAX: Duration = Duration::from_secs(120);

/// How much of the log is read to find what the server said. Bytes.
const SAID_BYTES_MAX: u64 = 64 * 1024;

/// The server's program: beside this one, else on PATH.
pub(crate) fn program() -> Result<PathBuf, Error> {
    let own = std::env::current_exe()
        .map_err(|source| Error::System { what: "the path of this program", source })?;
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let beside = own.parent().map(Path::to_path_buf).unwrap_or_default();
    let candidates = std::iter::once(beside.clone()).chain(std::env::split_paths(&folders));
    candidates
        .map(|folder| folder.join(PROGRAM))
        .find(|path| path.is_file())
        .ok_or(Error::NoServerProgram { beside })
}

/// Starts a server with `options` in `folder`, waits until it is ready, and remembers it.
pub(crate) async fn launch(
    state: &State,
    lock: &Lock,
    options: Vec<String>,
    folder: PathBuf,
) -> Result<Record, Error> {
    let mut log = state.open_log(lock)?;
    let log_error = |source| Error::File { what: "the log", path: state.log(), source };
    let begin = log.seek(SeekFrom::End(0)).map_err(log_error)?;
    let errors = log.try_clone().map_err(log_error)?;
    let mut child = Command::new(program()?)
        .args(&options)
        // A process of this program's session would get its terminal's signals.
        .arg("--own-session")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|source| Error::System { what: PROGRAM, source })?;
    let pid = child.id().unwrap_or_default();
    let address = match tokio::time::timeout(READY_MAX, ready_line(&mut child)).await {
        Ok(Some(address)) => address,
        Ok(None) => {
            let how =
                child.wait().await.map_or_else(|error| error.to_string(), |end| end.to_string());
            return Err(not_started(how, &state.log(), begin));
        }
        Err(_elapsed) => {
            child.kill().await.ok();
            let how = format!("not ready within {} seconds", READY_MAX.as_secs());
            return Err(not_started(how, &state.log(), begin));
        }
    };
    let record = Record { pid, started_ticks: start_ticks(pid), address, options, folder };
    state.remember(&record, lock)?;
    Ok(record)
}

/// The address in the line that says the server is ready; `None` when it ends without one.
pub(crate) async fn ready_line(child: &mut Child) -> Option<String> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix(READY) {
            return Some(address.trim().to_owned());
        }
    }
    None
}

/// What is told of a server that did not come up; `begin` is where its part of the log begins.
pub(crate) fn not_started(how: String, log: &Path, begin: u64) -> Error {
    let mut text = Vec::new();
    let read = File::open(log).and_then(|mut log| {
        log.seek(SeekFrom::Start(begin))?;
        log.take(SAID_BYTES_MAX).read_to_end(&mut text)
    });
    let text = String::from_utf8_lossy(&text);
    let said = read.map_or("", |_| last_words(&text)).to_owned();
    Error::NotStarted { how, said, log: log.to_owned() }
}

/// What the server said last: its error if it named one, else everything.
fn last_words(text: &str) -> &str {
    let fatal = text.rfind(&format!("\n{FATAL}")).map(|at| at + 1);
    let start = fatal.or_else(|| text.starts_with(FATAL).then_some(0));
    match start {
        Some(at) => text[at + FATAL.len()..].trim_end(),
        None => text.trim_end(),
    }
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn the_error_that_ended_the_server_is_found_behind_its_log() {
        let cases = [
            ("cov-server: no port\n  hint: x\n", "no port\n  hint: x"),
            ("INFO starts\ncov-server: no port\n", "no port"),
            ("INFO cov-server: not this\n", "INFO cov-server: not this"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(last_words(text), expected, "{text:?}");
        }
    }
}
