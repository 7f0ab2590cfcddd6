//! The program `cov-server`: command line, configuration, logs, run, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use cov_server::args::Args;
use cov_server::{Config, Error};

fn main() -> ExitCode {
    cov_server::init();
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let args = match Args::parse(std::env::args_os(), environment.collect()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if the error stream is closed.
            writeln!(std::io::stderr(), "cov-server: {}", error.report()).ok();
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    if args.print_config {
        let text = Config::print(&args.sources)?;
        let written = std::io::stdout().write_all(text.as_bytes());
        return written.map_err(|source| failed("the standard output", source));
    }
    let config = Config::load(&args.sources)?;
    if args.own_session {
        // Refused to a process that leads its group already; then it has its session.
        rustix::process::setsid().ok();
    }
    cov_server::telemetry::install(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| failed("the event loop", source))?;
    match &args.restore {
        Some(archive) => runtime.block_on(cov_server::restore(archive, &config)),
        None => runtime.block_on(cov_server::run(config)),
    }
}

fn failed(part: &'static str, source: std::io::Error) -> Error {
    Error::Part { part, source: Box::new(source) }
}
