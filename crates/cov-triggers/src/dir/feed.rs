//! What the kernel reports, on its way from notify's thread to the task of the trigger: bounded,
//! and never lossy without saying so. The thread of notify only takes a lock for a moment here.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, EventKind};
use tokio::sync::Notify;

use super::kinds::{Kind, Kinds};

/// How many reports wait at most; at about 150 bytes each. More than that is looked up instead.
pub const REPORTS_MAX: usize = 16_384;

/// One report of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    Created(PathBuf),
    Removed(PathBuf),
    Wrote(PathBuf),
    Closed(PathBuf),
    /// A rename has taken this name away; the number pairs it with [`Report::MovedTo`].
    MovedFrom(PathBuf, Option<usize>),
    /// A rename has given this name.
    MovedTo(PathBuf, Option<usize>),
    /// The root is no longer where it was.
    RootGone,
}

/// What has been reported since the last time somebody asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Everything, in order.
    All(VecDeque<Report>),
    /// Something was lost: only a look tells what there is.
    Lost,
    /// A directory cannot be watched, because a limit of the machine is reached.
    Limit,
}

/// The queue between notify and the task.
#[derive(Debug)]
pub(crate) struct Feed {
    root: PathBuf,
    kinds: Kinds,
    inner: Mutex<Inner>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    reports: VecDeque<Report>,
    lost: bool,
    limit: bool,
}

impl Feed {
    pub(crate) fn new(root: PathBuf, kinds: Kinds) -> Arc<Self> {
        Arc::new(Self { root, kinds, inner: Mutex::default(), ready: Notify::new() })
    }

    /// Returns when there is something to take.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes everything that was reported.
    pub(crate) fn take(&self) -> Batch {
        let mut inner = self.lock();
        if inner.limit {
            return Batch::Limit;
        }
        if inner.lost { Batch::Lost } else { Batch::All(std::mem::take(&mut inner.reports)) }
    }

    /// Forgets everything that was reported, because a look begins that sees it all.
    pub(crate) fn reset(&self) {
        let mut inner = self.lock();
        inner.reports.clear();
        inner.lost = false;
    }

    /// Takes what notify says. Never waits for the task.
    pub(crate) fn handle(&self, said: notify::Result<Event>) {
        match said {
            Ok(event) if event.need_rescan() => self.lose(),
            Ok(event) => {
                if let Some(report) = self.report(event) {
                    self.push(report);
                }
            }
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                self.lock().limit = true;
                self.ready.notify_one();
            }
            Err(_unreadable) => self.lose(),
        }
    }

    fn push(&self, report: Report) {
        let mut inner = self.lock();
        // The same news twice, and the first not yet read: the seed's watcher drops it, too.
        if inner.lost || inner.reports.back() == Some(&report) {
            return;
        }
        if inner.reports.len() < REPORTS_MAX {
            inner.reports.push_back(report);
        } else {
            inner.reports.clear();
            inner.lost = true;
        }
        drop(inner);
        self.ready.notify_one();
    }

    fn lose(&self) {
        let mut inner = self.lock();
        inner.reports.clear();
        inner.lost = true;
        drop(inner);
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an event of notify means; `None` for those that make no difference here.
    fn report(&self, event: Event) -> Option<Report> {
        let tracker = event.tracker();
        let path = event.paths.into_iter().next()?;
        let is_root = path == self.root;
        match event.kind {
            EventKind::Create(CreateKind::File | CreateKind::Folder) => Some(Report::Created(path)),
            EventKind::Remove(_) if is_root => Some(Report::RootGone),
            EventKind::Remove(RemoveKind::File | RemoveKind::Folder) => Some(Report::Removed(path)),
            EventKind::Modify(ModifyKind::Data(_)) if self.kinds.has(Kind::Modified) => {
                Some(Report::Wrote(path))
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) if tracker.is_none() => {
                // A directory that is watched was itself renamed; its parent reports the names.
                is_root.then_some(Report::RootGone)
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                Some(Report::MovedFrom(path, tracker))
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                Some(Report::MovedTo(path, tracker))
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) if self.wants_closing() => {
                Some(Report::Closed(path))
            }
            _ => None,
        }
    }

    /// Closing a file after writing also modifies its directory.
    fn wants_closing(&self) -> bool {
        self.kinds.has(Kind::Closed) || self.kinds.has(Kind::Modified)
    }
}

/// The watcher of notify that fills a feed.
pub(crate) fn watcher(feed: &Arc<Feed>) -> notify::Result<notify::RecommendedWatcher> {
    let feed = Arc::clone(feed);
    let config = notify::Config::default().with_follow_symlinks(false);
    notify::Watcher::new(move |said| feed.handle(said), config)
}

/// Whether notify says that this machine allows no more watches, or no more watchers.
pub(crate) fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(source) => {
            [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOSPC]
                .iter()
                .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
        }
        _ => false,
    }
}

/// Whether notify says that the path is not there, or is nothing that can be watched.
pub(crate) fn is_absent(error: &notify::Error, path: &Path) -> bool {
    matches!(error.kind, notify::ErrorKind::PathNotFound) || std::fs::read_dir(path).is_err()
}

#[cfg(test)]
mod tests {
    use notify::event::Flag;

    use super::*;

    fn created(name: &str) -> notify::Result<Event> {
        Ok(Event::new(EventKind::Create(CreateKind::File)).add_path(name.into()))
    }

    #[test]
    fn a_full_queue_says_that_something_was_lost() {
        let feed = Feed::new("/d".into(), Kinds::from_iter([Kind::Created]));
        for number in 0..REPORTS_MAX {
            feed.handle(created(&format!("/d/{number}")));
        }
        assert!(matches!(feed.take(), Batch::All(reports) if reports.len() == REPORTS_MAX));
        for number in 0..=REPORTS_MAX {
            feed.handle(created(&format!("/d/{number}")));
        }
        assert_eq!(feed.take(), Batch::Lost);
        feed.handle(created("/d/late"));
        assert_eq!(feed.take(), Batch::Lost, "until a look begins");
        feed.reset();
        feed.handle(created("/d/later"));
        assert_eq!(feed.take(), Batch::All([Report::Created("/d/later".into())].into()));
    }

    #[test]
    fn an_overflow_of_the_kernel_is_a_loss_and_a_limit_is_a_limit() {
        let feed = Feed::new("/d".into(), Kinds::from_iter([Kind::Created]));
        feed.handle(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert_eq!(feed.take(), Batch::Lost);
        feed.reset();
        feed.handle(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        assert_eq!(feed.take(), Batch::Limit);
    }

    #[test]
    fn what_nobody_asked_for_takes_no_room_and_repetitions_take_one() {
        let wrote = || {
            let kind = EventKind::Modify(ModifyKind::Data(notify::event::DataChange::Any));
            Ok(Event::new(kind).add_path("/d/f".into()))
        };
        let created_only = Feed::new("/d".into(), Kinds::from_iter([Kind::Created]));
        created_only.handle(wrote());
        assert_eq!(created_only.take(), Batch::All(VecDeque::new()));
        let modified = Feed::new("/d".into(), Kinds::from_iter([Kind::Modified]));
        modified.handle(wrote());
        modified.handle(wrote());
        assert_eq!(modified.take(), Batch::All([Report::Wrote("/d/f".into())].into()));
    }
}
