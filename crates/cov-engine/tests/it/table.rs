//! Every event in every phase: what it does to the node, to its neighbours, and what it asks
//! for. The table is `transitions.txt`; a change of it is a change of what the engine decides.

pub(crate) mod fixtures;

use cov_core::ids::NodeId;
use cov_engine::effect::Effect;
use cov_engine::machine::Reject;
use cov_engine::phase::{End, KillReason, Phase};

use crate::golden;
use crate::harness::Bench;
use fixtures::{Fixture, SUBJECT, events, fixtures};

/// What one event did in one phase.
pub(crate) struct Cell {
    pub(crate) fixture: &'static str,
    pub(crate) event: &'static str,
    pub(crate) outcome: Result<Vec<Move>, Reject>,
    effects: Vec<Effect>,
    dispatch: Option<String>,
}

/// A node went from one phase to another.
pub(crate) struct Move {
    pub(crate) node: NodeId,
    pub(crate) from: Phase,
    pub(crate) to: Phase,
}

/// Applies every event to every fixture.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for fixture in fixtures() {
        for (name, event) in events() {
            cells.push(cell(&fixture, name, event));
        }
    }
    cells
}

fn cell(fixture: &Fixture, name: &'static str, event: cov_engine::event::Event) -> Cell {
    let mut bench = fixture.bench.clone();
    let before = fixture.bench.status();
    let (effects, outcome) = match bench.apply(event) {
        Ok(step) => (step.effects, Ok(moves(&fixture.bench, &bench))),
        Err(reject) => (Vec::new(), Err(reject)),
    };
    let dispatch =
        (before != bench.status()).then(|| format!("dispatch {before} -> {}", bench.status()));
    Cell { fixture: fixture.name, event: name, outcome, effects, dispatch }
}

fn moves(before: &Bench, after: &Bench) -> Vec<Move> {
    let phase = |bench: &Bench, node: NodeId| bench.phase(node.0).clone();
    let nodes = after.dispatch.graph().nodes();
    nodes
        .map(|node| Move { node, from: phase(before, node), to: phase(after, node) })
        .filter(|moved| moved.from != moved.to)
        .collect()
}

/// A phase in a word or two.
fn word(phase: &Phase) -> String {
    match phase {
        Phase::Waiting { pending, reuse: false } => format!("waiting({pending})"),
        Phase::Waiting { pending, reuse: true } => format!("waiting({pending}, reuse)"),
        Phase::Ready => "ready".into(),
        Phase::Running { attempt, kill: None } => format!("running({attempt})"),
        Phase::Running { attempt, kill: Some(KillReason::Cancel) } => {
            format!("running({attempt}, cancelled)")
        }
        Phase::Running { attempt, kill: Some(KillReason::Timeout) } => {
            format!("running({attempt}, too long)")
        }
        Phase::Backoff => "backoff".into(),
        Phase::Dispatching { child: None } => "dispatching".into(),
        Phase::Dispatching { child: Some(child) } => format!("dispatching({child})"),
        Phase::Ended(End::Completed) => "completed".into(),
        Phase::Ended(End::Failed) => "failed".into(),
        Phase::Ended(End::Cancelled) => "cancelled".into(),
    }
}

fn effect_words(effect: &Effect) -> String {
    match effect {
        Effect::Enqueue { node, executor } => format!("enqueue {node} at {executor}"),
        Effect::Submit { node, attempt } => format!("submit {node} as {attempt}"),
        Effect::Attach { node, attempt } => format!("attach {node} as {attempt}"),
        Effect::Kill { attempt } => format!("kill {attempt}"),
        Effect::StartTimer { node, attempt, limit } => {
            format!("time limit {limit:?} for {node} as {attempt}")
        }
        Effect::Retry { node, delay } => format!("retry {node} in {delay:?}"),
        Effect::StartChild { node, child } => format!("start {child} for {node}"),
        Effect::ImportChild { node } => format!("import for {node}"),
        Effect::CancelChild { child } => format!("cancel {child}"),
        Effect::Finish { end } => format!("finish {end:?}"),
    }
}

fn reject_words(reject: &Reject) -> String {
    match reject {
        Reject::Duplicate => "duplicate".into(),
        Reject::Stale { .. } => "stale".into(),
        Reject::UnknownNode { node } => format!("no node {node}"),
        Reject::Illegal { from, to, .. } => format!("illegal: {from} -> {to}"),
    }
}

fn line(cell: &Cell) -> String {
    let told = match &cell.outcome {
        Err(reject) => reject_words(reject),
        Ok(moves) => {
            let mut parts: Vec<String> = moves
                .iter()
                .map(|Move { node, from, to }| format!("{node}: {} -> {}", word(from), word(to)))
                .collect();
            parts.extend(cell.effects.iter().map(effect_words));
            parts.extend(cell.dispatch.clone());
            if parts.is_empty() { "applied".into() } else { parts.join("; ") }
        }
    };
    format!("  {:<32} {told}\n", cell.event)
}

#[test]
fn every_event_in_every_phase() {
    let mut text = String::from(
        "What every event does in every phase of node 1, which needs node 0 and is needed by node\n\
         2; node 3 stands beside them. 1.1 is an older attempt of node 1, 1.2 the present one.\n",
    );
    let mut fixture = "";
    for cell in cells() {
        if cell.fixture != fixture {
            fixture = cell.fixture;
            text.push_str(&format!("\n{fixture}\n"));
        }
        text.push_str(&line(&cell));
    }
    golden::compare("tests/it/transitions.txt", &text);
}

#[test]
fn an_illegal_event_names_both_states() {
    let illegal: Vec<Cell> = cells()
        .into_iter()
        .filter(|cell| matches!(cell.outcome, Err(Reject::Illegal { .. })))
        .collect();
    assert!(!illegal.is_empty());
    for cell in illegal {
        let Err(reject @ Reject::Illegal { from, to, node }) = &cell.outcome else { continue };
        assert_eq!(*node, SUBJECT);
        let told = reject.to_string();
        assert!(told.contains(from.as_str()) && told.contains(to.as_str()), "{told}");
    }
}

#[test]
fn a_report_of_an_older_attempt_never_does_anything() {
    let older: Vec<Cell> =
        cells().into_iter().filter(|cell| cell.event.ends_with("older attempt")).collect();
    assert!(older.len() > 100);
    for cell in older {
        assert!(cell.outcome.is_err(), "{}: {}", cell.fixture, cell.event);
    }
}

#[test]
fn ended_nodes_never_move() {
    for cell in cells() {
        let Ok(moves) = &cell.outcome else { continue };
        for moved in moves {
            assert!(!matches!(moved.from, Phase::Ended(_)), "{}: {}", cell.fixture, cell.event);
        }
    }
}
