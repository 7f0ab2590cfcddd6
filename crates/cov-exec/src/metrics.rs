//! What is counted about runners. Reads no clock and knows no task.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Runners that something else makes, as label values.
const MADE: [&str; 2] = ["python", "program"];

/// What a command is called: its process is a runner for one task.
pub(crate) const COMMAND: &str = "command";

/// Counts starts and ends of runners. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    starts: Family<KindLabels, Counter>,
    ends: Family<EndLabels, Counter>,
    makers: Family<KindLabels, Counter>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndLabels {
    kind: &'static str,
    cause: &'static str,
}

/// Why a runner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its task was killed, as somebody asked.
    Killed,
    /// It died under its task.
    Died,
    /// It had no task.
    Idle,
    /// It was there for one task, and that has ended.
    Done,
}

impl Cause {
    const ALL: [Self; 4] = [Self::Killed, Self::Died, Self::Idle, Self::Done];

    fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Died => "died",
            Self::Idle => "idle",
            Self::Done => "done",
        }
    }
}

impl Metrics {
    /// Metrics that `registry` shows, from zero.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for kind in MADE {
            drop(metrics.makers.get_or_create(&KindLabels { kind }));
        }
        for kind in MADE.into_iter().chain([COMMAND]) {
            drop(metrics.starts.get_or_create(&KindLabels { kind }));
            for cause in Cause::ALL {
                drop(metrics.ends.get_or_create(&EndLabels { kind, cause: cause.as_str() }));
            }
        }
        registry.register(
            "cov_runner_starts",
            "Runner processes that were asked for",
            metrics.starts.clone(),
        );
        registry.register(
            "cov_runner_ends",
            "Runner processes that are gone: killed as asked, died under a task, idle, or done",
            metrics.ends.clone(),
        );
        registry.register(
            "cov_runner_maker_starts",
            "Starts of what makes runners: more than one is a restart, or the end of a rest",
            metrics.makers.clone(),
        );
        metrics
    }

    pub(crate) fn started(&self, kind: &'static str) {
        self.starts.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn ended(&self, kind: &'static str, cause: Cause) {
        self.ends.get_or_create(&EndLabels { kind, cause: cause.as_str() }).inc();
    }

    pub(crate) fn maker_started(&self, kind: &'static str) {
        self.makers.get_or_create(&KindLabels { kind }).inc();
    }
}
