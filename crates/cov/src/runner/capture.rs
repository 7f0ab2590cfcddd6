//! What a task prints, caught at the file descriptor, so that its child processes are caught too.
//! Each stream goes to a file that is appended to, and read by the server while the task runs.
//! The Python runner does the same, in `python/cov_runner/capture.py`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cov_core::frames::Blob;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use super::Settings;
use super::space::when_there_is_space;
use super::task::path_bytes;

/// Which standard stream.
#[derive(Debug, Clone, Copy)]
enum Number {
    Out,
    Err,
}

/// One captured stream.
#[derive(Debug)]
struct Stream {
    number: Number,
    path: PathBuf,
    file: File,
}

/// Both streams of a runner; a stream without a file is left alone.
#[derive(Debug)]
pub(super) struct Capture {
    out: Option<Stream>,
    err: Option<Stream>,
    inline_bytes_max: u64,
}

impl Stream {
    fn open(number: Number, path: &Path) -> io::Result<Self> {
        let stream = Self { number, path: path.to_owned(), file: create(path)? };
        stream.redirect()?;
        Ok(stream)
    }

    /// Has the descriptor be the file, whatever a task made of it.
    fn redirect(&self) -> io::Result<()> {
        match self.number {
            Number::Out => rustix::stdio::dup2_stdout(&self.file)?,
            Number::Err => rustix::stdio::dup2_stderr(&self.file)?,
        }
        Ok(())
    }

    /// What was printed since the last call. Much of it is moved to `spool`.
    fn take(&mut self, spool: Option<PathBuf>, inline_bytes_max: u64) -> io::Result<Blob> {
        let size = self.file.metadata()?.len();
        if size == 0 {
            return Ok(Blob::Inline(Vec::new()));
        }
        if let Some(spool) = spool.filter(|_| size > inline_bytes_max) {
            // The two folders may lie on different file systems.
            std::fs::rename(&self.path, &spool)
                .or_else(|_| when_there_is_space(|| std::fs::copy(&self.path, &spool).map(drop)))?;
            self.replace()?;
            return Ok(Blob::File(path_bytes(&spool)));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut data, 0)?;
        self.file.set_len(0)?;
        Ok(Blob::Inline(data))
    }

    /// Begins a new file; processes that a task left behind keep writing to the old one.
    fn replace(&mut self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.file = when_there_is_space(|| create(&self.path))?;
        self.redirect()
    }
}

fn create(path: &Path) -> io::Result<File> {
    // Truncating and appending cannot be asked for together.
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    file.set_len(0)?;
    Ok(file)
}

impl Capture {
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let open = |number, path: &Option<PathBuf>| {
            path.as_ref().map(|path| Stream::open(number, path)).transpose()
        };
        Ok(Self {
            out: open(Number::Out, &settings.stdout)?,
            err: open(Number::Err, &settings.stderr)?,
            inline_bytes_max: settings.inline_bytes_max as u64,
        })
    }

    /// Writes out what is buffered, and has both streams be caught again.
    pub(super) fn restore(&self) -> io::Result<()> {
        // A task may have closed them; what it did not get written is its own loss.
        io::stdout().flush().ok();
        io::stderr().flush().ok();
        self.streams().try_for_each(Stream::redirect)
    }

    /// What was printed to both streams since the last call.
    pub(super) fn take(&mut self, settings: &Settings, attempt: u64) -> io::Result<(Blob, Blob)> {
        let inline = self.inline_bytes_max;
        let taken = |stream: &mut Option<Stream>, ending| match stream {
            Some(stream) => stream.take(settings.spooled(attempt, ending), inline),
            None => Ok(Blob::Inline(Vec::new())),
        };
        let out = taken(&mut self.out, "stdout")?;
        let err = taken(&mut self.err, "stderr")?;
        if has_children() {
            let streams = [&mut self.out, &mut self.err].into_iter().flatten();
            streams.into_iter().try_for_each(Stream::replace)?;
        }
        Ok((out, err))
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        [&self.out, &self.err].into_iter().flatten()
    }
}

/// Whether this process has any child, running or not yet waited for.
fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(rustix::process::waitid(WaitId::All, options), Err(Errno::CHILD))
}
