//! What is particular to MySQL and MariaDB. Each question is a transaction that only reads; a
//! limit of the session ends what takes too long.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode};
use sqlx::{
    Column as _, ConnectOptions as _, Connection as _, Executor as _, MySqlConnection, Row as _,
    SqlSafeStr as _, Statement as _, TypeInfo as _,
};

use super::address::{Address, Setting};
use super::cursor::{Row, Value};
use super::session::Dialogue;
use super::statement::{ColumnKind, Statement};

#[derive(Debug)]
struct MySql {
    connection: MySqlConnection,
}

pub(super) async fn open(
    address: &Address,
    limit: Duration,
) -> Result<Box<dyn Dialogue>, sqlx::Error> {
    let mut connection = options(address)?.connect().await?;
    let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&mut connection).await?;
    let limits = Statement::limit_mysql(limit, version.contains("MariaDB"));
    sqlx::raw_sql(limits.sql()).execute(&mut connection).await?;
    Ok(Box::new(MySql { connection }))
}

fn options(address: &Address) -> Result<MySqlConnectOptions, sqlx::Error> {
    let mut options = MySqlConnectOptions::new()
        // Conditions mean what they mean in the server's own settings.
        .timezone(None)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
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
    if let Some(password) = address.password.as_ref().filter(|text| !text.is_empty()) {
        options = options.password(password);
    }
    if !address.database.is_empty() {
        options = options.database(&address.database);
    }
    if let Some(collation) = address.setting(Setting::Collation) {
        options = options.collation(collation);
    }
    if let Some(mode) = address.setting(Setting::SslMode) {
        options = options.ssl_mode(match mode {
            "disable" => MySqlSslMode::Disabled,
            "require" => MySqlSslMode::Required,
            "verify-ca" => MySqlSslMode::VerifyCa,
            "verify-full" => MySqlSslMode::VerifyIdentity,
            _ => MySqlSslMode::Preferred,
        });
    }
    if let Some(file) = address.setting(Setting::SslRoot) {
        options = options.ssl_ca(file);
    }
    if let Some(file) = address.setting(Setting::SslCertificate) {
        options = options.ssl_client_cert(file);
    }
    if let Some(file) = address.setting(Setting::SslKey) {
        options = options.ssl_client_key(file);
    }
    Ok(options)
}

impl MySql {
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("START TRANSACTION READ ONLY").execute(&mut self.connection).await?;
        Ok(())
    }

    async fn end(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await?;
        Ok(())
    }
}

#[async_trait]
impl Dialogue for MySql {
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
            // Once for the tie, once for the condition: parameters have no numbers here.
            query = query.bind(value.shown()).bind(value.shown());
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

/// How a column of that type is followed. Not `FLOAT` and `DOUBLE`: their texts are rounded, so a
/// value would not find itself again.
fn kind(name: &str) -> Option<ColumnKind> {
    let (key, text, parameter) = match name {
        "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "BOOLEAN" => {
            ("{}", "CAST({} AS CHAR)", "CAST(? AS SIGNED)")
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" | "YEAR" => ("{}", "CAST({} AS CHAR)", "CAST(? AS UNSIGNED)"),
        "DECIMAL" => ("{}", "CAST({} AS CHAR)", "CAST(? AS DECIMAL(65, 30))"),
        "DATE" => ("{}", "CAST({} AS CHAR)", "CAST(? AS DATE)"),
        "DATETIME" => ("{}", "CAST({} AS CHAR)", "CAST(? AS DATETIME(6))"),
        // The text of a time depends on the zone of the session; seconds do not.
        "TIMESTAMP" => {
            ("{}", "CAST(UNIX_TIMESTAMP({}) AS CHAR)", "FROM_UNIXTIME(CAST(? AS DECIMAL(20, 6)))")
        }
        // Byte by byte, so that texts that a collation finds equal are told apart.
        "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" => {
            ("CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin", "CONVERT({} USING utf8mb4)", "?")
        }
        _ => return None,
    };
    Some(ColumnKind { key, text, parameter })
}

fn row(row: &MySqlRow) -> Result<Row, sqlx::Error> {
    let value = Value::Text(row.try_get(0)?);
    Ok(Row { value, rank: row.try_get(1)?, tie: row.try_get::<i64, _>(2)? == 1 })
}
