//! The program `cov`: reads the command line, runs one command, shows what came of it. Talks to a
//! server over HTTP and starts the program `cov-server`; it holds no part of the server itself.

mod analysis;
mod args;
mod bars;
mod clock;
mod commands;
mod context;
mod covalent;
mod error;
mod find;
mod output;
mod plain;
mod server_process;
mod view;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{ColorChoice, Parser as _};

use crate::args::Args;
use crate::context::Context;
use crate::output::{Printer, Screen};

fn main() -> ExitCode {
    let Args { json, color, server, command } = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return told_by_clap(&error),
    };
    output::prepare(match color {
        ColorChoice::Auto => None,
        ColorChoice::Always => Some(true),
        ColorChoice::Never => Some(false),
    });
    let printer = Printer::new(json, Screen::of_stdout(color, clock::now()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let context = Context::new(printer, server)?;
            commands::run(command, &context).await
        }),
        Err(source) => Err(error::Error::System { what: "the event loop", source }),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            // Nobody is left to tell if the error stream is closed.
            writeln!(std::io::stderr(), "{}", error.told(json).trim_end()).ok();
            code.into()
        }
    }
}

/// What cannot be read as a command line, and what was asked for by `--help`.
fn told_by_clap(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|word| word == "--json");
    if error.use_stderr() && wants_json {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let said = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let hint = "`cov help COMMAND` explains the options of a command".to_owned();
        let told = error::Error::Usage { said, hint }.told(true);
        // Nobody is left to tell if the error stream is closed.
        writeln!(std::io::stderr(), "{told}").ok();
        return error::Code::Usage.into();
    }
    error.print().ok();
    let code = u8::try_from(error.exit_code()).unwrap_or(error::Code::Usage.number());
    ExitCode::from(code)
}
