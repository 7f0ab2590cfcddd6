//! What can go wrong at the command line, what to do about it, and the exit code.

use std::io;
use std::path::PathBuf;

use miette::Diagnostic;
use serde::Serialize;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Done,
    Failed,
    Usage,
    Unreachable,
    OtherOptions,
    NotFound,
    Interrupted,
}

impl Code {
    /// The number that the caller sees.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::OtherOptions => 4,
            Self::NotFound => 5,
            // As of a program that the signal ended.
            Self::Interrupted => 130,
        }
    }
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
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
    #[error("no server can be reached at {address}: {}", root(cause))]
    #[diagnostic(help("{hint}"))]
    Unreachable { address: String, hint: &'static str, cause: cov_client::Error },
    #[error("{what} was not done")]
    #[diagnostic(help("{hint}"))]
    Refused { what: &'static str, hint: String, source: cov_client::Error },
    #[error("the server refused: {said}")]
    #[diagnostic(help("{hint}"))]
    Answered { said: String, hint: String },
    #[error("{said}")]
    #[diagnostic(help("{hint}"))]
    NotFound { said: String, hint: String },
    #[error("{said}")]
    #[diagnostic(help("{hint}"))]
    Impossible { said: String, hint: String },
    #[error("{said}")]
    #[diagnostic(help("{hint}"))]
    Usage { said: String, hint: String },
    #[error("{} exists", path.display())]
    #[diagnostic(help("choose another name, or replace it with --force"))]
    Exists { path: PathBuf },
    #[error("what the server sent is no backup: {source}")]
    #[diagnostic(help("`cov logs` shows why, if the server broke it off; nothing was kept"))]
    Backup { source: cov_core::backup::Error },
    #[error("{what} ({how})")]
    #[diagnostic(help("{}", said.trim()))]
    ServerProgram { what: &'static str, how: String, said: String },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Workflow(Box<cov_cli::workflow::Faults>),
    #[error("{what} does not work")]
    System { what: &'static str, source: io::Error },
    #[error("the option {0:?} is no text")]
    #[diagnostic(help("use a path that is valid UTF-8"))]
    NoText(std::ffi::OsString),
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

/// An error for programs, on the error stream.
#[derive(Debug, Serialize)]
struct Told {
    event: &'static str,
    exit_code: u8,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Error {
    /// Why a server that lives has not said what it was asked for.
    pub(crate) fn no_answer(pid: u32, source: cov_client::Error) -> Self {
        match source.problem().is_some() {
            true => {
                let hint = crate::context::hint_of(&source);
                Self::Refused { what: "the question", hint, source }
            }
            false => Self::NoAnswer { pid, source },
        }
    }

    /// What is wrong with a workflow file.
    pub(crate) fn workflow(faults: cov_cli::workflow::Faults) -> Self {
        Self::Workflow(Box::new(faults))
    }

    /// The exit code that the error stands for.
    pub(crate) fn exit_code(&self) -> Code {
        match self {
            Self::OtherOptions { .. } => Code::OtherOptions,
            Self::Unreachable { .. } | Self::NoAnswer { .. } => Code::Unreachable,
            Self::NotFound { .. } => Code::NotFound,
            Self::Usage { .. } | Self::Workflow(_) => Code::Usage,
            Self::NoStateFolder
            | Self::File { .. }
            | Self::Record { .. }
            | Self::NoServerProgram { .. }
            | Self::NotStarted { .. }
            | Self::StillRunning { .. }
            | Self::NoLog { .. }
            | Self::Refused { .. }
            | Self::Answered { .. }
            | Self::Impossible { .. }
            | Self::Exists { .. }
            | Self::Backup { .. }
            | Self::ServerProgram { .. }
            | Self::System { .. }
            | Self::NoText(_)
            | Self::Output(_) => Code::Failed,
        }
    }

    /// Whether the reader of the output went away, which is its right.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the error stream shows of it.
    pub(crate) fn told(self, json: bool) -> String {
        if !json {
            return format!("{:?}", miette::Report::new(self));
        }
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(&self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        if let Self::Workflow(faults) = &self {
            causes.extend(faults.lines());
        }
        let told = Told {
            event: "error",
            exit_code: self.exit_code().number(),
            message: self.to_string(),
            causes,
            hint: self.help().map(|help| help.to_string()),
        };
        serde_json::to_string(&told).unwrap_or_else(|_error| self.to_string())
    }
}

/// What the system said: the layers above it only repeat that nobody answers.
fn root(error: &cov_client::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn server_said(said: &str, log: &std::path::Path) -> String {
    let log = log.display();
    match said.trim() {
        "" => format!("it said nothing; its log is {log}"),
        said => format!("it said:\n{said}\nIts log is {log}"),
    }
}
