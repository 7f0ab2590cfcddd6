//! The command line. Says what can be asked; does nothing.

mod access;
mod dispatches;
mod engines;
mod limits;
mod server;
mod triggers;
mod upkeep;
mod values;
mod workflow;

use clap::{ColorChoice, Parser, Subcommand};

pub(crate) use self::access::{Audit, Tokens};
pub(crate) use self::dispatches::{
    Cancel, Column, Explain, Logs, Ls, Redispatch, Replay, ResultOf, Show, Sort, Watch,
};
pub(crate) use self::server::{ServerOptions, Start, Stop};
pub(crate) use self::triggers::{Add, Triggers, TriggersLs};
pub(crate) use self::upkeep::{
    Backup, Completions, Config, Db, DbPlace, Doctor, ImportCovalent, Man, Purge, Restore,
    Unfinished,
};
pub(crate) use self::workflow::{Dispatch, Run};

const EXIT_CODES: &str = "\
DISPATCH is an id, the beginning of one, or `@` (or `last`) for the newest dispatch.

Exit codes:
    0  done
    1  it could not be done, or the dispatch failed or was cancelled
    2  wrong options
    3  no server can be reached
    4  a server runs already, with other options (start)
    5  there is no such dispatch, node or trigger, or several that could be meant
  130  interrupted";

/// Runs workflows on a dispatch server: starts one, shows what it does, and tells it what to do.
#[derive(Debug, Parser)]
#[command(name = "cov", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    /// Print data as JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use colours: auto, always or never; NO_COLOR turns them off too
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(crate) color: ColorChoice,
    /// The server to talk to, such as http://127.0.0.1:48008 [default: the one in the background]
    #[arg(long, global = true, value_name = "URL", env = "COV_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server in the background and wait until it is ready
    Start(Start),
    /// Stop the server in the background; what is not done goes on at the next start
    Stop(Stop),
    /// Stop the server and start it again, with the options of its last start unless others are given
    Restart(Start),
    /// Show whether a server runs in the background, and what it does
    Status,
    /// Run a workflow file here, on a server of its own that comes and goes with it
    Run(Run),
    /// Send a workflow file to the server, with its triggers
    Dispatch(Dispatch),
    /// List dispatches, newest first
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show a dispatch: its graph as a tree, with states, times and attempts
    Show(Show),
    /// Show what a dispatch returned, or one of its nodes
    Result(ResultOf),
    /// Show what the tasks of a dispatch printed; without one, the log of the server
    Logs(Logs),
    /// Follow a dispatch until it has ended
    Watch(Watch),
    /// Cancel dispatches, or some nodes of one
    Cancel(Cancel),
    /// Dispatch again what was dispatched before
    Redispatch(Redispatch),
    /// Run one task again, here, with the inputs that it had
    Replay(Replay),
    /// Say why a dispatch waits, failed, or took so long
    Explain(Explain),
    /// List triggers, and what can be done to them
    #[command(subcommand)]
    Triggers(Triggers),
    /// List the executors of the server
    Executors,
    /// Make, list, rotate and revoke the tokens that callers log in with; COV_TOKEN holds that of
    /// this program
    #[command(subcommand)]
    Token(Tokens),
    /// Show who changed what, when and from where
    Audit(Audit),
    /// Remove dispatches that have ended, for good, and what no other dispatch refers to
    Purge(Purge),
    /// Write a backup of everything that a server keeps, while it runs
    Backup(Backup),
    /// Fill an empty data directory from a backup; needs no server that runs
    Restore(Restore),
    /// Take over what a Covalent server has kept: its dispatches, with their results
    ImportCovalent(ImportCovalent),
    /// Check the database of a server, or bring it to the form of this release
    #[command(subcommand)]
    Db(Db),
    /// Show the settings of the server, and where each comes from
    Config(Config),
    /// Look for what could keep tasks from running, and say what to do
    Doctor(Doctor),
    /// Show the versions of this program and of the server
    Version,
    /// Write the completions of a shell
    Completions(Completions),
    /// Write the manual
    Man(Man),
}
