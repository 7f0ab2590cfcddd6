//! `cov restart`: stop and start, with the same options unless others are given.

use crate::args::ServerOptions;
use crate::commands::start::{begin, given};
use crate::error::{Code, Error};
use crate::output::Printer;
use crate::server_process::{self, State};

pub(super) async fn run(
    state: &State,
    options: &ServerOptions,
    printer: &Printer,
) -> Result<Code, Error> {
    let (mut options, mut folder) = given(options)?;
    let lock = state.lock()?;
    if let Some(last) = state.last()?.filter(|_| options.is_empty()) {
        options = last.options;
        folder = last.folder;
    }
    if let Some(record) = state.running()? {
        server_process::stop(&record, false).await?;
    }
    begin(state, &lock, options, folder, printer).await
}
