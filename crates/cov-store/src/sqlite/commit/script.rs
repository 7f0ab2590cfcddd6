//! Statements that go to the database's thread together: the way there and back costs more than
//! most of them.

use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};

use crate::Error;
use crate::fault::{from_sql, internal};

/// Rows that make a statement of their own. Few sizes, so that each is prepared once.
pub(super) const INSERTED: &[usize] = &[512, 64, 32, 16];
/// The same where a statement looks among stored rows. With some 200 of its own, SQLite turns the
/// join around, and goes through every stored row.
pub(super) const LOOKED_UP: &[usize] = &[64, 32, 16];

/// A statement for many rows: `head`, then one list of `columns` placeholders a row, then `tail`.
pub(super) struct Bulk {
    pub(super) head: &'static str,
    pub(super) columns: usize,
    pub(super) tail: &'static str,
    /// [`INSERTED`] or [`LOOKED_UP`].
    pub(super) sizes: &'static [usize],
    /// Whether a row may come twice and count once. Then the last one is repeated up to a power of
    /// two, so that there are few different scripts to prepare.
    pub(super) may_repeat: bool,
}

/// The values of a script.
#[derive(Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
    fault: Option<Error>,
}

impl Values {
    pub(super) fn add<'v, T: Encode<'v, Sqlite> + Type<Sqlite>>(&mut self, value: T) {
        if let Err(error) = self.arguments.add(value) {
            self.fault = Some(internal(error));
        }
    }

    fn finish(self) -> Result<SqliteArguments, Error> {
        self.fault.map_or(Ok(self.arguments), Err)
    }
}

impl Bulk {
    fn write(&self, text: &mut String, rows: usize) {
        text.push_str(self.head);
        for row in 0..rows {
            text.push_str(if row == 0 { "(?" } else { ",(?" });
            (1..self.columns).for_each(|_| text.push_str(",?"));
            text.push(')');
        }
        text.push_str(self.tail);
    }

    #[cfg(test)]
    pub(super) fn statement(&self, rows: usize) -> String {
        let mut text = String::new();
        self.write(&mut text, rows);
        text
    }

    /// Runs the statement for all `items` and returns the rows that it gives back.
    pub(super) async fn run<T: Sync>(
        &self,
        connection: &mut SqliteConnection,
        items: &[T],
        bind: impl Fn(&mut Values, &T) + Send + Sync,
    ) -> Result<Vec<SqliteRow>, Error> {
        let mut script = Script::new(connection);
        script.bulk(self, items, bind).await?;
        script.run().await
    }
}

/// Statements that wait for their trip.
pub(super) struct Script<'c> {
    pub(super) connection: &'c mut SqliteConnection,
    text: String,
    values: Values,
    returned: Vec<SqliteRow>,
}

impl<'c> Script<'c> {
    pub(super) fn new(connection: &'c mut SqliteConnection) -> Self {
        let (text, values, returned) = (String::new(), Values::default(), Vec::new());
        Self { connection, text, values, returned }
    }

    /// Adds a statement without values.
    pub(super) fn statement(&mut self, statement: &str) {
        self.end_statement();
        self.text.push_str(statement);
    }

    /// Adds a statement for all `items`. Of many, all but the last few make their trip at once,
    /// behind what waits.
    pub(super) async fn bulk<T: Sync>(
        &mut self,
        bulk: &Bulk,
        items: &[T],
        bind: impl Fn(&mut Values, &T) + Send + Sync,
    ) -> Result<(), Error> {
        let mut rest = items;
        for &rows in bulk.sizes {
            while let Some((chunk, after)) = rest.split_at_checked(rows) {
                self.make_trip().await?;
                bulk.write(&mut self.text, rows);
                chunk.iter().for_each(|item| bind(&mut self.values, item));
                self.make_trip().await?;
                rest = after;
            }
        }
        let Some(last) = rest.last() else { return Ok(()) };
        let rows = if bulk.may_repeat { rest.len().next_power_of_two() } else { rest.len() };
        self.end_statement();
        bulk.write(&mut self.text, rows);
        let repeated = std::iter::repeat_n(last, rows - rest.len());
        rest.iter().chain(repeated).for_each(|item| bind(&mut self.values, item));
        Ok(())
    }

    /// Runs what waits. Returns the rows that all statements since the last call gave back.
    pub(super) async fn run(&mut self) -> Result<Vec<SqliteRow>, Error> {
        self.make_trip().await?;
        Ok(std::mem::take(&mut self.returned))
    }

    fn end_statement(&mut self) {
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
    }

    async fn make_trip(&mut self) -> Result<(), Error> {
        if self.text.is_empty() {
            return Ok(());
        }
        let text: Arc<str> = std::mem::take(&mut self.text).into();
        let values = std::mem::take(&mut self.values).finish()?;
        let query = sqlx::query_with(AssertSqlSafe(text), values);
        self.returned.extend(query.fetch_all(&mut *self.connection).await.map_err(from_sql)?);
        Ok(())
    }
}
