//! A whole program around a server: command line, configuration, logs, signals, exit code. Starts
//! and stops the server, and knows nothing of its parts.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use cov_store::SqliteStore;

use crate::args::Args;
use crate::config::Config;
use crate::error::Error;
use crate::notify::Notifier;
use crate::server::{Builder, Server};
use crate::signal::Signals;
use crate::triggers::TriggerServer;

/// Files that may be open at once, if the system allows so many: connections, contents, pipes of
/// runners.
const OPEN_FILES_MAX: u64 = 16 * 1024;

/// The program `cov-server`, with what `extend` adds to it: the whole of a `main`. It takes the same
/// options, variables and files, prints the same and ends with the same codes.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     cov_server::main(|server| server)
/// }
/// ```
pub fn main(extend: impl FnOnce(Builder) -> Builder) -> ExitCode {
    crate::init();
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let args = match Args::parse(std::env::args_os(), environment.collect()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match run(&args, extend) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if the error stream is closed.
            writeln!(io::stderr(), "cov-server: {}", error.report()).ok();
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &Args, extend: impl FnOnce(Builder) -> Builder) -> Result<(), Error> {
    if args.print_config {
        let text = Config::print(&args.sources)?;
        let written = io::stdout().write_all(text.as_bytes());
        return written.map_err(|source| failed("the standard output", source));
    }
    let listens = args.restore.is_none() && args.create_token.is_none() && args.database.is_none();
    let config = match listens {
        true => Config::load(&args.sources)?,
        false => Config::load_for_upkeep(&args.sources)?,
    };
    if args.own_session {
        // Refused to a process that leads its group already; then it has its session.
        rustix::process::setsid().ok();
    }
    if args.with_parent.is_some_and(|parent| !end_with(parent)) {
        return Ok(());
    }
    let _telemetry = crate::telemetry::install(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| failed("the event loop", source))?;
    if let Some(task) = args.database {
        return runtime.block_on(crate::database::run(task, &config));
    }
    match (&args.restore, &args.create_token) {
        (Some(archive), _) => runtime.block_on(restore(archive, &config)),
        (None, Some(name)) => runtime.block_on(create_token(name, &config)),
        (None, None) => {
            let builder = match args.with_parent {
                // It lives as long as one run, which may be of commands alone.
                Some(_) => Builder::new(config).cold(),
                None => Builder::new(config),
            };
            runtime.block_on(serve(extend(builder)))
        }
    }
}

fn failed(part: &'static str, source: io::Error) -> Error {
    Error::Part { part, source: Box::new(source) }
}

/// Has this process asked to stop when the process that started it is gone. False if it is gone
/// already. Nothing may have started a thread yet: the system tells the thread that asks.
fn end_with(parent: u32) -> bool {
    let asked =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    if let Err(error) = asked {
        // The server then has to be stopped by hand, and runs well until then.
        tracing::warn!(%error, "the end of the parent will not be noticed");
    }
    std::os::unix::process::parent_id() == parent
}

/// Runs a server until a signal ends it. Prints one line on the standard output when it is ready.
async fn serve(builder: Builder) -> Result<(), Error> {
    let part = "the handling of signals";
    let mut signals =
        Signals::catch().map_err(|source| Error::Part { part, source: Box::new(source) })?;
    raise_file_limit();
    let mut server = tokio::select! {
        server = Running::start(builder) => server?,
        (name, _) = signals.next() => {
            tracing::info!(signal = name, "asked to stop before the start was complete");
            return Ok(());
        }
    };
    announce(&server.url());
    let notifier = Notifier::from_environment();
    notifier.ready(&server.url());
    let outcome = tokio::select! {
        (name, _) = signals.next() => {
            tracing::info!(signal = name, "asked to stop");
            Ok(())
        }
        error = server.ended() => Err(error),
    };
    signals.exit_on_next();
    outcome?;
    notifier.stopping();
    server.stop().await;
    Ok(())
}

/// Fills the data directory from a backup, and says on the standard output, in one line of JSON,
/// what was brought back.
///
/// # Errors
/// The directory is not empty, the archive is no whole backup, or the disk does not do its part;
/// the directory is as it was.
pub async fn restore(archive: &Path, config: &Config) -> Result<(), Error> {
    let failed = |source| Error::Restore { path: archive.to_path_buf(), source };
    let restored = SqliteStore::restore(archive, &config.data_dir).await.map_err(failed)?;
    let said = serde_json::json!({
        "data_dir": std::path::absolute(&config.data_dir).unwrap_or(config.data_dir.clone()),
        "dispatches": restored.dispatches,
        "contents": restored.contents,
        "bytes": restored.bytes,
    });
    writeln!(io::stdout(), "{said}").map_err(|source| {
        let part = "the standard output";
        Error::Part { part, source: Box::new(source) }
    })
}

/// Makes a token with every right in the data directory of a server that does not run, and writes
/// it, alone on a line, to the standard output.
///
/// # Errors
/// The directory cannot be used, or has a token of this name.
pub async fn create_token(name: &str, config: &Config) -> Result<(), Error> {
    let token = crate::access::create_token(name, config).await?;
    writeln!(io::stdout(), "{}", token.as_str()).map_err(|source| {
        let part = "the standard output";
        Error::Part { part, source: Box::new(source) }
    })
}

/// One of the two kinds of servers.
#[derive(Debug)]
enum Running {
    Whole(Box<Server>),
    TriggersOnly(Box<TriggerServer>),
}

impl Running {
    async fn start(builder: Builder) -> Result<Self, Error> {
        match builder.config().triggers_only {
            true => Ok(Self::TriggersOnly(Box::new(builder.start_triggers_only().await?))),
            false => Ok(Self::Whole(Box::new(builder.start().await?))),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Whole(server) => server.url(),
            Self::TriggersOnly(server) => server.url(),
        }
    }

    async fn ended(&mut self) -> Error {
        match self {
            Self::Whole(server) => server.ended().await,
            Self::TriggersOnly(server) => server.ended().await,
        }
    }

    async fn stop(self) {
        match self {
            Self::Whole(server) => server.stop().await,
            Self::TriggersOnly(server) => server.stop().await,
        }
    }
}

fn announce(url: &str) {
    let mut out = io::stdout().lock();
    let line = writeln!(out, "cov-server ready at {url}");
    if let Err(error) = line.and_then(|()| out.flush()) {
        tracing::debug!(error = %error, "nobody reads the standard output");
    }
}

fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES_MAX, |maximum| maximum.min(OPEN_FILES_MAX));
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %error, "the limit of open files stays as it is");
    }
}
