//! Taking over a file that a runner left in the spool. Whatever goes wrong on the disk, the file
//! stands there until its content is durable, so that it can be taken over again.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use cov_core::asset::INLINE_BYTES_MAX;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Files, Temporary, hash, read_small};
use crate::fault::{corrupt, from_io};
use crate::{Error, Staged, spool};

impl Files {
    /// Takes over a file in the spool and removes it there.
    pub(super) fn adopt_now(&self, path: &Path) -> Result<Staged, Error> {
        let outcome = self.take_in(path);
        match &outcome {
            Ok(_) => {
                self.doubtful().remove(path);
                if let Err(error) = fs::remove_file(path) {
                    tracing::debug!(path = %path.display(), %error, "spool file cannot be removed");
                }
            }
            Err(error) if error.is_transient() => {
                self.doubtful().insert(path.to_path_buf());
            }
            // What is no file of ours stands where it stood.
            Err(_) => {}
        }
        outcome
    }

    fn take_in(&self, path: &Path) -> Result<Staged, Error> {
        let what = || format!("spool file {}", path.display());
        let mut file = self.open_spooled(path)?;
        let metadata = file.metadata().map_err(from_io)?;
        if !metadata.is_file() {
            return Err(corrupt(what(), "it is no plain file"));
        }
        if metadata.size() <= INLINE_BYTES_MAX as u64 {
            return read_small(&mut file, &metadata)
                .map_err(from_io)?
                .ok_or_else(|| corrupt(what(), "it changed while it was read"));
        }
        // After a failed sync the system takes pages for written that are not, so that syncing
        // them again proves nothing: only a copy does.
        let mut adopted = match self.doubtful().contains(path) {
            true => self.copied(&mut file)?,
            false => self.linked(path, file)?,
        };
        let content = hash(&mut adopted.file).map_err(from_io)?;
        adopted.file.set_permissions(Permissions::from_mode(0o400)).map_err(from_io)?;
        self.keep(adopted, content)
    }

    fn open_spooled(&self, path: &Path) -> Result<File, Error> {
        let what = || format!("spool file {}", path.display());
        if !spool::holds(&self.spool, path) {
            return Err(corrupt(what(), "it does not stand in the spool"));
        }
        let mut options = OpenOptions::new();
        // Without waiting, because a named pipe would keep its reader for ever.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.read(true).custom_flags(flags.bits().cast_signed());
        options.open(path).map_err(|error| match error.raw_os_error() {
            Some(code) if code == Errno::NOENT.raw_os_error() => {
                corrupt(what(), "it does not exist")
            }
            Some(code) if code == Errno::LOOP.raw_os_error() => {
                corrupt(what(), "it is a symbolic link")
            }
            _ => from_io(error),
        })
    }

    /// The same file under a temporary name.
    fn linked(&self, path: &Path, file: File) -> Result<Temporary, Error> {
        let linked = self.temporary_path();
        fs::hard_link(path, &linked).map_err(from_io)?;
        Ok(Temporary { file, path: Some(linked) })
    }

    /// A copy of the file under a temporary name, ready to be read.
    fn copied(&self, file: &mut File) -> Result<Temporary, Error> {
        let mut copy = self.temporary()?;
        io::copy(file, &mut copy.file).map_err(from_io)?;
        let path = copy.path.as_deref().unwrap_or(Path::new(""));
        copy.file = File::open(path).map_err(from_io)?;
        Ok(copy)
    }
}
