//! Makes events out of what the kernel reports and what a look finds, with the meanings of the
//! watcher that the seed uses. Looks at single files only; watches nothing and waits for nothing.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cov_core::time::Timestamp;
use tokio::time::Instant;

use super::feed::Report;
use super::kinds::{Kind, Kinds};
use super::scan::Found;
use super::stamp::{Entry, Stamp, mark_name};
use super::tree::{Difference, Tree};
use crate::Event;

/// How long the first half of a rename waits for the second, until it counts as deleted. As long
/// as the seed's watcher waits.
pub const RENAME_WAIT: Duration = Duration::from_millis(500);
/// How long the reports of changes that a look has already found may come after it.
const ECHO: Duration = Duration::from_secs(2);
/// The longest path that an event's key holds in full, in bytes.
const KEY_PATH_MAX: usize = 400;

/// Marks to set, or to remove.
pub(crate) type MarkChanges = Vec<(String, Option<Bytes>)>;

/// The first half of a rename: what was known under the old name.
#[derive(Debug)]
struct Leaving {
    until: Instant,
    tracker: Option<usize>,
    path: PathBuf,
    entry: Option<Entry>,
}

/// What a trigger knows, and what it has to say.
#[derive(Debug)]
pub(crate) struct Sense {
    root: PathBuf,
    kinds: Kinds,
    recursive: bool,
    /// How long a file that a look found has to stay the same until it counts as closed.
    settle: Duration,
    tree: Tree,
    leaving: VecDeque<Leaving>,
    /// Files that close when they still have this stamp then.
    settling: VecDeque<(Instant, PathBuf, Stamp)>,
    /// What the last look has found: reports of it may still come, and are no news.
    echoes: HashMap<PathBuf, Stamp>,
    echoes_until: Option<Instant>,
    /// With the counter, tells this run's keys from those of all others.
    session: i64,
    counter: u64,
    pub(crate) events: VecDeque<Event>,
    pub(crate) loose: MarkChanges,
}

impl Sense {
    pub(crate) fn new(root: PathBuf, kinds: Kinds, recursive: bool, tree: Tree) -> Self {
        Self {
            root,
            kinds,
            recursive,
            settle: Duration::from_secs(1),
            tree,
            leaving: VecDeque::new(),
            settling: VecDeque::new(),
            echoes: HashMap::new(),
            echoes_until: None,
            session: 0,
            counter: 0,
            events: VecDeque::new(),
            loose: Vec::new(),
        }
    }

    /// Begins a run at `at`, in which a file settles within `settle`.
    pub(crate) fn begin(&mut self, at: Timestamp, settle: Duration) {
        (self.session, self.counter, self.settle) = (at.as_micros(), 0, settle);
    }

    /// Takes everything that was found as known from the start: no events, but marks.
    pub(crate) fn adopt(&mut self, found: &Found) {
        let before = std::mem::replace(&mut self.tree, Tree::adopt(found));
        let gone = before.iter().filter(|(path, _)| !found.contains_key(*path));
        self.loose.extend(gone.map(|(path, _)| (mark_name(path), None)));
        let new = self.tree.iter().filter(|(path, entry)| before.get(path) != Some(*entry));
        self.loose.extend(new.map(|(path, entry)| set(path, entry)));
    }

    /// Takes a report. Answers with a directory that is new and has to be entered.
    pub(crate) fn take(&mut self, report: Report, at: Timestamp, now: Instant) -> Option<PathBuf> {
        match report {
            Report::Created(path) => self.created(&path, at, true),
            Report::Removed(path) => {
                self.removed(&path, at);
                None
            }
            Report::Wrote(path) => {
                self.wrote(&path, Kind::Modified, at);
                None
            }
            Report::Closed(path) => {
                self.wrote(&path, Kind::Closed, at);
                None
            }
            Report::MovedFrom(path, tracker) => {
                let entry = self.tree.remove(self.below(&path));
                self.leaving.push_back(Leaving { until: now + RENAME_WAIT, tracker, path, entry });
                None
            }
            Report::MovedTo(path, tracker) => self.arrived(path, tracker, at),
            Report::RootGone => None,
        }
    }

    /// Says that the root itself is gone, with everything in it.
    pub(crate) fn root_gone(&mut self, at: Timestamp) {
        self.forget_halves();
        let root = self.root.clone();
        let marks = self.drop_below(Path::new(""));
        self.happened(&[(Kind::Deleted, &root)], "", Stamp::default(), at, marks);
        self.tree = Tree::default();
    }

    /// How everything that was found differs from what is known. Each difference goes to
    /// [`Sense::differs`], and then comes [`Sense::looked`].
    pub(crate) fn differences(&mut self, found: &Found) -> Vec<Difference> {
        self.forget_halves();
        self.tree.differences(found)
    }

    /// Ends a look: says in which directories something differed.
    pub(crate) fn looked(&mut self, touched: BTreeSet<PathBuf>, at: Timestamp, now: Instant) {
        for dir in touched {
            self.happened(&[(Kind::Modified, &dir)], "", Stamp::default(), at, Vec::new());
        }
        self.echoes_until = Some(now + ECHO);
        for (path, stamp) in self.unsettled() {
            self.settling.push_back((now + self.settle, path, stamp));
        }
    }

    /// Takes what was found in a directory that has just been entered: what appeared in it before.
    pub(crate) fn look_into(&mut self, found: Found, at: Timestamp, now: Instant) {
        let mut fresh: Vec<(PathBuf, Stamp)> = found.into_iter().collect();
        fresh.sort_by(|left, right| left.0.cmp(&right.0));
        for (path, stamp) in fresh {
            if self.tree.get(&path).is_none() {
                self.found_new(&path, stamp, at);
                if self.tree.get(&path).is_some_and(|entry| entry.open) {
                    self.settling.push_back((now + self.settle, path, stamp));
                }
            }
        }
        self.echoes_until = Some(now + ECHO);
    }

    /// When [`Sense::expire`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.front().map(|half| half.until);
        let settling = self.settling.front().map(|(until, _, _)| *until);
        [leaving, settling].into_iter().flatten().min()
    }

    /// Decides what has waited long enough.
    pub(crate) fn expire(&mut self, at: Timestamp, now: Instant) {
        while let Some(half) = self.leaving.pop_front_if(|half| half.until <= now) {
            if let Some(entry) = half.entry {
                self.left(&half.path, &entry, at);
            }
        }
        while let Some((_, path, stamp)) = self.settling.pop_front_if(|armed| armed.0 <= now) {
            self.settled(path, &stamp, at, now);
        }
        if self.echoes_until.is_some_and(|until| until <= now) {
            self.echoes = HashMap::new();
            self.echoes_until = None;
        }
    }

    fn created(&mut self, path: &Path, at: Timestamp, opened: bool) -> Option<PathBuf> {
        let relative = self.below(path).to_owned();
        let meta = std::fs::symlink_metadata(path).ok();
        let stamp = meta.as_ref().map(Stamp::of);
        let same = |entry: &Entry| stamp.is_none_or(|stamp| entry.stamp.same_file(&stamp));
        if self.tree.get(&relative).is_some_and(same) {
            return None;
        }
        let stamp = stamp.unwrap_or_default();
        let regular = meta.is_some_and(|meta| {
            meta.is_file() && std::os::unix::fs::MetadataExt::nlink(&meta) == 1
        });
        let open = opened && regular && self.kinds.has(Kind::Closed);
        let entry = Entry { stamp, open };
        // A file that is still to be closed needs no mark: it would be found as new.
        let silent = open && !self.kinds.has(Kind::Created);
        let marks = if silent { Vec::new() } else { vec![set(&relative, &entry)] };
        self.tree.set(relative, entry);
        let parent = parent(path);
        self.happened(&[(Kind::Created, path), (Kind::Modified, parent)], "", stamp, at, marks);
        (stamp.is_dir && self.recursive).then(|| path.to_owned())
    }

    fn removed(&mut self, path: &Path, at: Timestamp) {
        // Unknown means that its disappearance has been told already.
        if let Some(entry) = self.tree.remove(self.below(path)) {
            self.left(path, &entry, at);
        }
    }

    fn left(&mut self, path: &Path, entry: &Entry, at: Timestamp) {
        let relative = self.below(path).to_owned();
        let has_content = entry.stamp.is_dir && self.recursive;
        let mut marks = if has_content { self.drop_below(&relative) } else { Vec::new() };
        marks.push((mark_name(&relative), None));
        let what = [(Kind::Deleted, path), (Kind::Modified, parent(path))];
        self.happened(&what, "", Stamp::default(), at, marks);
    }

    fn wrote(&mut self, path: &Path, kind: Kind, at: Timestamp) {
        let relative = self.below(path).to_owned();
        let stamp = Stamp::at(path).ok();
        let echo = stamp.is_some_and(|stamp| {
            self.echoes.get(&relative).is_some_and(|seen| seen.same_content(&stamp))
        });
        let settled = self.tree.get(&relative).is_some_and(|entry| !entry.open);
        if echo && (kind != Kind::Closed || settled) {
            return;
        }
        let mut marks = Vec::new();
        if let (Some(stamp), Some(entry)) = (stamp, self.tree.get_mut(&relative)) {
            entry.stamp = stamp;
            entry.open &= kind != Kind::Closed;
            marks.push(set(&relative, entry));
        }
        let stamp = stamp.unwrap_or_default();
        match kind {
            Kind::Closed => {
                let what = [(Kind::Closed, path), (Kind::Modified, parent(path))];
                self.happened(&what, "", stamp, at, marks);
            }
            _ => self.happened(&[(kind, path)], "", stamp, at, marks),
        }
    }

    fn arrived(&mut self, to: PathBuf, tracker: Option<usize>, at: Timestamp) -> Option<PathBuf> {
        let half = self.leaving.iter().position(|half| half.tracker == tracker);
        let Some(half) = half.and_then(|index| self.leaving.remove(index)) else {
            return self.created(&to, at, false);
        };
        let Some(entry) = half.entry else {
            // A look was faster and has found it under its new name.
            return self.created(&to, at, false);
        };
        let (old, new) = (self.below(&half.path).to_owned(), self.below(&to).to_owned());
        self.moved(&old, &new, entry, true, at);
        if !entry.stamp.is_dir || !self.recursive {
            return None;
        }
        for (path, below) in self.tree.take_below(&old) {
            let Ok(tail) = path.strip_prefix(&old) else {
                continue;
            };
            self.moved(&path, &new.join(tail), below, false, at);
        }
        Some(to)
    }

    fn moved(&mut self, old: &Path, new: &Path, entry: Entry, parents: bool, at: Timestamp) {
        let marks = vec![set(new, &entry), (mark_name(old), None)];
        self.tree.set(new.to_owned(), entry);
        let (from, to) = (self.root.join(old), self.root.join(new));
        let mut what = vec![(Kind::Moved, to.as_path())];
        if parents {
            what.push((Kind::Modified, parent(&from)));
            // The seed's watcher drops a repetition of the same news.
            what.extend((parent(&from) != parent(&to)).then(|| (Kind::Modified, parent(&to))));
        }
        self.happened(&what, &format!(" from {}", from.display()), entry.stamp, at, marks);
    }

    /// Takes one difference; collects the directories in which something differs.
    pub(crate) fn differs(
        &mut self,
        difference: Difference,
        found: &Found,
        touched: &mut BTreeSet<PathBuf>,
        at: Timestamp,
    ) {
        let (Difference::Gone(path) | Difference::New(path) | Difference::Changed(path)) =
            &difference
        else {
            if let Difference::Moved { from, to } = difference
                && let Some(mut entry) = self.tree.remove(&from)
            {
                entry.stamp = found.get(&to).copied().unwrap_or(entry.stamp);
                touched.insert(parent(&self.root.join(&from)).to_owned());
                touched.insert(parent(&self.root.join(&to)).to_owned());
                self.moved(&from, &to, entry, false, at);
            }
            return;
        };
        let full = self.path(path);
        let stamp = found.get(path).copied().unwrap_or_default();
        match &difference {
            Difference::Gone(_) => {
                self.tree.remove(path);
                let marks = vec![(mark_name(path), None)];
                touched.insert(parent(&full).to_owned());
                self.happened(&[(Kind::Deleted, &full)], "", stamp, at, marks);
            }
            Difference::Changed(_) if self.is_same(path, &stamp) => {
                if self.kinds.has(Kind::Modified) || self.kinds.has(Kind::Closed) {
                    self.changed(path, &full, stamp, at);
                }
            }
            _ => {
                touched.insert(parent(&full).to_owned());
                self.found_new(path, stamp, at);
            }
        }
    }

    fn is_same(&self, path: &Path, stamp: &Stamp) -> bool {
        self.tree.get(path).is_some_and(|entry| entry.stamp.same_file(stamp))
    }

    fn found_new(&mut self, path: &Path, stamp: Stamp, at: Timestamp) {
        let open = !stamp.is_dir && self.kinds.has(Kind::Closed);
        let entry = Entry { stamp, open };
        let silent = open && !self.kinds.has(Kind::Created);
        let marks = if silent { Vec::new() } else { vec![set(path, &entry)] };
        self.tree.set(path.to_owned(), entry);
        if self.kinds.has(Kind::Modified) || self.kinds.has(Kind::Closed) {
            self.echoes.insert(path.to_owned(), stamp);
        }
        let full = self.path(path);
        self.happened(&[(Kind::Created, &full)], "", stamp, at.min(stamp.changed_at()), marks);
    }

    fn changed(&mut self, path: &Path, full: &Path, stamp: Stamp, at: Timestamp) {
        let closing = self.kinds.has(Kind::Closed);
        let entry = Entry { stamp, open: closing };
        let silent = closing && !self.kinds.has(Kind::Modified);
        let marks = if silent { Vec::new() } else { vec![set(path, &entry)] };
        self.tree.set(path.to_owned(), entry);
        self.echoes.insert(path.to_owned(), stamp);
        let when = at.min(stamp.changed_at());
        self.happened(&[(Kind::Modified, full)], "", stamp, when, marks);
    }

    /// The files whose end of writing nobody will report any more, as far as is known.
    fn unsettled(&self) -> Vec<(PathBuf, Stamp)> {
        let waiting: HashSet<&PathBuf> = self.settling.iter().map(|armed| &armed.1).collect();
        let open = self.tree.iter().filter(|(path, entry)| entry.open && !waiting.contains(path));
        open.map(|(path, entry)| (path.clone(), entry.stamp)).collect()
    }

    /// A file that a look has found counts as closed once it has stayed the same for a while.
    fn settled(&mut self, path: PathBuf, armed: &Stamp, at: Timestamp, now: Instant) {
        let full = self.path(&path);
        let Some(entry) = self.tree.get_mut(&path).filter(|entry| entry.open) else {
            return;
        };
        let Ok(stamp) = Stamp::at(&full) else {
            return;
        };
        if !stamp.same_content(armed) {
            entry.stamp = stamp;
            self.settling.push_back((now + self.settle, path, stamp));
            return;
        }
        entry.open = false;
        let marks = vec![set(&path, entry)];
        self.echoes.insert(path, stamp);
        self.echoes_until = Some(now + ECHO);
        let what = [(Kind::Closed, full.as_path()), (Kind::Modified, parent(&full))];
        self.happened(&what, "", stamp, at, marks);
    }

    /// Forgets everything below a directory, and answers with the marks that go.
    fn drop_below(&mut self, dir: &Path) -> MarkChanges {
        self.tree.take_below(dir).iter().map(|(path, _)| (mark_name(path), None)).collect()
    }

    /// Takes back first halves of renames: a look will tell what became of them.
    fn forget_halves(&mut self) {
        for half in std::mem::take(&mut self.leaving) {
            let relative = self.below(&half.path).to_owned();
            if let Some(entry) = half.entry.filter(|_| self.tree.get(&relative).is_none()) {
                self.tree.set(relative, entry);
            }
        }
    }

    /// Makes events out of what was asked for. The marks go with the first of them.
    fn happened(
        &mut self,
        what: &[(Kind, &Path)],
        detail: &str,
        stamp: Stamp,
        at: Timestamp,
        mut marks: MarkChanges,
    ) {
        for (kind, path) in what.iter().filter(|(kind, _)| self.kinds.has(*kind)) {
            self.counter += 1;
            self.events.push_back(Event {
                key: key(*kind, path, &stamp, self.session, self.counter),
                at,
                detail: format!("{kind} {}{detail}", path.display()),
                marks: std::mem::take(&mut marks),
                payload: None,
            });
        }
        self.loose.append(&mut marks);
    }

    fn below<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    fn path(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() { self.root.clone() } else { self.root.join(relative) }
    }
}

fn set(path: &Path, entry: &Entry) -> (String, Option<Bytes>) {
    (mark_name(path), Some(entry.encode()))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Names one event: kind, inode, time of change, run and counter, and as much of the path as fits.
fn key(kind: Kind, path: &Path, stamp: &Stamp, session: i64, counter: u64) -> String {
    let text = path.to_string_lossy();
    let start = text.ceil_char_boundary(text.len().saturating_sub(KEY_PATH_MAX));
    let tail = text.get(start..).unwrap_or_default();
    format!("file:{kind}:{}-{}:{session:x}.{counter}:{tail}", stamp.ino, stamp.mtime / 1_000)
}
