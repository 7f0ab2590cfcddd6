//! `cov completions` and `cov man`: made from the command line itself.

use std::fs;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::{Args, Man};
use crate::error::{Code, Error};
use crate::output::Printer;

/// Writes the completions of a shell.
pub(super) fn completions(shell: Shell, printer: &Printer) -> Result<Code, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "cov", &mut script);
    printer.raw(&script)?;
    Ok(Code::Done)
}

/// Writes the first page of the manual, or all of them into a folder.
pub(super) fn pages(man: &Man, printer: &Printer) -> Result<Code, Error> {
    let Some(folder) = &man.output else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Args::command()).render(&mut page).map_err(Error::Output)?;
        printer.raw(&page)?;
        return Ok(Code::Done);
    };
    let failed = |source| Error::File { what: "the folder", path: folder.clone(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Args::command(), folder).map_err(failed)?;
    Ok(Code::Done)
}
