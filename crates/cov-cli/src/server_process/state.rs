//! What is remembered of the server in the background: one file, written whole, under a lock.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identity;
use crate::error::Error;

/// A log longer than this is set aside when a server starts. Bytes.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A server as it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its process.
    pub(crate) pid: u32,
    /// When that process started, in clock ticks since the machine did, if the system tells.
    pub(crate) started_ticks: Option<u64>,
    /// Where it listens.
    pub(crate) address: String,
    /// The options it was started with.
    pub(crate) options: Vec<String>,
    /// The folder it was started in.
    pub(crate) folder: PathBuf,
}

impl Record {
    /// The grace period among the options.
    pub(super) fn grace(&self) -> Option<Duration> {
        let at = self.options.iter().position(|word| word == "--grace")?;
        let seconds = self.options.get(at + 1)?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// The folder in which the server in the background is remembered.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
}

/// Keeps other commands from starting or stopping a server, as long as it exists.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the file is locked while it is open")] File);

impl State {
    /// The folder of this user, by the XDG base directory specification.
    pub(crate) fn of_user() -> Result<Self, Error> {
        let absolute = |name| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let home = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        Ok(Self { folder: home.ok_or(Error::NoStateFolder)?.join("cov") })
    }

    /// The log of the server.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Waits until no other command starts or stops a server.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let what = "the state folder";
        fs::create_dir_all(&self.folder).map_err(failed(what, &self.folder))?;
        let path = self.folder.join("lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(failed(what, &path))?;
        file.lock().map_err(failed(what, &path))?;
        Ok(Lock(file))
    }

    /// The server of the last start, whether it lives or not.
    pub(crate) fn last(&self) -> Result<Option<Record>, Error> {
        let path = self.record();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("the state file", &path)(error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| Error::Record { path, source })
    }

    /// The server that runs in the background, if one does.
    pub(crate) fn running(&self) -> Result<Option<Record>, Error> {
        Ok(self.last()?.filter(|record| !identity::has_ended(record)))
    }

    /// Remembers a server. The lock is asked for so that nobody forgets to take it.
    pub(crate) fn remember(&self, record: &Record, _lock: &Lock) -> Result<(), Error> {
        let path = self.record();
        let failed = failed("the state file", &path);
        let text = serde_json::to_vec_pretty(record).map_err(io::Error::from).map_err(&failed)?;
        let new = path.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(failed)
    }

    /// Opens the log for a server that starts. One that has grown long is set aside, in place of
    /// an older one.
    pub(crate) fn open_log(&self, _lock: &Lock) -> Result<File, Error> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            let old = path.with_extension("log.old");
            fs::rename(&path, old).map_err(failed("the log", &path))?;
        }
        let log = File::options().create(true).append(true).read(true).open(&path);
        log.map_err(failed("the log", &path))
    }

    fn record(&self) -> PathBuf {
        self.folder.join("server.json")
    }
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let state = State { folder: folder.path().join("cov") };
        (folder, state)
    }

    #[test]
    fn what_is_remembered_is_read_back() {
        let (_folder, state) = state();
        assert_eq!(state.last().unwrap(), None);
        let record = Record {
            pid: 7,
            started_ticks: Some(9),
            address: "http://127.0.0.1:1".into(),
            options: vec!["--grace".into(), "1.5".into()],
            folder: "/".into(),
        };
        state.remember(&record, &state.lock().unwrap()).unwrap();
        assert_eq!(state.last().unwrap(), Some(record.clone()));
        assert_eq!(state.running().unwrap(), None);
        assert_eq!(record.grace(), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_file() {
        let (_folder, state) = state();
        let lock = state.lock().unwrap();
        state.remember(&Record::default(), &lock).unwrap();
        fs::write(state.record(), "{").unwrap();
        assert!(state.last().unwrap_err().to_string().contains("server.json is damaged"));
    }

    #[test]
    fn a_long_log_is_set_aside() {
        let (_folder, state) = state();
        let lock = state.lock().unwrap();
        state.open_log(&lock).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        assert_eq!(state.open_log(&lock).unwrap().metadata().unwrap().len(), 0);
        assert!(state.log().with_extension("log.old").exists());
    }
}
