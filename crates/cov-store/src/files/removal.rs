//! Removing files of contents that nobody refers to. Whether anybody does, the caller has found
//! out; who speaks for a content meanwhile, the pins know.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cov_core::ids::ContentId;

use super::{Files, INCOMING};
use crate::Error;
use crate::fault::{flatten, from_io};

/// How long a file without a row is left alone: its row may be on the way.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

impl Files {
    /// Removes the files of `ids`, but none that somebody speaks for. Returns their bytes.
    pub(crate) async fn remove(self: &Arc<Self>, ids: Vec<ContentId>) -> Result<u64, Error> {
        if ids.is_empty() {
            return Ok(0);
        }
        let files = Arc::clone(self);
        let removing = tokio::task::spawn_blocking(move || {
            let mut bytes = 0;
            for id in &ids {
                bytes += files.remove_one(id).map_err(from_io)?;
            }
            Ok(bytes)
        });
        flatten(removing.await)
    }

    fn remove_one(&self, id: &ContentId) -> io::Result<u64> {
        let path = self.path_of(id);
        // Whoever stages the same bytes speaks for them before it looks for the file.
        let removed: Option<io::Result<u64>> = self.pins.unless_kept(id, || {
            self.checked().remove(id);
            let size = fs::metadata(&path)?.len();
            fs::remove_file(&path)?;
            Ok(size)
        });
        match removed {
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Some(outcome) => outcome,
            None => Ok(0),
        }
    }

    /// The contents whose files have stood for longer than a row takes to come.
    pub(crate) async fn old_files(self: &Arc<Self>) -> Result<Vec<ContentId>, Error> {
        let files = Arc::clone(self);
        let listing = tokio::task::spawn_blocking(move || {
            let mut old = Vec::new();
            for folder in fs::read_dir(&files.contents).map_err(from_io)? {
                let folder = folder.map_err(from_io)?;
                if folder.file_name() != INCOMING {
                    list_old(&folder.path(), &mut old).map_err(from_io)?;
                }
            }
            Ok(old)
        });
        flatten(listing.await)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file is told by the machine's own clock"
)]
fn list_old(folder: &Path, old: &mut Vec<ContentId>) -> io::Result<()> {
    let latest = SystemTime::now().checked_sub(ORPHAN_AGE);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_old = latest.is_some_and(|latest| {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            modified.is_ok_and(|modified| modified < latest)
        });
        let name = entry.file_name();
        let id: Option<ContentId> = name.to_str().and_then(|name| name.parse().ok());
        old.extend(id.filter(|_| is_old));
    }
    Ok(())
}
