//! `book`: makes the book in `docs/`, and runs what it shows.
//!
//! How a block of code is run is known to `tests/book/check_book.py` alone.

use std::process::Command;

use anyhow::Context as _;

use crate::{python, repo, run, say, tools};

/// The program that runs the blocks, and its own tests.
const CHECKER: &str = "tests/book/check_book.py";
const CHECKER_TESTS: &str = "tests/book/test_check_book.py";

/// Builds the book, or checks it.
///
/// # Errors
///
/// When mdbook cannot be had or finds a fault, or a block of a page does not do what the page says.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.split_first() {
        None => build(),
        Some((option, pages)) if option == "--check" => {
            build_programs()?;
            say::line(&check(pages)?);
            Ok(())
        }
        Some((other, _)) => anyhow::bail!("no option `{other}`: there is `--check [PAGE…]`"),
    }
}

/// The step of the suite. The programs are built.
///
/// # Errors
///
/// As [`run()`].
pub(crate) fn step() -> anyhow::Result<String> {
    build()?;
    check(&[])
}

fn build() -> anyhow::Result<()> {
    let program = tools::mdbook()?;
    let mut command = Command::new(program);
    command.args(["build", "docs"]).current_dir(repo::root());
    let text = run::logged("book build", &mut command)?;
    // A page that is not there, or an include that leads nowhere, is only a word of warning to mdbook.
    let complaint = text.lines().find(|line| line.contains("ERROR") || line.contains("WARN"));
    if let Some(complaint) = complaint {
        anyhow::bail!("book: {complaint}");
    }
    let page = repo::root().join("target").join("book").join("index.html");
    anyhow::ensure!(page.exists(), "mdbook has made no {}", page.display());
    say::line(&format!("book: {}", page.display()));
    Ok(())
}

fn build_programs() -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--locked", "-p", "cov-server", "-p", "cov-cli", "-p", "cov"]);
    command.args(["--all-features", "--bins", "--examples"]).current_dir(repo::root());
    run::logged("book programs", &mut command).map(|_log| ())
}

/// Returns the line with the numbers.
fn check(pages: &[String]) -> anyhow::Result<String> {
    let interpreter = python::sdk()?;
    let server = repo::built("cov-server");
    let mut tests = Command::new(&interpreter);
    tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", CHECKER_TESTS]);
    run::logged("book checker", tests.current_dir(repo::root()).env("COV_SERVER_BIN", &server))?;
    let mut command = Command::new(&interpreter);
    command.arg(CHECKER).args(pages).current_dir(repo::root()).env("COV_SERVER_BIN", &server);
    let text = run::logged("book", &mut command)?;
    let numbers = text.lines().rev().find(|line| line.starts_with("book: "));
    numbers.map(str::to_owned).context("the checker of the book said nothing")
}
