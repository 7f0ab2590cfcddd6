//! Logs: where they go and in which form. Standard output stays free for the line that says the
//! server is ready.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Config, LogFormat};

/// Reads what `log_level` says.
pub(crate) fn directives(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(level)
}

/// Sends the logs of this process to its error stream. A second call changes nothing.
pub fn install(config: &Config) {
    let filter = directives(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match config.log_format {
        LogFormat::Human => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logs go where an earlier call sent them");
    }
}
