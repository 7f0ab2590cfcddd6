//! `cov restore`: an empty data directory is filled from a backup, by the server's program, which
//! alone knows what is kept in it.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::args::Restore;
use crate::error::{Code, Error};
use crate::output::{Printer, Restored};
use crate::server_process::{FATAL, program};

pub(super) async fn run(restore: &Restore, printer: &Printer) -> Result<Code, Error> {
    let Restore { file, data_dir, config } = restore;
    let mut command = Command::new(program()?);
    let mut put = |flag: &str, path: &Path| {
        command.arg(flag).arg(path);
    };
    put("--restore", file);
    for (flag, path) in [("--data-dir", data_dir), ("--config", config)] {
        if let Some(path) = path {
            put(flag, path);
        }
    }
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.map_err(|source| Error::System { what: "cov-server", source })?;
    let restored = serde_json::from_slice::<Restored>(&output.stdout);
    match restored {
        Ok(restored) if output.status.success() => {
            printer.print(&restored)?;
            Ok(Code::Done)
        }
        Ok(_) | Err(_) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.strip_prefix(FATAL).unwrap_or(&said).to_owned();
            let what = "the backup was not restored";
            Err(Error::ServerProgram { what, how: output.status.to_string(), said })
        }
    }
}
