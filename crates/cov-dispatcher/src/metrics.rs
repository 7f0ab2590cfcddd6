//! What is counted about dispatches, tasks and commits. Counts what is durable, at the committer,
//! so that nothing is counted twice by a restart. Labels are words from a short list, never ids.

use std::time::Duration;

use cov_core::error::Fault;
use cov_core::state::{DispatchState, NodeState};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_store::model::{Change, ChangeSet};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counts what becomes durable. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registered: Counter,
    dispatches: Family<StatusLabels, Counter>,
    dispatch_seconds: Histogram,
    tasks: Family<TaskLabels, Counter>,
    task_seconds: Histogram,
    attempts: Counter,
    commit_seconds: Histogram,
    commit_sets: Histogram,
    commit_failures: Counter,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TaskLabels {
    status: &'static str,
    /// Whose fault a failure is; empty for what has not failed.
    fault: &'static str,
}

const FAULTS: [Fault; 6] =
    [Fault::Task, Fault::Runner, Fault::Executor, Fault::Timeout, Fault::Lost, Fault::Server];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            registered: Counter::default(),
            dispatches: Family::default(),
            dispatch_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 12)),
            tasks: Family::default(),
            task_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 13)),
            attempts: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            commit_sets: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            commit_failures: Counter::default(),
        }
    }
}

impl Metrics {
    /// Metrics that `registry` shows, from zero.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for status in ["completed", "failed", "cancelled"] {
            drop(metrics.dispatches.get_or_create(&StatusLabels { status }));
        }
        for status in ["completed", "cancelled"] {
            drop(metrics.tasks.get_or_create(&TaskLabels { status, fault: "" }));
        }
        for fault in FAULTS {
            let labels = TaskLabels { status: "failed", fault: fault.as_str() };
            drop(metrics.tasks.get_or_create(&labels));
        }
        metrics.show_in(registry);
        metrics
    }

    fn show_in(&self, registry: &mut Registry) {
        registry.register(
            "cov_dispatches_registered",
            "Dispatches that were registered, those that ended elsewhere included",
            self.registered.clone(),
        );
        registry.register(
            "cov_dispatches_ended",
            "Dispatches that ended here, by how",
            self.dispatches.clone(),
        );
        registry.register(
            "cov_dispatch_duration_seconds",
            "Time from the first electron of a dispatch to its end",
            self.dispatch_seconds.clone(),
        );
        registry.register(
            "cov_tasks_ended",
            "Electrons that ran and ended, by how and by whose fault",
            self.tasks.clone(),
        );
        registry.register(
            "cov_task_duration_seconds",
            "Time from handing an electron's last attempt to its executor to its end",
            self.task_seconds.clone(),
        );
        registry.register(
            "cov_task_attempts",
            "Attempts that were handed to an executor",
            self.attempts.clone(),
        );
        registry.register(
            "cov_commit_duration_seconds",
            "Time that the store took for one transaction",
            self.commit_seconds.clone(),
        );
        registry.register(
            "cov_commit_sets",
            "Steps of dispatches that one transaction made durable",
            self.commit_sets.clone(),
        );
        registry.register(
            "cov_commit_failures",
            "Transactions that the store did not make",
            self.commit_failures.clone(),
        );
    }

    /// An attempt was given a slot.
    pub(crate) fn attempt_begun(&self) {
        self.attempts.inc();
    }

    /// The store took these sets, in this time.
    pub(crate) fn committed(&self, sets: &[ChangeSet], took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        self.commit_sets.observe(sets.len() as f64);
        sets.iter().for_each(|set| self.count(set));
    }

    /// The store refused sets, or did not answer.
    pub(crate) fn commit_failed(&self) {
        self.commit_failures.inc();
    }

    fn count(&self, set: &ChangeSet) {
        // What a registration brings along has not happened now.
        if set.changes.iter().any(|change| matches!(change, Change::Register(_))) {
            self.registered.inc();
            return;
        }
        for change in &set.changes {
            match change {
                Change::Node { state, .. } => self.count_node(state),
                Change::Dispatch(state) => self.count_dispatch(state),
                _ => {}
            }
        }
    }

    fn count_node(&self, state: &NodeState) {
        let Some(status) = end_of(state.status).filter(|_| state.attempt.is_some()) else {
            return;
        };
        let fault = state.fault.map_or("", Fault::as_str);
        self.tasks.get_or_create(&TaskLabels { status, fault }).inc();
        observe(&self.task_seconds, state.started_at, state.ended_at);
    }

    fn count_dispatch(&self, state: &DispatchState) {
        let Some(status) = end_of(state.status) else { return };
        self.dispatches.get_or_create(&StatusLabels { status }).inc();
        observe(&self.dispatch_seconds, state.started_at, state.ended_at);
    }
}

fn end_of(status: Status) -> Option<&'static str> {
    match status {
        Status::Completed => Some("completed"),
        Status::Failed => Some("failed"),
        Status::Cancelled => Some("cancelled"),
        _ => None,
    }
}

fn observe(histogram: &Histogram, begin: Option<Timestamp>, end: Option<Timestamp>) {
    if let (Some(begin), Some(end)) = (begin, end) {
        histogram.observe(end.since(begin).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use cov_core::ids::{AttemptId, NodeId};
    use tokio::time::Instant;

    use super::*;

    fn set(changes: Vec<Change>) -> ChangeSet {
        ChangeSet { dispatch: "d".parse().unwrap(), at: Timestamp::from_micros(9), changes }
    }

    fn failed(fault: Fault) -> Change {
        let state = NodeState {
            status: Status::Failed,
            started_at: Some(Timestamp::from_micros(1_000_000)),
            ended_at: Some(Timestamp::from_micros(3_500_000)),
            attempt: Some(AttemptId::new(1, 1)),
            fault: Some(fault),
            ..NodeState::default()
        };
        Change::Node { node: NodeId(0), state }
    }

    fn shown(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn ends_are_counted_by_fault_and_only_when_something_ran() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let never_ran = NodeState { status: Status::Completed, ..NodeState::default() };
        let running = DispatchState { status: Status::Running, ..DispatchState::default() };
        let ended = DispatchState { status: Status::Failed, ..running };
        let sets = [
            set(vec![failed(Fault::Runner), failed(Fault::Timeout), Change::Dispatch(running)]),
            set(vec![
                failed(Fault::Runner),
                Change::Node { node: NodeId(1), state: never_ran },
                Change::Dispatch(ended),
            ]),
        ];
        metrics.committed(&sets, Duration::from_millis(3));
        let text = shown(&registry);
        for line in [
            r#"cov_tasks_ended_total{status="failed",fault="runner"} 2"#,
            r#"cov_tasks_ended_total{status="failed",fault="timeout"} 1"#,
            r#"cov_tasks_ended_total{status="failed",fault="task"} 0"#,
            r#"cov_tasks_ended_total{status="completed",fault=""} 0"#,
            r#"cov_dispatches_ended_total{status="failed"} 1"#,
            "cov_task_duration_seconds_sum 7.5",
            "cov_task_duration_seconds_count 3",
            "cov_commit_sets_sum 2.0",
            "cov_commit_duration_seconds_count 1",
            "cov_commit_failures_total 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }

    /// A step is counted in a time that is nothing beside the commit that it waits for.
    #[test]
    fn counting_costs_next_to_nothing() {
        const ROUNDS: u32 = 20_000;
        let metrics = Metrics::register(&mut Registry::default());
        let sets = [set(vec![failed(Fault::Task), failed(Fault::Runner)])];
        let begin = Instant::now();
        (0..ROUNDS).for_each(|_| metrics.committed(&sets, Duration::from_millis(1)));
        let each = begin.elapsed() / ROUNDS;
        println!("{each:?} for a transaction with two ends");
        assert!(each < Duration::from_micros(50), "{each:?}");
    }
}
