//! How far a dispatch is: counted from events, at what rate it goes and what is left. Follows
//! nothing itself; draws nothing.

use std::collections::VecDeque;
use std::time::Duration;

use cov_client::{Dispatch, Event};
use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use serde::Serialize;

use super::short;
use super::tree::name_of;
use crate::output::units::{clock, count, duration};
use crate::output::{Report, Screen, Tone};

/// The rate is that of the last so many seconds.
const RATE_SECONDS: i64 = 20;

#[derive(Debug)]
struct Task {
    name: String,
    status: Status,
    since: Option<Timestamp>,
    counts: bool,
}

/// How far a dispatch is.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) status: Status,
    tasks: Vec<Task>,
    started_at: Option<Timestamp>,
    /// When following began.
    begun: Timestamp,
    /// Ends a second, the latest last.
    ends: VecDeque<(i64, u32)>,
}

/// One change, for those who read lines.
#[derive(Debug, Serialize)]
pub(crate) struct NodeChanged {
    pub(crate) node_id: NodeId,
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) at: Timestamp,
    /// How long it ran, once it has ended.
    pub(crate) ran_seconds: Option<f64>,
}

impl Report for NodeChanged {
    const EVENT: &'static str = "node";

    fn text(&self, screen: &Screen) -> String {
        let Self { node_id, name, status, at, ran_seconds } = self;
        let ran = ran_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let ran = ran.map_or(String::new(), |ran| format!("  {}", duration(ran)));
        let time = screen.paint(Tone::Dim, &clock(*at, screen));
        format!("{time}  {node_id} {name}  {}{ran}", screen.status(*status))
    }
}

impl Progress {
    /// As of what the server shows, from `now` on.
    pub(crate) fn of(dispatch: &Dispatch, now: Timestamp) -> Self {
        let task = |node: &cov_client::Node| Task {
            name: name_of(node).to_owned(),
            status: node.status,
            since: node.started_at,
            counts: node.kind != NodeKind::Parameter,
        };
        Self {
            status: dispatch.summary.status,
            tasks: dispatch.nodes.iter().map(task).collect(),
            started_at: dispatch.summary.started_at,
            begun: now,
            ends: VecDeque::new(),
        }
    }

    /// Takes the present state anew, and keeps what was counted.
    pub(crate) fn refresh(&mut self, dispatch: &Dispatch) {
        let fresh = Self::of(dispatch, self.begun);
        (self.status, self.tasks, self.started_at) = (fresh.status, fresh.tasks, fresh.started_at);
    }

    /// Takes an event; what changed, if it is about a node that counts.
    pub(crate) fn take(&mut self, event: &Event) -> Option<NodeChanged> {
        match event {
            Event::Summary(summary) => self.status = summary.status,
            Event::Dispatch { status, at, .. } => {
                self.status = *status;
                if *status == Status::Running {
                    self.started_at.get_or_insert(*at);
                }
            }
            Event::Node { node_id, status, at, .. } => {
                let task = self.tasks.get_mut(node_id.index())?;
                let (was, since) = (task.status, task.since);
                task.status = *status;
                if *status == Status::Running {
                    task.since = Some(*at);
                }
                if !task.counts || was == *status {
                    return None;
                }
                let name = task.name.clone();
                if status.is_terminal() {
                    self.count_end(*at);
                }
                let ran = since.filter(|_| status.is_terminal()).map(|since| at.since(since));
                let ran_seconds = ran.map(|ran| ran.as_secs_f64());
                return Some(NodeChanged {
                    node_id: *node_id,
                    name,
                    status: *status,
                    at: *at,
                    ran_seconds,
                });
            }
            _ => {}
        }
        None
    }

    fn count_end(&mut self, at: Timestamp) {
        let second = at.as_micros().div_euclid(1_000_000);
        match self.ends.back_mut() {
            Some((last, ends)) if *last == second => *ends += 1,
            _ => self.ends.push_back((second, 1)),
        }
        while self.ends.front().is_some_and(|(first, _)| *first <= second - RATE_SECONDS) {
            self.ends.pop_front();
        }
    }

    fn counted(&self, is: impl Fn(Status) -> bool) -> usize {
        self.tasks.iter().filter(|task| task.counts && is(task.status)).count()
    }

    /// How many nodes count.
    pub(crate) fn all(&self) -> usize {
        self.counted(|_| true)
    }

    /// How many of them have ended.
    pub(crate) fn ended(&self) -> usize {
        self.counted(Status::is_terminal)
    }

    /// Ends a second, lately. `None` before one was seen.
    fn rate(&self, now: Timestamp) -> Option<f64> {
        self.ends.front()?;
        let second = now.as_micros().div_euclid(1_000_000);
        let from = second - RATE_SECONDS;
        let ends = self
            .ends
            .iter()
            .filter(|(at, _)| *at >= from)
            .map(|(_, ends)| f64::from(*ends))
            .sum::<f64>();
        let begun = self.begun.as_micros().max(from * 1_000_000);
        let span = Timestamp::from_micros(begun.min(now.as_micros()));
        let seconds = now.since(span).as_secs_f64().max(1.0);
        Some(ends / seconds)
    }

    /// How long the rest takes at that rate.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        let rate = self.rate(now).filter(|rate| *rate > 0.0)?;
        let rest = self.counted(|status| !status.is_terminal());
        let rest = f64::from(u32::try_from(rest).unwrap_or(u32::MAX));
        Duration::try_from_secs_f64((rest / rate).ceil()).ok()
    }

    /// Beside the bar: what is at work, what failed, at what rate, and what is left.
    pub(crate) fn message(&self, screen: &Screen, now: Timestamp) -> String {
        let mut parts = Vec::new();
        let running =
            self.counted(|status| matches!(status, Status::Running | Status::Dispatching));
        if running > 0 {
            parts.push(format!("{running} running"));
        }
        let failed = self.counted(|status| status == Status::Failed);
        if failed > 0 {
            parts.push(screen.paint(Tone::Bad, &format!("{failed} failed")));
        }
        if let Some(rate) = self.rate(now).filter(|_| !self.status.is_terminal()) {
            parts.push(match rate {
                rate if rate >= 10.0 => format!("{rate:.0}/s"),
                rate => format!("{rate:.1}/s"),
            });
        }
        if let Some(left) = self.left(now).filter(|_| !self.status.is_terminal()) {
            parts.push(format!("{} left", duration(Duration::from_secs(left.as_secs()))));
        }
        parts.join(", ")
    }

    /// The tasks at work, the longest first, a line each, at most `most`.
    pub(crate) fn running(&self, now: Timestamp, most: usize) -> Vec<String> {
        let is_running = |status| matches!(status, Status::Running | Status::Dispatching);
        let at_work = self
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| task.counts && is_running(task.status));
        let mut at_work: Vec<(usize, &Task)> = at_work.collect();
        at_work.sort_by_key(|(_, task)| task.since);
        let more = at_work.len().saturating_sub(most);
        let shown = at_work.iter().take(if more > 0 { most.saturating_sub(1) } else { most });
        let mut lines: Vec<String> = shown
            .map(|(id, task)| {
                let span = task.since.map_or(Duration::ZERO, |since| now.since(since));
                let word = if task.status == Status::Dispatching { "sub-dispatch, " } else { "" };
                format!("{id} {}  {word}{}", task.name, duration(span))
            })
            .collect();
        if more > 0 && most > 0 {
            lines.push(format!("… {} more", more + 1));
        }
        lines
    }
}

/// The end of what was followed.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    pub(crate) dispatch_id: cov_core::ids::DispatchId,
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) took_seconds: Option<f64>,
    pub(crate) node_count: usize,
    pub(crate) failed_nodes: usize,
    pub(crate) error: Option<String>,
}

impl Ended {
    pub(crate) fn of(dispatch: &Dispatch) -> Self {
        let summary = &dispatch.summary;
        let span = summary.started_at.zip(summary.ended_at).map(|(from, to)| to.since(from));
        let counts = |node: &&cov_client::Node| node.kind != NodeKind::Parameter;
        let nodes = || dispatch.nodes.iter().filter(counts);
        Self {
            dispatch_id: summary.dispatch_id.clone(),
            name: summary.name.clone(),
            status: summary.status,
            took_seconds: span.map(|span| span.as_secs_f64()),
            node_count: nodes().count(),
            failed_nodes: nodes().filter(|node| node.status == Status::Failed).count(),
            error: dispatch.error.clone(),
        }
    }
}

impl Ended {
    /// How it ended, in one line.
    pub(crate) fn line(&self, screen: &Screen) -> String {
        let span = self.took_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let span = span.map_or(String::new(), |span| format!(" after {}", duration(span)));
        let nodes = count(self.node_count, "node");
        let (begin, status) = (short(&self.dispatch_id), screen.status(self.status));
        format!("{} {begin} {status}{span}, {nodes}", self.name)
    }
}

impl Report for Ended {
    const EVENT: &'static str = "ended";

    fn text(&self, screen: &Screen) -> String {
        let begin = short(&self.dispatch_id);
        let line = self.line(screen);
        match self.status {
            Status::Failed => {
                // The first line only says that tasks have failed.
                let error = self.error.as_deref().unwrap_or_default().lines();
                let error = error.filter(|line| !line.ends_with(':')).take(5);
                let lines: Vec<String> = error.map(|line| format!("  {line}")).collect();
                format!(
                    "{line}, {} failed\n{}\n`cov explain {begin}` says more",
                    self.failed_nodes,
                    lines.join("\n")
                )
            }
            Status::Completed => format!("{line}; `cov result {begin}` shows what it returned"),
            _ => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::output::json_line;
    use crate::view::samples::{at, etl, failed, running};

    fn node_event(node: u32, status: Status, millis: i64) -> Event {
        let dispatch_id = "3f2a9c10".parse().unwrap();
        Event::Node { dispatch_id, node_id: NodeId(node), status, at: at(millis) }
    }

    #[test]
    fn progress_is_counted_from_events() {
        let screen = Screen::for_tests(80);
        let mut progress = Progress::of(&running().0, at(0));
        assert_eq!((progress.ended(), progress.all()), (1, 5));
        assert_eq!(progress.message(&screen, at(0)), "1 running");
        assert_eq!(progress.running(at(-190_000), 5), ["2 parse  7.8 s"]);
        let changed = progress.take(&node_event(2, Status::Completed, 1_000)).unwrap();
        assert_snapshot!(changed.text(&screen), @"12:00:01  2 parse  COMPLETED  3 min 18 s");
        assert_snapshot!(json_line(&changed).unwrap(), @r#"{"event":"node","node_id":2,"name":"parse","status":"COMPLETED","at":"2026-03-01T12:00:01.000000","ran_seconds":198.8}"#);
        for id in [3, 4] {
            progress.take(&node_event(id, Status::Running, 1_500));
        }
        assert!(progress.take(&node_event(3, Status::Running, 1_600)).is_none(), "nothing changed");
        progress.take(&node_event(3, Status::Failed, 2_000));
        assert_eq!(progress.message(&screen, at(4_000)), "1 running, 1 failed, 0.5/s, 4.0 s left");
        assert_eq!(progress.running(at(4_000), 1), ["4 train  2.5 s"]);
        // A retried task is not at work twice.
        progress.take(&node_event(4, Status::NewObject, 4_000));
        assert_eq!(progress.running(at(4_000), 1), [""; 0]);
    }

    #[test]
    fn more_tasks_than_lines_are_counted() {
        let mut progress = Progress::of(&running().0, at(0));
        for id in [3, 4] {
            progress.take(&node_event(id, Status::Running, 0));
        }
        assert_eq!(progress.running(at(1_000), 2), ["2 parse  3 min 18 s", "… 2 more"]);
    }

    #[test]
    fn an_end_is_told_with_what_to_do_next() {
        let screen = Screen::for_tests(80);
        assert_snapshot!(Ended::of(&etl().0).text(&screen), @"etl 3f2a9c10 COMPLETED after 19.9 s, 5 nodes; `cov result 3f2a9c10` shows what it returned");
        assert_snapshot!(Ended::of(&failed().0).text(&screen), @"
        etl 3f2a9c10 FAILED after 19.9 s, 5 nodes, 1 failed
          node 3 (parse): ValueError: bad row 17
        `cov explain 3f2a9c10` says more
        ");
    }
}
