//! What keeps a server and its data in order, and what this program says of itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use clap_complete::Shell;
use cov_core::status::Status;

use super::server::ServerOptions;
use super::values::{age, ended_status};

/// What to remove.
#[derive(Debug, ClapArgs)]
pub(crate) struct Purge {
    /// Only dispatches that ended at least this long ago, such as 30d, 12h, 15min or 90s
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Duration,
    /// Only dispatches that ended like this: COMPLETED, FAILED or CANCELLED; may be repeated
    #[arg(long, value_name = "STATUS", value_parser = ended_status)]
    pub(crate) status: Vec<Status>,
    /// Remove nothing, only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Where to write a backup.
#[derive(Debug, ClapArgs)]
pub(crate) struct Backup {
    /// The file to write, a tar archive
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// What to restore, and where.
#[derive(Debug, ClapArgs)]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The folder to fill, empty or not there yet [default: $XDG_DATA_HOME/cov, or
    /// ~/.local/share/cov] [env: COV_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file, in TOML, that may name the folder [env: COV_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What to take over from Covalent.
#[derive(Debug, ClapArgs)]
pub(crate) struct ImportCovalent {
    /// Covalent's database [default: $COVALENT_DATABASE, or
    /// ~/.local/share/covalent/dispatcher_db.sqlite]
    #[arg(long, value_name = "FILE")]
    pub(crate) database: Option<PathBuf>,
    /// Covalent's folder of contents, if it was moved since [default: where the database says]
    #[arg(long, value_name = "DIR")]
    pub(crate) results: Option<PathBuf>,
    /// What becomes of dispatches that were under way there: skip leaves them out, fail takes them
    /// over as FAILED
    #[arg(long, value_name = "HOW", default_value = "skip")]
    pub(crate) unfinished: Unfinished,
    /// Read everything and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What becomes of dispatches that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Unfinished {
    Skip,
    Fail,
}

/// Which settings to show.
#[derive(Debug, ClapArgs)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

/// What to do with the database.
#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Bring the database to the form that this release uses; needs a server that is stopped
    Migrate(DbPlace),
    /// Read everything in the database and every stored content, and say what is damaged; needs a
    /// server that is stopped
    Check(DbPlace),
}

/// Where the database is.
#[derive(Debug, ClapArgs)]
pub(crate) struct DbPlace {
    /// The folder that holds it [default: $XDG_DATA_HOME/cov, or ~/.local/share/cov]
    /// [env: COV_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file, in TOML, that may name the folder [env: COV_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What to check.
#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// The Python that tasks run with [default: that of the server's settings]
    #[arg(long, value_name = "PYTHON")]
    pub(crate) python: Option<PathBuf>,
}

/// For which shell.
#[derive(Debug, ClapArgs)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

/// Where to put the manual.
#[derive(Debug, ClapArgs)]
pub(crate) struct Man {
    /// Write a page for every command into this folder, instead of the first page to the output
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}
