//! The folder of a run: what is kept of it, and when it goes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::bundle::Bundle;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use serde::{Deserialize, Serialize};

use crate::args::Run;
use crate::error::Error;

/// What is written of a run.
const RECORD: &str = "run.json";

/// The digests of what the tasks do, by node.
const FUNCTIONS: &str = "functions.json";

/// How many names are tried for a new folder.
const NAMES_MAX: u32 = 10_000;

/// What is remembered of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) dispatch_id: DispatchId,
    file: Option<PathBuf>,
}

/// The folder of a run. Nobody else runs in it as long as this exists.
#[derive(Debug)]
pub(super) struct Keep {
    folder: PathBuf,
    /// Whether it goes when the run has succeeded.
    is_temporary: bool,
    #[expect(dead_code, reason = "the file is locked while it is open")]
    lock: File,
}

impl Keep {
    /// An empty folder: this one, or a new one.
    pub(super) fn new(chosen: Option<&Path>, name: &str) -> Result<Self, Error> {
        match chosen {
            Some(folder) => {
                let folder = absolute(folder)?;
                fs::create_dir_all(&folder).map_err(failed(&folder))?;
                let mut entries = fs::read_dir(&folder).map_err(failed(&folder))?;
                if entries.next().is_some() {
                    return Err(Error::Usage {
                        said: format!("{} is not empty", folder.display()),
                        hint: "choose another folder; `--resume` goes on with an earlier run"
                            .to_owned(),
                    });
                }
                Self::locked(folder, false)
            }
            None => Self::locked(fresh(name)?, true),
        }
    }

    /// The folder of an earlier run.
    pub(super) fn resume(folder: &Path) -> Result<Self, Error> {
        let folder = absolute(folder)?;
        if !folder.join(RECORD).is_file() {
            return Err(Error::Usage {
                said: format!("{} is not the folder of a run", folder.display()),
                hint: "a run that did not succeed says where its folder is".to_owned(),
            });
        }
        Self::locked(folder, false)
    }

    fn locked(folder: PathBuf, is_temporary: bool) -> Result<Self, Error> {
        let path = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, is_temporary, lock }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Usage {
                said: format!("something runs in {} already", folder.display()),
                hint: "wait until it has ended".to_owned(),
            }),
            Err(fs::TryLockError::Error(source)) => Err(failed(&path)(source)),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was run here before, if anything was.
    pub(super) fn record(&self) -> Result<Option<Record>, Error> {
        let path = self.folder.join(RECORD);
        match fs::read(&path) {
            Ok(text) => {
                let record = serde_json::from_slice(&text);
                record.map(Some).map_err(|source| Error::Record { path, source })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(&path)(source)),
        }
    }

    /// Writes down what runs here.
    pub(super) fn remember(&self, dispatch: &DispatchId, run: &Run) -> Result<(), Error> {
        let file = run.file.as_ref().and_then(|file| std::path::absolute(file).ok());
        let file = match file {
            Some(file) => Some(file),
            None => self.record()?.and_then(|record| record.file),
        };
        let record = Record { dispatch_id: dispatch.clone(), file };
        let (path, new) = (self.folder.join(RECORD), self.folder.join("run.json.new"));
        let text = serde_json::to_vec(&record).map_err(|error| failed(&path)(error.into()))?;
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(failed(&path))
    }

    /// Notes what the tasks of a workflow do. Those that did something else when this was noted
    /// before are marked, so that they run again: a redispatch compares names and inputs.
    pub(super) fn compare(&self, bundle: &mut Bundle) -> Result<(), Error> {
        let path = self.folder.join(FUNCTIONS);
        let earlier: Vec<Option<String>> = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|source| Error::Record { path: path.clone(), source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(failed(&path)(source)),
        };
        let manifest = &mut bundle.manifest;
        let mut functions: Vec<Option<String>> = vec![None; manifest.nodes.len()];
        for asset in &manifest.assets {
            let AssetAddress { node: Some(node), key: AssetKey::Function } = asset.address else {
                continue;
            };
            if let Some(place) = functions.get_mut(node.index()) {
                *place = asset.announced.sha1.map(|digest| digest.to_string());
            }
        }
        for ((node, now), before) in manifest.nodes.iter_mut().zip(&functions).zip(&earlier) {
            if now != before {
                node.status = Status::PendingReplacement;
            }
        }
        let text = serde_json::to_vec(&functions).map_err(|error| failed(&path)(error.into()))?;
        fs::write(&path, text).map_err(failed(&path))
    }

    /// The run has succeeded.
    pub(super) fn done(self) {
        if self.is_temporary {
            // What is left is small, and of no more use.
            fs::remove_dir_all(&self.folder).ok();
        }
    }

    /// The run has not succeeded.
    pub(super) fn left(self) -> Option<PathBuf> {
        self.folder.join(RECORD).is_file().then_some(self.folder)
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what: "the folder of the run", path, source }
}

fn absolute(folder: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(folder).map_err(failed(folder))
}

/// A new folder below that of the user's state.
fn fresh(name: &str) -> Result<PathBuf, Error> {
    let absolute = |name| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .ok_or(Error::NoStateFolder)?;
    let runs = state.join("cov/runs");
    fs::create_dir_all(&runs).map_err(failed(&runs))?;
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = name.chars().take(40).map(plain).collect();
    for number in 1..NAMES_MAX {
        let folder = runs.join(format!("{name}-{number}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed(&folder)(source)),
        }
    }
    Err(Error::Usage {
        said: format!("{} is full of runs that did not succeed", runs.display()),
        hint: "remove those that are of no more use".to_owned(),
    })
}
