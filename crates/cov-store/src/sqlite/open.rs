//! Opening a data directory: the lock, the folders, the schema, the connections. Refuses what
//! belongs to another server or to a newer release; repairs nothing.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::FlockOperation;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlSafeStr};

use super::{CACHE_BYTES_MAX, SqliteStore, copies};
use crate::Error;
use crate::cache::SmallContents;
use crate::fault::{flatten, from_io, from_sql};
use crate::files::Files;

/// The file in the data directory that holds the database.
pub const DATABASE: &str = "dispatches.sqlite";
/// The name of a database that is being made.
const UNFINISHED: &str = "dispatches.sqlite.new";
const LOCK: &str = "server.lock";

/// Every migration ever released, oldest first. Released ones are never edited: the database
/// keeps a checksum of each and a changed one is refused.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "create dispatches", include_str!("../../migrations/sqlite/0001_create_dispatches.sql")),
    (
        2,
        "index awaited assets",
        include_str!("../../migrations/sqlite/0002_index_awaited_assets.sql"),
    ),
    (3, "create triggers", include_str!("../../migrations/sqlite/0003_create_triggers.sql")),
    (4, "create tokens", include_str!("../../migrations/sqlite/0004_create_tokens.sql")),
    (5, "index lists", include_str!("../../migrations/sqlite/0005_index_lists.sql")),
    (6, "count dispatches", include_str!("../../migrations/sqlite/0006_count_dispatches.sql")),
];

/// How many copies of older databases are kept, unless something else is said.
const COPIES: usize = 2;

/// Pages in the log before they are moved into the database. Contents stand in the order of their
/// digests, so that each new one changes pages of its own: the longer the log, the more often one page
/// is moved for several. Moving holds up one commit, and that the longer.
const LOGGED_PAGES: &str = "4000";

/// Pages that the writing connection keeps, in KiB, negated; it takes the memory when it needs it.
/// Enough for the indexes of some 300,000 contents.
const WRITER_CACHE: &str = "-32768";

/// Pages that each reading connection keeps, in KiB, negated.
const READER_CACHE: &str = "-2048";

/// How long a statement waits for a lock that another process holds, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for reading, each with a thread of its own; opened when they are needed.
const READERS_MAX: u32 = 4;

/// How long a read waits for a connection before the store counts as unavailable.
const READER_WAIT_MAX: Duration = Duration::from_secs(10);

/// Rows that travel from a connection's thread in one go.
const ROW_BUFFER: usize = 1024;

impl SqliteStore {
    /// Opens the data directory `data`, creating what is missing. The directory is locked until
    /// the store is dropped. Leftovers of uploads and of runners are removed. A database of an
    /// older release is brought up to date; copies of it as it was are kept, of the two newest
    /// schemas.
    ///
    /// # Errors
    /// `Refused` when another server uses the directory, `Schema` when a newer release wrote it;
    /// `Full`, `Unavailable` or `Corrupt` when the disk or the database does not do its part.
    pub async fn open(data: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_keeping(data, COPIES).await
    }

    /// As [`Self::open`], with so many copies of older databases. With 0 none is made, and those
    /// that are there stay.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_keeping(data: impl AsRef<Path>, copies: usize) -> Result<Self, Error> {
        let data = data.as_ref().to_path_buf();
        let prepared = tokio::task::spawn_blocking(move || prepare(data));
        let (data, lock, files) = flatten(prepared.await)?;

        let writing = writing_options(&data.join(DATABASE));
        if !data.join(DATABASE).exists() {
            create(&data).await?;
        }
        let mut writer = writing.connect().await.map_err(from_sql)?;
        bring_up_to_date(&mut writer, &data, copies).await?;

        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(READER_WAIT_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(reading_options(&writing));
        Ok(Self {
            writing,
            writer: tokio::sync::Mutex::new(Some(writer)),
            readers,
            known: Mutex::default(),
            small: Mutex::new(SmallContents::new(CACHE_BYTES_MAX)),
            ahead: Mutex::default(),
            files: Arc::new(files),
            purging: tokio::sync::Mutex::new(()),
            backing_up: Arc::default(),
            _lock: lock,
        })
    }

    /// Closes all connections in order, so that the database is one file again. Not needed for
    /// durability. Commits that come later open a connection anew; reads fail.
    pub async fn close(&self) {
        self.readers.close().await;
        let Some(writer) = self.writer.lock().await.take() else { return };
        if let Err(error) = writer.close().await {
            tracing::warn!(%error, "the writing connection did not close in order");
        }
    }
}

fn prepare(data: PathBuf) -> Result<(PathBuf, File, Files), Error> {
    // Everything that users computed is in here: nobody else's business.
    DirBuilder::new().recursive(true).mode(0o700).create(&data).map_err(from_io)?;
    let data = fs::canonicalize(data).map_err(from_io)?;
    let lock = take_lock(&data)?;
    for suffix in ["", "-wal", "-shm"] {
        hide_from_others(&data.join(format!("{DATABASE}{suffix}")))?;
    }
    let files = Files::open(&data)?;
    Ok((data, lock, files))
}

/// The folder may have been made by somebody else, open to all, and the database holds the key of
/// signed addresses. What its group may do is left alone: backups may rely on it.
fn hide_from_others(path: &Path) -> Result<(), Error> {
    let mode = match fs::metadata(path) {
        Ok(found) => found.permissions().mode(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(from_io(error)),
    };
    if mode & 0o007 == 0 {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "other users could read this file; now they cannot");
    fs::set_permissions(path, Permissions::from_mode(mode & 0o770)).map_err(from_io)
}

/// The lock lives as long as the open file, so it cannot outlast its owner; std opens files
/// close-on-exec, so no child inherits it.
fn take_lock(data: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(data.join(LOCK)).map_err(from_io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(data, &mut file)),
        Err(errno) => return Err(from_io(errno.into())),
    }
    file.set_len(0).map_err(from_io)?;
    writeln!(file, "{}", std::process::id()).map_err(from_io)?;
    Ok(file)
}

fn in_use(data: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    let owner = match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => format!(" (process {pid})"),
        _ => String::new(),
    };
    Error::Refused(format!(
        "the data directory {} is in use by another server{owner}",
        data.display()
    ))
}

fn writing_options(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        // Every reference is checked before it is written, with a better error.
        .foreign_keys(false)
        .pragma("journal_size_limit", "67108864")
        .pragma("wal_autocheckpoint", LOGGED_PAGES)
        .pragma("cache_size", WRITER_CACHE)
        .statement_cache_capacity(256)
        .row_buffer_size(ROW_BUFFER)
        .thread_name(|_| "store-writer".to_owned())
        .disable_statement_logging()
}

fn reading_options(writing: &SqliteConnectOptions) -> SqliteConnectOptions {
    writing
        .clone()
        .create_if_missing(false)
        .pragma("query_only", "on")
        .pragma("cache_size", READER_CACHE)
        .thread_name(|number| format!("store-reader-{number}"))
}

/// Makes an empty database under another name and renames it when it is whole and durable: one
/// sync for all of it, where each statement would have cost its own.
async fn create(data: &Path) -> Result<(), Error> {
    let unfinished = data.join(UNFINISHED);
    let folder = data.to_path_buf();
    let beginning = tokio::task::spawn_blocking(move || {
        forget_unfinished(&folder)?;
        // Before SQLite does, which would let others read it.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(folder.join(UNFINISHED)).map(drop).map_err(from_io)
    });
    flatten(beginning.await)?;
    let options = SqliteConnectOptions::new()
        .filename(&unfinished)
        .create_if_missing(true)
        .synchronous(SqliteSynchronous::Off)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(from_sql)?;
    // Among the options it would come before `synchronous`, and sync.
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut connection).await.map_err(from_sql)?;
    migrate(&mut connection).await?;
    connection.close().await.map_err(from_sql)?;
    let folder = data.to_path_buf();
    let renaming = tokio::task::spawn_blocking(move || {
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, folder.join(DATABASE))?;
        File::open(&folder)?.sync_all()
    });
    flatten(renaming.await.map(|renamed| renamed.map_err(from_io)))
}

fn forget_unfinished(data: &Path) -> Result<(), Error> {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        match fs::remove_file(data.join(format!("{UNFINISHED}{suffix}"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(from_io(error)),
            _ => {}
        }
    }
    Ok(())
}

async fn bring_up_to_date(
    writer: &mut SqliteConnection,
    data: &Path,
    keep: usize,
) -> Result<(), Error> {
    let newest = MIGRATIONS.last().map(|(version, ..)| *version);
    let schema = copies::schema(writer).await?;
    let is_older = schema.is_some() && schema < newest;
    if let Some(schema) = schema.filter(|_| is_older && keep > 0) {
        copies::copy(writer, data, schema).await?;
    }
    migrate(writer).await?;
    if is_older && keep > 0 {
        copies::keep_newest(data, keep).await?;
    }
    Ok(())
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), Error> {
    let migrations = MIGRATIONS.iter().map(|(version, description, sql)| {
        let sql = (*sql).into_sql_str();
        Migration::new(*version, (*description).into(), MigrationType::Simple, sql, false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    // `run` takes an `Acquire`, which makes the future of `open` not general enough to be spawned.
    match migrator.run_direct(None, connection, false).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => Err(Error::Schema(format!(
            "the data directory was written by a newer release (schema {version}); this one knows schema {}",
            MIGRATIONS.len()
        ))),
        Err(MigrateError::VersionMismatch(version)) => Err(Error::Schema(format!(
            "the data directory has another schema {version} than this release"
        ))),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            Err(from_sql(error))
        }
        Err(error) => Err(Error::Internal(error.into())),
    }
}
