//! `test` and `ci`: every check, the cheap ones first, and a table of what ran at the end.
//!
//! Decides the order of the steps. What a step checks is decided where its tool is configured.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::services::{Missing, Services, Wanted};
use crate::{
    api, book, fuzz, instructions, layers, ledger, python, repo, run, say, system, tidy, tools,
};

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    without_sdk: bool,
    strict: bool,
    pytest: Vec<String>,
}

impl Options {
    /// Reads the arguments after the command.
    ///
    /// # Errors
    ///
    /// When an argument is not known.
    pub(crate) fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--no-sdk" => options.without_sdk = true,
                "--" => options.pytest = rest.by_ref().cloned().collect(),
                other => anyhow::bail!(
                    "no option `{other}`: there are `--no-sdk` and `-- PYTEST_ARGUMENTS`"
                ),
            }
        }
        Ok(options)
    }

    /// As continuous integration runs it: nothing is skipped because something is missing.
    pub(crate) fn strict(mut self) -> Self {
        self.strict = true;
        self
    }
}

/// One line of the table: `Ok` carries what the step says about itself.
struct Row {
    name: &'static str,
    took: Duration,
    outcome: anyhow::Result<String>,
}

/// Runs everything. A group of steps that holds a failure is finished, and is the last one.
///
/// # Errors
///
/// When a step fails: the table names it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let rows = all_groups(options);
    print_table(&rows);
    let failed: Vec<&str> =
        rows.iter().filter(|row| row.outcome.is_err()).map(|row| row.name).collect();
    let took = run::seconds(started.elapsed());
    let logs = repo::target().join("xtask");
    anyhow::ensure!(
        failed.is_empty(),
        "{} failed, after {took}; logs in {}",
        failed.join(", "),
        logs.display()
    );
    say::line(&format!(
        "test: all {} steps passed in {took}; logs in {}",
        rows.len(),
        logs.display()
    ));
    Ok(())
}

/// The environment and the dependency check need the network more than the processors: they run beside the compiler.
fn all_groups(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    std::thread::scope(|scope| {
        rows.push(step("fmt", || {
            cargo(options, "fmt", &["fmt", "--all", "--check", "--", "--files-with-diff"])
        }));
        rows.push(step("tidy", || tidy::run().map(|()| String::new())));
        rows.push(step("check-layers", || layers::run().map(|()| String::new())));
        if any_failed(&rows) {
            return;
        }
        let environment = scope.spawn(|| step("venvs", environments));
        let dependencies = scope.spawn(|| {
            step("deny", || tools::deny().map(|()| "bans, licences, sources".to_owned()))
        });
        let all = ["--workspace", "--all-features", "--locked"];
        let lint = [&["clippy"], &all[..], &["--all-targets", "--", "-D", "warnings"]].concat();
        rows.push(step("clippy", || cargo(options, "clippy", &lint)));
        let docs = [&["doc", "--no-deps", "--document-private-items"], &all[..]].concat();
        rows.push(step("docs", || cargo(options, "docs", &docs)));
        rows.push(step("features", tools::features));
        if any_failed(&rows) {
            return;
        }
        // One graph of features for tests and server: nothing is compiled twice.
        let build = [&["build"], &all[..], &["--bins", "--tests", "--examples"]].concat();
        rows.push(step("build", || cargo(options, "build", &build)));
        rows.extend(dependencies.join().ok());
        rows.extend(environment.join().ok());
        if any_failed(&rows) {
            return;
        }
        let mut services = None;
        rows.push(step("services", || start_services(options, &mut services)));
        let services = services.as_ref();
        rows.push(step("rust tests", || nextest(options, services)));
        rows.push(step("doc tests", || {
            cargo(options, "doc tests", &[&["test", "--doc"], &all[..]].concat())
        }));
        rows.push(step("instructions", || instructions::step(options.strict)));
        if any_failed(&rows) || options.without_sdk {
            return;
        }
        rows.push(step("book", book::step));
        rows.push(step("api tester", api::step));
        rows.push(step("sdk suite", || sdk_suite(options, services)));
        rows.push(step("plugin suite", || plugin_suite(options)));
        rows.push(step("kill ledger", ledger::small));
        rows.push(step("fuzz", || fuzz::step(options.strict)));
    });
    rows
}

fn any_failed(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.outcome.is_err())
}

fn step(name: &'static str, work: impl FnOnce() -> anyhow::Result<String>) -> Row {
    say::line(&format!("==> {name}"));
    let started = Instant::now();
    let outcome = work();
    if let Err(error) = &outcome {
        say::error(&format!("{error:#}"));
    }
    Row { name, took: started.elapsed(), outcome }
}

fn cargo(options: &Options, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(env!("CARGO"));
    run::logged(name, prepare(options, command.args(arguments)))?;
    Ok(String::new())
}

/// What every program of the suite gets: no colours, warnings of rustdoc as errors, and the mark of strictness.
fn prepare<'a>(options: &Options, command: &'a mut Command) -> &'a mut Command {
    command
        .current_dir(repo::root())
        .env("CARGO_TERM_COLOR", "never")
        .env("RUSTDOCFLAGS", "-D warnings");
    if options.strict {
        command.env("CI", "true").env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// The Pythons of both suites.
fn environments() -> anyhow::Result<String> {
    let (sdk, plugins) = (python::sdk()?, python::plugins()?);
    Ok(format!("{}, {}", sdk.display(), plugins.display()))
}

/// The databases of the tests. Where they may be missing, the tests that need them say so and are skipped.
fn start_services(options: &Options, services: &mut Option<Services>) -> anyhow::Result<String> {
    let started = services.insert(Services::start(Wanted::Databases, missing(options))?);
    Ok(started.note())
}

/// Tells a program where the databases are.
fn with_services(command: &mut Command, services: Option<&Services>) {
    let variables = services.map(Services::variables).unwrap_or_default();
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
}

fn nextest(options: &Options, services: Option<&Services>) -> anyhow::Result<String> {
    let program = tools::nextest()?;
    if options.strict {
        system::strace()?;
    }
    let mut command = Command::new(program);
    command.args([
        "nextest",
        "run",
        "--workspace",
        "--all-features",
        "--locked",
        "--no-tests",
        "pass",
    ]);
    command.env("COV_TEST_PYTHON", python::sdk()?);
    with_services(&mut command, services);
    let text = run::logged("rust tests", prepare(options, &mut command))?;
    Ok(summary(&text, "Summary"))
}

fn sdk_suite(options: &Options, services: Option<&Services>) -> anyhow::Result<String> {
    let mut command = Command::new(python::sdk()?);
    command.args(["-m", "pytest", "tests/sdk", "-n", "2", "-q"]).args(&options.pytest);
    command.env("COV_SERVER_BIN", repo::built("cov-server"));
    with_services(&mut command, services);
    let text = run::logged("sdk suite", prepare(options, &mut command))?;
    Ok(summary(&text, " passed"))
}

/// The tests of executor plugins, with engines of their own around them.
fn plugin_suite(options: &Options) -> anyhow::Result<String> {
    let engines = Services::start(Wanted::Engines, missing(options))?;
    let mut command = Command::new(python::plugins()?);
    command.args(["-m", "pytest", "tests/plugins", "-n", "2", "-q"]);
    command.env("COV_SERVER_BIN", repo::built("cov-server"));
    with_services(&mut command, Some(&engines));
    let text = run::logged("plugin suite", prepare(options, &mut command))?;
    Ok(format!("{} ({})", summary(&text, " passed"), engines.note()))
}

fn missing(options: &Options) -> Missing {
    if options.strict { Missing::Install } else { Missing::Skip }
}

/// The last line that contains `mark`, without its decoration.
fn summary(text: &str, mark: &str) -> String {
    let line = text.lines().rev().find(|line| line.contains(mark)).unwrap_or_default();
    line.trim_matches(|letter: char| letter == '=' || letter.is_whitespace()).to_owned()
}

fn print_table(rows: &[Row]) {
    say::line("");
    say::line(&format!("{:<14} {:<7} {:>12}  ", "step", "result", "time"));
    for row in rows {
        let (verdict, note) = match &row.outcome {
            Ok(note) => ("ok", note.as_str()),
            Err(_) => ("FAILED", ""),
        };
        say::line(
            format!("{:<14} {verdict:<7} {:>12}  {note}", row.name, run::seconds(row.took))
                .trim_end(),
        );
    }
    say::line("");
}

#[cfg(test)]
mod tests {
    use super::{Options, any_failed, step, summary};

    #[test]
    fn options_are_read_or_refused() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options = Options::parse(&words("--no-sdk -- -k chain")).unwrap();
        assert!(options.without_sdk);
        assert_eq!(options.pytest, ["-k", "chain"]);
        assert!(Options::parse(&words("--fast")).is_err());
    }

    #[test]
    fn a_failed_step_is_seen() {
        let good = step("good", || Ok(String::new()));
        assert!(!any_failed(&[good]));
        let bad = step("bad", || anyhow::bail!("as it should"));
        assert!(any_failed(&[bad]));
    }

    #[test]
    fn summaries_are_the_last_line_of_their_kind() {
        assert_eq!(summary("a\n==== 3 passed in 1s ====\n", " passed"), "3 passed in 1s");
        assert_eq!(summary("", " passed"), "");
    }
}
