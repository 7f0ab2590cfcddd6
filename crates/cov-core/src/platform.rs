//! The platform that a program was built for, spelled like a target triple, so that a program is
//! not started where it cannot run. Says nothing of the machine it runs on.

use std::env::consts::{ARCH, OS};

/// The platform of this program.
///
/// ```
/// let platform = cov_core::platform::current();
/// assert!(platform.starts_with(std::env::consts::ARCH));
/// ```
#[must_use]
pub fn current() -> String {
    let system = match OS {
        "macos" => "darwin",
        other => other,
    };
    let environment = if cfg!(target_env = "gnu") {
        "-gnu"
    } else if cfg!(target_env = "musl") {
        "-musl"
    } else if cfg!(target_env = "msvc") {
        "-msvc"
    } else {
        ""
    };
    let vendor = if cfg!(target_vendor = "apple") {
        "apple"
    } else if cfg!(target_vendor = "pc") {
        "pc"
    } else {
        "unknown"
    };
    format!("{ARCH}-{vendor}-{system}{environment}")
}
