//! The observing task of one `DirTrigger`: chooses between the kernel's reports and looking, and
//! goes back to looking when reports are lost. Decides nothing about events: see `sense`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::time::Instant;

use super::feed::{self, Batch, Feed};
use super::scan::{Found, scan};
use super::sense::Sense;
use super::stamp::Stamp;
use super::tree::Tree;
use super::{DirTrigger, POLL_INTERVAL};
use crate::{Error, Observer};

/// The mark that says that the first look is complete.
const LOOKED: &str = "looked";
/// How many marks are handed over at once.
const MARKS_AT_ONCE: usize = 1_000;
/// How many events wait at most until they are handed over.
const EVENTS_AT_ONCE: usize = 256;
/// How long a file stays the same until it counts as closed, where the kernel reports.
const SETTLE: Duration = Duration::from_secs(1);
/// How often it is looked whether the root is still the one that is watched.
const ROOT_CHECK: Duration = Duration::from_secs(5);
/// A look that follows another waits until this many times the duration of the other have passed.
const LOOK_PAUSE: u32 = 2;

/// Why watching ended.
#[derive(Debug)]
enum End {
    Stopped,
    /// What was watched is no longer there, or is another one now.
    RootGone,
    /// The machine allows no further watch.
    Limit(String),
}

/// Why a look failed.
#[derive(Debug)]
enum LookError {
    Observe(Error),
    Limit(String),
}

impl From<Error> for LookError {
    fn from(error: Error) -> Self {
        Self::Observe(error)
    }
}

/// Observes until it is stopped.
pub(super) async fn observe(trigger: &DirTrigger, observer: &mut Observer) -> Result<(), Error> {
    let marks = observer.take_marks();
    let root = trigger.resolve()?;
    let has_looked = observer.resumed() && marks.contains_key(LOOKED);
    let tree = Tree::from_marks(marks);
    let mut run = Run {
        trigger,
        observer,
        recursive: trigger.recursive,
        sense: Sense::new(root.clone(), trigger.kinds, trigger.recursive, tree),
        root,
        has_looked,
        look_took: Duration::ZERO,
        limit: None,
    };
    run.observe().await
}

/// One run of the task.
struct Run<'a> {
    trigger: &'a DirTrigger,
    observer: &'a Observer,
    recursive: bool,
    root: PathBuf,
    sense: Sense,
    has_looked: bool,
    /// How long the last look took.
    look_took: Duration,
    /// Why the kernel reports nothing, if it was asked in vain.
    limit: Option<String>,
}

impl Run<'_> {
    async fn observe(&mut self) -> Result<(), Error> {
        loop {
            let identity = self.identity()?;
            let polling = self.trigger.polling(&self.root).or_else(|| {
                self.limit.clone().map(|reason| (POLL_INTERVAL, format!("because {reason}")))
            });
            let ended = match polling {
                Some((interval, reason)) => self.poll(interval, &reason, identity).await?,
                None => self.watch(identity).await?,
            };
            match ended {
                End::Stopped => return Ok(()),
                End::Limit(reason) => {
                    tracing::warn!(
                        trigger.id = %self.observer.trigger(),
                        "{} is polled: {reason}", self.root.display()
                    );
                    self.limit = Some(reason);
                }
                End::RootGone => {
                    // Without a pause for one that was only replaced, like a file that an editor
                    // saves; a look tells what became of its content.
                    if self.identity().is_err() {
                        self.sense.root_gone(self.observer.now());
                        self.hand_over().await;
                        self.identity()?;
                    }
                }
            }
        }
    }

    /// Relies on the kernel's reports.
    async fn watch(&mut self, identity: (u64, u64)) -> Result<End, Error> {
        let feed = Feed::new(self.root.clone(), self.trigger.kinds);
        let watcher = match feed::watcher(&feed) {
            Ok(watcher) => Arc::new(Mutex::new(watcher)),
            Err(error) if feed::is_limit(&error) => {
                return Ok(End::Limit(format!("this machine allows no further watcher: {error}")));
            }
            Err(error) => return Err(Error::Observe(error.to_string())),
        };
        self.sense.begin(self.observer.now(), SETTLE);
        self.trigger.set_method("watched by the reports of the kernel".to_owned());
        if let Some(end) = self.look(Some((&feed, &watcher))).await? {
            return Ok(end);
        }
        self.observer.healthy().await;
        let mut root_check = Instant::now() + ROOT_CHECK;
        loop {
            let wake = self.sense.next_deadline().map_or(root_check, |at| at.min(root_check));
            tokio::select! {
                () = self.observer.stopped() => return Ok(End::Stopped),
                () = feed.ready() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            if let Some(end) = self.take(&feed, &watcher).await? {
                return Ok(end);
            }
            self.sense.expire(self.observer.now(), Instant::now());
            self.hand_over().await;
            if root_check <= Instant::now() {
                if self.identity().ok() != Some(identity) {
                    return Ok(End::RootGone);
                }
                root_check = Instant::now() + ROOT_CHECK;
            }
        }
    }

    /// Takes what has been reported.
    async fn take(
        &mut self,
        feed: &Arc<Feed>,
        watcher: &Arc<Mutex<RecommendedWatcher>>,
    ) -> Result<Option<End>, Error> {
        let reports = match feed.take() {
            Batch::All(reports) => reports,
            Batch::Lost => return self.look_again(feed, watcher).await,
            Batch::Limit => return Ok(Some(End::Limit(limit_reached()))),
        };
        for report in reports {
            if report == feed::Report::RootGone {
                return Ok(Some(End::RootGone));
            }
            let entered = self.sense.take(report, self.observer.now(), Instant::now());
            if let Some(dir) = entered {
                match self.enter(dir, watcher).await {
                    Ok(()) => {}
                    Err(LookError::Limit(reason)) => return Ok(Some(End::Limit(reason))),
                    // It is gone again; its end is reported, too.
                    Err(LookError::Observe(_)) => {}
                }
            }
            // Marks that belong to no event go together, but never after an event that came later.
            if !self.sense.events.is_empty() || self.sense.loose.len() >= MARKS_AT_ONCE {
                self.hand_over().await;
            }
        }
        self.hand_over().await;
        Ok(None)
    }

    /// Looks because reports were lost; not more often than looking allows.
    async fn look_again(
        &mut self,
        feed: &Arc<Feed>,
        watcher: &Arc<Mutex<RecommendedWatcher>>,
    ) -> Result<Option<End>, Error> {
        tracing::debug!(
            trigger.id = %self.observer.trigger(),
            "too many changes at once in {}: looking", self.root.display()
        );
        let end = self.look(Some((feed, watcher))).await?;
        if end.is_some() {
            return Ok(end);
        }
        tokio::select! {
            () = self.observer.stopped() => Ok(Some(End::Stopped)),
            () = tokio::time::sleep(self.look_took * LOOK_PAUSE) => Ok(None),
        }
    }

    /// Looks again and again.
    async fn poll(
        &mut self,
        interval: Duration,
        reason: &str,
        identity: (u64, u64),
    ) -> Result<End, Error> {
        self.sense.begin(self.observer.now(), interval);
        self.trigger.set_method(format!("looked at every {} s, {reason}", interval.as_secs_f64()));
        let mut due = Instant::now();
        let mut first = true;
        loop {
            if let Some(end) = self.look(None).await? {
                return Ok(end);
            }
            if std::mem::take(&mut first) {
                self.observer.healthy().await;
            }
            self.sense.expire(self.observer.now(), Instant::now());
            self.hand_over().await;
            let took = due.elapsed();
            // On the grid; a look that takes long leaves as much time to others.
            due += interval;
            if due < Instant::now() + took / 2 {
                due = Instant::now() + interval.max(took);
            }
            tokio::select! {
                () = self.observer.stopped() => return Ok(End::Stopped),
                () = tokio::time::sleep_until(due) => {}
            }
            if self.identity().ok() != Some(identity) {
                return Ok(End::RootGone);
            }
        }
    }

    /// Looks at everything, and compares it with what is known. The first look of all only makes
    /// it known.
    async fn look(
        &mut self,
        watch: Option<(&Arc<Feed>, &Arc<Mutex<RecommendedWatcher>>)>,
    ) -> Result<Option<End>, Error> {
        if let Some((feed, _)) = watch {
            feed.reset();
        }
        let watcher = watch.map(|(_, watcher)| Arc::clone(watcher));
        let began = Instant::now();
        let found = match self.scan(PathBuf::new(), watcher).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Some(End::Stopped)),
            Err(LookError::Limit(reason)) => return Ok(Some(End::Limit(reason))),
            Err(LookError::Observe(error)) => return Err(error),
        };
        self.look_took = began.elapsed();
        if self.has_looked {
            let mut touched = BTreeSet::new();
            for difference in self.sense.differences(&found) {
                self.sense.differs(difference, &found, &mut touched, self.observer.now());
                if self.sense.events.len() >= EVENTS_AT_ONCE {
                    self.hand_over().await;
                }
            }
            self.sense.looked(touched, self.observer.now(), Instant::now());
        } else {
            self.sense.adopt(&found);
            self.sense.loose.push((LOOKED.to_owned(), Some(bytes::Bytes::from_static(b"1"))));
            self.has_looked = true;
        }
        drop(found);
        self.hand_over().await;
        Ok(None)
    }

    /// Begins to watch a directory that is new, and takes what is in it already.
    async fn enter(
        &mut self,
        dir: PathBuf,
        watcher: &Arc<Mutex<RecommendedWatcher>>,
    ) -> Result<(), LookError> {
        let below = dir.strip_prefix(&self.root).map(Path::to_owned).unwrap_or_default();
        if let Some(found) = self.scan(below, Some(Arc::clone(watcher))).await? {
            self.sense.look_into(found, self.observer.now(), Instant::now());
        }
        Ok(())
    }

    /// Looks on a thread for blocking work; `None` when it was stopped meanwhile.
    async fn scan(
        &self,
        at: PathBuf,
        watcher: Option<Arc<Mutex<RecommendedWatcher>>>,
    ) -> Result<Option<Found>, LookError> {
        let (root, recursive) = (self.root.clone(), self.recursive);
        let stop = self.observer.stop_token();
        let look = tokio::task::spawn_blocking(move || {
            scan(&root, &at, recursive, |dir| {
                if stop.is_cancelled() {
                    return Err(LookError::Observe(Error::Observe("stopped".to_owned())));
                }
                watcher.as_ref().map_or(Ok(()), |watcher| add_watch(watcher, dir, &root))
            })
        });
        tokio::select! {
            () = self.observer.stopped() => Ok(None),
            found = look => match found {
                Ok(found) => found.map(Some),
                Err(source) => Err(Error::Observe(source.to_string()).into()),
            },
        }
    }

    /// Hands over what there is to say. Waits while the service is behind; reports queue up
    /// meanwhile, or are looked up later.
    async fn hand_over(&mut self) {
        while !self.sense.loose.is_empty() {
            let rest = self.sense.loose.len().saturating_sub(MARKS_AT_ONCE);
            // The first ones first: the mark that says that all are there comes last.
            let later = self.sense.loose.split_off(self.sense.loose.len() - rest);
            let now = std::mem::replace(&mut self.sense.loose, later);
            self.observer.set_marks(now).await;
        }
        while let Some(event) = self.sense.events.pop_front() {
            self.observer.event(event).await;
        }
    }

    /// Which file or directory is at the root now.
    fn identity(&self) -> Result<(u64, u64), Error> {
        let stamp =
            Stamp::at(&self.root).map_err(|source| super::scan::unreadable(&self.root, &source))?;
        Ok((stamp.dev, stamp.ino))
    }
}

/// Asks the kernel to report about one directory, or about a root that is a file.
fn add_watch(
    watcher: &Mutex<RecommendedWatcher>,
    path: &Path,
    root: &Path,
) -> Result<(), LookError> {
    let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    match watcher.watch(path, RecursiveMode::NonRecursive) {
        Ok(()) => Ok(()),
        Err(error) if feed::is_limit(&error) => Err(LookError::Limit(limit_reached())),
        // Further down, what is gone or forbidden is left out.
        Err(error) if path != root && feed::is_absent(&error, path) => Ok(()),
        Err(error) => Err(LookError::Observe(Error::Observe(error.to_string()))),
    }
}

fn limit_reached() -> String {
    "this machine allows no further watch (fs.inotify.max_user_watches)".to_owned()
}
