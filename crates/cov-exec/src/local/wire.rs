//! Between the executor's types and those of the frames.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use cov_core::frames::{self, Blob};

use super::capture::Spool;
use crate::{Payload, Task};

/// How much of a task's inputs may travel in its frame, together. Bytes. A runner reads a frame
/// before it reports the task's begin, so that frames must stay small beside its memory.
const FRAME_INPUT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Inputs below this are not worth a file. Bytes.
const SPILL_BYTES_MIN: usize = 4 * 1024;

/// A task in wire form, and files that were written for it alone.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) task: frames::Task,
    pub(crate) spilled: Vec<PathBuf>,
}

/// Whether packing this task writes files.
pub(crate) fn needs_files(task: &Task) -> bool {
    let bytes: usize = payloads(task).map(inline_bytes).sum();
    bytes > FRAME_INPUT_BYTES_MAX
}

/// Brings a task into wire form. Writes large inputs to the spool if there are too many for a
/// frame.
///
/// # Errors
/// A file could not be written; what was written is removed.
pub(crate) fn pack(task: &Task, spool: &Spool) -> io::Result<Packed> {
    let mut packer = Packer { spool, spill: needs_files(task), spilled: Vec::new() };
    match packer.task(task) {
        Ok(task) => Ok(Packed { task, spilled: packer.spilled }),
        Err(error) => {
            packer.spilled.iter().for_each(|path| super::capture::remove(path));
            Err(error)
        }
    }
}

fn payloads(task: &Task) -> impl Iterator<Item = &Payload> {
    let args = task.args.iter().map(|(_, value)| value);
    let kwargs = task.kwargs.iter().map(|(_, _, value)| value);
    std::iter::once(&task.function).chain(&task.hooks).chain(args).chain(kwargs)
}

fn inline_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Bytes(bytes) => bytes.len(),
        Payload::File(_) => 0,
    }
}

struct Packer<'a> {
    spool: &'a Spool,
    spill: bool,
    spilled: Vec<PathBuf>,
}

impl Packer<'_> {
    fn task(&mut self, task: &Task) -> io::Result<frames::Task> {
        let args = task
            .args
            .iter()
            .map(|(node, value)| Ok(frames::Argument { node: node.0, value: self.blob(value)? }));
        let args = args.collect::<io::Result<_>>()?;
        let kwargs = task.kwargs.iter().map(|(name, node, value)| {
            let (name, value) = (name.clone(), self.blob(value)?);
            Ok(frames::KeywordArgument { name, node: node.0, value })
        });
        let kwargs = kwargs.collect::<io::Result<_>>()?;
        Ok(frames::Task {
            attempt: task.attempt.to_bits(),
            dispatch: task.dispatch.as_str().to_owned(),
            node: task.node.0,
            function: self.blob(&task.function)?,
            hooks: task.hooks.as_ref().map(|hooks| self.blob(hooks)).transpose()?,
            run_callables: task.run_callables,
            args,
            kwargs,
            work_dir: task.work_dir.as_ref().map(|folder| frames::WorkDir {
                path: path_bytes(&folder.path),
                unique: folder.unique,
            }),
        })
    }

    fn blob(&mut self, payload: &Payload) -> io::Result<Blob> {
        let bytes = match payload {
            Payload::File(path) => return Ok(Blob::File(path_bytes(path))),
            Payload::Bytes(bytes) => bytes,
        };
        if !self.spill || bytes.len() < SPILL_BYTES_MIN {
            return Ok(Blob::Inline(bytes.to_vec()));
        }
        let path = self.spool.file(&format!("input{}", self.spilled.len()));
        self.spilled.push(path.clone());
        std::fs::write(&path, bytes)?;
        Ok(Blob::File(path_bytes(&path)))
    }
}

fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// A payload that a runner sent. A file must be the one that it was told to write: `None` if it
/// names another.
pub(crate) fn payload(blob: Blob, expected: &Path) -> Option<Payload> {
    match blob {
        Blob::Inline(bytes) => Some(Payload::Bytes(bytes.into())),
        Blob::File(path) => {
            let path = PathBuf::from(OsString::from_vec(path));
            (path == expected).then_some(Payload::File(path))
        }
    }
}
