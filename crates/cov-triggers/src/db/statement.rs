//! Makes the statements that are sent to a user's database. The only place where a user's text
//! becomes SQL. Sends nothing.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::address::Dialect;
use super::clause;

/// What a user says about rows: the table, and the conditions that a row has to meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    dialect: Dialect,
    /// `SELECT * FROM table WHERE conditions`, as the seed asks.
    query: String,
}

impl Rows {
    /// Checks table and conditions.
    ///
    /// # Errors
    /// The name of the field that is wrong, and why.
    pub(crate) fn new(
        dialect: Dialect,
        table: &str,
        clauses: &[String],
    ) -> Result<Self, (&'static str, String)> {
        let table = name(dialect, table).map_err(|reason| ("table_name", reason))?;
        for text in clauses {
            clause::check(dialect, text).map_err(|reason| {
                let shown: String = text.chars().take(80).collect();
                ("where_clauses", format!("has `{shown}`, which {reason}"))
            })?;
        }
        let mut query = format!("SELECT * FROM {table}");
        if !clauses.is_empty() {
            // As the seed joins them, without parentheses. The line break ends a comment.
            query.push_str(&format!(" WHERE {}\n", clauses.join("\n AND ")));
        }
        Ok(Self { dialect, query })
    }

    /// Whether there is a row.
    pub(crate) fn any(&self) -> Statement {
        Statement(format!("SELECT 1 FROM ({}) AS covalent_rows LIMIT 1", self.query))
    }

    /// The column alone, to learn its type.
    pub(crate) fn column(&self, column: &Column) -> Statement {
        let Self { query, .. } = self;
        let name = &column.name;
        Statement(format!("SELECT {name} FROM ({query}) AS covalent_rows LIMIT 1"))
    }

    /// The greatest value of the column, and how many rows have it.
    pub(crate) fn last(&self, column: &Column, kind: &ColumnKind) -> Statement {
        let (query, key, text) = (&self.query, column.key(kind), column.text(kind));
        Statement(format!(
            "SELECT {text} AS v, {one} AS r, {one} AS tie FROM ({query}) AS covalent_rows \
             WHERE {name} IS NOT NULL ORDER BY {key} DESC LIMIT 1",
            one = self.integer("1"),
            name = column.name,
        ))
    }

    /// How many rows have the value of the parameter.
    pub(crate) fn ties(&self, column: &Column, kind: &ColumnKind) -> Statement {
        let (query, key) = (&self.query, column.key(kind));
        let (count, parameter) = (self.integer("COUNT(*)"), &kind.parameter);
        Statement(format!(
            "SELECT {count} AS n FROM ({query}) AS covalent_rows WHERE {key} = {parameter}"
        ))
    }

    /// Whether rows lack a value, so that they are never seen.
    pub(crate) fn nulls(&self, column: &Column) -> Statement {
        let (query, name) = (&self.query, &column.name);
        Statement(format!("SELECT 1 FROM ({query}) AS covalent_rows WHERE {name} IS NULL LIMIT 1"))
    }

    /// A page of rows in the order of the column: the value, a number that equal values share, and
    /// whether it is the value of the parameter. With `from_value`, from the parameter's value on.
    pub(crate) fn page(
        &self,
        column: &Column,
        kind: &ColumnKind,
        from_value: bool,
        limit: u64,
    ) -> Statement {
        let (query, key, text) = (&self.query, column.key(kind), column.text(kind));
        let (name, parameter) = (&column.name, &kind.parameter);
        let (condition, tie) = if from_value {
            let tie = format!("CASE WHEN {key} = {parameter} THEN 1 ELSE 0 END");
            (format!("{key} >= {parameter}"), tie)
        } else {
            (format!("{name} IS NOT NULL"), "0".to_owned())
        };
        let (rank, tie) = (self.integer("RANK() OVER (ORDER BY k)"), self.integer(&tie));
        Statement(format!(
            "SELECT v, {rank} AS r, tie FROM (SELECT {key} AS k, {text} AS v, {tie} AS tie \
             FROM ({query}) AS covalent_rows WHERE {condition} ORDER BY {key} LIMIT {limit}) \
             AS covalent_page ORDER BY k"
        ))
    }

    fn integer(&self, expression: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => format!("CAST({expression} AS INTEGER)"),
            Dialect::Postgres => format!("CAST({expression} AS BIGINT)"),
            Dialect::MySql => format!("CAST({expression} AS SIGNED)"),
        }
    }
}

/// SQL that was made here, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement(String);

impl Statement {
    /// Begins a transaction of PostgreSQL that only reads, and whose statements take no longer
    /// than `limit`.
    #[cfg(feature = "postgres")]
    pub(crate) fn begin_postgres(limit: Duration) -> Self {
        let millis = limit.as_millis().max(1);
        Self(format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {millis}"))
    }

    /// Limits all later statements of a session of MySQL or MariaDB, and lets them only read.
    #[cfg(feature = "mysql")]
    pub(crate) fn limit_mysql(limit: Duration, is_mariadb: bool) -> Self {
        let read_only = "SET SESSION TRANSACTION READ ONLY";
        Self(if is_mariadb {
            format!("{read_only}; SET SESSION max_statement_time = {}", limit.as_secs_f64())
        } else {
            format!("{read_only}; SET SESSION max_execution_time = {}", limit.as_millis().max(1))
        })
    }

    /// The text for sqlx.
    ///
    /// Audited: table and column are quoted as names ([`name`]); conditions are the user's own
    /// SQL, which the user may write: it was checked to be a condition and no second statement
    /// ([`clause::check`]), and runs in a transaction that only reads, on a connection of its own,
    /// for a limited time. Values are parameters. Everything else is written in this file.
    pub(crate) fn sql(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(self.0.clone())
    }
}

/// A column by its quoted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    name: String,
}

/// How values of a type are ordered, shown and given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnKind {
    /// What is compared, and ordered by: `{}` stands for the column.
    pub(crate) key: &'static str,
    /// The value as it is read.
    pub(crate) text: &'static str,
    /// The value as it is given back.
    pub(crate) parameter: &'static str,
}

impl Column {
    /// A column of that name.
    ///
    /// # Errors
    /// It is no name.
    pub(crate) fn new(dialect: Dialect, column: &str) -> Result<Self, String> {
        if split(column)?.len() > 1 {
            return Err("has to be the name of a column alone".to_owned());
        }
        Ok(Self { name: name(dialect, column)? })
    }

    fn key(&self, kind: &ColumnKind) -> String {
        kind.key.replace("{}", &self.name)
    }

    fn text(&self, kind: &ColumnKind) -> String {
        kind.text.replace("{}", &self.name)
    }
}

/// The quoted form of a name, with the name of its schema before it if there is one.
///
/// # Errors
/// It is no name.
fn name(dialect: Dialect, text: &str) -> Result<String, String> {
    let parts = split(text)?;
    let most = if dialect == Dialect::Postgres { 3 } else { 2 };
    if parts.len() > most {
        return Err(format!("has {} parts, and at most {most} make sense", parts.len()));
    }
    let quoted: Vec<String> = parts.iter().map(|part| part.quoted(dialect)).collect();
    Ok(quoted.join("."))
}

/// One part of a name.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    text: String,
    /// Whether the user quoted it, so that its case matters in PostgreSQL.
    exact: bool,
}

impl Part {
    fn quoted(&self, dialect: Dialect) -> String {
        let plain = |character: char| character.is_ascii_alphanumeric() || "_$".contains(character);
        match dialect {
            // Two double quotes around what is no column make a text in SQLite.
            Dialect::Sqlite | Dialect::MySql => format!("`{}`", self.text.replace('`', "``")),
            Dialect::Postgres if !self.exact && self.text.chars().all(plain) => {
                format!("\"{}\"", self.text.to_ascii_lowercase())
            }
            Dialect::Postgres => format!("\"{}\"", self.text.replace('"', "\"\"")),
        }
    }
}

/// Splits `schema.table`; a part may be quoted with `"`, `` ` `` or `[ ]`.
fn split(text: &str) -> Result<Vec<Part>, String> {
    if text.contains('\0') || text.len() > 512 {
        return Err("is no name".to_owned());
    }
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let close = match rest.chars().next() {
            Some('"') => Some('"'),
            Some('`') => Some('`'),
            Some('[') => Some(']'),
            _ => None,
        };
        let (part, after) = match close {
            Some(close) => quoted_part(&rest[1..], close)?,
            None => {
                let (part, after) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                (part.trim().to_owned(), after)
            }
        };
        if part.is_empty() {
            return Err("is no name: a part of it is empty".to_owned());
        }
        parts.push(Part { text: part, exact: close.is_some() });
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err("is no name: something follows a quoted part".to_owned()),
        }
    }
}

fn quoted_part(text: &str, close: char) -> Result<(String, &str), String> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once(close) else {
            return Err("is no name: a quote is not closed".to_owned());
        };
        part.push_str(before);
        match after.strip_prefix(close) {
            Some(next) => {
                part.push(close);
                rest = next;
            }
            None => return Ok((part, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(dialect: Dialect, text: &str) -> String {
        name(dialect, text).unwrap()
    }

    #[test]
    fn names_are_quoted_and_cannot_break_out() {
        assert_eq!(quoted(Dialect::Sqlite, "orders"), "`orders`");
        assert_eq!(quoted(Dialect::MySql, "shop.orders"), "`shop`.`orders`");
        assert_eq!(quoted(Dialect::Postgres, "Shop.Orders"), "\"shop\".\"orders\"");
        assert_eq!(quoted(Dialect::Postgres, "\"Shop\".\"My Orders\""), "\"Shop\".\"My Orders\"");
        assert_eq!(quoted(Dialect::Postgres, "a.b.c"), "\"a\".\"b\".\"c\"");
        let evil = "x` WHERE 1=1; DROP TABLE y; -- ";
        assert_eq!(quoted(Dialect::MySql, evil), "`x`` WHERE 1=1; DROP TABLE y; --`");
        assert_eq!(quoted(Dialect::Postgres, "x\" ; y"), "\"x\"\" ; y\"");
        assert_eq!(quoted(Dialect::Sqlite, "[a]]b].`c``d`"), "`a]b`.`c``d`");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", " ", "a.", ".a", "a..b", "a.b.c", "\"a", "\"a\"b", "[a", "a\0"] {
            assert!(name(Dialect::Sqlite, text).is_err(), "{text}");
        }
        assert!(Column::new(Dialect::Sqlite, "t.id").is_err());
    }

    #[test]
    fn conditions_are_joined_as_in_the_seed() {
        let clauses = ["id > 2".to_owned(), "status = pending -- of course".to_owned()];
        let rows = Rows::new(Dialect::Sqlite, "orders", &clauses).unwrap();
        let expected = "SELECT 1 FROM (SELECT * FROM `orders` WHERE id > 2\n AND status = pending \
                        -- of course\n) AS covalent_rows LIMIT 1";
        assert_eq!(rows.any().0, expected);
        let (field, reason) = Rows::new(Dialect::Sqlite, "t", &["1;".to_owned()]).unwrap_err();
        assert_eq!(field, "where_clauses");
        assert!(reason.contains("`1;`, which holds more than one statement"), "{reason}");
    }
}
