//! What can be said of workflow files.

use std::path::PathBuf;

use clap::Args as ClapArgs;

const RUN_HELP: &str = "\
What a run keeps stays in its folder when it did not succeed: `cov run --resume FOLDER` goes on,
and runs again only what has not succeeded. With a file, `cov run FILE --resume FOLDER` goes on
with the file as it is now.

Exit codes:
    0  the workflow has run, and succeeded
    1  it failed, or could not be run
    2  wrong options, or a file that is no workflow
  130  interrupted; what was running is cancelled";

/// How to run a workflow file.
#[derive(Debug, ClapArgs)]
#[command(after_help = RUN_HELP)]
pub(crate) struct Run {
    /// The workflow, in TOML or YAML
    #[arg(value_name = "FILE", required_unless_present_any = ["resume", "schema"])]
    pub(crate) file: Option<PathBuf>,
    /// Set a parameter of the workflow; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Only say what would run
    #[arg(long, conflicts_with_all = ["resume", "schema"])]
    pub(crate) check: bool,
    /// Go on with a run that did not succeed
    #[arg(long, value_name = "FOLDER", conflicts_with = "folder")]
    pub(crate) resume: Option<PathBuf>,
    /// Keep everything in this folder, empty or not there yet [default: a new one below
    /// $XDG_STATE_HOME/cov/runs, removed after success]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Say nothing of the progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// How many tasks run at once [default: the number of processor cores]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,
    /// Python interpreter for tasks in Python [default: the active virtual environment, else
    /// python3 on PATH]
    #[arg(long, value_name = "PYTHON")]
    pub(crate) python: Option<PathBuf>,
    /// Print the JSON schema of workflow files, for editors
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}

/// How to send a workflow file to a server.
#[derive(Debug, ClapArgs)]
pub(crate) struct Dispatch {
    /// The workflow, in TOML or YAML
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Set a parameter of the workflow; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Wait for the end, and print what the workflow gave
    #[arg(long)]
    pub(crate) wait: bool,
    /// Run it once, now, whatever triggers the file has
    #[arg(long)]
    pub(crate) once: bool,
    /// Say nothing of the progress
    #[arg(long, short, requires = "wait")]
    pub(crate) quiet: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("give it as NAME=VALUE".to_owned()),
    }
}
