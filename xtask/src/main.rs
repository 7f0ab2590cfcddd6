//! The project's own commands: `cargo xtask <command>`.
//!
//! Parses the command line and nothing else. Uses none of our crates, so that it can judge them while they do not
//! compile.

mod api;
mod book;
mod compare;
mod demo;
mod fuzz;
mod instructions;
mod layers;
mod ledger;
mod python;
mod repo;
mod run;
mod say;
mod services;
mod soak;
mod suite;
mod system;
mod tidy;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  demo          build, start a server, run a real workflow with the Covalent SDK, show the results, stop
  test          every check: format, lints, layers, dependencies, docs, Rust tests, counts of instructions, the API
                tester, the SDK suite, a small kill ledger
  ci            what continuous integration runs: `test` with CI=true (nothing may be skipped)

  check-layers  fail on a dependency between crates, or on a library, that the layers do not allow
  tidy          fail on what the compiler does not see: module docs, file lengths, marks, leaked shapes and paths
  deny          fail on banned crates, unknown licences and unknown sources (deny.toml)
  features      build and test crates alone, with each of their features alone and with none
  fuzz          [TARGET|all] [SECONDS]: run the fuzz targets, with a nightly compiler; `test` runs each for
                COV_FUZZ_SECONDS, 20 if not set; with --keep, take what was found over into fuzz/kept instead
  kill-ledger   [--kills N] [--dispatches N] [--seed N]: kill the server while it works; nothing may be lost
  services      [--engines] [-- COMMAND…]: start private PostgreSQL, MariaDB and Prometheus servers for tests, or with
                --engines Dask, SSH and Slurm ones; run COMMAND with their addresses, stop them; without a command,
                print the addresses and run until interrupted
  instructions  [--update]: count the instructions of the hot paths with callgrind and hold them against
                benches/instructions.json; with --update, write that file anew
  soak          [--minutes N]: half of what a server can do, for 30 minutes or so many; what grows that should not?
  try-api       try the native API of a real server with requests made from its description
  book          [--check [PAGE…]]: build the book into target/book; with --check, run every block of code in it
  compare       [--peers A,B] [--shapes A,B] [--rounds N] [--quick]: install other workflow systems, run the same work on
                them and on this server, write docs/performance.md; further options: benches/compare/README.md
  sdk-venv      make the virtual environment of the SDK suite and print its interpreter

`test` takes `--no-sdk` to leave the SDK suite and the kill ledger out, and `-- ARGS` to pass ARGS to pytest.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> anyhow::Result<()> {
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    match command {
        "demo" => demo::run(),
        "test" => suite::run(&suite::Options::parse(rest)?),
        "ci" => suite::run(&suite::Options::parse(rest)?.strict()),
        "check-layers" => layers::run(),
        "tidy" => tidy::run(),
        "deny" => tools::deny(),
        "features" => tools::features().map(|note| say::line(&note)),
        "kill-ledger" => ledger::run(rest),
        "book" => book::run(rest),
        "compare" => compare::run(rest),
        "try-api" => api::run(),
        "fuzz" => fuzz::run(rest),
        "instructions" => instructions::run(rest),
        "services" => services::run(rest),
        "soak" => soak::run(rest),
        "sdk-venv" => python::print_sdk_interpreter(),
        "help" | "--help" | "-h" => {
            say::line(HELP);
            Ok(())
        }
        other => anyhow::bail!("no command `{other}`\n\n{HELP}"),
    }
}
