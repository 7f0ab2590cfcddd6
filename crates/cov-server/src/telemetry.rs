//! Logs and traces: where they go and in which form. Standard output stays free for the line that
//! says the server is ready.

#[cfg(feature = "otel")]
mod otel;

use std::io::IsTerminal as _;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{Config, LogFormat};

/// Reads what `log_level` says.
pub(crate) fn directives(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(level)
}

/// What is on its way to the collector of traces. Dropping it sends the last spans, which takes a
/// moment if the collector does not answer.
#[derive(Debug, Default)]
#[must_use = "the last spans are sent when it is dropped"]
pub struct Telemetry {
    #[cfg(feature = "otel")]
    _traces: Option<otel::Traces>,
}

/// Sends the logs of this process to its error stream, and its spans to the collector that
/// `OTEL_EXPORTER_OTLP_ENDPOINT` names, if this program was built with the feature `otel`. A
/// second call changes nothing.
pub fn install(config: &Config) -> Telemetry {
    let filter = directives(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let logs = match config.log_format {
        LogFormat::Human => logs.with_filter(filter).boxed(),
        LogFormat::Json => logs.json().flatten_event(true).with_filter(filter).boxed(),
    };
    #[cfg(feature = "otel")]
    let (traces, spans) = otel::begin().unzip();
    #[cfg(not(feature = "otel"))]
    let spans: Option<tracing_subscriber::layer::Identity> = None;
    if tracing_subscriber::registry().with(logs).with(spans).try_init().is_err() {
        tracing::debug!("logs go where an earlier call sent them");
        return Telemetry::default();
    }
    Telemetry {
        #[cfg(feature = "otel")]
        _traces: traces,
    }
}

/// Who makes the spans of requests a part of the traces that clients have begun.
pub(crate) fn continue_trace() -> Option<cov_http::ContinueTrace> {
    #[cfg(feature = "otel")]
    return Some(otel::continue_trace);
    #[cfg(not(feature = "otel"))]
    None
}
