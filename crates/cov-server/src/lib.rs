//! The server: reads its configuration, wires the parts together, starts them in order and stops
//! them in reverse. Decides nothing about dispatches and knows no route.
//!
//! The program `cov-server` is one line, [`main()`]. A program that adds trigger types or executors to it
//! is one line too; one that holds a server of its own beside other things uses [`Builder`].

mod access;
pub mod args;
pub mod clock;
pub mod config;
mod database;
mod engines;
mod error;
mod listen;
mod meters;
mod notify;
mod program;
mod remote_host;
mod server;
pub mod signal;
pub mod telemetry;
mod triggers;

pub use crate::config::Config;
pub use crate::error::{Error, Kind};
pub use crate::listen::{Listen, NoAddress};
pub use crate::program::{create_token, main, restore};
pub use crate::server::{Builder, Server};
pub use crate::triggers::TriggerServer;

/// Lets a server in this program run programs and commands: the first line of `main`. It returns
/// at once, except where a server has started this program to keep what it runs; then it never
/// returns. Without it, tasks in Python run, and others fail with a message that says so.
///
/// ```
/// cov_server::init();
/// ```
pub fn init() {
    cov_exec::keeper::init();
}
