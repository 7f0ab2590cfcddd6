//! `TransportableObject`s, and messages of runners that carry them.

use bytes::Bytes;
use cov_core::frames::{Argument, Blob, FromRunner, Outcome, Task, ToRunner};
use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};

/// An object as the SDK makes it, with `size` bytes of data that do not repeat soon.
#[must_use]
pub fn object(size: usize, encoding: Encoding) -> TransportableObject {
    let data: Bytes = (0..size).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
    let header = Header {
        py_version: "3.11.7".into(),
        cloudpickle_version: "3.1.1".into(),
        attrs: Attributes { doc: None, name: "task".into() },
        encoding,
    };
    TransportableObject { header, object_string: "<function task>".into(), data }
}

/// What the server sends for one task: a function and one argument, of 500 bytes each.
#[must_use]
pub fn task_message() -> ToRunner {
    let blob = || Blob::Inline(object(500, Encoding::Cloudpickle).to_archive());
    let task = Task {
        attempt: 1 << 32 | 7,
        dispatch: "0b1c7a52-5f3e-4c39-9f0a-3f1a2f0f9b11".into(),
        node: 7,
        function: blob(),
        hooks: None,
        run_callables: true,
        args: vec![Argument { node: 6, value: blob() }],
        kwargs: Vec::new(),
        work_dir: None,
    };
    ToRunner::Run(vec![task])
}

/// What a runner answers: an output of 500 bytes, and nothing printed.
#[must_use]
pub fn ended_message() -> FromRunner {
    let output = Blob::Inline(object(500, Encoding::Cloudpickle).to_archive());
    let nothing = || Blob::Inline(Vec::new());
    FromRunner::Ended {
        attempt: 1 << 32 | 7,
        outcome: Outcome::Completed(output),
        stdout: nothing(),
        stderr: nothing(),
    }
}
