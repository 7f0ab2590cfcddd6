//! A server that knows one trigger type more than others. It takes the same options as `cov-server`.

use std::process::ExitCode;

use branch_trigger::BranchTrigger;

fn main() -> ExitCode {
    cov_server::main(|server| server.trigger_type(BranchTrigger::NAME, BranchTrigger::from_fields))
}
