//! What `cov-server` can be told of executor plugins and of the engines behind them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args as ClapArgs;

/// Options of the server about engines.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct EngineOptions {
    /// Dask scheduler for tasks that ask for `dask` and do not say which [env: COV_DASK]
    #[arg(long, value_name = "ADDRESS")]
    dask: Option<String>,
    /// Folder with executor plugins, one Python file each [env: COV_EXECUTOR_DIR]
    #[arg(long, value_name = "DIR")]
    executor_dir: Option<PathBuf>,
    /// How many tasks run at once on an executor plugin [default: 64 for each]
    /// [env: COV_EXECUTOR_SLOTS]
    #[arg(long, value_name = "NAME=N")]
    executor_slots: Vec<String>,
    /// Host no executor plugins [env: COV_NO_PLUGINS]
    #[arg(long)]
    no_plugins: bool,
}

impl EngineOptions {
    /// The options as words of a command line. Paths are made absolute.
    pub(super) fn words(&self) -> std::io::Result<Vec<OsString>> {
        let mut words = Vec::new();
        if let Some(address) = &self.dask {
            words.extend(["--dask".into(), address.into()]);
        }
        if let Some(folder) = &self.executor_dir {
            let folder = std::path::absolute(folder)?.into_os_string();
            words.extend(["--executor-dir".into(), folder]);
        }
        for pair in &self.executor_slots {
            words.extend(["--executor-slots".into(), pair.into()]);
        }
        words.extend(self.no_plugins.then(|| "--no-plugins".into()));
        Ok(words)
    }
}
