//! The command line. Says what can be asked; does nothing.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use cov_core::status::Status;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it could not be done
  2  wrong options
  3  no server runs in the background (status, purge, backup)
  4  a server runs already, with other options (start)";

/// Runs a dispatch server in the background and shows what it does.
#[derive(Debug, Parser)]
#[command(name = "cov", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Print data as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
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
    /// Show the log of the server in the background
    Logs(Logs),
    /// Remove dispatches that have ended, for good, and what no other dispatch refers to
    Purge(Purge),
    /// Write a backup of everything that the server in the background keeps, while it runs
    Backup(Backup),
    /// Fill an empty data directory from a backup; needs no server that runs
    Restore(Restore),
    /// Show the versions of this program and of the server
    Version,
}

/// The options of the server.
#[derive(Debug, ClapArgs)]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

/// How to stop.
#[derive(Debug, ClapArgs)]
pub(crate) struct Stop {
    /// Do not wait for what is under way
    #[arg(long)]
    pub(crate) now: bool,
}

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

/// A number with a unit.
fn age(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err("give a number with a unit: s, min, h or d".to_owned()),
    };
    let number = number.parse::<u64>().map_err(|error| error.to_string())?;
    let seconds = number.checked_mul(seconds).ok_or("that is too long")?;
    Ok(Duration::from_secs(seconds))
}

fn ended_status(text: &str) -> Result<Status, String> {
    let ends = Status::ALL.into_iter().filter(|status| status.is_terminal());
    let mut matching = ends.filter(|status| status.as_str().eq_ignore_ascii_case(text));
    matching.next().ok_or_else(|| "it must be COMPLETED, FAILED or CANCELLED".to_owned())
}

/// Which part of the log.
#[derive(Debug, ClapArgs)]
pub(crate) struct Logs {
    /// Go on as the log grows, until interrupted
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How many lines to show from the end
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) lines: usize,
}

/// What `cov-server` can be told. The values are checked by the server, so that they mean the
/// same in both places.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct ServerOptions {
    /// Address and port to listen on [default: 127.0.0.1:48008] [env: COV_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Folder for everything that is kept [default: $XDG_DATA_HOME/cov, or ~/.local/share/cov]
    /// [env: COV_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Python interpreter that runs the tasks [default: the active virtual environment, else
    /// python3 on PATH] [env: COV_PYTHON]
    #[arg(long, value_name = "PYTHON")]
    python: Option<PathBuf>,
    /// How many tasks run at once [default: the number of processor cores] [env: COV_WORKERS]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// How long a stopping server waits for what is under way [default: 10] [env: COV_GRACE]
    #[arg(long, value_name = "SECONDS")]
    grace: Option<String>,
    /// What becomes of tasks that were running when the server went down: rerun or fail
    /// [default: rerun] [env: COV_ON_RESTART]
    #[arg(long, value_name = "POLICY")]
    on_restart: Option<String>,
    /// Whether runners get cgroups of their own: auto or off [default: auto] [env: COV_CGROUPS]
    #[arg(long, value_name = "WHEN")]
    cgroups: Option<String>,
    /// Run no triggers [env: COV_NO_TRIGGERS]
    #[arg(long)]
    no_triggers: bool,
    /// Run nothing but triggers, for dispatches of the server that --dispatcher names
    /// [env: COV_TRIGGERS_ONLY]
    #[arg(long)]
    triggers_only: bool,
    /// With --triggers-only: the server on which the dispatches are [env: COV_DISPATCHER]
    #[arg(long, value_name = "URL")]
    dispatcher: Option<String>,
    /// Form of the log: human or json [default: human] [env: COV_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// How much is logged: error, warn, info, debug or trace [default: info] [env: COV_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Allow an address that other machines can reach, without any protection [env: COV_INSECURE]
    #[arg(long)]
    insecure: bool,
    /// Further host name by which requests may call the server [env: COV_ALLOWED_HOSTS]
    #[arg(long, value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// Most nodes of one workflow [default: 2000000] [env: COV_LIMITS__NODES]
    #[arg(long, value_name = "N")]
    limits_nodes: Option<String>,
    /// Longest registration of a workflow, in bytes [env: COV_LIMITS__MANIFEST_BYTES]
    #[arg(long, value_name = "BYTES")]
    limits_manifest_bytes: Option<String>,
    /// Longest upload of one asset, in bytes [env: COV_LIMITS__UPLOAD_BYTES]
    #[arg(long, value_name = "BYTES")]
    limits_upload_bytes: Option<String>,
    /// Configuration file, in TOML [env: COV_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ServerOptions {
    /// The options as a command line for `cov-server`. Paths are made absolute, so that the line
    /// means the same when it is used again from another folder.
    pub(crate) fn line(&self) -> std::io::Result<Vec<OsString>> {
        let mut line = Vec::new();
        let mut put = |flag: &str, value: OsString| line.extend([OsString::from(flag), value]);
        for (flag, path) in [("--config", &self.config), ("--data-dir", &self.data_dir)] {
            if let Some(path) = path {
                put(flag, std::path::absolute(path)?.into_os_string());
            }
        }
        if let Some(python) = &self.python {
            // A bare name is looked up on PATH; the link of a virtual environment must stay one.
            let is_name = python.components().count() == 1 && !python.is_absolute();
            let python = if is_name { python.clone() } else { std::path::absolute(python)? };
            put("--python", python.into_os_string());
        }
        let texts = [
            ("--listen", &self.listen),
            ("--workers", &self.workers),
            ("--grace", &self.grace),
            ("--on-restart", &self.on_restart),
            ("--cgroups", &self.cgroups),
            ("--dispatcher", &self.dispatcher),
            ("--log-format", &self.log_format),
            ("--log-level", &self.log_level),
            ("--limits-nodes", &self.limits_nodes),
            ("--limits-manifest-bytes", &self.limits_manifest_bytes),
            ("--limits-upload-bytes", &self.limits_upload_bytes),
        ];
        for (flag, text) in texts {
            if let Some(text) = text {
                put(flag, text.into());
            }
        }
        for host in &self.allowed_hosts {
            put("--allowed-hosts", host.into());
        }
        let switches = [
            ("--no-triggers", self.no_triggers),
            ("--triggers-only", self.triggers_only),
            ("--insecure", self.insecure),
        ];
        line.extend(switches.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag.into()));
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(given: &[&str]) -> Vec<String> {
        let given = ["cov", "start"].iter().chain(given);
        let Command::Start(start) = Args::try_parse_from(given).unwrap().command else {
            panic!("`start` is not start");
        };
        let line = start.server.line().unwrap();
        line.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn every_option_is_handed_on() {
        let given = [
            "--config",
            "/c.toml",
            "--data-dir",
            "/data",
            "--python",
            "/venv/bin/python",
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "2",
            "--grace",
            "1",
            "--on-restart",
            "fail",
            "--cgroups",
            "off",
            "--dispatcher",
            "http://127.0.0.1:1",
            "--log-format",
            "json",
            "--log-level",
            "debug",
            "--limits-nodes",
            "5",
            "--limits-manifest-bytes",
            "6000",
            "--limits-upload-bytes",
            "7000",
            "--allowed-hosts",
            "a",
            "--allowed-hosts",
            "b",
            "--no-triggers",
            "--triggers-only",
            "--insecure",
        ];
        assert_eq!(line(&given), given);
        assert_eq!(line(&[]), Vec::<String>::new());
    }

    #[test]
    fn ages_have_a_unit() {
        let seconds = |text| age(text).map(|age| age.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("15min"), Ok(900));
        assert_eq!(seconds("12h"), Ok(43_200));
        assert_eq!(seconds("30d"), Ok(2_592_000));
        for refused in ["", "30", "d", "1 d", "-1d", "1w", "999999999999999999d"] {
            assert!(age(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn only_ends_can_be_purged() {
        assert_eq!(ended_status("completed"), Ok(Status::Completed));
        assert!(ended_status("RUNNING").is_err());
    }

    #[test]
    fn paths_become_absolute_and_names_stay_names() {
        let here = std::env::current_dir().unwrap();
        let absolute = |name: &str| here.join(name).to_str().unwrap().to_owned();
        assert_eq!(line(&["--data-dir", "data"]), ["--data-dir", &absolute("data")]);
        assert_eq!(
            line(&["--python", "venv/bin/python"]),
            ["--python", &absolute("venv/bin/python")]
        );
        assert_eq!(line(&["--python", "python3.12"]), ["--python", "python3.12"]);
    }
}
