//! One connection to a user's database, whatever it speaks. Only reads, and never for longer than
//! it may.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::address::{Address, Dialect, Setting};
use super::cursor::{Row, Value};
use super::statement::{ColumnKind, Statement};
use crate::Error;

/// How long connecting may take, unless the address says otherwise.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the database has to end a statement by itself, before the connection is given up.
const GRACE: Duration = Duration::from_secs(2);
/// How long closing a connection may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// What a dialect does. Each call is a transaction of its own that only reads.
#[async_trait]
pub(crate) trait Dialogue: Debug + Send {
    /// Whether the statement finds a row.
    async fn any(&mut self, statement: &Statement) -> Result<bool, sqlx::Error>;

    /// How the one column of the statement is followed; the name of its type if it cannot be.
    async fn kind(
        &mut self,
        statement: &Statement,
    ) -> Result<Result<ColumnKind, String>, sqlx::Error>;

    /// The rows that the statement finds.
    async fn rows(
        &mut self,
        statement: &Statement,
        value: Option<&Value>,
    ) -> Result<Vec<Row>, sqlx::Error>;

    /// The number that the statement finds.
    async fn count(&mut self, statement: &Statement, value: &Value) -> Result<i64, sqlx::Error>;

    /// Ends what is under way, and says good-bye.
    async fn close(self: Box<Self>) -> Result<(), sqlx::Error>;
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Session {
    dialogue: Box<dyn Dialogue>,
    limit: Duration,
}

impl Session {
    /// Connects. A statement may take as long as `limit`.
    ///
    /// # Errors
    /// The database cannot be reached, or does not let this user in.
    pub(crate) async fn open(address: &Address, limit: Duration) -> Result<Self, Error> {
        let asked = address.setting(Setting::ConnectTimeout).and_then(|text| text.parse().ok());
        let patience = asked.filter(|secs| *secs > 0).map_or(CONNECT_LIMIT, Duration::from_secs);
        let connecting = async {
            match address.dialect {
                #[cfg(feature = "sqlite")]
                Dialect::Sqlite => super::sqlite::open(address, limit).await,
                #[cfg(feature = "postgres")]
                Dialect::Postgres => super::postgres::open(address, limit).await,
                #[cfg(feature = "mysql")]
                Dialect::MySql => super::mysql::open(address, limit).await,
                // No address of a dialect that is not built comes this far.
                #[cfg(not(all(feature = "sqlite", feature = "postgres", feature = "mysql")))]
                _ => Err(sqlx::Error::InvalidArgument("another dialect".to_owned())),
            }
        };
        match tokio::time::timeout(patience, connecting).await {
            Ok(Ok(dialogue)) => Ok(Self { dialogue, limit }),
            Ok(Err(source)) => Err(failure(&source)),
            Err(_elapsed) => Err(Error::Observe(format!(
                "the database does not answer within {} s",
                patience.as_secs_f64()
            ))),
        }
    }

    pub(crate) async fn any(&mut self, statement: &Statement) -> Result<bool, Error> {
        let asked = tokio::time::timeout(self.limit + GRACE, self.dialogue.any(statement)).await;
        self.answer(asked)
    }

    pub(crate) async fn kind(
        &mut self,
        statement: &Statement,
    ) -> Result<Result<ColumnKind, String>, Error> {
        let asked = tokio::time::timeout(self.limit + GRACE, self.dialogue.kind(statement)).await;
        self.answer(asked)
    }

    pub(crate) async fn rows(
        &mut self,
        statement: &Statement,
        value: Option<&Value>,
    ) -> Result<Vec<Row>, Error> {
        let asked = self.dialogue.rows(statement, value);
        let asked = tokio::time::timeout(self.limit + GRACE, asked).await;
        self.answer(asked)
    }

    pub(crate) async fn count(
        &mut self,
        statement: &Statement,
        value: &Value,
    ) -> Result<u64, Error> {
        let asked = self.dialogue.count(statement, value);
        let asked = tokio::time::timeout(self.limit + GRACE, asked).await;
        let count = self.answer(asked)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Says good-bye, but not for long.
    pub(crate) async fn close(self) {
        let closed = tokio::time::timeout(CLOSE_LIMIT, self.dialogue.close()).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::debug!("a database connection was dropped");
        }
    }

    fn answer<T>(
        &self,
        asked: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Error> {
        match asked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(failure(&source)),
            Err(_elapsed) => {
                let limit = self.limit.as_secs_f64();
                Err(Error::Observe(format!("the query takes longer than {limit} s")))
            }
        }
    }
}

fn failure(source: &sqlx::Error) -> Error {
    Error::Observe(match source {
        sqlx::Error::Database(said) => format!("the database says: {}", said.message()),
        other => format!("the database cannot be asked: {other}"),
    })
}
