//! `cov backup`: everything that a server keeps, in one file. The file gets its name when it is
//! whole, checked and on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cov_client::Client;
use cov_core::backup::{Inventory, Reader};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::args::Backup;
use crate::context::Context;
use crate::error::{Code, Error};
use crate::output::{BackedUp, NotRunning};

/// How long the server may take for its snapshot, and between two pieces.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

pub(super) async fn run(context: &Context, backup: &Backup) -> Result<Code, Error> {
    let Backup { file, force } = backup;
    if !force && file.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: file.clone() });
    }
    let printer = &context.printer;
    let Some(client) = context.client_for(WAIT_MAX)? else {
        printer.print(&NotRunning {})?;
        return Ok(Code::Unreachable);
    };
    let mut unfinished = Unfinished::beside(file)?;
    let Inventory { contents, bytes } = receive(context, &client, &mut unfinished).await?;
    unfinished.finish(file, *force)?;
    let file = fs::canonicalize(file).map_err(failed(file))?;
    printer.print(&BackedUp { file, contents, bytes })?;
    Ok(Code::Done)
}

/// Writes what the server sends, and checks it.
async fn receive(
    context: &Context,
    client: &Client,
    unfinished: &mut Unfinished,
) -> Result<Inventory, Error> {
    let unusable = |source| Error::Backup { source };
    let told = |error| context.told(error);
    let mut backup = client.backup().await.map_err(told)?;
    let mut check = Reader::default();
    while let Some(bytes) = backup.next().await.map_err(told)? {
        let mut unchecked = bytes.as_ref();
        while check.next(&mut unchecked).map_err(unusable)?.is_some() {}
        unfinished.file.write_all(&bytes).map_err(failed(&unfinished.path))?;
    }
    check.finish().map_err(unusable)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { what: "the file", path: path.clone(), source }
}

/// A file that is removed when it is dropped before it is finished.
#[derive(Debug)]
struct Unfinished {
    file: File,
    path: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    /// In the same folder, so that a rename never leaves the file system.
    fn beside(target: &Path) -> Result<Self, Error> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}", std::process::id()));
        // What users computed is nobody else's business.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(failed(&path))?;
        Ok(Self { file, path, is_finished: false })
    }

    /// Puts the file in its place, durably; without `force` only where none stands.
    fn finish(mut self, target: &Path, force: bool) -> Result<(), Error> {
        let failed = failed(target);
        self.file.sync_all().map_err(&failed)?;
        match force {
            true => fs::rename(&self.path, target).map_err(&failed)?,
            false => match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(Error::Exists { path: target.to_path_buf() }),
                // Some file systems cannot do it in one step.
                Err(Errno::INVAL) => {
                    fs::hard_link(&self.path, target).map_err(&failed)?;
                    fs::remove_file(&self.path).map_err(&failed)?;
                }
                Err(errno) => return Err(failed(errno.into())),
            },
        }
        self.is_finished = true;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder.and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // An error was told already; this file is hidden and says whose it is.
            fs::remove_file(&self.path).ok();
        }
    }
}
