//! The files that a trigger knows of, and how they differ from what a look found. Pure data:
//! touches no file.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::scan::Found;
use super::stamp::{Entry, Stamp, marked_path};
use crate::observer::Marks;

/// What is known, by path below the root.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tree {
    entries: HashMap<PathBuf, Entry>,
}

/// One difference between what is known and what was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    Gone(PathBuf),
    Moved { from: PathBuf, to: PathBuf },
    New(PathBuf),
    Changed(PathBuf),
}

impl Tree {
    /// What the marks say.
    pub(crate) fn from_marks(marks: Marks) -> Self {
        let entry = |(name, value): (String, bytes::Bytes)| {
            Some((marked_path(&name)?, Entry::decode(&value)?))
        };
        Self { entries: marks.into_iter().filter_map(entry).collect() }
    }

    pub(crate) fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(crate) fn get_mut(&mut self, path: &Path) -> Option<&mut Entry> {
        self.entries.get_mut(path)
    }

    pub(crate) fn set(&mut self, path: PathBuf, entry: Entry) {
        self.entries.insert(path, entry);
    }

    pub(crate) fn remove(&mut self, path: &Path) -> Option<Entry> {
        self.entries.remove(path)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PathBuf, &Entry)> {
        self.entries.iter()
    }

    /// Takes out everything below a directory, without the directory itself.
    pub(crate) fn take_below(&mut self, dir: &Path) -> Vec<(PathBuf, Entry)> {
        let is_below = |path: &PathBuf| path.starts_with(dir) && path != dir;
        let mut taken: Vec<_> = self.entries.extract_if(|path, _| is_below(path)).collect();
        taken.sort_by(|left, right| left.0.cmp(&right.0));
        taken
    }

    /// How everything that was found differs from what is known; sorted, what is gone first.
    pub(crate) fn differences(&self, found: &Found) -> Vec<Difference> {
        let mut gone: HashMap<_, &PathBuf> = HashMap::new();
        let mut differences = Vec::new();
        for (path, entry) in &self.entries {
            if found.contains_key(path) {
                continue;
            }
            // Of two links to one file only one can be the one that was moved.
            if let Some(other) = gone.insert(entry.stamp.identity(), path) {
                differences.push(Difference::Gone(other.clone()));
            }
        }
        let mut moved = HashSet::new();
        for (path, stamp) in found {
            match self.entries.get(path) {
                Some(entry) if entry.stamp.same_content(stamp) => {}
                Some(_) => differences.push(Difference::Changed(path.clone())),
                None => {
                    match gone.get(&stamp.identity()).filter(|_| moved.insert(stamp.identity())) {
                        Some(from) => differences.push(Difference::Moved {
                            from: PathBuf::clone(from),
                            to: path.clone(),
                        }),
                        None => differences.push(Difference::New(path.clone())),
                    }
                }
            }
        }
        let vanished = gone.into_iter().filter(|(identity, _)| !moved.contains(identity));
        differences.extend(vanished.map(|(_, path)| Difference::Gone(path.clone())));
        differences.sort();
        differences
    }

    /// Takes over what was found, as if it had been known all along.
    pub(crate) fn adopt(found: &Found) -> Self {
        let entry = |(path, stamp): (&PathBuf, &Stamp)| {
            (path.clone(), Entry { stamp: *stamp, open: false })
        };
        Self { entries: found.iter().map(entry).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ino: u64, mtime: i64) -> Stamp {
        Stamp { dev: 1, ino, size: 3, mtime, birth: 7, is_dir: false }
    }

    fn found(files: &[(&str, u64, i64)]) -> Found {
        files.iter().map(|(path, ino, mtime)| (path.into(), stamp(*ino, *mtime))).collect()
    }

    #[test]
    fn each_difference_is_named_once() {
        let known =
            Tree::adopt(&found(&[("same", 1, 1), ("old", 2, 1), ("gone", 3, 1), ("w", 4, 1)]));
        let now = found(&[("same", 1, 1), ("new name", 2, 1), ("w", 4, 2), ("fresh", 5, 1)]);
        let expected = [
            Difference::Gone("gone".into()),
            Difference::Moved { from: "old".into(), to: "new name".into() },
            Difference::New("fresh".into()),
            Difference::Changed("w".into()),
        ];
        assert_eq!(known.differences(&now), expected);
    }

    #[test]
    fn of_two_links_to_one_file_each_is_accounted_for() {
        let known = Tree::adopt(&found(&[("a", 1, 1), ("b", 1, 1)]));
        assert_eq!(known.differences(&found(&[])).len(), 2);
        let differences = known.differences(&found(&[("c", 1, 1), ("d", 1, 1)]));
        let moved = |difference: &&Difference| matches!(difference, Difference::Moved { .. });
        assert_eq!(differences.iter().filter(moved).count(), 1);
        assert_eq!(differences.len(), 3, "{differences:?}");
    }

    #[test]
    fn what_is_below_a_directory_is_taken_without_its_neighbours() {
        let mut tree =
            Tree::adopt(&found(&[("d", 1, 1), ("d/x", 2, 1), ("d/y/z", 3, 1), ("dd", 4, 1)]));
        let taken: Vec<PathBuf> =
            tree.take_below(Path::new("d")).into_iter().map(|(p, _)| p).collect();
        assert_eq!(taken, [PathBuf::from("d/x"), PathBuf::from("d/y/z")]);
        assert_eq!(tree.entries.len(), 2);
    }
}
