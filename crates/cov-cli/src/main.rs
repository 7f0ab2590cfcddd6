//! The program `cov`: reads the command line, runs one command, shows what came of it. Talks to a
//! server over HTTP and starts the program `cov-server`; it holds no part of the server itself.

mod args;
mod commands;
mod error;
mod output;
mod server_process;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;
use crate::output::Printer;

fn main() -> ExitCode {
    let args = Args::parse();
    output::prepare();
    let printer = Printer::new(args.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(args.command, &printer)),
        Err(source) => Err(error::Error::System { what: "the event loop", source }),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            // Nobody is left to tell if the error stream is closed.
            writeln!(std::io::stderr(), "{:?}", miette::Report::new(error)).ok();
            code.into()
        }
    }
}
