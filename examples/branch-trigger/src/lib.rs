//! A trigger type of one's own: it fires when a branch of a Git repository on this machine has
//! moved to another commit. Reads the repository's files; starts no process and changes nothing.
//!
//! `src/bin/server.rs` is a server that knows it. Any client can then register such a trigger by
//! its name and fields, as it does with the types that every server has.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::trigger::Dictionary;
use cov_triggers::observer::Marks;
use cov_triggers::{Base, Error, Event, Fields, Observer, Source, Trigger};

/// How often the branch is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The mark that holds the last commit that was seen.
const COMMIT: &str = "commit";
/// The mark that counts how often the branch has moved.
const MOVES: &str = "moves";

/// Fires when a branch of a Git repository has moved.
#[derive(Debug)]
pub struct BranchTrigger {
    base: Base,
    repository: PathBuf,
    branch: String,
}

impl BranchTrigger {
    /// Its class name.
    pub const NAME: &'static str = "BranchTrigger";

    /// Reads its own fields: `repository`, a folder with a `.git` folder in it, and `branch`.
    ///
    /// # Errors
    /// A field is missing, no text, or a branch that no repository can have.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Error> {
        let repository = PathBuf::from(fields.text("repository")?);
        let branch = fields.optional_text("branch")?.unwrap_or_else(|| "main".to_owned());
        let climbs = branch.split('/').any(|part| part.is_empty() || part.starts_with('.'));
        match climbs {
            true => Err(fields.error("branch", format!("is no name of a branch: `{branch}`"))),
            false => Ok(Self { base: Base::default(), repository, branch }),
        }
    }

    /// The commit that the branch stands at; `None` while it does not exist.
    async fn commit(&self) -> io::Result<Option<String>> {
        let git = self.repository.join(".git");
        let name = format!("refs/heads/{}", self.branch);
        if let Some(text) = read(&git.join(&name)).await? {
            return Ok(Some(text.trim().to_owned()));
        }
        // Git moves branches that rest for long into one file.
        let packed = read(&git.join("packed-refs")).await?.unwrap_or_default();
        let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
        Ok(lines.find(|(_, reference)| *reference == name).map(|(commit, _)| commit.to_owned()))
    }

    fn unreadable(&self, error: &io::Error) -> Error {
        Error::Observe(format!("{} cannot be read: {error}", self.repository.display()))
    }
}

/// A file's text; `None` when there is no such file.
async fn read(path: &Path) -> io::Result<Option<String>> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn mark(marks: &Marks, name: &str) -> Option<String> {
    marks.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

#[async_trait]
impl Trigger for BranchTrigger {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn own_fields(&self, fields: &mut Dictionary) {
        fields.insert("repository".to_owned(), self.repository.to_string_lossy().into());
        fields.insert("branch".to_owned(), self.branch.clone().into());
    }

    fn source(&self) -> Source {
        Source::Observed
    }

    async fn check(&self) -> Result<(), Error> {
        let git = self.repository.join(".git");
        match tokio::fs::metadata(&git).await {
            Ok(found) if found.is_dir() => Ok(()),
            _ => Err(Error::Observe(format!("{} is no Git repository", self.repository.display()))),
        }
    }

    async fn observe(&self, observer: &mut Observer) -> Result<(), Error> {
        // What it saw last is kept with the event that told of it: after a restart, a branch that
        // has moved meanwhile fires, and nothing fires twice.
        let marks = observer.take_marks();
        let mut moves: u64 = mark(&marks, MOVES).and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut seen = mark(&marks, COMMIT);
        if seen.is_none() {
            seen = self.commit().await.map_err(|error| self.unreadable(&error))?;
            let begin = seen.clone().unwrap_or_default();
            observer.set_marks(vec![(COMMIT.to_owned(), Some(Bytes::from(begin)))]).await;
        }
        observer.healthy().await;
        loop {
            let found = self.commit().await.map_err(|error| self.unreadable(&error))?;
            if let Some(commit) = found.filter(|commit| seen.as_ref() != Some(commit)) {
                moves += 1;
                observer.event(moved(&self.branch, &commit, moves, observer)).await;
                seen = Some(commit);
            }
            tokio::select! {
                () = observer.stopped() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// A branch can come back to a commit, so that the event is named by its number.
fn moved(branch: &str, commit: &str, moves: u64, observer: &Observer) -> Event {
    Event {
        key: format!("move:{moves}"),
        at: observer.now(),
        detail: format!("{branch} is at {commit}"),
        marks: vec![
            (COMMIT.to_owned(), Some(Bytes::from(commit.to_owned()))),
            (MOVES.to_owned(), Some(Bytes::from(moves.to_string()))),
        ],
        payload: None,
    }
}
