//! The database of a server that does not run: checked, or brought to the schema of this release.
//! Prints what came of it in one line of JSON.

use std::io::{self, Write as _};

use cov_store::SqliteStore;
use serde_json::json;

use crate::args::DatabaseTask;
use crate::config::Config;
use crate::error::Error;
use crate::server::open_store;

/// Does what was asked for.
///
/// # Errors
/// Another server uses the data directory, a newer release wrote it, or the disk does not do its
/// part. What is damaged is no error: it is printed.
pub(crate) async fn run(task: DatabaseTask, config: &Config) -> Result<(), Error> {
    let failed = |source| Error::Data { path: config.data_dir.clone(), source };
    let before = SqliteStore::schema(&config.data_dir).await.map_err(failed)?;
    if task == DatabaseTask::Check && before.is_none() {
        let why = format!("there is no database in {}", config.data_dir.display());
        return Err(failed(cov_store::Error::Refused(why)));
    }
    // Opening migrates.
    let store = open_store(config).await?;
    let schema = SqliteStore::schema(&config.data_dir).await.map_err(failed)?;
    let data_dir = std::path::absolute(&config.data_dir).unwrap_or(config.data_dir.clone());
    let said = match task {
        DatabaseTask::Migrate => json!({
            "data_dir": data_dir, "action": "migrated", "schema": schema, "schema_before": before,
        }),
        DatabaseTask::Check => {
            let checked = store.check().await.map_err(failed)?;
            json!({
                "data_dir": data_dir, "action": "checked", "schema": schema,
                "dispatches": checked.dispatches, "contents": checked.contents,
                "bytes": checked.bytes, "problems": checked.problems,
            })
        }
    };
    store.close().await;
    writeln!(io::stdout(), "{said}")
        .map_err(|source| Error::Part { part: "the standard output", source: Box::new(source) })
}
