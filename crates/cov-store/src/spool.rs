//! Which files stand in a spool. Reads and moves none.

use std::fs;
use std::path::Path;

/// Whether the path is that of an entry of the spool, or of a folder directly in it. One that leads there in another
/// way does not count.
pub(crate) fn holds(spool: &Path, path: &Path) -> bool {
    let Some(folder) = path.parent() else { return false };
    if folder == spool {
        return true;
    }
    // A path that ends in `..` has no such name.
    folder.parent() == Some(spool)
        && folder.file_name().is_some()
        && fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir())
}
