//! One dispatch: its graph as a tree. A node stands below the last node that all it waits for have
//! in common, and behind it on the same level if it is the only one there, so that long chains
//! stay readable.

use std::collections::BTreeMap;
use std::time::Duration;

use cov_client::{Dispatch, Node};
use cov_core::error::Fault;
use cov_core::graph::{Edge, NodeKind};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use serde::Serialize;

use super::short;
use crate::analysis::{Analysis, analyse};
use crate::output::units::{count, duration, moment, took};
use crate::output::{Cell, Report, Screen, Table, Tone, state_tone};

/// From here on, equal nodes side by side are shown as a number.
const EQUALS_MIN: usize = 4;

/// Larger graphs are shown by name and not as a tree, unless all of it is asked for.
const TREE_NODES_MAX: usize = 2_000;

/// Sub-dispatches that are larger are not drawn, unless all of it is asked for.
const SUB_DISPATCH_NODES_MAX: usize = 200;

/// The executor of commands.
pub(crate) const COMMANDS: &str = "command";

/// One dispatch with its nodes.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    pub(crate) dispatch: Dispatch,
    pub(crate) edges: Vec<Edge>,
    /// Those of its nodes, as far as they are shown.
    pub(crate) sub_dispatches: Vec<Shown>,
    /// Every node is shown.
    #[serde(skip)]
    pub(crate) all: bool,
    /// Only nodes in these states are shown; all if empty.
    #[serde(skip)]
    pub(crate) statuses: Vec<Status>,
}

impl Report for Shown {
    const EVENT: &'static str = "dispatch";

    fn text(&self, screen: &Screen) -> String {
        let analysis = analyse(&self.dispatch, &self.edges, screen.now);
        let mut table = Table::new(["NODE", "STATUS", "TOOK", ""]);
        let visible = |node: &Node| self.all || node.kind != NodeKind::Parameter;
        let is_large = self.dispatch.nodes.len() > TREE_NODES_MAX && !self.all;
        if !self.statuses.is_empty() {
            let asked = |node: &&Node| visible(node) && self.statuses.contains(&node.status);
            for node in self.dispatch.nodes.iter().filter(asked) {
                table.row(cells(&label("", node), node, &analysis));
            }
        } else if is_large {
            return format!("{}\n\n{}", heading(&self.dispatch, screen), self.by_name(screen));
        } else {
            Tree::of(self, &analysis).draw(&mut table, "", screen.now);
        }
        let heading = heading(&self.dispatch, screen);
        match (table.is_empty(), self.statuses.is_empty()) {
            (true, true) => heading,
            (true, false) => format!("{heading}\n\nNo node is in this state."),
            (false, _) => format!("{heading}\n\n{}", table.text(screen)),
        }
    }
}

impl Shown {
    /// How many nodes of each name are in which state.
    fn by_name(&self, screen: &Screen) -> String {
        let mut names: BTreeMap<&str, BTreeMap<Status, usize>> = BTreeMap::new();
        for node in self.dispatch.nodes.iter().filter(|node| node.kind != NodeKind::Parameter) {
            *names.entry(family(name_of(node))).or_default().entry(node.status).or_default() += 1;
        }
        let mut table = Table::new(["NODES", "NAME", "STATES"]);
        for (name, states) in names {
            let states_text: Vec<String> =
                states.iter().map(|(status, count)| format!("{count} {status}")).collect();
            let all = states.values().sum::<usize>();
            table.row([
                Cell::new(all.to_string()).right(),
                name.into(),
                states_text.join(", ").into(),
            ]);
        }
        format!(
            "{}\n\n--all shows every node, --status failed those in a state",
            table.text(screen)
        )
    }
}

/// What there is to say of the whole dispatch.
pub(crate) fn heading(dispatch: &Dispatch, screen: &Screen) -> String {
    let summary = &dispatch.summary;
    let name = screen.paint(Tone::Bold, &summary.name);
    let id = screen.paint(Tone::Dim, summary.dispatch_id.as_str());
    let span = took(summary.started_at, summary.ended_at, screen.now).map(duration);
    let span = match (span, summary.status.is_terminal()) {
        (Some(span), true) => format!(" after {span}"),
        (Some(span), false) => format!(" for {span}"),
        (None, _) => String::new(),
    };
    let nodes = count(summary.node_count as usize, "node");
    let mut lines = vec![
        format!("{name}  {id}"),
        format!(
            "{}{span}, {} of {nodes} complete, registered {}",
            screen.status(summary.status),
            summary.completed_node_count,
            moment(summary.created_at, screen)
        ),
    ];
    if let Some(parent) = &summary.parent_dispatch_id {
        lines.push(format!("a sub-dispatch of {parent}"));
    }
    // Failed nodes are told with their states; only what has none is told here.
    if !dispatch.nodes.iter().any(|node| node.status == Status::Failed) {
        let error = dispatch.error.iter().flat_map(|error| error.lines()).take(5);
        lines.extend(error.map(|line| screen.paint(Tone::Bad, line)));
    }
    lines.join("\n")
}

/// What people call a node.
pub(crate) fn name_of(node: &Node) -> &str {
    match node.kind.ends_lattice() {
        true => "result",
        false => &node.name,
    }
}

/// What the instances of a repeated task have in common: the name in front of the brackets.
fn family(name: &str) -> &str {
    match name.split_once('[') {
        Some((family, rest)) if !family.is_empty() && rest.ends_with(']') => family,
        _ => name,
    }
}

fn label(prefix: &str, node: &Node) -> String {
    format!("{prefix}{} {}", node.node_id, name_of(node))
}

/// Whose fault a failure is, in words for its users.
pub(crate) fn fault_in_words(fault: Option<Fault>, executor: &str) -> &'static str {
    match fault {
        Some(Fault::Task) if executor == COMMANDS => "your command",
        Some(Fault::Task) => "your code",
        Some(Fault::Runner) => "its process died",
        Some(Fault::Executor) => "executor",
        Some(Fault::Timeout) => "over its time limit",
        Some(Fault::Lost) => "lost when the server went down",
        Some(Fault::Server) => "server",
        None => "",
    }
}

fn note(node: &Node) -> String {
    let mut notes = Vec::new();
    if node.status == Status::Failed && node.fault.is_some() {
        notes.push(fault_in_words(node.fault, &node.executor).to_owned());
    }
    let running = usize::from(!matches!(node.status, Status::Failed | Status::NewObject));
    let tries = node.failed_attempts as usize + running;
    if tries > 1 {
        notes.push(count(tries, "attempt"));
    }
    let runs = node.kind.runs() && !node.kind.ends_lattice();
    if runs && !matches!(node.executor.as_str(), "local" | COMMANDS) {
        notes.push(format!("on {}", node.executor));
    }
    if let Some(below) = &node.sub_dispatch_id {
        notes.push(format!("sub-dispatch {}", short(below)));
    }
    notes.join(", ")
}

fn status_cell(status: Status) -> Cell {
    match status {
        // Nothing has happened to it; the word says nothing to people.
        Status::NewObject => Cell::new("–").tone(Tone::Dim),
        status => Cell::new(status.as_str()).tone(state_tone(status)),
    }
}

fn cells(label: &str, node: &Node, analysis: &Analysis) -> [Cell; 4] {
    let timing = analysis.timings.get(node.node_id.index()).copied().unwrap_or_default();
    let ran = timing.ran.map_or(String::new(), duration);
    [
        label.into(),
        status_cell(node.status),
        Cell::new(ran).right(),
        Cell::new(note(node)).tone(Tone::Dim),
    ]
}

/// Which node stands below which.
struct Tree<'a> {
    nodes: &'a [Node],
    sub_dispatches: &'a [Shown],
    analysis: &'a Analysis,
    roots: Vec<usize>,
    below: Vec<Vec<usize>>,
    merges: bool,
}

impl<'a> Tree<'a> {
    fn of(shown: &'a Shown, analysis: &'a Analysis) -> Self {
        let nodes = &shown.dispatch.nodes;
        let visible = |node: &Node| shown.all || node.kind != NodeKind::Parameter;
        let mut place: Vec<Option<(Option<usize>, usize)>> = vec![None; nodes.len()];
        let mut tree = Self {
            nodes,
            sub_dispatches: &shown.sub_dispatches,
            analysis,
            roots: Vec::new(),
            below: vec![Vec::new(); nodes.len()],
            merges: !shown.all,
        };
        for node in analysis.order.iter().copied().filter(|node| visible(&nodes[*node])) {
            let above =
                analysis.parents[node].iter().copied().filter(|above| place[*above].is_some());
            let above: Vec<usize> = above.collect();
            let common =
                above.iter().copied().map(Some).reduce(|one, other| common(&place, one, other));
            let parent = common.flatten();
            let depth = parent.and_then(|parent| place[parent]).map_or(0, |(_, depth)| depth + 1);
            place[node] = Some((parent, depth));
            match parent {
                Some(parent) => tree.below[parent].push(node),
                None => tree.roots.push(node),
            }
        }
        tree
    }

    /// Draws it, each line behind `margin`.
    fn draw(&self, table: &mut Table, margin: &str, now: Timestamp) {
        // An own stack: a chain may be longer than a thread's.
        let mut stack: Vec<(Vec<usize>, String, String)> = Vec::new();
        let begin = |nodes: &[usize], inside: &str, stack: &mut Vec<_>| {
            let groups = self.grouped(nodes);
            let single = groups.len() == 1;
            let last = groups.len().saturating_sub(1);
            for (index, group) in groups.into_iter().enumerate().rev() {
                let (lead, rest) = match (single, index == last) {
                    (true, _) => (inside.to_owned(), inside.to_owned()),
                    (false, true) => (format!("{inside}└─ "), format!("{inside}   ")),
                    (false, false) => (format!("{inside}├─ "), format!("{inside}│  ")),
                };
                stack.push((group, lead, rest));
            }
        };
        match self.roots.len() {
            // Several begins are no branches of anything.
            2.. => {
                for group in self.grouped(&self.roots).into_iter().rev() {
                    stack.push((group, margin.to_owned(), format!("{margin}  ")));
                }
            }
            _ => begin(&self.roots, margin, &mut stack),
        }
        while let Some((group, lead, rest)) = stack.pop() {
            match group.as_slice() {
                [one] => {
                    let node = &self.nodes[*one];
                    table.row(cells(&label(&lead, node), node, self.analysis));
                    if let Some(below) = self.below_node(node) {
                        let analysis = analyse(&below.dispatch, &below.edges, now);
                        let margin = format!("{rest}  ╎ ");
                        Tree::of(below, &analysis).draw(table, &margin, now);
                    }
                    begin(&self.below[*one], &rest, &mut stack);
                }
                several => table.row(self.equals(several, &lead)),
            }
        }
    }

    /// The sub-dispatch of a node, if it is shown.
    fn below_node(&self, node: &Node) -> Option<&'a Shown> {
        let id = node.sub_dispatch_id.as_ref()?;
        let shown = self.sub_dispatches.iter();
        let small =
            |shown: &&Shown| shown.all || shown.dispatch.nodes.len() <= SUB_DISPATCH_NODES_MAX;
        shown.filter(small).find(|shown| shown.dispatch.summary.dispatch_id == *id)
    }

    /// Nodes side by side, those that are alike together.
    fn grouped(&self, nodes: &[usize]) -> Vec<Vec<usize>> {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        if !self.merges {
            return nodes.into_iter().map(|node| vec![node]).collect();
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut known: BTreeMap<(&str, Status), usize> = BTreeMap::new();
        for node in nodes {
            let key = (family(&self.nodes[node].name), self.nodes[node].status);
            let is_leaf = self.below[node].is_empty();
            match known.get(&key).filter(|_| is_leaf) {
                Some(group) => groups[*group].push(node),
                None => {
                    if is_leaf {
                        known.insert(key, groups.len());
                    }
                    groups.push(vec![node]);
                }
            }
        }
        let split = |group: Vec<usize>| match group.len() < EQUALS_MIN {
            true => group.into_iter().map(|node| vec![node]).collect(),
            false => vec![group],
        };
        groups.into_iter().flat_map(split).collect()
    }

    fn equals(&self, group: &[usize], lead: &str) -> [Cell; 4] {
        let first = &self.nodes[group[0]];
        let last = group.last().map_or(first, |last| &self.nodes[*last]);
        let mut times: Vec<Duration> =
            group.iter().filter_map(|node| self.analysis.timings[*node].ran).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().map_or(String::new(), duration);
        let longest = times.last().filter(|_| times.len() > 1).copied().map(duration);
        let longest = longest.map_or(String::new(), |longest| format!("each; longest {longest}"));
        let name = family(name_of(first));
        [
            format!("{lead}{}…{} {name} ×{}", first.node_id, last.node_id, group.len()).into(),
            status_cell(first.status),
            Cell::new(median).right(),
            Cell::new(longest).tone(Tone::Dim),
        ]
    }
}

/// The last node that stands above both, or is one of them.
fn common(
    place: &[Option<(Option<usize>, usize)>],
    one: Option<usize>,
    other: Option<usize>,
) -> Option<usize> {
    let (mut one, mut other) = (one?, other?);
    let up = |node: usize| place.get(node).copied().flatten();
    while one != other {
        let ((one_up, one_depth), (other_up, other_depth)) = (up(one)?, up(other)?);
        if one_depth >= other_depth {
            one = one_up?;
        } else {
            other = other_up?;
        }
    }
    Some(one)
}

#[cfg(test)]
mod tests;
