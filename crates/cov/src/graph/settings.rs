//! Where and how often an electron runs, and what an executor is told of it.

use std::path::PathBuf;
use std::time::Duration;

use cov_core::executor::ExecutorSpec;
use serde_json::Map;

use super::Executor;

/// The executor that runs Rust electrons when nothing else is said.
pub(super) const RUST: &str = "rust";

/// The executor that runs Python electrons when nothing else is said.
pub(super) const PYTHON: &str = "local";

/// What is said of an electron, or for all electrons of a lattice. What is `None` is left to the
/// next: the node, then its electron, then its lattice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Settings {
    /// Where it runs.
    pub executor: Option<Executor>,
    /// How many more attempts follow a failed one.
    pub retries: Option<u32>,
    /// How long one attempt may run, from its begin.
    pub time_limit: Option<Duration>,
    /// The folder that it runs in.
    pub work_dir: Option<PathBuf>,
    /// How large the address space of its process may become, in units of 2^20 bytes. An electron
    /// that wants more fails. Only Rust electrons are bound by it.
    pub memory_limit_mb: Option<u64>,
}

impl Settings {
    /// Takes from `defaults` what is not said here.
    pub(super) fn or(&mut self, defaults: &Self) {
        let Self { executor, retries, time_limit, work_dir, memory_limit_mb } = defaults;
        self.executor = self.executor.take().or_else(|| executor.clone());
        self.retries = self.retries.or(*retries);
        self.time_limit = self.time_limit.or(*time_limit);
        self.work_dir = self.work_dir.take().or_else(|| work_dir.clone());
        self.memory_limit_mb = self.memory_limit_mb.or(*memory_limit_mb);
    }

    /// As a manifest says it.
    pub(super) fn spec(&self, language: &'static str) -> ExecutorSpec {
        let mut attributes = Map::new();
        if let Some(retries) = self.retries {
            attributes.insert("retries".to_owned(), retries.into());
        }
        if let Some(limit) = self.time_limit {
            attributes.insert("time_limit".to_owned(), limit.as_secs_f64().into());
        }
        if let Some(folder) = &self.work_dir {
            let folder = folder.to_string_lossy().into_owned();
            attributes.insert("workdir".to_owned(), folder.into());
        }
        if let Some(limit) = self.memory_limit_mb {
            attributes.insert("memory_limit_mb".to_owned(), limit.into());
        }
        let own = || Executor::named(language);
        self.executor.clone().unwrap_or_else(own).spec(language, attributes)
    }
}
