//! Spans as OpenTelemetry has them, sent by OTLP over HTTP. The variables that the specification
//! names say where to and how: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and the like.
//! Decides nothing about what is a span.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::{Builder, Runtime};
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// Without one of these, nothing is sent.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// What the service is called if `OTEL_SERVICE_NAME` does not say.
const SERVICE: &str = "cov-server";
/// How long one parcel of spans may take.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the last parcel may take while the program ends.
const LAST_TIME_MAX: Duration = Duration::from_secs(3);

/// The spans on their way.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
    /// Where parcels are sent from: a loop of its own, since the spans of a busy server must
    /// not wait for it, nor for its end.
    _sending: Arc<Runtime>,
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_TIME_MAX) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Begins to send spans, if the environment says where to.
pub(super) fn begin<S>() -> Option<(Traces, impl Layer<S> + Send + Sync)>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if ENDPOINTS.iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty())) {
        return None;
    }
    let sending = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otel")
        .enable_all()
        .build()
        .ok()
        .map(Arc::new)?;
    let client = {
        let _entered = sending.enter();
        HyperClient::with_default_connector(SEND_TIME_MAX, None)
    };
    let client = OnItsOwn { client: Arc::new(client), sending: Arc::clone(&sending) };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
    let exporter = exporter
        .inspect_err(|error| {
            // The log is not there yet: whoever set the variable looks at the collector first.
            eprint(&format!("spans are not sent: {error}"));
        })
        .ok()?;
    let resource = Resource::builder();
    let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource.build(),
        None => resource.with_service_name(SERVICE).build(),
    };
    let provider =
        SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE))
        .with_location(false)
        .with_threads(false)
        .with_filter(filter_fn(is_ours));
    Some((Traces { provider, _sending: sending }, layer))
}

/// Our own spans and what is said within them, not those of libraries: the one that sends spans
/// would make some by sending.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("cov") && *metadata.level() <= tracing::Level::INFO
}

/// Makes the span of a request a part of the trace that its client has begun.
pub(super) fn continue_trace(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    if let Err(error) = span.set_parent(context) {
        tracing::debug!(%error, "a request stays outside of its client's trace");
    }
}

fn eprint(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell if the error stream is closed.
    writeln!(std::io::stderr(), "cov-server: {text}").ok();
}

/// Sends from a loop of its own, whoever asks: the exporter has a thread without one.
#[derive(Debug)]
struct OnItsOwn {
    client: Arc<HyperClient>,
    sending: Arc<Runtime>,
}

#[async_trait]
impl HttpClient for OnItsOwn {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.client);
        self.sending.spawn(async move { client.send_bytes(request).await }).await?
    }
}
