//! `cov version`: of this program, of the server that runs, and of the one that would be started.

use tokio::process::Command;

use crate::commands::client;
use crate::error::{Code, Error};
use crate::output::{Printer, Version};
use crate::server_process::{State, program};

pub(super) async fn run(state: &State, printer: &Printer) -> Result<Code, Error> {
    let running = match state.running()? {
        Some(record) => client(&record)?.health().await.ok().and_then(|health| health.version),
        None => None,
    };
    let report = Version {
        client: env!("CARGO_PKG_VERSION"),
        server_installed: installed().await,
        server_running: running,
    };
    printer.print(&report)?;
    Ok(Code::Done)
}

/// What the server's program says of itself, if there is one.
pub(super) async fn installed() -> Option<String> {
    let output = Command::new(program().ok()?).arg("--version").output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_ascii_whitespace().last().map(str::to_owned)
}
