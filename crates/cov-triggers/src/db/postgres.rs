//! What is particular to PostgreSQL. Each question is a transaction that only reads, with a limit
//! of its own, so that nothing a query does to its session outlives it.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::{
    Column as _, ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _,
    SqlSafeStr as _, Statement as _, TypeInfo as _,
};

use super::address::{Address, Setting};
use super::cursor::{Row, Value};
use super::session::Dialogue;
use super::statement::{ColumnKind, Statement};

#[derive(Debug)]
struct Postgres {
    connection: PgConnection,
    limit: Duration,
}

pub(super) async fn open(
    address: &Address,
    limit: Duration,
) -> Result<Box<dyn Dialogue>, sqlx::Error> {
    let connection = options(address)?.connect().await?;
    Ok(Box::new(Postgres { connection, limit }))
}

fn options(address: &Address) -> Result<PgConnectOptions, sqlx::Error> {
    let mut options = PgConnectOptions::new()
        .application_name(address.setting(Setting::ApplicationName).unwrap_or("covalent trigger"))
        .options([("default_transaction_read_only", "on")])
        .statement_cache_capacity(4)
        .disable_statement_logging();
    if let Some(host) = &address.host {
        options = options.host(host);
    }
    if let Some(socket) = address.setting(Setting::Socket) {
        options = options.socket(socket);
    }
    if let Some(port) = address.port {
        options = options.port(port);
    }
    if let Some(user) = &address.user {
        options = options.username(user);
    }
    if let Some(password) = &address.password {
        options = options.password(password);
    }
    if !address.database.is_empty() {
        options = options.database(&address.database);
    }
    if let Some(mode) = address.setting(Setting::SslMode) {
        options = options.ssl_mode(mode.parse::<PgSslMode>()?);
    }
    if let Some(file) = address.setting(Setting::SslRoot) {
        options = options.ssl_root_cert(file);
    }
    if let Some(file) = address.setting(Setting::SslCertificate) {
        options = options.ssl_client_cert(file);
    }
    if let Some(file) = address.setting(Setting::SslKey) {
        options = options.ssl_client_key(file);
    }
    for (name, value) in session_options(address) {
        options = options.options([(name, value)]);
    }
    Ok(options)
}

/// The `-c name=value` of `?options=`, as libpq takes them.
fn session_options(address: &Address) -> impl Iterator<Item = (&str, &str)> {
    let text = address.setting(Setting::Options).unwrap_or_default();
    text.split_whitespace().filter_map(|word| {
        let word = word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).unwrap_or(word);
        word.split_once('=')
    })
}

impl Postgres {
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(Statement::begin_postgres(self.limit).sql())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn end(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await?;
        Ok(())
    }
}

#[async_trait]
impl Dialogue for Postgres {
    async fn any(&mut self, statement: &Statement) -> Result<bool, sqlx::Error> {
        self.begin().await?;
        let row = sqlx::query(statement.sql()).fetch_optional(&mut self.connection).await?;
        self.end().await?;
        Ok(row.is_some())
    }

    async fn kind(
        &mut self,
        statement: &Statement,
    ) -> Result<Result<ColumnKind, String>, sqlx::Error> {
        self.begin().await?;
        let prepared = self.connection.prepare(statement.sql().into_sql_str()).await?;
        let name = prepared.columns().first().map(|column| column.type_info().name().to_owned());
        drop(prepared);
        self.end().await?;
        let name = name.unwrap_or_default();
        Ok(kind(&name).ok_or(name))
    }

    async fn rows(
        &mut self,
        statement: &Statement,
        value: Option<&Value>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        self.begin().await?;
        let mut query = sqlx::query(statement.sql());
        if let Some(value) = value {
            query = query.bind(value.shown());
        }
        let rows = query.fetch_all(&mut self.connection).await?;
        self.end().await?;
        rows.iter().map(row).collect()
    }

    async fn count(&mut self, statement: &Statement, value: &Value) -> Result<i64, sqlx::Error> {
        self.begin().await?;
        let query = sqlx::query(statement.sql()).bind(value.shown());
        let row = query.fetch_one(&mut self.connection).await?;
        self.end().await?;
        row.try_get(0)
    }

    async fn close(self: Box<Self>) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

/// How a column of that type is followed.
fn kind(name: &str) -> Option<ColumnKind> {
    let parameter = match name {
        "INT2" | "INT4" | "INT8" => "CAST($1::text AS int8)",
        "NUMERIC" => "CAST($1::text AS numeric)",
        "FLOAT4" => "CAST($1::text AS float4)",
        "FLOAT8" => "CAST($1::text AS float8)",
        "TEXT" | "VARCHAR" | "NAME" => "$1::text",
        "CHAR" => "CAST($1::text AS bpchar)",
        "DATE" => "CAST($1::text AS date)",
        "TIME" => "CAST($1::text AS time)",
        "TIMESTAMP" => "CAST($1::text AS timestamp)",
        // The session shows it in UTC, with the offset.
        "TIMESTAMPTZ" => "CAST($1::text AS timestamptz)",
        "UUID" => "CAST($1::text AS uuid)",
        _ => return None,
    };
    Some(ColumnKind { key: "{}", text: "CAST({} AS text)", parameter })
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let value = Value::Text(row.try_get(0)?);
    Ok(Row { value, rank: row.try_get(1)?, tie: row.try_get::<i64, _>(2)? == 1 })
}
