//! The executors that are not the server's own: plugins, and the Dask scheduler that it was told of.

use std::path::Path;
use std::sync::Arc;

use cov_dispatcher::Executors;
use cov_exec::Report;
use cov_exec::plugins::{PluginHost, PluginOptions};
use cov_store::{Contents as _, SqliteStore};
use tokio::sync::mpsc;

use crate::config::{Config, EXECUTOR_SLOTS};
use crate::meters::Meters;
use crate::server::RUN_FOLDER;

/// The folder of plugins' outputs in the spool.
const SPOOL: &str = "plugins";

/// Has what hosts plugins stand beside `executors`, unless the configuration says that there are
/// none. It is started when it is first needed.
pub(crate) fn beside(
    executors: Executors,
    config: &Config,
    store: &SqliteStore,
    url: &str,
    meters: &Meters,
    reports: mpsc::Sender<Report>,
) -> Executors {
    if config.no_plugins {
        return executors;
    }
    // The local executor clears the spool when it starts, which may be later.
    let (run_dir, spool_dir) = (config.data_dir.join(RUN_FOLDER), store.spool().join(SPOOL));
    forget(&spool_dir);
    let executors = executors.with_dask(config.dask.clone());
    let mut options = PluginOptions::new(run_dir, spool_dir, url.to_owned());
    options.python.clone_from(&config.python);
    options.executor_dir.clone_from(&config.executor_dir);
    options.concurrency.clone_from(&config.executor_slots);
    options.default_concurrency = EXECUTOR_SLOTS;
    options.known = executors.shown().map(|(name, _slots)| name.to_owned()).collect();
    options.metrics = meters.runners.clone();
    executors.with_finder(Arc::new(PluginHost::new(options, reports)))
}

/// Removes what an earlier life of the server left on its way.
fn forget(spool_dir: &Path) {
    match std::fs::remove_dir_all(spool_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %spool_dir.display(), "old outputs cannot be removed");
        }
        Ok(()) | Err(_) => {}
    }
}
