//! A server that has one executor more than others. It takes the same options as `cov-server`.

use std::process::ExitCode;

use device_executor::{DeviceExecutor, NAME};

fn main() -> ExitCode {
    cov_server::main(|server| {
        let data_dir = server.config().data_dir.clone();
        server.executor(NAME, move |reports| DeviceExecutor::start(&data_dir, reports))
    })
}
