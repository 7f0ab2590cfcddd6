//! What can go wrong at the command line, what to do about it, and the exit code.

use std::io;
use std::path::PathBuf;

use miette::Diagnostic;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Done,
    Failed,
    NotRunning,
    OtherOptions,
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Done => 0,
            Code::Failed => 1,
            // 2 is the code of a command line that cannot be read.
            Code::NotRunning => 3,
            Code::OtherOptions => 4,
        })
    }
}

/// Why a command could not be done.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum Error {
    #[error(
        "there is no folder to keep the server's state in: neither XDG_STATE_HOME nor HOME is set"
    )]
    #[diagnostic(help("set HOME, or XDG_STATE_HOME to an absolute path"))]
    NoStateFolder,
    #[error("{what} {} cannot be used", path.display())]
    #[diagnostic(help("make sure that this user may read and write it"))]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is damaged", path.display())]
    #[diagnostic(help("remove it; a server that still runs has to be stopped by hand then"))]
    Record { path: PathBuf, source: serde_json::Error },
    #[error("there is no program `cov-server` beside {} or on PATH", beside.display())]
    #[diagnostic(help("install both programs into the same folder"))]
    NoServerProgram { beside: PathBuf },
    #[error("the server did not start ({how})")]
    #[diagnostic(help("{}", server_said(said, log)))]
    NotStarted { how: String, said: String, log: PathBuf },
    #[error("a server runs already, with other options, at {address} (process {pid})")]
    #[diagnostic(help("`cov restart` with these options, or `cov stop` first"))]
    OtherOptions { address: String, pid: u32 },
    #[error("the server (process {pid}) has not ended within {seconds} seconds")]
    #[diagnostic(help(
        "it waits for what is under way, as long as its grace period says; `cov stop --now` does not"
    ))]
    StillRunning { pid: u32, seconds: u64 },
    #[error("there is no log at {}", path.display())]
    #[diagnostic(help("`cov start` starts a server, which writes one"))]
    NoLog { path: PathBuf },
    #[error("the server lives (process {pid}) but does not answer as it should")]
    #[diagnostic(help("`cov logs` shows what it does; `cov restart` starts it anew"))]
    NoAnswer { pid: u32, source: cov_client::Error },
    #[error("{what} was not done")]
    #[diagnostic(help("`cov logs` shows what the server says of it"))]
    Refused { what: &'static str, source: cov_client::Error },
    #[error("{} exists", path.display())]
    #[diagnostic(help("choose another name, or replace it with --force"))]
    Exists { path: PathBuf },
    #[error("what the server sent is no backup: {source}")]
    #[diagnostic(help("`cov logs` shows why, if the server broke it off; nothing was kept"))]
    Backup { source: cov_core::backup::Error },
    #[error("the backup was not restored ({how})")]
    #[diagnostic(help("{}", said.trim()))]
    NotRestored { how: String, said: String },
    #[error("{what} does not work")]
    System { what: &'static str, source: io::Error },
    #[error("the option {0:?} is no text")]
    #[diagnostic(help("use a path that is valid UTF-8"))]
    NoText(std::ffi::OsString),
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

impl Error {
    /// The exit code that the error stands for.
    pub(crate) fn exit_code(&self) -> Code {
        match self {
            Self::OtherOptions { .. } => Code::OtherOptions,
            Self::NoStateFolder
            | Self::File { .. }
            | Self::Record { .. }
            | Self::NoServerProgram { .. }
            | Self::NotStarted { .. }
            | Self::StillRunning { .. }
            | Self::NoLog { .. }
            | Self::NoAnswer { .. }
            | Self::Refused { .. }
            | Self::Exists { .. }
            | Self::Backup { .. }
            | Self::NotRestored { .. }
            | Self::System { .. }
            | Self::NoText(_)
            | Self::Output(_) => Code::Failed,
        }
    }

    /// Whether the reader of the output went away, which is its right.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn server_said(said: &str, log: &std::path::Path) -> String {
    let log = log.display();
    match said.trim() {
        "" => format!("it said nothing; its log is {log}"),
        said => format!("it said:\n{said}\nIts log is {log}"),
    }
}
