//! What is particular to SQLite: a file, opened for reading only. No connection reads for longer
//! than it may: a handler looks at a flag every few thousand steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _,
};

use super::address::Address;
use super::cursor::{Row, Value};
use super::session::Dialogue;
use super::statement::{ColumnKind, Statement};

/// How many steps of SQLite's machine pass between two looks at the flag: far below a millisecond.
const STEPS: i32 = 4_000;
/// How long to wait for somebody who writes.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Sqlite {
    connection: SqliteConnection,
    interrupted: Interrupt,
    limit: Duration,
}

/// The flag that ends a query. What is still under way when nobody waits for it any more, must
/// not go on.
#[derive(Debug, Default)]
struct Interrupt(Arc<AtomicBool>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn open(
    address: &Address,
    limit: Duration,
) -> Result<Box<dyn Dialogue>, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(address.path())
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(BUSY_LIMIT.min(limit))
        .statement_cache_capacity(4)
        .thread_name(|_number| "cov-trigger-sqlite".to_owned())
        .pragma("query_only", "ON")
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let interrupted = Interrupt::default();
    let flag = Arc::clone(&interrupted.0);
    connection
        .lock_handle()
        .await?
        .set_progress_handler(STEPS, move || !flag.load(Ordering::Relaxed));
    Ok(Box::new(Sqlite { connection, interrupted, limit }))
}

/// Waits for what is asked as long as it may take; then has it interrupted.
async fn limited<T>(
    interrupted: &AtomicBool,
    limit: Duration,
    asked: impl Future<Output = Result<T, sqlx::Error>> + Send,
) -> Result<T, sqlx::Error> {
    interrupted.store(false, Ordering::Relaxed);
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        answer = &mut asked => return answer,
        () = tokio::time::sleep(limit) => {}
    }
    interrupted.store(true, Ordering::Relaxed);
    let too_long = format!("the query takes longer than {} s", limit.as_secs_f64());
    asked.await.map_err(|_interrupted| {
        sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, too_long))
    })
}

#[async_trait]
impl Dialogue for Sqlite {
    async fn any(&mut self, statement: &Statement) -> Result<bool, sqlx::Error> {
        let query = sqlx::query(statement.sql()).fetch_optional(&mut self.connection);
        Ok(limited(&self.interrupted.0, self.limit, query).await?.is_some())
    }

    /// A column of SQLite has no type; values are compared byte by byte, whatever its collation.
    async fn kind(
        &mut self,
        statement: &Statement,
    ) -> Result<Result<ColumnKind, String>, sqlx::Error> {
        self.any(statement).await?;
        Ok(Ok(ColumnKind { key: "{} COLLATE BINARY", text: "{}", parameter: "?1" }))
    }

    async fn rows(
        &mut self,
        statement: &Statement,
        value: Option<&Value>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let query = bound(sqlx::query(statement.sql()), value).fetch_all(&mut self.connection);
        let rows = limited(&self.interrupted.0, self.limit, query).await?;
        rows.iter().map(row).collect()
    }

    async fn count(&mut self, statement: &Statement, value: &Value) -> Result<i64, sqlx::Error> {
        let query = bound(sqlx::query(statement.sql()), Some(value));
        let query = query.fetch_one(&mut self.connection);
        limited(&self.interrupted.0, self.limit, query).await?.try_get(0)
    }

    async fn close(self: Box<Self>) -> Result<(), sqlx::Error> {
        self.interrupted.0.store(true, Ordering::Relaxed);
        self.connection.close().await
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bound<'q>(query: Query<'q>, value: Option<&Value>) -> Query<'q> {
    match value {
        None => query,
        Some(Value::Integer(number)) => query.bind(*number),
        Some(Value::Real(bits)) => query.bind(f64::from_bits(*bits)),
        Some(Value::Text(text)) => query.bind(text.clone()),
        Some(Value::Blob(bytes)) => query.bind(bytes.clone()),
    }
}

fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let raw = row.try_get_raw(0)?;
    let kind = raw.type_info().name().to_owned();
    let value = match kind.as_str() {
        "INTEGER" => Value::Integer(row.try_get_unchecked(0)?),
        "REAL" => Value::Real(row.try_get_unchecked::<f64, _>(0)?.to_bits()),
        "BLOB" => Value::Blob(row.try_get_unchecked(0)?),
        _ => Value::Text(row.try_get_unchecked(0)?),
    };
    Ok(Row {
        value,
        rank: row.try_get_unchecked(1)?,
        tie: row.try_get_unchecked::<i64, _>(2)? == 1,
    })
}
