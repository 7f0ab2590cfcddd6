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

/// Whether a program for `theirs` can be run on `own`: processor and system are the same. Which C
/// library a program needs shows when it is started; one without any runs wherever these two fit.
///
/// ```
/// use cov_core::platform::fits;
/// assert!(fits("x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"));
/// assert!(!fits("aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"));
/// ```
#[must_use]
pub fn fits(theirs: &str, own: &str) -> bool {
    let parts = |platform: &str| {
        let mut parts = platform.split('-').map(str::to_owned);
        (parts.next(), parts.nth(1))
    };
    parts(theirs) == parts(own)
}
