//! What can be asked about dispatches, and done to them.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use cov_core::ids::NodeId;
use cov_core::status::Status;

use super::values::{Moment, moment, node, status};

/// Which dispatches to list, and how.
#[derive(Debug, ClapArgs)]
pub(crate) struct Ls {
    /// Only dispatches in this state, such as failed or run; may be repeated
    #[arg(long, short, value_name = "STATUS", value_parser = status, value_delimiter = ',')]
    pub(crate) status: Vec<Status>,
    /// Only dispatches of the lattice with this name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Only dispatches registered since then: an age such as 2h, or a time
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Only dispatches registered before then
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(crate) until: Option<Moment>,
    /// Sub-dispatches too
    #[arg(long)]
    pub(crate) sub: bool,
    /// How many to list; 0 for all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
    /// The order of those that are listed
    #[arg(long, value_name = "BY", value_enum, default_value_t = Sort::Created)]
    pub(crate) sort: Sort,
    /// In the opposite order
    #[arg(long, short)]
    pub(crate) reverse: bool,
    /// What to show of each, separated by commas
    #[arg(long, short, value_name = "COLUMNS", value_enum, value_delimiter = ',',
          default_values_t = [Column::Id, Column::Name, Column::Status, Column::Nodes, Column::Took, Column::Created])]
    pub(crate) columns: Vec<Column>,
    /// Only the ids, whole, one a line
    #[arg(long, short, conflicts_with = "columns")]
    pub(crate) quiet: bool,
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Newest first.
    Created,
    /// By the lattice's name.
    Name,
    /// By state.
    Status,
    /// Longest first.
    Took,
    /// Largest first.
    Nodes,
}

/// A column of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// The id, as short as it is unique in a terminal.
    Id,
    /// The lattice's name.
    Name,
    /// The state.
    Status,
    /// How many of its nodes are complete.
    Nodes,
    /// How long it took, or has been at work.
    Took,
    /// When it was registered.
    Created,
    /// When its first electron was about to begin.
    Started,
    /// When it ended.
    Ended,
    /// The dispatch whose electron it is.
    Parent,
    /// The dispatch at the top.
    Root,
}

/// Which dispatch to show, and how much of it.
#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    /// The dispatch
    #[arg(value_name = "DISPATCH", default_value = "@")]
    pub(crate) dispatch: String,
    /// Every node: parameters, and those that are otherwise shown as a number of equals
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Only nodes in this state; may be repeated
    #[arg(long, short, value_name = "STATUS", value_parser = status, value_delimiter = ',')]
    pub(crate) status: Vec<Status>,
    /// How many levels of sub-dispatches to show below their nodes
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    pub(crate) depth: u32,
}

/// What to fetch.
#[derive(Debug, ClapArgs)]
pub(crate) struct ResultOf {
    /// The dispatch
    #[arg(value_name = "DISPATCH", default_value = "@")]
    pub(crate) dispatch: String,
    /// The output of this node, instead of the result of the dispatch
    #[arg(long, short, value_name = "NODE", value_parser = node)]
    pub(crate) node: Option<NodeId>,
    /// Write the value into this file, as it is encoded: a pickle, JSON or .npy
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    /// A text as it is, and not as JSON
    #[arg(long, conflicts_with = "output")]
    pub(crate) raw: bool,
    /// Wait for the end of the dispatch first
    #[arg(long, short)]
    pub(crate) wait: bool,
}

/// Which log, and which part of it.
#[derive(Debug, ClapArgs)]
pub(crate) struct Logs {
    /// The dispatch; without one, the log of the server is shown
    #[arg(value_name = "DISPATCH")]
    pub(crate) dispatch: Option<String>,
    /// Only what this node printed
    #[arg(value_name = "NODE", value_parser = node)]
    pub(crate) node: Option<NodeId>,
    /// Go on as it grows, until the task has ended, or for the server's log until interrupted
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How many lines to show from the end [default: 100 of the server's log, all of a task's]
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) lines: Option<usize>,
    /// Only what was printed to the standard output
    #[arg(long, conflicts_with = "stderr")]
    pub(crate) stdout: bool,
    /// Only what was printed to the error stream
    #[arg(long)]
    pub(crate) stderr: bool,
}

/// Which dispatch to follow.
#[derive(Debug, ClapArgs)]
pub(crate) struct Watch {
    /// The dispatch
    #[arg(value_name = "DISPATCH", default_value = "@")]
    pub(crate) dispatch: String,
}

/// What to cancel.
#[derive(Debug, ClapArgs)]
pub(crate) struct Cancel {
    /// The dispatches
    #[arg(value_name = "DISPATCH", required = true)]
    pub(crate) dispatches: Vec<String>,
    /// Only this node; may be repeated
    #[arg(long, short, value_name = "NODE", value_parser = node, value_delimiter = ',')]
    pub(crate) node: Vec<NodeId>,
    /// Wait until its processes are gone and the dispatch has ended
    #[arg(long, short)]
    pub(crate) wait: bool,
}

/// What to dispatch again, and how.
#[derive(Debug, ClapArgs)]
pub(crate) struct Redispatch {
    /// The dispatch
    #[arg(value_name = "DISPATCH")]
    pub(crate) dispatch: String,
    /// Take over the results of nodes that were complete, instead of running them again
    #[arg(long)]
    pub(crate) reuse: bool,
    /// Only show what would be taken over and what would run, and why
    #[arg(long)]
    pub(crate) plan: bool,
    /// Follow the new dispatch until it has ended
    #[arg(long, short, conflicts_with = "plan")]
    pub(crate) watch: bool,
}

/// What to run again, and with what.
#[derive(Debug, ClapArgs)]
pub(crate) struct Replay {
    /// The dispatch
    #[arg(value_name = "DISPATCH")]
    pub(crate) dispatch: String,
    /// The node
    #[arg(value_name = "NODE", value_parser = node)]
    pub(crate) node: NodeId,
    /// In a debugger, which stops at the first line of the function, and where it raises or
    /// panics: Python's own, or gdb for Rust. A line of a shell is traced instead
    #[arg(long, short, visible_alias = "debugger")]
    pub(crate) debug: bool,
    /// The Python for Python tasks [default: the active virtual environment, else python3 on PATH]
    #[arg(long, value_name = "PYTHON", env = "COV_PYTHON", hide_env_values = true)]
    pub(crate) python: Option<PathBuf>,
    /// Write function, inputs and a script that starts the task into this folder, and run nothing
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

/// What to explain.
#[derive(Debug, ClapArgs)]
pub(crate) struct Explain {
    /// The dispatch
    #[arg(value_name = "DISPATCH", default_value = "@")]
    pub(crate) dispatch: String,
}
