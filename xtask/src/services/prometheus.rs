//! How a private Prometheus is made and run. It scrapes whom a test writes into its file of targets, and knows the
//! project's alert rules.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::server::Kind;
use super::{account, text};
use crate::{repo, system};

/// The alert rules, relative to the root.
const RULES: &str = "ops/prometheus/rules.yml";

/// Prometheus.
pub(super) struct Prometheus;

impl Kind for Prometheus {
    fn name(&self) -> &'static str {
        "Prometheus"
    }

    fn package(&self) -> Option<&'static str> {
        Some("prometheus")
    }

    fn program(&self) -> Option<PathBuf> {
        system::on_path("prometheus", &["/usr/local/bin"])
    }

    fn address(&self, _home: &Path, port: u16) -> Option<(&'static str, String)> {
        let url = format!("http://127.0.0.1:{port}");
        Some(("COV_TEST_PROMETHEUS_URL", url))
    }

    fn preparation(&self, home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        std::fs::write(home.join("targets.json"), "[]")?;
        std::fs::write(settings(home), settings_text(home))?;
        let promtool = system::on_path("promtool", &["/usr/local/bin"])
            .context("promtool comes with Prometheus, and is not there")?;
        let mut command = Command::new(promtool);
        command.args(["check", "config"]).arg(settings(home));
        Ok(Some((command, Vec::new())))
    }

    fn serving(&self, home: &Path, port: u16) -> anyhow::Result<Command> {
        let program = self.program().context("Prometheus is not installed")?;
        let mut command = account::program(&program, None, self.stop_signal());
        command.args([
            format!("--config.file={}", text(&settings(home))),
            format!("--storage.tsdb.path={}", text(&home.join("prometheus"))),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ]);
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "Server is ready to receive web requests"
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

fn settings(home: &Path) -> PathBuf {
    home.join("prometheus.yml")
}

/// Intervals are short, so that nobody waits for a number.
fn settings_text(home: &Path) -> String {
    let targets = text(&home.join("targets.json"));
    let rules = text(&repo::root().join(RULES));
    format!(
        "global:\n  scrape_interval: 250ms\n  scrape_timeout: 250ms\n  evaluation_interval: 1s\n\
         rule_files: ['{rules}']\n\
         scrape_configs:\n- job_name: cov-server\n  file_sd_configs:\n  - files: ['{targets}']\n\
         \x20   refresh_interval: 1s\n"
    )
}
