//! Looks at a directory, and at those below it. Blocks: runs on a thread for blocking work. Keeps
//! nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::stamp::Stamp;
use crate::Error;

/// The most files and directories that one trigger keeps track of. A path and what is known of it
/// cost about 200 bytes.
pub const ENTRIES_MAX: usize = 1_000_000;

/// What a look found, by path below the root. A root that is no directory is the one path ``.
pub(crate) type Found = HashMap<PathBuf, Stamp>;

/// Looks at everything below `at`, a path below `root`. `enter` is called for each directory
/// before its content is read, so that nothing that appears in between goes unseen.
///
/// # Errors
/// The root is not there or not readable, there is too much, or `enter` fails. What vanishes
/// while it looks, or is forbidden further down, is left out.
pub(crate) fn scan<E: From<Error>>(
    root: &Path,
    at: &Path,
    recursive: bool,
    mut enter: impl FnMut(&Path) -> Result<(), E>,
) -> Result<Found, E> {
    let top = if at.as_os_str().is_empty() { root.to_owned() } else { root.join(at) };
    let mut found = Found::new();
    enter(&top)?;
    let meta = std::fs::metadata(&top).map_err(|source| unreadable(&top, &source))?;
    if !meta.is_dir() {
        found.insert(at.to_owned(), Stamp::of(&meta));
        return Ok(found);
    }
    let mut waiting = vec![(top.clone(), at.to_owned())];
    while let Some((dir, relative)) = waiting.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(source) if dir == top => return Err(unreadable(&top, &source).into()),
            Err(_gone_or_forbidden) => continue,
        };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            let below = relative.join(entry.file_name());
            if meta.is_dir() && recursive {
                enter(&entry.path())?;
                waiting.push((entry.path(), below.clone()));
            }
            found.insert(below, Stamp::of(&meta));
            if found.len() > ENTRIES_MAX {
                return Err(too_many(&top).into());
            }
        }
    }
    Ok(found)
}

pub(crate) fn unreadable(path: &Path, source: &std::io::Error) -> Error {
    Error::Observe(format!("{} cannot be watched: {source}", path.display()))
}

fn too_many(path: &Path) -> Error {
    Error::Observe(format!(
        "{} holds more than {ENTRIES_MAX} files: watch a part of it",
        path.display()
    ))
}
