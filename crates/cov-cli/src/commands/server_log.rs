//! `cov logs` without a dispatch: the end of the server's log, and what comes after it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use crate::args::Logs;
use crate::error::{Code, Error};
use crate::output::Printer;
use crate::server_process::State;

/// How many lines are shown, when nobody says so.
const LINES_DEFAULT: usize = 100;

/// How often a log that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How much of a log that grows is taken at once. Bytes.
const CHUNK_BYTES: u64 = 64 * 1024;

pub(super) async fn run(state: &State, logs: &Logs, printer: &Printer) -> Result<Code, Error> {
    let path = state.log();
    let failed = |source| Error::File { what: "the log", path: path.clone(), source };
    let mut log = match File::open(&path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NoLog { path }),
        Err(error) => return Err(failed(error)),
    };
    let start =
        start_of_last_lines(&mut log, logs.lines.unwrap_or(LINES_DEFAULT)).map_err(failed)?;
    log.seek(SeekFrom::Start(start)).map_err(failed)?;
    loop {
        let printed = copy_chunk(&mut log, printer).map_err(|error| match error {
            Copying::Reading(source) => failed(source),
            Copying::Writing(error) => error,
        })?;
        if printed > 0 {
            continue;
        }
        if !logs.follow {
            return Ok(Code::Done);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(next) = successor(&log, &path) {
            log = next;
        }
    }
}

enum Copying {
    Reading(io::Error),
    Writing(Error),
}

fn copy_chunk(log: &mut File, printer: &Printer) -> Result<usize, Copying> {
    let mut chunk = Vec::new();
    log.take(CHUNK_BYTES).read_to_end(&mut chunk).map_err(Copying::Reading)?;
    printer.raw(&chunk).map_err(Copying::Writing)?;
    Ok(chunk.len())
}

/// The log that took the place of an open one, once there is nothing more to read in it.
fn successor(log: &File, path: &Path) -> Option<File> {
    use std::os::unix::fs::MetadataExt as _;
    let next = File::open(path).ok()?;
    let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino())).ok();
    (identity(&next) != identity(log)).then_some(next)
}

/// Where the last `lines` lines begin.
fn start_of_last_lines(log: &mut File, lines: usize) -> io::Result<u64> {
    let mut starts = std::collections::VecDeque::new();
    let mut reader = BufReader::new(&mut *log);
    let mut position = 0;
    loop {
        let read = reader.skip_until(b'\n')?;
        if read == 0 {
            return Ok(starts.front().copied().unwrap_or(position));
        }
        starts.push_back(position);
        if starts.len() > lines {
            starts.pop_front();
        }
        position += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_lines_are_found() {
        let text = "one\ntwo\nthree\nhalf";
        for (lines, rest) in [(0, ""), (1, "half"), (2, "three\nhalf"), (4, text), (9, text)] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.rewind().unwrap();
            let start = start_of_last_lines(&mut file, lines).unwrap();
            assert_eq!(&text[usize::try_from(start).unwrap()..], rest, "{lines}");
        }
    }
}
