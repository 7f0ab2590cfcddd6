//! Why a dispatch waits, failed, or took so long.

use std::time::Duration;

use cov_client::{Dispatch, ExecutorSlots, Node, NodeFailure};
use cov_core::error::Fault;
use cov_core::graph::{Edge, NodeKind};
use cov_core::ids::NodeId;
use cov_core::status::Status;
use serde::Serialize;

use super::short;
use super::tree::{COMMANDS, fault_in_words, heading, name_of};
use crate::analysis::{Analysis, analyse};
use crate::output::units::{count, duration, percent};
use crate::output::{Cell, Report, Screen, Table, Tone};

/// How many failures, and how many waiting nodes, are told one by one.
const TOLD_MAX: usize = 5;
/// How many nodes of the critical path are listed: the longest.
const PATH_MAX: usize = 15;
/// How many lines of a traceback are shown, from its end.
const LINES_MAX: usize = 8;

/// What is known of a dispatch, for an explanation.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) dispatch: Dispatch,
    pub(crate) edges: Vec<Edge>,
    pub(crate) executors: Vec<ExecutorSlots>,
    /// Of failed nodes, the first ones.
    pub(crate) failures: Vec<(NodeId, NodeFailure)>,
    /// Tasks at work on the whole server, if it said so.
    pub(crate) running_elsewhere: usize,
    /// Triggers that would start it.
    pub(crate) triggers: usize,
}

/// One node of the critical path, or one that waits.
#[derive(Debug, Serialize)]
struct Step {
    node_id: NodeId,
    name: String,
    status: Status,
    queued_seconds: Option<f64>,
    ran_seconds: Option<f64>,
    failed_attempts: u32,
}

/// A failure and its address.
#[derive(Debug, Serialize)]
struct Failed {
    node_id: NodeId,
    name: String,
    #[serde(flatten)]
    failure: NodeFailure,
}

/// The explanation.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    dispatch_id: String,
    name: String,
    status: Status,
    took_seconds: Option<f64>,
    /// The chain of nodes that decided how long it took.
    critical_path: Vec<Step>,
    failures: Vec<Failed>,
    /// Nodes that could run and wait for a free slot.
    waiting: Vec<Step>,
    running: Vec<Step>,
    /// Nodes that will not run, since one above them failed.
    not_run: usize,
    /// Sentences for people.
    findings: Vec<String>,
    #[serde(skip)]
    facts: Facts,
    #[serde(skip)]
    analysis: Analysis,
}

impl Explanation {
    pub(crate) fn of(facts: Facts, screen: &Screen) -> Self {
        let analysis = analyse(&facts.dispatch, &facts.edges, screen.now);
        let nodes = &facts.dispatch.nodes;
        let summary = &facts.dispatch.summary;
        let step = |index: &usize| step(&nodes[*index], &analysis);
        let begun = matches!(summary.status, Status::Running | Status::Starting);
        let is_ready = |index: &usize| {
            begun
                && nodes[*index].status == Status::NewObject
                && analysis.timings[*index].ready.is_some()
        };
        let at_work =
            |index: &usize| matches!(nodes[*index].status, Status::Running | Status::Dispatching);
        let all = || 0..nodes.len();
        let failures = facts.failures.iter().map(|(id, failure)| Failed {
            node_id: *id,
            name: nodes.get(id.index()).map_or(String::new(), |node| name_of(node).to_owned()),
            failure: failure.clone(),
        });
        let over = matches!(summary.status, Status::Failed | Status::Cancelled);
        let not_run = nodes.iter().filter(|node| over && node.status == Status::NewObject).count();
        let ended = summary.ended_at.unwrap_or(screen.now);
        Self {
            dispatch_id: summary.dispatch_id.to_string(),
            name: summary.name.clone(),
            status: summary.status,
            took_seconds: summary.started_at.map(|begin| ended.since(begin).as_secs_f64()),
            critical_path: analysis.critical.iter().map(step).collect(),
            failures: failures.collect(),
            waiting: all().filter(is_ready).map(|index| step(&index)).collect(),
            running: all().filter(at_work).map(|index| step(&index)).collect(),
            not_run,
            findings: findings(&facts, &analysis, screen),
            facts,
            analysis,
        }
    }
}

fn step(node: &Node, analysis: &Analysis) -> Step {
    let timing = analysis.timings.get(node.node_id.index()).copied().unwrap_or_default();
    Step {
        node_id: node.node_id,
        name: name_of(node).to_owned(),
        status: node.status,
        queued_seconds: timing.queued.map(|span| span.as_secs_f64()),
        ran_seconds: timing.ran.map(|span| span.as_secs_f64()),
        failed_attempts: node.failed_attempts,
    }
}

impl Report for Explanation {
    const EVENT: &'static str = "explanation";

    fn text(&self, screen: &Screen) -> String {
        let title = |text: &str| screen.paint(Tone::Bold, text);
        // The failed nodes are told below, with more.
        let dispatch = Dispatch { error: None, ..self.facts.dispatch.clone() };
        let mut parts = vec![heading(&dispatch, screen)];
        if !self.failures.is_empty() {
            parts.push(format!("{}\n{}", title("What failed"), self.failed(screen)));
        }
        if !self.waiting.is_empty() || !self.running.is_empty() {
            let text = self.under_way(screen);
            parts.push(format!("{}\n{text}", title("What it does, and waits for")));
        }
        if !self.analysis.critical.is_empty() {
            let (path, whole) = self.path(screen);
            parts.push(format!("{}\n{path}", title(&format!("Critical path: {whole}"))));
        }
        if !self.findings.is_empty() {
            let lines: Vec<String> = self.findings.iter().map(|line| format!("• {line}")).collect();
            parts.push(format!("{}\n{}", title("Findings"), lines.join("\n")));
        }
        parts.join("\n\n")
    }
}

impl Explanation {
    fn failed(&self, screen: &Screen) -> String {
        let dispatch = short(&self.facts.dispatch.summary.dispatch_id);
        let mut lines = Vec::new();
        for Failed { node_id, name, failure } in &self.failures {
            let node = self.facts.dispatch.nodes.get(node_id.index());
            let executor = node.map_or("", |node| node.executor.as_str());
            let fault = fault_in_words(failure.fault, executor);
            lines.push(format!("node {node_id} {}, {fault}:", screen.paint(Tone::Bad, name)));
            let message: Vec<&str> = failure.message.trim_end().lines().collect();
            let from = message.len().saturating_sub(LINES_MAX);
            lines.extend(message[from..].iter().map(|line| format!("  {line}")));
            let printed =
                failure.stderr_tail.iter().chain(&failure.stdout_tail).any(|line| !line.is_empty());
            if printed {
                lines.push(format!("  `cov logs {dispatch} {node_id}` shows what it printed"));
            }
            if failure.fault == Some(Fault::Task) && !matches!(executor, COMMANDS | "rust") {
                lines.push(format!(
                    "  `cov replay {dispatch} {node_id} --debug` runs it again in a debugger"
                ));
            }
        }
        let failed = self.facts.dispatch.nodes.iter().filter(|node| node.status == Status::Failed);
        let more = failed.count().saturating_sub(self.failures.len());
        if more > 0 {
            lines.push(format!("and {more} more: `cov show {dispatch} --status failed`"));
        }
        if self.not_run > 0 {
            lines.push(format!("{} below were not run", count(self.not_run, "node")));
        }
        lines.join("\n")
    }

    fn under_way(&self, screen: &Screen) -> String {
        let mut table = Table::new(["NODE", "", "SINCE", ""]);
        let shown = |table: &mut Table, steps: &[Step], word: &str, tone: Tone| {
            for step in steps.iter().take(TOLD_MAX) {
                let seconds = step.ran_seconds.or(step.queued_seconds).unwrap_or_default();
                let span = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                let tries = step.failed_attempts as usize;
                let note = if tries == 0 {
                    String::new()
                } else {
                    format!("{} failed", count(tries, "attempt"))
                };
                table.row([
                    format!("{} {}", step.node_id, step.name).into(),
                    Cell::new(word).tone(tone),
                    Cell::new(duration(span)).right(),
                    Cell::new(note).tone(Tone::Dim),
                ]);
            }
            if steps.len() > TOLD_MAX {
                table.row([
                    format!("… {} more", steps.len() - TOLD_MAX).into(),
                    Cell::new(word).tone(tone),
                ]);
            }
        };
        shown(&mut table, &self.running, "runs", Tone::Busy);
        shown(&mut table, &self.waiting, "waits", Tone::Dim);
        table.text(screen)
    }

    fn path(&self, screen: &Screen) -> (String, String) {
        let mut spans: Vec<(usize, Duration, Duration)> = Vec::new();
        for index in &self.analysis.critical {
            let timing = self.analysis.timings[*index];
            spans.push((*index, timing.queued.unwrap_or_default(), timing.ran.unwrap_or_default()));
        }
        let whole: Duration = spans.iter().map(|(_, queued, ran)| *queued + *ran).sum();
        let mut longest: Vec<(Duration, usize)> =
            spans.iter().map(|(index, queued, ran)| (*queued + *ran, *index)).collect();
        longest.sort_unstable();
        longest.reverse();
        longest.truncate(PATH_MAX);
        let is_listed = |index: usize| longest.iter().any(|(_, listed)| *listed == index);
        let mut table = Table::new(["NODE", "WAITED", "RAN", "SHARE", ""]);
        for (index, queued, ran) in spans.iter().copied().filter(|(index, ..)| is_listed(*index)) {
            let node = &self.facts.dispatch.nodes[index];
            let share = percent(queued + ran, whole);
            table.row([
                format!("{} {}", node.node_id, name_of(node)).into(),
                Cell::new(duration(queued)).right(),
                Cell::new(duration(ran)).right(),
                Cell::new(format!("{share} %")).right(),
                Cell::new("█".repeat(usize::try_from(share / 5).unwrap_or(0))).tone(Tone::Busy),
            ]);
        }
        let nodes = &self.facts.dispatch.nodes;
        let runs = nodes.iter().filter(|node| node.kind != NodeKind::Parameter).count();
        let whole = format!("{} of {}, {}", spans.len(), count(runs, "node"), duration(whole));
        let left = spans.len().saturating_sub(PATH_MAX);
        let left = if left == 0 { String::new() } else { format!("\n… and {left} shorter ones") };
        (format!("{}{left}", table.text(screen)), whole)
    }
}

/// What stands out.
fn findings(facts: &Facts, analysis: &Analysis, screen: &Screen) -> Vec<String> {
    let summary = &facts.dispatch.summary;
    let nodes = &facts.dispatch.nodes;
    let id = short(&summary.dispatch_id);
    let slots = facts.executors.iter().map(|one| one.slots).max().unwrap_or_default();
    let mut said = Vec::new();
    if summary.status == Status::NewObject {
        said.push(match facts.triggers {
            0 => format!(
                "it was registered and never started; `cov redispatch {id}` runs the same workflow"
            ),
            triggers => format!(
                "it was not started: {} will do so; `cov triggers ls --dispatch {id}` shows when",
                count(triggers, "trigger")
            ),
        });
        return said;
    }
    let waited: Duration =
        analysis.critical.iter().filter_map(|index| analysis.timings[*index].queued).sum();
    let ran: Duration =
        analysis.critical.iter().filter_map(|index| analysis.timings[*index].ran).sum();
    let share = percent(waited, waited + ran);
    if share >= 20 && waited > Duration::from_millis(100) {
        let retried = analysis.critical.iter().any(|index| nodes[*index].failed_attempts > 0);
        let why = if retried { "for a free slot or another attempt" } else { "for a free slot" };
        said.push(format!(
            "{share} % of the critical path ({}) was waiting {why}: the server runs {} at once; `cov restart --workers N` runs more",
            duration(waited), count(usize::try_from(slots).unwrap_or(0), "task")
        ));
    }
    let longest = analysis.critical.iter().max_by_key(|index| analysis.timings[**index].ran);
    if let Some((index, time)) =
        longest.and_then(|index| Some((*index, analysis.timings[*index].ran?)))
    {
        let share = percent(time, waited + ran);
        if share >= 30 && analysis.critical.len() > 1 && summary.status == Status::Completed {
            let node = &nodes[index];
            said.push(format!("node {} {} ran {} ({share} % of the critical path): the place to make faster first", node.node_id, name_of(node), duration(time)));
        }
    }
    let retried: Vec<&Node> = nodes
        .iter()
        .filter(|node| node.failed_attempts > 0 && node.status == Status::Completed)
        .collect();
    for node in retried.iter().take(TOLD_MAX) {
        said.push(format!(
            "node {} {} needed {}",
            node.node_id,
            name_of(node),
            count(node.failed_attempts as usize + 1, "attempt")
        ));
    }
    if let Some(begin) =
        summary.started_at.filter(|begin| begin.since(summary.created_at) > Duration::from_secs(1))
    {
        said.push(format!(
            "{} passed between its registration and its first task",
            duration(begin.since(summary.created_at))
        ));
    }
    said.extend(under_way(facts, analysis, slots, screen));
    said
}

/// What stands out of a dispatch that has not ended.
fn under_way(facts: &Facts, analysis: &Analysis, slots: u64, screen: &Screen) -> Vec<String> {
    let summary = &facts.dispatch.summary;
    let nodes = &facts.dispatch.nodes;
    let id = short(&summary.dispatch_id);
    let mut said = Vec::new();
    let waiting = |node: &&Node| {
        node.status == Status::NewObject && analysis.timings[node.node_id.index()].ready.is_some()
    };
    let ready = nodes.iter().filter(waiting).count();
    if !summary.status.is_terminal() && ready > 0 {
        let running = nodes.iter().filter(|node| node.status == Status::Running).count();
        let elsewhere = match facts.running_elsewhere {
            0 => String::new(),
            others => format!(", and {} under way besides", count(others, "dispatch")),
        };
        let slots = count(usize::try_from(slots).unwrap_or(0), "task");
        said.push(format!(
            "{} ready; the server runs {slots} at once, {running} of this dispatch{elsewhere}",
            if ready == 1 { "1 node is".to_owned() } else { format!("{ready} nodes are") }
        ));
    }
    let stuck = nodes.iter().filter(|node| node.status == Status::Running);
    let stuck = stuck.filter_map(|node| Some((node, screen.now.since(node.started_at?))));
    if let Some((node, span)) =
        stuck.max_by_key(|(_, span)| *span).filter(|(_, span)| span.as_secs() >= 60)
    {
        said.push(format!(
            "node {} {} has been running for {}; `cov logs {id} {} --follow` shows what it prints",
            node.node_id,
            name_of(node),
            duration(span),
            node.node_id
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::output::json_line;
    use crate::view::samples;

    fn facts((dispatch, edges): (Dispatch, Vec<Edge>)) -> Facts {
        let executors = vec![ExecutorSlots {
            name: "local".into(),
            slots: 1,
            origin: None,
            attaches: false,
            fault: None,
        }];
        Facts {
            dispatch,
            edges,
            executors,
            failures: Vec::new(),
            running_elsewhere: 0,
            triggers: 0,
        }
    }

    #[test]
    fn what_made_it_slow_is_said() {
        let screen = Screen::for_tests(100);
        assert_snapshot!(Explanation::of(facts(samples::etl()), &screen).text(&screen), @"
        etl  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
        COMPLETED after 19.9 s, 6 of 6 nodes complete, registered 3 min ago

        Critical path: 4 of 5 nodes, 19.9 s
        NODE      WAITED    RAN  SHARE
        1 load    100 ms  2.0 s   11 %  ██
        3 parse    4.0 s  6.0 s   50 %  ██████████
        4 train   100 ms  7.6 s   39 %  ███████
        5 result   10 ms  90 ms    1 %

        Findings
        • 21 % of the critical path (4.2 s) was waiting for a free slot or another attempt: the server runs 1 task at once; `cov restart --workers N` runs more
        • node 4 train ran 7.6 s (38 % of the critical path): the place to make faster first
        • node 3 parse needed 3 attempts
        ");
    }

    #[test]
    fn what_failed_is_said() {
        let screen = Screen::for_tests(100);
        let message = "Traceback (most recent call last):\n  File \"etl.py\", line 9, in parse\n    raise ValueError(\"bad row 17\")\nValueError: bad row 17\n";
        let failure = NodeFailure {
            fault: Some(Fault::Task),
            message: message.into(),
            stdout_tail: vec!["row 16".into()],
            stderr_tail: Vec::new(),
        };
        let facts = Facts { failures: vec![(NodeId(3), failure)], ..facts(samples::failed()) };
        let explanation = Explanation::of(facts, &screen);
        assert_snapshot!(explanation.text(&screen), @r#"
        etl  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
        FAILED after 19.9 s, 3 of 6 nodes complete, registered 3 min ago

        What failed
        node 3 parse, your code:
          Traceback (most recent call last):
            File "etl.py", line 9, in parse
              raise ValueError("bad row 17")
          ValueError: bad row 17
          `cov logs 3f2a9c10 3` shows what it printed
          `cov replay 3f2a9c10 3 --debug` runs it again in a debugger
        2 nodes below were not run

        Critical path: 2 of 5 nodes, 12.1 s
        NODE     WAITED    RAN  SHARE
        1 load   100 ms  2.0 s   17 %  ███
        3 parse   4.0 s  6.0 s   83 %  ████████████████

        Findings
        • 34 % of the critical path (4.1 s) was waiting for a free slot or another attempt: the server runs 1 task at once; `cov restart --workers N` runs more
        "#);
        let value: serde_json::Value =
            serde_json::from_str(&json_line(&explanation).unwrap()).unwrap();
        assert_eq!(
            (&value["failures"][0]["fault"], &value["not_run"]),
            (&"task".into(), &2.into())
        );
        assert_eq!(value["critical_path"][0]["name"], "load");
    }

    #[test]
    fn what_it_waits_for_is_said() {
        let screen = Screen::for_tests(100);
        let running = Facts { running_elsewhere: 3, ..facts(samples::running()) };
        assert_snapshot!(Explanation::of(running, &screen).text(&screen), @"
        etl  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
        RUNNING for 3 min 19 s, 2 of 6 nodes complete, registered 3 min ago

        What it does, and waits for
        NODE                 SINCE
        2 parse  runs   3 min 17 s
        3 parse  waits  3 min 17 s

        Critical path: 2 of 5 nodes, 3 min 19 s
        NODE     WAITED         RAN  SHARE
        1 load   100 ms       2.0 s    1 %
        2 parse    0 ms  3 min 17 s   99 %  ███████████████████

        Findings
        • 1 node is ready; the server runs 1 task at once, 1 of this dispatch, and 3 dispatches under way besides
        • node 2 parse has been running for 3 min 17 s; `cov logs 3f2a9c10 2 --follow` shows what it prints
        ");
        let (mut dispatch, edges) = samples::running();
        dispatch.summary.status = Status::NewObject;
        dispatch.summary.started_at = None;
        for node in &mut dispatch.nodes {
            (node.status, node.started_at, node.ended_at) = (Status::NewObject, None, None);
        }
        let waiting = Facts { triggers: 1, ..facts((dispatch, edges)) };
        assert_snapshot!(Explanation::of(waiting, &screen).text(&screen), @"
        etl  3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3
        NEW_OBJECT, 2 of 6 nodes complete, registered 3 min ago

        Findings
        • it was not started: 1 trigger will do so; `cov triggers ls --dispatch 3f2a9c10` shows when
        ");
    }
}
