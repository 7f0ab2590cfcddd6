//! Copies of the database as it was before it was brought to the schema of a newer release: the way
//! back to the older one. Brings nothing up to date.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnection;

use crate::Error;
use crate::fault::{flatten, from_io, from_sql, internal};

/// Between these stands the number of the schema.
const PREFIX: &str = "dispatches.schema-";
const SUFFIX: &str = ".sqlite";
/// The name of a copy that is being made.
const UNFINISHED: &str = "dispatches.schema.new";

/// The schema of the database that `connection` has open; `None` for one that has none yet.
pub(super) async fn schema(connection: &mut SqliteConnection) -> Result<Option<i64>, Error> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let tables: i64 =
        sqlx::query_scalar(known).fetch_one(&mut *connection).await.map_err(from_sql)?;
    if tables == 0 {
        return Ok(None);
    }
    let versions = "SELECT max(version) FROM _sqlx_migrations";
    sqlx::query_scalar(versions).fetch_one(connection).await.map_err(from_sql)
}

/// Copies the database beside it, whole and durable, under the number of its schema.
pub(super) async fn copy(
    connection: &mut SqliteConnection,
    data: &Path,
    schema: i64,
) -> Result<(), Error> {
    let (unfinished, copied) = (data.join(UNFINISHED), path_of(data, schema));
    let begun = unfinished.clone();
    let preparing = tokio::task::spawn_blocking(move || {
        match fs::remove_file(&begun) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(from_io(error)),
            _ => {}
        }
        // Before SQLite does, which would let others read it.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&begun).map_err(from_io)?;
        Ok(())
    });
    flatten(preparing.await)?;
    let text = unfinished.to_str().ok_or_else(|| internal("the data directory is no text"))?;
    let taken = sqlx::query("VACUUM INTO ?").bind(text).execute(connection).await;
    if let Err(error) = taken {
        // What was written of it may be what the disk has no room for.
        flatten(tokio::task::spawn_blocking(move || remove(&unfinished)).await)?;
        return Err(from_sql(error));
    }
    let folder = data.to_path_buf();
    let shown = copied.display().to_string();
    let renaming = tokio::task::spawn_blocking(move || {
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, copied)?;
        File::open(&folder)?.sync_all()
    });
    flatten(renaming.await.map(|renamed| renamed.map_err(from_io)))?;
    tracing::info!(schema, path = shown, "the database was copied before it is brought up to date");
    Ok(())
}

/// Removes all copies but the `keep` of the newest schemas.
pub(super) async fn keep_newest(data: &Path, keep: usize) -> Result<(), Error> {
    let data = data.to_path_buf();
    let removing = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        for entry in fs::read_dir(&data).map_err(from_io)? {
            let name = entry.map_err(from_io)?.file_name();
            found.extend(name.to_str().and_then(schema_of));
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.into_iter().skip(keep).try_for_each(|schema| remove(&path_of(&data, schema)))
    });
    flatten(removing.await)
}

fn path_of(data: &Path, schema: i64) -> PathBuf {
    data.join(format!("{PREFIX}{schema}{SUFFIX}"))
}

fn schema_of(name: &str) -> Option<i64> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(from_io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_copies_stay_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "dispatches.schema-9.sqlite",
            "dispatches.schema-10.sqlite",
            "dispatches.schema-11.sqlite",
            "dispatches.schema-mine.sqlite",
            "dispatches.sqlite",
        ];
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        keep_newest(folder.path(), 2).await.unwrap();
        let left: Vec<_> =
            names.into_iter().filter(|name| folder.path().join(name).exists()).collect();
        assert_eq!(left, names[1..]);
    }
}
