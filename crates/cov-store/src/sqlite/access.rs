//! Tokens, keys and the audit in the database, and the measure of what is used.

use std::fs;
use std::io;
use std::path::Path;

use async_trait::async_trait;
use cov_core::access::Scope;
use cov_core::time::Timestamp;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, QueryBuilder, Sqlite};

use super::SqliteStore;
use super::open::DATABASE;
use crate::Error;
use crate::access::{
    AccessStore, AuditEntry, AuditPage, AuditQuery, HASH_BYTES, TokenChange, TokenOutcome,
    TokenRecord, Usage,
};
use crate::fault::{corrupt, flatten, from_io, from_sql};

/// `id, name, hash, scope, created_at, rotated_at, expires_at, revoked_at`.
type TokenColumns = (String, String, Vec<u8>, i64, i64, Option<i64>, Option<i64>, Option<i64>);
/// `number, at, who, origin, action, target, status, request`.
type AuditColumns = (i64, i64, String, String, String, String, i64, String);

#[async_trait]
impl AccessStore for SqliteStore {
    async fn server_key(
        &self,
        name: &str,
        fresh: [u8; HASH_BYTES],
    ) -> Result<[u8; HASH_BYTES], Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        sqlx::query("INSERT INTO server_keys (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(fresh.as_slice())
            .execute(&mut connection)
            .await
            .map_err(from_sql)?;
        let kept: Vec<u8> = sqlx::query_scalar("SELECT value FROM server_keys WHERE name = ?")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .map_err(from_sql)?;
        *place = Some(connection);
        let what = || format!("the server's key `{name}`");
        kept.try_into().map_err(|_kept| corrupt(what(), "it has another length"))
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, Error> {
        let rows: Vec<TokenColumns> = sqlx::query_as(
            "SELECT id, name, hash, scope, created_at, rotated_at, expires_at, revoked_at \
             FROM tokens ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        rows.into_iter().map(read_token).collect()
    }

    async fn change_token(
        &self,
        change: &TokenChange,
        entry: &AuditEntry,
    ) -> Result<TokenOutcome, Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(from_sql)?;
        let outcome = apply(&mut transaction, change).await?;
        match outcome {
            TokenOutcome::Done(_) => {
                insert_audit(&mut transaction, entry).await?;
                transaction.commit().await.map_err(from_sql)?;
            }
            TokenOutcome::Exists | TokenOutcome::Unknown => {
                transaction.rollback().await.map_err(from_sql)?;
            }
        }
        *place = Some(connection);
        Ok(outcome)
    }

    async fn write_audit(&self, entries: &[AuditEntry]) -> Result<(), Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(from_sql)?;
        for entry in entries {
            insert_audit(&mut transaction, entry).await?;
        }
        transaction.commit().await.map_err(from_sql)?;
        *place = Some(connection);
        Ok(())
    }

    async fn audit(&self, asked: &AuditQuery) -> Result<AuditPage, Error> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT number, at, who, origin, action, target, status, request FROM audit \
             WHERE number < ",
        );
        query.push_bind(
            asked.before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX)),
        );
        for (column, value) in
            [("who", &asked.who), ("action", &asked.action), ("target", &asked.target)]
        {
            if let Some(value) = value {
                query.push(format!(" AND {column} = ")).push_bind(value.as_str());
            }
        }
        query.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(asked.limit) + 1);
        let rows: Vec<AuditColumns> =
            query.build_query_as().fetch_all(&self.readers).await.map_err(from_sql)?;
        let limit = asked.limit as usize;
        let more = rows.len() > limit;
        let entries: Vec<_> = rows.into_iter().take(limit).map(read_audit).collect();
        let next = entries.last().filter(|_| more).map(|(number, _)| *number);
        Ok(AuditPage { entries, next })
    }

    async fn purge_audit(&self, until: Timestamp) -> Result<u64, Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        let done = sqlx::query("DELETE FROM audit WHERE at < ?")
            .bind(until.as_micros())
            .execute(&mut connection)
            .await
            .map_err(from_sql)?;
        *place = Some(connection);
        Ok(done.rows_affected())
    }

    async fn usage(&self) -> Result<Usage, Error> {
        self.measured(size_of_contents).await
    }

    async fn usage_without_contents(&self) -> Result<Usage, Error> {
        self.measured(|_| Ok(0)).await
    }
}

impl SqliteStore {
    async fn measured(&self, contents: fn(&Path) -> io::Result<u64>) -> Result<Usage, Error> {
        let spool = self.files.spool().to_path_buf();
        let measured = tokio::task::spawn_blocking(move || {
            let data = spool.parent().unwrap_or(&spool);
            measure(data, contents).map_err(from_io)
        });
        flatten(measured.await)
    }
}

async fn apply(
    connection: &mut SqliteConnection,
    change: &TokenChange,
) -> Result<TokenOutcome, Error> {
    let (name, done) = match change {
        TokenChange::Create(token) => {
            let done = sqlx::query(
                "INSERT INTO tokens (id, name, hash, scope, created_at, expires_at) \
                 VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(&token.id)
            .bind(&token.name)
            .bind(token.hash.as_slice())
            .bind(scope_code(token.scope))
            .bind(token.created_at.as_micros())
            .bind(token.expires_at.map(Timestamp::as_micros));
            (&token.name, done.execute(&mut *connection).await)
        }
        TokenChange::Rotate { name, id, hash, at, expires_at } => {
            let done = sqlx::query(
                "UPDATE tokens SET id = ?, hash = ?, rotated_at = ?, \
                 expires_at = COALESCE(?, expires_at) WHERE name = ? AND revoked_at IS NULL",
            )
            .bind(id)
            .bind(hash.as_slice())
            .bind(at.as_micros())
            .bind(expires_at.map(Timestamp::as_micros))
            .bind(name);
            (name, done.execute(&mut *connection).await)
        }
        TokenChange::Revoke { name, at } => {
            let done = sqlx::query(
                "UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL",
            )
            .bind(at.as_micros())
            .bind(name);
            (name, done.execute(&mut *connection).await)
        }
    };
    if done.map_err(from_sql)?.rows_affected() == 0 {
        return Ok(match change {
            TokenChange::Create(_) => TokenOutcome::Exists,
            TokenChange::Rotate { .. } | TokenChange::Revoke { .. } => TokenOutcome::Unknown,
        });
    }
    let row: TokenColumns = sqlx::query_as(
        "SELECT id, name, hash, scope, created_at, rotated_at, expires_at, revoked_at \
         FROM tokens WHERE name = ?",
    )
    .bind(name)
    .fetch_one(connection)
    .await
    .map_err(from_sql)?;
    read_token(row).map(TokenOutcome::Done)
}

async fn insert_audit(connection: &mut SqliteConnection, entry: &AuditEntry) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO audit (at, who, origin, action, target, status, request) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(entry.at.as_micros())
    .bind(&entry.who)
    .bind(&entry.origin)
    .bind(&entry.action)
    .bind(&entry.target)
    .bind(i64::from(entry.status))
    .bind(&entry.request)
    .execute(connection)
    .await
    .map_err(from_sql)?;
    Ok(())
}

fn scope_code(scope: Scope) -> i64 {
    match scope {
        Scope::Read => 1,
        Scope::Dispatch => 2,
        Scope::Admin => 3,
    }
}

fn read_token(row: TokenColumns) -> Result<TokenRecord, Error> {
    let (id, name, hash, scope, created, rotated, expires, revoked) = row;
    let fault = |reason| corrupt(format!("token {name}"), reason);
    let scope = Scope::ALL.into_iter().find(|one| scope_code(*one) == scope);
    Ok(TokenRecord {
        scope: scope.ok_or_else(|| fault("its scope is unknown"))?,
        hash: hash.try_into().map_err(|_hash| fault("its hash has another length"))?,
        id,
        created_at: Timestamp::from_micros(created),
        rotated_at: rotated.map(Timestamp::from_micros),
        expires_at: expires.map(Timestamp::from_micros),
        revoked_at: revoked.map(Timestamp::from_micros),
        name,
    })
}

fn read_audit(row: AuditColumns) -> (u64, AuditEntry) {
    let (number, at, who, origin, action, target, status, request) = row;
    let at = Timestamp::from_micros(at);
    let status = u16::try_from(status).unwrap_or(0);
    (number.cast_unsigned(), AuditEntry { at, who, origin, action, target, status, request })
}

fn measure(data: &Path, contents: fn(&Path) -> io::Result<u64>) -> io::Result<Usage> {
    let mut database = 0;
    for suffix in ["", "-wal", "-shm"] {
        database += fs::metadata(data.join(format!("{DATABASE}{suffix}"))).map_or(0, |m| m.len());
    }
    let system = rustix::fs::statvfs(data)?;
    let contents = contents(data)?;
    Ok(Usage { database, contents, free: system.f_bavail.saturating_mul(system.f_frsize) })
}

fn size_of_contents(data: &Path) -> io::Result<u64> {
    Ok(size_below(&data.join("contents"))? + size_below(&data.join("spool"))?)
}

/// What is gone by the time it is looked at counts as nothing.
fn size_below(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => size += found.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(size)
}
