//! Runs other programs: quietly with a log and a heartbeat, or for the text they print.
//!
//! Never uses a shell, and never leaves a child behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{repo, say};

/// After this much silence a running step says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// How much of a failed program's output is shown; the rest is in its log.
const TAIL_LINES: usize = 120;

/// Runs a program with its output in `target/xtask/<name>.log`, and shows the end of that log when it fails.
///
/// Returns the log's text.
///
/// # Errors
///
/// When the program cannot be started, or fails.
pub(crate) fn logged(name: &str, command: &mut Command) -> anyhow::Result<String> {
    let log = log_path(name)?;
    let file = File::create(&log).with_context(|| log.display().to_string())?;
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let status = wait_with_heartbeat(name, child, &log)?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    if !status.success() {
        say::line(&format!("---- the end of {}", log.display()));
        say::line(&tail(&text, TAIL_LINES));
        say::line("----");
        anyhow::bail!("{name}: {status}");
    }
    Ok(text)
}

/// Runs a program and returns what it printed.
///
/// # Errors
///
/// When the program cannot be started, or fails: the error carries its complaint.
pub(crate) fn text(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("{program}: {}: {}", output.status, tail(complaint.trim(), 20));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path of a step's log; makes the directory.
///
/// # Errors
///
/// When the build directory cannot be written.
pub(crate) fn log_path(name: &str) -> anyhow::Result<PathBuf> {
    let folder = repo::target().join("xtask");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder.join(format!("{}.log", name.replace([' ', '/'], "-"))))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A duration as a person reads it, such as `7.3 s` or `2 min 5 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 100 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

fn wait_with_heartbeat(name: &str, mut child: Child, log: &Path) -> anyhow::Result<ExitStatus> {
    let started = Instant::now();
    let (ended, end) = mpsc::sync_channel(1);
    let waiter = std::thread::spawn(move || {
        let status = child.wait();
        // The receiver waits for this message and for nothing else.
        ended.send(status).ok();
    });
    let status = loop {
        match end.recv_timeout(HEARTBEAT) {
            Ok(status) => break status?,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let last =
                    std::fs::read_to_string(log).map(|text| tail(&text, 1)).unwrap_or_default();
                let last: String = last.chars().take(100).collect();
                say::line(&format!(
                    "    {name}: {} so far; last line: {last}",
                    seconds(started.elapsed())
                ));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                anyhow::bail!("{name}: nobody waited for its end")
            }
        }
    };
    waiter.join().ok();
    Ok(status)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{logged, seconds, tail, text};

    #[test]
    fn output_is_returned_and_failures_carry_the_complaint() {
        assert_eq!(text(Command::new("echo").arg("hello")).unwrap(), "hello\n");
        let error = text(Command::new("sh").args(["-c", "echo broken >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("broken") && error.contains('3'), "{error}");
        assert!(text(&mut Command::new("no-such-program-anywhere")).is_err());
    }

    #[test]
    fn a_log_holds_both_streams() {
        let text = logged("test of run", Command::new("sh").args(["-c", "echo out; echo err >&2"]))
            .unwrap();
        assert_eq!(text, "out\nerr\n");
        assert!(logged("test of failure", &mut Command::new("false")).is_err());
    }

    #[test]
    fn texts_for_people() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
        assert_eq!(seconds(Duration::from_millis(7_250)), "7.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
