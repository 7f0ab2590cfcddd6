//! The program `cov-server`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cov_server::main(|server| server)
}
