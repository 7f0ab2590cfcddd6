//! A home of its own for each test, and what the programs say in it. No server outlives its home.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) struct Place {
    home: tempfile::TempDir,
}

/// What a command said. Everything that differs between runs is masked.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        build_server();
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `cov` with these arguments, in an environment without settings.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cov"));
        command
            .args(line.split_ascii_whitespace())
            .env_clear()
            .env("HOME", self.home.path())
            .env("NO_COLOR", "1")
            // A usable Python is not needed here, and none is looked for.
            .env("COV_PYTHON", "/no/python")
            .env("COV_LISTEN", "127.0.0.1:0")
            .current_dir(self.home.path());
        command
    }

    pub(crate) fn cov(&self, line: &str) -> Said {
        self.said(&self.command(line).output().unwrap())
    }

    pub(crate) fn said(&self, output: &Output) -> Said {
        Said {
            code: output.status.code().expect("no signal ended it"),
            out: self.mask(&output.stdout),
            errors: self.mask(&output.stderr),
        }
    }

    /// The server as the JSON status shows it.
    pub(crate) fn status(&self) -> serde_json::Value {
        let output = self.command("--json status").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.status()["pid"].as_i64().unwrap()).unwrap()
    }

    fn mask(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let text = text.replace(self.home.path().to_str().unwrap(), "[HOME]");
        let mut masked = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
            let (before, from) = rest.split_at(at);
            let end = from.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(from.len());
            // Ports are long, and addresses and versions have shorter numbers; process ids begin
            // again with short ones.
            let is_process = before.trim_end().ends_with("process") || before.ends_with("\"pid\":");
            let number = if end > 3 || is_process { "[N]" } else { &from[..end] };
            masked.push_str(before);
            masked.push_str(number);
            rest = &from[end..];
        }
        masked + rest
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let record = self.path(".local/state/cov/server.json");
        let Ok(text) = std::fs::read(record) else { return };
        let Ok(record) = serde_json::from_slice::<serde_json::Value>(&text) else { return };
        let pid = record["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw).filter(|pid| is_server(*pid)) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

fn is_server(pid: Pid) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    name.is_ok_and(|name| name.trim() == "cov-server")
}

/// The server's program stands beside this one once the workspace is built; a build of this
/// package alone does not make it.
fn build_server() {
    if server().is_file() {
        return;
    }
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "cov-server"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success() && server().is_file(), "cargo build -p cov-server");
}

/// A program with Rust electrons, which dispatches itself to the server that it is told of.
pub(crate) fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_cov")).with_file_name("examples").join("served");
    if !program.is_file() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "cov", "--features", "client"])
            .args(["--example", "served"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success() && program.is_file(), "cargo build -p cov --examples");
    }
    program
}

pub(crate) fn server() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_cov")).with_file_name("cov-server")
}
