//! The files in which a runner catches what its task prints, seen from the server.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cov_core::ids::AttemptId;

use super::INLINE_BYTES_MAX;
use crate::Payload;

/// How much of a running task's output is shown, per stream. Bytes, from its beginning.
const LIVE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The two files of one runner.
#[derive(Debug, Clone)]
pub(super) struct Files {
    out: PathBuf,
    err: PathBuf,
}

impl Files {
    pub(super) const PREFIX: &str = "runner-";

    /// Those of the runner with this number.
    pub(super) fn of(run_dir: &Path, runner: u64) -> Self {
        let file = |ending| run_dir.join(format!("{}{runner}.{ending}", Self::PREFIX));
        Self { out: file("out"), err: file("err") }
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    pub(super) fn err(&self) -> &Path {
        &self.err
    }

    /// Makes them, empty.
    pub(super) fn create(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let create = |path: &Path| {
            // A program that does not know of them must not write over what it wrote.
            let options = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            options.map(OwnedFd::from)
        };
        Ok((create(&self.out)?, create(&self.err)?))
    }

    /// What stands in them now.
    pub(super) fn read(&self) -> (Bytes, Bytes) {
        (read_start(&self.out), read_start(&self.err))
    }

    /// What a runner that is gone left in them, for the attempt that it ran. Much of it is moved
    /// to the spool.
    pub(super) fn collect(&self, spool: &Spool) -> (Payload, Payload) {
        let collected = (
            collect(&self.out, &spool.file(Spool::STDOUT)),
            collect(&self.err, &spool.file(Spool::STDERR)),
        );
        self.remove();
        collected
    }

    /// Removes them.
    pub(super) fn remove(&self) {
        for path in [&self.out, &self.err] {
            remove(path);
        }
    }
}

fn read_start(path: &Path) -> Bytes {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LIVE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => bytes.into(),
        // The runner has not made it yet.
        Err(_) => Bytes::new(),
    }
}

fn collect(path: &Path, spool: &Path) -> Payload {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length == 0 {
        return Payload::default();
    }
    if length > INLINE_BYTES_MAX as u64 {
        match move_file(path, spool) {
            Ok(()) => return Payload::File(spool.to_owned()),
            Err(error) => tracing::warn!(%error, path = %path.display(), "output is cut short"),
        }
    }
    Payload::Bytes(read_start(path))
}

fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    // The two folders may lie on different file systems.
    std::fs::rename(from, to).or_else(|_| std::fs::copy(from, to).map(|_| ()))
}

/// Removes a file that need not exist.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a file could not be removed");
    }
}

/// Names of the files that one attempt may leave in the spool.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    base: PathBuf,
}

impl Spool {
    pub(crate) const OUTPUT: &str = "output";
    pub(crate) const STDOUT: &str = "stdout";
    pub(crate) const STDERR: &str = "stderr";
    pub(super) const PREFIX: &str = "attempt-";

    /// Those of this attempt.
    pub(crate) fn of(spool_dir: &Path, attempt: AttemptId) -> Self {
        Self { base: spool_dir.join(format!("{}{:016x}", Self::PREFIX, attempt.to_bits())) }
    }

    /// The file with this ending.
    pub(crate) fn file(&self, ending: &str) -> PathBuf {
        self.base.with_extension(ending)
    }
}

/// Removes files of this prefix, which an earlier life left.
pub(super) fn clear(folder: &Path, prefix: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            remove(&entry.path());
        }
    }
    Ok(())
}
