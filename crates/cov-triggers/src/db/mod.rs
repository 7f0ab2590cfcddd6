//! `SQLiteTrigger` and `DatabaseTrigger`: fire while a table has rows, or for each new row. The
//! only user of sqlx outside of the store. Never writes to what it reads.

pub mod address;

mod clause;
mod cursor;
#[cfg(feature = "mysql")]
mod mysql;
mod poll;
#[cfg(feature = "postgres")]
mod postgres;
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use cov_core::trigger::Dictionary;
use serde_json::{Number, Value};

use self::address::{Address, AddressError};
use self::statement::{Column, Rows};
use crate::fields::{Fields, Seconds};
use crate::{Base, Error, Observer, Source, Trigger};

/// How long one query may take.
pub const STATEMENT_LIMIT: Duration = Duration::from_secs(10);

/// A class of database triggers: its name, and how it writes where the database is.
pub trait Class: Send + Sync + 'static {
    /// The class name.
    const NAME: &'static str;

    /// Reads `db_path`.
    ///
    /// # Errors
    /// It is no database that can be reached from here.
    fn address(db_path: &str) -> Result<Address, AddressError>;
}

/// `db_path` is a connection string.
#[derive(Debug)]
pub struct ByConnectionString;

impl Class for ByConnectionString {
    const NAME: &'static str = "DatabaseTrigger";

    fn address(db_path: &str) -> Result<Address, AddressError> {
        Address::parse(db_path)
    }
}

/// `db_path` is the path of a file of SQLite.
#[cfg(feature = "sqlite")]
#[derive(Debug)]
pub struct ByPath;

#[cfg(feature = "sqlite")]
impl Class for ByPath {
    const NAME: &'static str = "SQLiteTrigger";

    fn address(db_path: &str) -> Result<Address, AddressError> {
        Address::file(db_path)
    }
}

/// Watches a table of the database that a connection string of SQLAlchemy names: see
/// [`TableTrigger`] and [`Address::parse`].
pub type DatabaseTrigger = TableTrigger<ByConnectionString>;

/// Watches a table of a SQLite file: see [`TableTrigger`].
#[cfg(feature = "sqlite")]
pub type SQLiteTrigger = TableTrigger<ByPath>;

/// Looks into a table every `poll_interval` seconds.
///
/// # Level: the seed's way
///
/// Every look that finds at least one row that meets all `where_clauses` counts once, also when
/// it is the row of the last look; after `trigger_after_n` of them it fires.
///
/// # Edge: each new row once
///
/// With `cursor_column`, a field of this project, each row counts once: the rows that appear with
/// a greater value in that column than any before, or with the same. The first look counts
/// nothing; it finds out where the rows end. The cursor is kept as a mark together with each
/// decision, so rows that appear while nobody looks are found later. Rows without a value never
/// count, and neither does a row that becomes visible after one with a greater value, as can
/// happen with sequences when transactions overtake each other; or that meets the conditions only
/// later. Numbers, texts, dates and times can be followed, in SQLite anything.
///
/// # The user's SQL
///
/// `table_name` is a name, with the schema before it if needed, and is quoted. `where_clauses` are
/// SQL and go to the database as they are, joined with `AND`. A second statement, or one that
/// would write, is refused. What is sent runs in transactions that only read, on a connection of
/// its own, and for at most [`STATEMENT_LIMIT`]. The database's own rights remain the last word:
/// functions with effects outside of transactions should not be allowed to this user.
///
/// # Troubles
///
/// A database that cannot be reached, a table that does not exist, or SQL that it does not
/// understand is an error of observing, and tried again. An interval above 10 seconds closes the
/// connection in between.
///
/// The seed's attribute `stop_flag` is [`Observer::stopped`].
pub struct TableTrigger<C> {
    base: Base,
    db_path: String,
    poll_interval: Seconds,
    where_clauses: Value,
    trigger_after_n: u32,
    cursor_column: Option<String>,
    watch: Watch,
    class: PhantomData<fn() -> C>,
}

/// What is watched, checked and ready to be asked for.
#[derive(Debug)]
pub(crate) struct Watch {
    address: Address,
    /// As the user wrote it.
    table: String,
    rows: Rows,
    mode: Mode,
    interval: Duration,
    limit: Duration,
}

/// What counts.
#[derive(Debug)]
pub(crate) enum Mode {
    /// A look that finds rows.
    Level,
    /// A new row.
    Edge(Column),
}

impl<C: Class> TableTrigger<C> {
    /// The class name.
    pub const NAME: &'static str = C::NAME;

    /// Reads its own fields: `db_path`, `table_name`, `poll_interval` (1 s), `where_clauses`,
    /// `trigger_after_n` (1) and `cursor_column`.
    ///
    /// # Errors
    /// A field is missing, has the wrong type, names a database that is not spoken here, or holds
    /// SQL that is no condition or would write.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Error> {
        let db_path = fields.text("db_path")?;
        let address =
            C::address(&db_path).map_err(|error| fields.error("db_path", error.to_string()))?;
        let table = fields.text("table_name")?;
        let where_clauses = fields.peek("where_clauses").cloned().unwrap_or_default();
        let clauses = fields.optional_texts("where_clauses")?.unwrap_or_default();
        let rows = Rows::new(address.dialect, &table, &clauses)
            .map_err(|(field, reason)| fields.error(field, reason))?;
        let cursor_column = fields.optional_text("cursor_column")?;
        let mode = match &cursor_column {
            None => Mode::Level,
            Some(column) => Mode::Edge(
                Column::new(address.dialect, column)
                    .map_err(|reason| fields.error("cursor_column", reason))?,
            ),
        };
        let poll_interval = fields
            .optional_seconds("poll_interval")?
            .unwrap_or_else(|| Duration::from_secs(1).into());
        let interval = poll_interval.duration();
        Ok(Self {
            base: Base::default(),
            db_path,
            poll_interval,
            where_clauses,
            trigger_after_n: fields.count("trigger_after_n", 1)?,
            cursor_column,
            watch: Watch { address, table, rows, mode, interval, limit: STATEMENT_LIMIT },
            class: PhantomData,
        })
    }

    /// Watches `table_name`; every look that finds a row fires.
    ///
    /// # Errors
    /// The database is not spoken here, or the table's name is none.
    pub fn new(db_path: &str, table_name: &str) -> Result<Self, Error> {
        let dictionary = [
            ("name", Value::from(C::NAME)),
            ("db_path", Value::from(db_path)),
            ("table_name", Value::from(table_name)),
        ];
        let dictionary = dictionary.map(|(name, value)| (name.to_owned(), value));
        Self::from_fields(&mut Fields::new(dictionary.into_iter().collect())?)
    }

    /// Lets a query take as long as `limit`.
    #[must_use]
    pub fn with_statement_limit(mut self, limit: Duration) -> Self {
        self.watch.limit = limit.max(Duration::from_millis(1));
        self
    }
}

impl<C: Class> Debug for TableTrigger<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without `db_path`, which may hold a password.
        f.debug_struct(C::NAME)
            .field("base", &self.base)
            .field("watch", &self.watch)
            .field("trigger_after_n", &self.trigger_after_n)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<C: Class> Trigger for TableTrigger<C> {
    fn name(&self) -> &str {
        C::NAME
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn own_fields(&self, fields: &mut Dictionary) {
        let number = Number::from(self.trigger_after_n);
        let own = [
            ("db_path", Value::from(self.db_path.as_str())),
            ("table_name", Value::from(self.watch.table.as_str())),
            ("poll_interval", self.poll_interval.to_value()),
            ("where_clauses", self.where_clauses.clone()),
            ("trigger_after_n", Value::Number(number)),
        ];
        fields.extend(own.map(|(name, value)| (name.to_owned(), value)));
        if let Some(column) = &self.cursor_column {
            fields.insert("cursor_column".to_owned(), Value::from(column.as_str()));
        }
    }

    fn source(&self) -> Source {
        Source::Observed
    }

    fn events_per_firing(&self) -> u32 {
        self.trigger_after_n
    }

    fn repeats(&self) -> bool {
        matches!(self.watch.mode, Mode::Level)
    }

    async fn observe(&self, observer: &mut Observer) -> Result<(), Error> {
        poll::observe(&self.watch, observer).await
    }

    async fn preview(&self) -> Result<Vec<String>, Error> {
        poll::preview(&self.watch).await
    }
}
