//! What happened, as one number to compare and, for a replay, as lines to read.

use std::collections::VecDeque;

use cov_engine::event::Event;
use cov_engine::machine::{Reject, Step};

use super::coverage::{self, Coverage};
use super::rng::mixed;

/// The lines of a replay that are kept.
const LINES_MAX: usize = 80;

/// A trace of a simulation.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Changes with everything that happens.
    pub(crate) hash: u64,
    /// What was seen.
    pub(crate) coverage: Coverage,
    /// The last lines, if they are wanted.
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// A trace that keeps lines if they are wanted.
    pub(crate) fn new(wants_lines: bool) -> Self {
        Self { hash: 0, coverage: Coverage::default(), lines: wants_lines.then(VecDeque::new) }
    }

    /// Takes in a number.
    pub(crate) fn mix(&mut self, number: u64) {
        self.hash = mixed(self.hash ^ number).wrapping_add(1);
    }

    /// Keeps a line.
    pub(crate) fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push_back(line());
            if lines.len() > LINES_MAX {
                lines.pop_front();
            }
        }
    }

    /// Takes in one step.
    pub(crate) fn step(
        &mut self,
        number: u64,
        dispatch: usize,
        event: &Event,
        outcome: &Result<Step, Reject>,
    ) {
        let told = match outcome {
            Ok(step) => (step.effects.len() << 16) + (step.changed_nodes.len() << 1) + 1,
            Err(_) => 0,
        };
        self.coverage.count(event, outcome);
        self.mix(number ^ (dispatch as u64) << 48);
        self.mix(told as u64);
        self.mix(event_number(event));
        self.line(|| match outcome {
            Ok(step) => format!("{number}: d{dispatch} {event:?}\n      -> {:?}", step.effects),
            Err(reject) => format!("{number}: d{dispatch} {event:?}\n      -- {reject}"),
        });
    }

    /// The kept lines.
    pub(crate) fn text(&self) -> String {
        let lines = self.lines.iter().flatten();
        lines.map(|line| format!("  {line}\n")).collect()
    }
}

fn event_number(event: &Event) -> u64 {
    let (node, more) = match event {
        Event::Start | Event::Restarted { .. } => (0, 0),
        Event::Cancel { nodes } => (0, nodes.len() as u64),
        Event::Granted { node, attempt }
        | Event::Begun { node, attempt }
        | Event::NotBegun { node, attempt }
        | Event::Lost { node, attempt, .. }
        | Event::Ended { node, attempt, .. }
        | Event::TimeLimit { node, attempt } => (node.0, attempt.to_bits()),
        Event::RetryDue { node } | Event::Linked { node, .. } | Event::BuildRefused { node } => {
            (node.0, 0)
        }
        Event::ChildEnded { node, end, .. } => (node.0, *end as u64),
    };
    (coverage::row(event) as u64) << 56 ^ u64::from(node) << 32 ^ more
}
