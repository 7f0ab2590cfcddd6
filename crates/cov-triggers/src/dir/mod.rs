//! `DirTrigger`: fires when files or directories are created, deleted, modified, moved or closed.
//! The only user of notify. Never writes to what it watches.

pub mod kinds;
pub mod network;

mod feed;
mod observe;
mod scan;
mod sense;
mod stamp;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cov_core::trigger::Dictionary;
use serde_json::Value;

pub use self::feed::REPORTS_MAX;
pub use self::kinds::{Kind, Kinds};
pub use self::scan::ENTRIES_MAX;
pub use self::sense::RENAME_WAIT;
use crate::fields::{Fields, Seconds};
use crate::{Base, Error, Observer, Source, Trigger};

/// How often a directory is looked at that the kernel does not report about.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the number of the file system that holds a path, as `statfs` does.
type FileSystem = fn(&Path) -> std::io::Result<u64>;

/// Watches a file or a directory, and fires after `batch_size` events of the kinds that
/// `event_names` names.
///
/// # Events
///
/// They mean and count what they do in the seed, which uses watchdog over inotify:
///
/// | What happens | Events |
/// |---|---|
/// | a file or directory appears | `created` it, `modified` its directory |
/// | it is deleted, or moved out | `deleted` it, `modified` its directory |
/// | it is moved in | `created` it, `modified` its directory |
/// | it is renamed within | `moved` it, `modified` its directory (both, if there are two) |
/// | a file is written to | `modified` it |
/// | a file that was open for writing is closed | `closed` it, `modified` its directory |
/// | permissions or times change, a file is opened or read | none |
///
/// With `recursive`, what is found in a directory that appears was `created`, and what is in one
/// that is renamed was `moved`. Symbolic links are not followed, except in `dir_path` itself.
///
/// # What was missed
///
/// What is known of each file (device, inode, birth, size, time of change) is kept as marks. After
/// a restart, after an overflow of the kernel's queue, or when the directory comes back after it
/// was away, the trigger looks, and each difference to the marks is one event: a file that was
/// created is never lost. Several changes of one file in between are one; a directory in which
/// something changed is `modified` once. Such a file counts as `closed` when it has stayed the
/// same for a second, or from one look to the next.
///
/// # Where the kernel is blind
///
/// On network file systems the kernel reports only what this machine does. There, and where it
/// allows no further watch, the directory is looked at every second instead. A `poll_interval` in
/// seconds, a field of this project, asks for that anywhere.
///
/// # Limits
///
/// [`ENTRIES_MAX`] files and directories, about 200 bytes each; more is an error that says so.
/// [`REPORTS_MAX`] reports of the kernel wait for their turn; more than that is looked up.
///
/// # Attributes of the seed
///
/// `n_changes` is the count of an incomplete batch, which the service keeps. What
/// `attach_methods_to_handler` does, choosing the kinds of events that count, is
/// [`DirTrigger::kinds`]. `event_handler` is always `null` in a dictionary.
#[derive(Debug)]
pub struct DirTrigger {
    base: Base,
    dir_path: String,
    event_names: Value,
    kinds: Kinds,
    batch_size: u32,
    recursive: bool,
    poll_interval: Option<Seconds>,
    file_system: FileSystem,
    /// How it is watched, for people.
    method: Mutex<String>,
}

impl DirTrigger {
    /// The class name.
    pub const NAME: &'static str = "DirTrigger";

    /// Watches `dir_path`, a file or directory, for `kinds`; every event fires.
    #[must_use]
    pub fn new(dir_path: impl Into<String>, kinds: impl IntoIterator<Item = Kind>) -> Self {
        let kinds: Kinds = kinds.into_iter().collect();
        let base = Base { observe_blocks: false, ..Base::default() };
        Self {
            base,
            dir_path: dir_path.into(),
            event_names: kinds.iter().map(|kind| Value::from(kind.name())).collect(),
            kinds,
            batch_size: 1,
            recursive: false,
            poll_interval: None,
            file_system: network::file_system,
            method: Mutex::default(),
        }
    }

    /// How many events make one firing; 0 counts as 1.
    #[must_use]
    pub fn with_batch_size(mut self, events: u32) -> Self {
        self.batch_size = events.max(1);
        self
    }

    /// Whether directories below count, too.
    #[must_use]
    pub fn with_recursive(mut self, recursive: bool) -> Self {
        self.recursive = recursive;
        self
    }

    /// Looks every `interval` instead of relying on the kernel.
    #[must_use]
    pub fn with_poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval.into());
        self
    }

    /// Asks `file_system` for the number of a path's file system, instead of the kernel.
    #[must_use]
    pub fn with_file_system(mut self, file_system: FileSystem) -> Self {
        self.file_system = file_system;
        self
    }

    /// The kinds of events that count.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// Reads its own fields: `dir_path`, `event_names` (a text or a list), `batch_size`,
    /// `recursive`, `event_handler` (always `null`) and `poll_interval`.
    ///
    /// # Errors
    /// A field is missing, has the wrong type, or names an unknown event.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Error> {
        fields.null("event_handler")?;
        let dir_path = fields.text("dir_path")?;
        let event_names = fields.peek("event_names").cloned();
        let kinds = fields
            .texts("event_names")?
            .iter()
            .map(|name| Kind::of(name).ok_or_else(|| unknown_event(fields, name)))
            .collect::<Result<Kinds, Error>>()?;
        if kinds.is_empty() {
            return Err(fields.error("event_names", "names no event, so it would never fire"));
        }
        Ok(Self {
            event_names: event_names.unwrap_or_default(),
            batch_size: fields.count("batch_size", 1)?,
            recursive: fields.flag("recursive", false)?,
            poll_interval: fields.optional_seconds("poll_interval")?,
            ..Self::new(dir_path, kinds.iter())
        })
    }

    /// Where the file or directory really is: `~` is the home of this process.
    fn resolve(&self) -> Result<PathBuf, Error> {
        let given = Path::new(&self.dir_path);
        let expanded = match (given.strip_prefix("~"), std::env::home_dir()) {
            (Ok(below), Some(home)) => home.join(below),
            _ => given.to_owned(),
        };
        std::fs::canonicalize(&expanded).map_err(|source| scan::unreadable(&expanded, &source))
    }

    /// How often to look, and why, if the kernel cannot be relied on.
    fn polling(&self, root: &Path) -> Option<(Duration, String)> {
        if let Some(interval) = &self.poll_interval {
            return Some((interval.duration(), "as its `poll_interval` says".to_owned()));
        }
        let name = (self.file_system)(root).ok().and_then(network::blind)?;
        Some((POLL_INTERVAL, format!("because the kernel does not report changes on {name}")))
    }

    fn set_method(&self, method: String) {
        *self.method.lock().unwrap_or_else(PoisonError::into_inner) = method;
    }
}

fn unknown_event(fields: &Fields, name: &str) -> Error {
    let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
    fields.error("event_names", format!("has no `{name}`; known are {}", known.join(", ")))
}

#[async_trait]
impl Trigger for DirTrigger {
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
        let own = [
            ("dir_path", Value::from(self.dir_path.as_str())),
            ("event_names", self.event_names.clone()),
            ("batch_size", Value::from(self.batch_size)),
            ("recursive", Value::from(self.recursive)),
            ("event_handler", Value::Null),
        ];
        fields.extend(own.map(|(name, value)| (name.to_owned(), value)));
        if let Some(interval) = &self.poll_interval {
            fields.insert("poll_interval".to_owned(), interval.to_value());
        }
    }

    fn source(&self) -> Source {
        Source::Observed
    }

    fn events_per_firing(&self) -> u32 {
        self.batch_size
    }

    async fn check(&self) -> Result<(), Error> {
        let root = self.resolve()?;
        if root.is_dir() {
            std::fs::read_dir(&root).map_err(|source| scan::unreadable(&root, &source))?;
        }
        Ok(())
    }

    async fn observe(&self, observer: &mut Observer) -> Result<(), Error> {
        observe::observe(self, observer).await
    }

    async fn preview(&self) -> Result<Vec<String>, Error> {
        let root = self.resolve()?;
        let recursive = self.recursive;
        let look = root.clone();
        let found = tokio::task::spawn_blocking(move || {
            scan::scan(&look, Path::new(""), recursive, |_dir| Ok::<(), Error>(()))
        });
        let found = found.await.map_err(|source| Error::Observe(source.to_string()))??;
        let names: Vec<&str> = self.kinds.iter().map(Kind::name).collect();
        let method = self.method.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(vec![
            format!("{} holds {} files and directories", root.display(), found.len()),
            format!("counts what is {}; fires after {}", names.join(", "), self.batch_size),
            if method.is_empty() { "not watched yet".to_owned() } else { method },
        ])
    }
}
