//! The Python side's files, which interpreter runs them, and what to say when none can.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The files of `python/`, which travel in this program.
const FILES: &[(&str, &str)] = &[
    ("start.py", include_str!("../../../../python/start.py")),
    ("cov_runner/__init__.py", include_str!("../../../../python/cov_runner/__init__.py")),
    ("cov_runner/archive.py", include_str!("../../../../python/cov_runner/archive.py")),
    ("cov_runner/capture.py", include_str!("../../../../python/cov_runner/capture.py")),
    ("cov_runner/cgroups.py", include_str!("../../../../python/cov_runner/cgroups.py")),
    ("cov_runner/elsewhere.py", include_str!("../../../../python/cov_runner/elsewhere.py")),
    ("cov_runner/frames.py", include_str!("../../../../python/cov_runner/frames.py")),
    ("cov_runner/hooks.py", include_str!("../../../../python/cov_runner/hooks.py")),
    ("cov_runner/keeper.py", include_str!("../../../../python/cov_runner/keeper.py")),
    ("cov_runner/modules.py", include_str!("../../../../python/cov_runner/modules.py")),
    ("cov_runner/named.py", include_str!("../../../../python/cov_runner/named.py")),
    ("cov_runner/plain.py", include_str!("../../../../python/cov_runner/plain.py")),
    ("cov_runner/processes.py", include_str!("../../../../python/cov_runner/processes.py")),
    ("cov_runner/runner.py", include_str!("../../../../python/cov_runner/runner.py")),
    ("cov_runner/space.py", include_str!("../../../../python/cov_runner/space.py")),
    ("cov_runner/system.py", include_str!("../../../../python/cov_runner/system.py")),
    ("cov_runner/task.py", include_str!("../../../../python/cov_runner/task.py")),
    ("cov_runner/zygote.py", include_str!("../../../../python/cov_runner/zygote.py")),
];

/// What gives a Python everything that tasks of the Covalent SDK need.
const PACKAGE: &str = "covalent==0.240.0";

/// How much of what the interpreter said goes into a message. Bytes.
const SAID_BYTES_MAX: usize = 2_000;

/// Writes the files below `folder`; returns the one to start.
pub(crate) fn install(folder: &Path) -> io::Result<PathBuf> {
    lay_down(FILES, folder)?;
    Ok(folder.join("start.py"))
}

/// Writes these files below `folder`.
pub(crate) fn lay_down(files: &[(&str, &str)], folder: &Path) -> io::Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// An interpreter, and how it was chosen.
#[derive(Debug, Clone)]
pub(crate) struct Interpreter {
    pub(crate) path: PathBuf,
    chosen_by: &'static str,
}

impl Interpreter {
    /// The one that was asked for, else that of the active virtual environment, else the one on
    /// PATH.
    pub(crate) fn choose(asked_for: Option<&Path>) -> Self {
        if let Some(path) = asked_for {
            return Self { path: path.to_owned(), chosen_by: "named by --python" };
        }
        match std::env::var_os("VIRTUAL_ENV").filter(|folder| !folder.is_empty()) {
            Some(folder) => {
                let path = Path::new(&folder).join("bin/python");
                Self { path, chosen_by: "found through VIRTUAL_ENV" }
            }
            None => Self { path: PathBuf::from("python3"), chosen_by: "looked for on PATH" },
        }
    }

    /// What is told when the interpreter could not even be started.
    pub(crate) fn not_started(&self, error: &io::Error) -> String {
        let (path, chosen_by) = (self.path.display(), self.chosen_by);
        format!(
            "No Python to run tasks with: `{path}` ({chosen_by}) cannot be started: {error}. \
             Install Python 3.8 or newer with `python3 -m pip install {PACKAGE}`, or name another \
             interpreter with --python."
        )
    }

    /// What is told when it ended, or was ended, before it could run anything.
    pub(crate) fn not_usable(&self, how: &str, said: &str) -> String {
        let (path, chosen_by) = (self.path.display(), self.chosen_by);
        let mut text = format!("`{path}` ({chosen_by}) cannot run tasks: it {how}.");
        let said = tail(said.trim());
        if !said.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, " It said: {said}");
        }
        let _ = write!(
            text,
            "\nInstall what tasks need with `{path} -m pip install {PACKAGE}`, or name another \
             interpreter with --python."
        );
        text
    }
}

/// In words, how the interpreter ended.
pub(crate) fn how_it_ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(3), _) => "is too old".to_owned(),
        (Some(4), _) => "lacks cloudpickle".to_owned(),
        (Some(5), _) => "lacks covalent".to_owned(),
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(SAID_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or(text)
}
