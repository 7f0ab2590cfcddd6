//! What is counted about requests and connections, and the route that shows all metrics of the
//! server. Labels are route templates, never paths: their number is that of the routes.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use cov_core::error::ErrorCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::error::Refusal;

/// What the text of a scrape is.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What paths are called that lead nowhere.
const NO_ROUTE: &str = "none";

/// Makes the text that `GET /metrics` answers.
#[async_trait]
pub trait Scrape: Debug + Send + Sync + 'static {
    /// Everything that is counted, in the text form of OpenMetrics.
    async fn scrape(&self) -> String;
}

/// Counts requests and connections. Cheap to clone; clones count together. The default counts for
/// nobody, and has nothing to show.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<AnswerLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    connections: Gauge,
    scrape: Option<Arc<dyn Scrape>>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AnswerLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let durations = || Histogram::new(exponential_buckets(0.000_5, 4.0, 10));
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(durations),
            connections: Gauge::default(),
            scrape: None,
        }
    }
}

impl Metrics {
    /// Metrics that `registry` shows.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "cov_http_requests",
            "Requests that were answered, by method, route and status",
            metrics.requests.clone(),
        );
        registry.register(
            "cov_http_request_duration_seconds",
            "Time from the head of a request to the head of its answer, waiting for the end of a dispatch included",
            metrics.durations.clone(),
        );
        registry.register(
            "cov_http_connections",
            "Connections that are open",
            metrics.connections.clone(),
        );
        metrics
    }

    /// Answers `GET /metrics` with what `scrape` makes.
    #[must_use]
    pub fn with_scrape(mut self, scrape: Arc<dyn Scrape>) -> Self {
        self.scrape = Some(scrape);
        self
    }

    /// The number of open connections, for whoever accepts them.
    #[must_use]
    pub fn connections(&self) -> Gauge {
        self.connections.clone()
    }

    fn answered(&self, method: &'static str, route: String, status: u16, seconds: f64) {
        let answer = AnswerLabels { method, route, status };
        self.requests.get_or_create(&answer).inc();
        let AnswerLabels { method, route, .. } = answer;
        self.durations.get_or_create(&RouteLabels { method, route }).observe(seconds);
    }
}

/// Counts a request when its answer begins.
pub(crate) async fn count(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let begin = Instant::now();
    let method = word(request.method());
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let seconds = begin.elapsed().as_secs_f64();
    metrics.answered(method, route, response.status().as_u16(), seconds);
    response
}

/// `GET /metrics`.
pub(crate) async fn show(State(metrics): State<Metrics>) -> Response {
    match &metrics.scrape {
        Some(scrape) => {
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], scrape.scrape().await).into_response()
        }
        None => Refusal::new(ErrorCode::NoRoute, "Not Found").into_response(),
    }
}

/// Clients may make up methods of their own.
fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// One connection, as long as it is open.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Open {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside the tens of microseconds that a request takes.
    #[test]
    fn counting_costs_next_to_nothing() {
        const ROUNDS: u32 = 50_000;
        let metrics = Metrics::register(&mut Registry::default());
        let route = "/api/v2/dispatches/{dispatch}/electrons/{node}/assets/{key}";
        let begin = Instant::now();
        (0..ROUNDS).for_each(|_| metrics.answered("GET", route.to_owned(), 200, 0.001));
        let each = begin.elapsed() / ROUNDS;
        println!("{each:?} for a request");
        assert!(each < std::time::Duration::from_micros(25), "{each:?}");
        let labels = AnswerLabels { method: "GET", route: route.to_owned(), status: 200 };
        assert_eq!(metrics.requests.get_or_create(&labels).get(), u64::from(ROUNDS));
    }
}
