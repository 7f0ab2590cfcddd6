//! Executors, settings, the database, and what a check of everything has found.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::output::units::bytes;
use crate::output::{Cell, Report, Screen, Table, Tone};

/// The executors of a server.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Executors(pub(crate) cov_client::Executors);

impl Report for Executors {
    const EVENT: &'static str = "executors";

    fn text(&self, screen: &Screen) -> String {
        let mut table = Table::new(["NAME", "TASKS AT ONCE", "STATE", "FROM"]);
        for one in &self.0.executors {
            let state = one.fault.as_deref().unwrap_or(match one.attaches {
                true => "ready, outlives the server",
                false => "ready",
            });
            table.row([
                one.name.as_str().into(),
                Cell::new(one.slots.to_string()).right(),
                state.into(),
                one.origin.as_deref().unwrap_or("this server").into(),
            ]);
        }
        let mut text = table.text(screen);
        if let Some(fault) = &self.0.fault {
            text.push_str(&format!("\nExecutor plugins cannot be listed: {fault}\n"));
        }
        text
    }
}

/// One setting of the server.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// As TOML writes it; nothing if it is not set.
    pub(crate) value: Option<String>,
    pub(crate) source: String,
}

/// The settings of the server.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    /// They are those of the server that runs, and not of one that would be started.
    pub(crate) of_running: bool,
    pub(crate) settings: Vec<Setting>,
}

impl Settings {
    /// Reads what `cov-server --print-config` writes: TOML with the source of each value behind it.
    pub(crate) fn read(text: &str, of_running: bool) -> Self {
        let mut section = String::new();
        let mut settings = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = format!("{name}.");
            } else if let Some(key) =
                line.strip_prefix("# ").and_then(|line| line.strip_suffix(" is not set"))
            {
                settings.push(Setting {
                    key: format!("{section}{key}"),
                    value: None,
                    source: "not set".to_owned(),
                });
            } else if let Some((key, rest)) = line.split_once(" = ") {
                let (value, source) = rest.rsplit_once("  # ").unwrap_or((rest, ""));
                settings.push(Setting {
                    key: format!("{section}{key}"),
                    value: Some(value.to_owned()),
                    source: source.to_owned(),
                });
            }
        }
        Self { of_running, settings }
    }
}

impl Report for Settings {
    const EVENT: &'static str = "config";

    fn text(&self, screen: &Screen) -> String {
        let mut table = Table::new(["SETTING", "VALUE", "FROM"]).flexible(1);
        for Setting { key, value, source } in &self.settings {
            let tone = if matches!(source.as_str(), "default" | "not set") {
                Tone::Dim
            } else {
                Tone::Plain
            };
            table.row([
                key.as_str().into(),
                Cell::new(value.as_deref().unwrap_or("–")).tone(tone),
                Cell::new(source.as_str()).tone(tone),
            ]);
        }
        let whose = match self.of_running {
            true => "These are the settings of the server that runs in the background.",
            false => "These are the settings that a server would start with.",
        };
        format!("{}\n\n{}", table.text(screen), screen.paint(Tone::Dim, whose))
    }
}

/// What became of the database, as the server's program says it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Database {
    pub(crate) data_dir: PathBuf,
    /// `migrated` or `checked`.
    pub(crate) action: String,
    #[serde(default)]
    pub(crate) dispatches: u64,
    /// The number of its form.
    pub(crate) schema: i64,
    /// The same before a migration.
    #[serde(default)]
    pub(crate) schema_before: Option<i64>,
    #[serde(default)]
    pub(crate) contents: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
    /// What is damaged.
    #[serde(default)]
    pub(crate) problems: Vec<String>,
}

impl Report for Database {
    const EVENT: &'static str = "database";

    fn text(&self, screen: &Screen) -> String {
        let Self { dispatches, schema, contents, problems, .. } = self;
        let folder = self.data_dir.display();
        if self.action == "migrated" {
            return match self.schema_before {
                Some(before) if before == *schema => {
                    format!("The database in {folder} is in form {schema} already.")
                }
                Some(before) => format!(
                    "The database in {folder} was brought from form {before} to form {schema}."
                ),
                None => format!("A database was made in {folder}, in form {schema}."),
            };
        }
        let size = bytes(self.bytes);
        let read = format!(
            "Read {dispatches} dispatches and {contents} contents, {size}, in {folder} (form {schema})."
        );
        match problems.is_empty() {
            true => format!("{read}\n{}", screen.paint(Tone::Good, "Nothing is damaged.")),
            false => {
                let lines: Vec<String> =
                    problems.iter().map(|problem| format!("✗ {problem}")).collect();
                format!("{read}\n{}", screen.paint(Tone::Bad, &lines.join("\n")))
            }
        }
    }
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Good,
    Warning,
    Bad,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Check {
    pub(crate) fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, found: found.into(), advice: None }
    }

    pub(crate) fn warning(
        name: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { name, verdict: Verdict::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    pub(crate) fn bad(
        name: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { name, verdict: Verdict::Bad, found: found.into(), advice: Some(advice.into()) }
    }
}

/// What the checks have found.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    pub(crate) checks: Vec<Check>,
}

impl Diagnosis {
    pub(crate) fn is_bad(&self) -> bool {
        self.checks.iter().any(|check| check.verdict == Verdict::Bad)
    }
}

impl Report for Diagnosis {
    const EVENT: &'static str = "diagnosis";

    fn text(&self, screen: &Screen) -> String {
        let widest = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for Check { name, verdict, found, advice } in &self.checks {
            let (sign, tone) = match verdict {
                Verdict::Good => ("✓", Tone::Good),
                Verdict::Warning => ("!", Tone::Warn),
                Verdict::Bad => ("✗", Tone::Bad),
            };
            lines.push(format!("{} {name:widest$}  {found}", screen.paint(tone, sign)));
            let pad = " ".repeat(widest + 4);
            lines.extend(
                advice
                    .iter()
                    .map(|advice| format!("{pad}{} {advice}", screen.paint(Tone::Dim, "→"))),
            );
        }
        let count = |verdict| self.checks.iter().filter(|check| check.verdict == verdict).count();
        lines.push(String::new());
        lines.push(match (count(Verdict::Bad), count(Verdict::Warning)) {
            (0, 0) => screen.paint(Tone::Good, "Everything is as it should be."),
            (0, 1) => "It works; 1 thing could be better.".to_owned(),
            (0, warnings) => format!("It works; {warnings} things could be better."),
            (1, _) => screen.paint(Tone::Bad, "1 thing keeps it from working."),
            (bad, _) => screen.paint(Tone::Bad, &format!("{bad} things keep it from working.")),
        });
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn settings_are_read_from_what_the_server_prints() {
        let text = "listen = \"127.0.0.1:48008\"  # default\n# python is not set\nworkers = 2  # COV_WORKERS\n\n[limits]\nnodes = 5  # --limits-nodes\n";
        let settings = Settings::read(text, false);
        assert_snapshot!(settings.text(&Screen::for_tests(80)), @r#"
        SETTING       VALUE              FROM
        listen        "127.0.0.1:48008"  default
        python        –                  not set
        workers       2                  COV_WORKERS
        limits.nodes  5                  --limits-nodes

        These are the settings that a server would start with.
        "#);
        assert_eq!(settings.settings.len(), 4);
    }

    #[test]
    fn a_diagnosis_says_what_to_do() {
        let mut diagnosis = Diagnosis {
            checks: vec![
                Check::good("programs", "cov and cov-server 0.1.0"),
                Check::warning(
                    "disk",
                    "4.2 GiB are free",
                    "make room, or choose another --data-dir",
                ),
                Check::bad(
                    "python",
                    "Python 3.11.7 has no cloudpickle",
                    "python3 -m pip install cloudpickle",
                ),
            ],
        };
        assert_snapshot!(diagnosis.text(&Screen::for_tests(80)), @"
        ✓ programs  cov and cov-server 0.1.0
        ! disk      4.2 GiB are free
                    → make room, or choose another --data-dir
        ✗ python    Python 3.11.7 has no cloudpickle
                    → python3 -m pip install cloudpickle

        1 thing keeps it from working.
        ");
        assert!(diagnosis.is_bad());
        diagnosis.checks.truncate(1);
        assert!(diagnosis.text(&Screen::pipe()).ends_with("Everything is as it should be."));
    }

    #[test]
    fn what_became_of_the_database_is_said() {
        let database = |action: &str, before| Database {
            data_dir: "/data".into(),
            action: action.into(),
            dispatches: 12,
            schema: 3,
            schema_before: before,
            contents: 40,
            bytes: 4096,
            problems: Vec::new(),
        };
        let screen = Screen::for_tests(80);
        assert_snapshot!(database("checked", None).text(&screen), @"
        Read 12 dispatches and 40 contents, 4.0 KiB, in /data (form 3).
        Nothing is damaged.
        ");
        let damaged = Database {
            problems: vec!["content 3f2a: 5 bytes are missing".into()],
            ..database("checked", None)
        };
        assert_snapshot!(damaged.text(&screen), @"
        Read 12 dispatches and 40 contents, 4.0 KiB, in /data (form 3).
        ✗ content 3f2a: 5 bytes are missing
        ");
        assert_snapshot!(database("migrated", Some(2)).text(&screen), @"The database in /data was brought from form 2 to form 3.");
        assert_snapshot!(database("migrated", Some(3)).text(&screen), @"The database in /data is in form 3 already.");
    }
}
