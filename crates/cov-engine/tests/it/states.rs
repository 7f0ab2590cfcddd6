//! The state diagram of a node, drawn from the transitions that the table saw.

use std::collections::{BTreeMap, BTreeSet};

use cov_engine::phase::{End, Phase};

use crate::golden;
use crate::table::fixtures::SUBJECT;
use crate::table::{Cell, Move, cells};

/// The phases in the order of a life, with their names in the diagram.
const PHASES: [(&str, &str); 8] = [
    ("Waiting", "its inputs are not complete; for ever, below a failure"),
    ("Ready", "in the scheduler's queue"),
    ("Running", "handed to its executor"),
    ("Backoff", "waits for the moment of its next attempt"),
    ("Dispatching", "its sub-dispatch is being taken over or at work"),
    ("Completed", "ended well"),
    ("Failed", "ended with an error"),
    ("Cancelled", "ended because somebody asked for it"),
];

fn name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Waiting { .. } => "Waiting",
        Phase::Ready => "Ready",
        Phase::Running { .. } => "Running",
        Phase::Backoff => "Backoff",
        Phase::Dispatching { .. } => "Dispatching",
        Phase::Ended(End::Completed) => "Completed",
        Phase::Ended(End::Failed) => "Failed",
        Phase::Ended(End::Cancelled) => "Cancelled",
    }
}

fn rank(name: &str) -> usize {
    PHASES.iter().position(|(phase, _)| *phase == name).unwrap()
}

/// What a fixture's name may say that decides what an event does.
const GUARDS: [&str; 6] = [
    "cancel asked",
    "too long",
    "its last try",
    "a builder",
    "a parameter",
    "its result is reused",
];

/// What happened, and what was so of the node.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    event: String,
    guards: BTreeSet<&'static str>,
}

fn label(cell: &Cell, moved: &Move) -> Label {
    let plain = |event: &str| Label { event: event.into(), guards: BTreeSet::new() };
    if moved.node != SUBJECT {
        return match (&moved.from, cell.event) {
            (Phase::Waiting { .. }, event) if event != "start" => plain("inputs complete"),
            (Phase::Running { .. }, "inputs complete") => plain("ended, completed"),
            (_, event) => plain(&event.replace("attachable, ", "")),
        };
    }
    // Only what runs is taken up again; whatever else the node does is not because of that.
    let runs = matches!(moved.from, Phase::Running { .. });
    let is_idle = |part: &&str| *part == "attachable" && !runs;
    let of_attempt =
        |part: &&str| !matches!(*part, "present attempt" | "another") && !is_idle(part);
    let event: Vec<&str> = cell.event.split(", ").filter(of_attempt).collect();
    let guards = cell.fixture.split(", ").filter(|part| GUARDS.contains(part)).collect();
    Label { event: event.join(", "), guards }
}

/// In words, without those that say the same with more conditions.
fn words(labels: &BTreeSet<Label>) -> String {
    let is_needless = |label: &Label| {
        labels.iter().any(|other| {
            other != label && other.event == label.event && other.guards.is_subset(&label.guards)
        })
    };
    let words = labels.iter().filter(|label| !is_needless(label)).map(|Label { event, guards }| {
        let guards: Vec<&str> = guards.iter().copied().collect();
        if guards.is_empty() { event.clone() } else { format!("{event} [{}]", guards.join(", ")) }
    });
    words.collect::<Vec<_>>().join(" / ")
}

#[test]
fn the_diagram_shows_the_transitions_that_happen() {
    let mut edges: BTreeMap<(usize, usize), BTreeSet<Label>> = BTreeMap::new();
    let mut statuses: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for cell in cells() {
        let Ok(moves) = &cell.outcome else { continue };
        for moved in moves {
            for phase in [&moved.from, &moved.to] {
                statuses.entry(rank(name(phase))).or_default().insert(phase.status().as_str());
            }
            let (from, to) = (rank(name(&moved.from)), rank(name(&moved.to)));
            if from != to {
                edges.entry((from, to)).or_default().insert(label(&cell, moved));
            }
        }
    }
    golden::compare("../../docs/states.md", &page(&edges, &statuses));
}

fn page(
    edges: &BTreeMap<(usize, usize), BTreeSet<Label>>,
    statuses: &BTreeMap<usize, BTreeSet<&str>>,
) -> String {
    let mut text = String::from(
        "# The states of a node\n\n\
         Drawn from the transitions that `crates/cov-engine/tests/it/table.rs` sees, and compared with them\n\
         by a test: `UPDATE=1 cargo nextest run -p cov-engine states` draws it anew. What every event does in\n\
         every phase, with its effects, is in `crates/cov-engine/tests/it/transitions.txt`.\n\n\
         ```mermaid\nstateDiagram-v2\n    [*] --> Waiting: registered\n",
    );
    for ((from, to), labels) in edges {
        let (from, to) = (PHASES[*from].0, PHASES[*to].0);
        text.push_str(&format!("    {from} --> {to}: {}\n", words(labels)));
    }
    for (phase, _) in &PHASES[5..] {
        text.push_str(&format!("    {phase} --> [*]\n"));
    }
    text.push_str(
        "```\n\n| phase | what it means | status that is stored and shown |\n|---|---|---|\n",
    );
    for (index, (phase, meaning)) in PHASES.iter().enumerate() {
        let shown: Vec<&str> = statuses[&index].iter().copied().collect();
        text.push_str(&format!("| {phase} | {meaning} | {} |\n", shown.join(", ")));
    }
    text
}
