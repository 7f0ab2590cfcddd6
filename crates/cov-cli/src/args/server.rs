//! What the server in the background is started with, and how it is stopped. The values are
//! checked by the server itself.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::engines::EngineOptions;
use super::limits::AccessOptions;

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
    /// Ask nobody for a token, also on an address that other machines can reach
    /// [env: COV_INSECURE]
    #[arg(long)]
    insecure: bool,
    /// Further host name by which requests may call the server [env: COV_ALLOWED_HOSTS]
    #[arg(long, value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// Where machines that run its tasks reach the server [default: the address that is listened on]
    /// [env: COV_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Most nodes of one workflow [default: 2000000] [env: COV_LIMITS__NODES]
    #[arg(long, value_name = "N")]
    limits_nodes: Option<String>,
    /// Longest registration of a workflow, in bytes [env: COV_LIMITS__MANIFEST_BYTES]
    #[arg(long, value_name = "BYTES")]
    limits_manifest_bytes: Option<String>,
    /// Longest upload of one asset, in bytes [env: COV_LIMITS__UPLOAD_BYTES]
    #[arg(long, value_name = "BYTES")]
    limits_upload_bytes: Option<String>,
    #[command(flatten)]
    access: AccessOptions,
    #[command(flatten)]
    engines: EngineOptions,
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
            ("--public-url", &self.public_url),
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
        line.extend(self.access.words()?);
        line.extend(self.engines.words()?);
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
    use clap::Parser as _;

    use crate::args::{Args, Command};

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
            "--public-url",
            "https://cov.example",
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
