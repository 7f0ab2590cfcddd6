//! `cov config`: the settings of the server, as its program reads them.

use std::process::Stdio;

use tokio::process::Command;

use crate::args::{Config, ServerOptions};
use crate::commands::start::given;
use crate::context::Context;
use crate::error::{Code, Error};
use crate::server_process::{FATAL, program};
use crate::view::upkeep::Settings;

pub(super) async fn run(context: &Context, config: &Config) -> Result<Code, Error> {
    let settings = settings(context, &config.server).await?;
    context.printer.print(&settings)?;
    Ok(Code::Done)
}

/// The settings: with the options of the server that runs, unless others are given.
pub(super) async fn settings(
    context: &Context,
    options: &ServerOptions,
) -> Result<Settings, Error> {
    let (mut options, mut folder) = given(options)?;
    let running = context.state.running()?.filter(|_| options.is_empty());
    let of_running = running.is_some();
    if let Some(record) = running {
        (options, folder) = (record.options, record.folder);
    }
    let output = Command::new(program()?)
        .arg("--print-config")
        .args(&options)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|source| Error::System { what: "cov-server", source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.strip_prefix(FATAL).unwrap_or(&said).to_owned();
        let what = "the settings cannot be used";
        return Err(Error::ServerProgram { what, how: output.status.to_string(), said });
    }
    Ok(Settings::read(&String::from_utf8_lossy(&output.stdout), of_running))
}
