//! What is counted about triggers: how events were decided, and how late. Labels name outcomes,
//! never triggers.

use cov_core::trigger::{Firing, Outcome};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counts decisions. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    firings: Family<OutcomeLabels, Counter>,
    lag: Histogram,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let lag = Histogram::new(exponential_buckets(0.001, 4.0, 10));
        Self { firings: Family::default(), lag }
    }
}

impl Metrics {
    /// Metrics that `registry` shows, from zero.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for outcome in [Outcome::Fired, Outcome::Queued, Outcome::Skipped, Outcome::Failed] {
            drop(metrics.firings.get_or_create(&OutcomeLabels { outcome: word(outcome) }));
        }
        registry.register(
            "cov_trigger_events",
            "Decisions about events of triggers, by what was decided",
            metrics.firings.clone(),
        );
        registry.register(
            "cov_trigger_lag_seconds",
            "Time from an event, or when it was due, to the dispatch that it made",
            metrics.lag.clone(),
        );
        metrics
    }

    pub(crate) fn decided(&self, firing: &Firing) {
        let outcome = word(firing.outcome);
        self.firings.get_or_create(&OutcomeLabels { outcome }).inc();
        if firing.outcome == Outcome::Fired {
            self.lag.observe(firing.decided_at.since(firing.due_at).as_secs_f64());
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Fired => "fired",
        Outcome::Queued => "queued",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failed",
    }
}
