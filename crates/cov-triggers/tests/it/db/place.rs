//! A place for tables in one of the databases, gone with the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cov_triggers::{DatabaseTrigger, Registry, Trigger};
use serde_json::{Value, json};
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    MySql,
}

/// A database of its own.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    /// Where it is, in the form of SQLAlchemy.
    pub(crate) url: String,
    home: Option<tempfile::TempDir>,
    name: String,
    admin: String,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The databases that are at hand.
pub(crate) async fn places() -> Vec<Place> {
    let mut places = vec![Place::sqlite().await];
    for (kind, variable) in
        [(Kind::Postgres, "COV_TEST_POSTGRES_URL"), (Kind::MySql, "COV_TEST_MYSQL_URL")]
    {
        match std::env::var(variable) {
            Ok(admin) => places.push(Place::server(kind, admin).await),
            Err(_) => {
                let strict = std::env::var_os("CI").is_some_and(|ci| ci == "true");
                assert!(!strict, "{variable} is not set: `cargo xtask services -- …` sets it");
                println!("skipped: {variable} is not set");
            }
        }
    }
    places
}

impl Place {
    pub(crate) async fn sqlite() -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("it's 100%.db");
        let place = Self {
            kind: Kind::Sqlite,
            url: format!("sqlite:///{}", path.display()),
            name: path.to_str().unwrap().to_owned(),
            home: Some(home),
            admin: String::new(),
        };
        place.run("PRAGMA journal_mode = WAL").await;
        place
    }

    async fn server(kind: Kind, admin: String) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}_{number}", std::process::id());
        let create = format!("CREATE DATABASE {name}");
        execute(kind, &admin, &create).await.unwrap();
        let (server, _) = admin.rsplit_once('/').unwrap();
        let url = format!("{server}/{name}");
        Self { kind, url, home: None, name, admin }
    }

    /// The path of the file of SQLite.
    pub(crate) fn path(&self) -> &str {
        &self.name
    }

    /// The connection string as the SDK's users write it, with a driver of Python.
    pub(crate) fn sqlalchemy(&self) -> String {
        let (_, rest) = self.url.split_once("://").unwrap();
        match self.kind {
            Kind::Sqlite => format!("sqlite+pysqlite://{rest}"),
            Kind::Postgres => format!("postgresql+psycopg2://{rest}?connect_timeout=5"),
            Kind::MySql => format!("mysql+pymysql://{rest}?charset=utf8mb4"),
        }
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{:?}: {sql}: {error}", self.kind));
    }

    pub(crate) async fn try_run(&self, sql: &str) -> Result<(), sqlx::Error> {
        match self.kind {
            Kind::Sqlite => {
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(self.path())
                    .create_if_missing(true);
                let mut connection = SqliteConnection::connect_with(&options).await?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                connection.close().await
            }
            kind => execute(kind, &self.url, sql).await,
        }
    }

    /// How many rows a table has.
    pub(crate) async fn rows(&self, table: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        match self.kind {
            Kind::Sqlite => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path());
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
            Kind::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
            Kind::MySql => {
                let mut connection = MySqlConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// A `DatabaseTrigger` on this place that looks 50 times a second.
    pub(crate) fn trigger(&self, own: Value) -> Arc<dyn Trigger> {
        Arc::new(self.database_trigger(own))
    }

    pub(crate) fn database_trigger(&self, own: Value) -> DatabaseTrigger {
        let mut all = json!({
            "name": "DatabaseTrigger", "db_path": self.sqlalchemy(), "poll_interval": 0.02,
        });
        all.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let mut fields = cov_triggers::Fields::new(all.as_object().unwrap().clone()).unwrap();
        DatabaseTrigger::from_fields(&mut fields).unwrap()
    }

    /// Removes it.
    pub(crate) async fn remove(self) {
        let force = match self.kind {
            Kind::Sqlite => return drop(self.home),
            Kind::Postgres => " WITH (FORCE)",
            Kind::MySql => "",
        };
        execute(self.kind, &self.admin, &format!("DROP DATABASE {}{force}", self.name))
            .await
            .unwrap();
    }
}

async fn execute(kind: Kind, url: &str, sql: &str) -> Result<(), sqlx::Error> {
    if kind == Kind::Postgres {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        return connection.close().await;
    }
    let mut connection = MySqlConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

/// The types that come with this crate.
pub(crate) fn registry() -> Registry {
    Registry::builtin()
}
