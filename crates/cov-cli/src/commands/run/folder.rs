//! The folder of a workflow file on the disk: finds and reads what the file names.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cov_cli::workflow::{Folder, Format, Workflow};

use crate::error::Error;

/// The longest workflow file that is read. Bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A folder on the disk.
#[derive(Debug)]
pub(crate) struct Disk {
    path: String,
}

/// Reads and checks a workflow file. Warnings are printed.
pub(crate) fn load(file: &Path) -> Result<(Workflow, Disk), Error> {
    let failed = |source| Error::File { what: "the workflow file", path: file.to_owned(), source };
    let absolute = std::path::absolute(file).map_err(failed)?;
    let folder = absolute.parent().map(Path::to_path_buf).unwrap_or_default();
    let path = folder.to_str().map(str::to_owned);
    let path = path.ok_or_else(|| Error::NoText(folder.into_os_string()))?;
    let mut text = String::new();
    File::open(&absolute)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(failed)?;
    let name = file.display().to_string();
    let workflow = Workflow::parse(&name, &text, Format::of(&name)).map_err(Error::workflow)?;
    if let Some(warnings) = workflow.warnings() {
        // Nobody is left to tell if the error stream is closed.
        write!(std::io::stderr(), "{:?}", miette::Report::new(warnings)).ok();
    }
    Ok((workflow, Disk { path }))
}

impl Folder for Disk {
    fn path(&self) -> &str {
        &self.path
    }

    fn glob(&self, pattern: &str, limit: usize) -> Result<Vec<String>, String> {
        let below = match pattern.starts_with('/') {
            true => pattern.to_owned(),
            false => format!("{}/{pattern}", glob::Pattern::escape(&self.path)),
        };
        let options = glob::MatchOptions {
            case_sensitive: true,
            // As in a shell: `*` is for the names of one folder, and does not see hidden files.
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        let paths = glob::glob_with(&below, options).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for path in paths {
            let path: PathBuf = path.map_err(|error| error.to_string())?;
            if !path.is_file() {
                continue;
            }
            let path = path.into_os_string().into_string();
            found.push(path.map_err(|path| format!("the path {path:?} is no text"))?);
            if found.len() > limit {
                return Err(format!("more than {limit} files match"));
            }
        }
        found.sort();
        Ok(found)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Bytes, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        if !metadata.is_file() {
            return Err("it is no file".to_owned());
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        match bytes.len() as u64 > limit {
            true => Err(format!(
                "it is too large to travel with the workflow, which takes {limit} more bytes; \
                 have the task read it where it is"
            )),
            false => Ok(bytes.into()),
        }
    }
}
