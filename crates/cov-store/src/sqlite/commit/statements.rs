//! The statements of a commit, each for many rows at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::{AssetState, ContentRef, INLINE_BYTES_MAX};
use cov_core::ids::ContentId;
use cov_core::status::Status;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Encode, Row, Sqlite, Type};

use super::batch::{Batch, NextRow};
use crate::Error;
use crate::fault::{corrupt, from_sql, internal};
use crate::sqlite::Known;
use crate::sqlite::rows::{encode_plan, node_column, read_u32};

/// How many rows one statement carries: so many, or fewer for the rest. Not all sizes, so that each
/// statement is prepared once; every small one, because most batches are small and each statement
/// is a trip to another thread.
const ROWS: [usize; 18] = [64, 32, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];

/// A statement for many rows: `head`, then one list of `columns` placeholders a row, then `tail`.
pub(super) struct Bulk {
    pub(super) head: &'static str,
    pub(super) columns: usize,
    pub(super) tail: &'static str,
}

/// The values of one statement.
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
    fn text(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(","));
        format!("{}{}{}", self.head, vec![row.as_str(); rows].join(","), self.tail)
    }

    /// Runs the statement for all `items` and returns the rows that it gives back.
    pub(super) async fn run<T: Sync>(
        &self,
        connection: &mut SqliteConnection,
        items: &[T],
        bind: impl Fn(&mut Values, &T) + Send + Sync,
    ) -> Result<Vec<SqliteRow>, Error> {
        let mut returned = Vec::new();
        let mut rest = items;
        for rows in ROWS {
            let text: Arc<str> = match rest.len() >= rows {
                true => self.text(rows).into(),
                false => continue,
            };
            while let Some((chunk, after)) = rest.split_at_checked(rows) {
                let mut values = Values::default();
                chunk.iter().for_each(|item| bind(&mut values, item));
                let statement = AssertSqlSafe(Arc::clone(&text));
                let query = sqlx::query_with(statement, values.finish()?);
                returned.extend(query.fetch_all(&mut *connection).await.map_err(from_sql)?);
                rest = after;
            }
        }
        Ok(returned)
    }
}

/// Finds the rows of the named dispatches that are not known yet.
pub(super) async fn find_dispatches(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "SELECT dispatch_id, id, node_count FROM dispatches WHERE (dispatch_id) IN (VALUES ",
        columns: 1,
        tail: ")",
    };
    let missing: Vec<_> = batch.entries_mut().filter(|(_, known)| known.is_none()).collect();
    let names: Vec<&str> = missing.iter().map(|(dispatch, _)| dispatch.as_str()).collect();
    let rows = bulk.run(connection, &names, |values, name| values.add(*name)).await?;
    let mut found = HashMap::new();
    for row in rows {
        let name: String = row.try_get(0).map_err(from_sql)?;
        let nodes = read_u32(row.try_get(2).map_err(from_sql)?)
            .map_err(|reason| corrupt(format!("dispatch {name}"), reason))?;
        found.insert(name, Known { row: row.try_get(1).map_err(from_sql)?, nodes });
    }
    for (dispatch, known) in missing {
        *known = found.get(dispatch.as_str()).copied();
    }
    Ok(())
}

/// Inserts the new dispatches and their plans.
pub(super) async fn insert_dispatches(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
) -> Result<(), Error> {
    let registrations = std::mem::take(&mut batch.registrations);
    if registrations.is_empty() {
        return Ok(());
    }
    let mut row = count_rows(connection, batch.next_row).await?;
    let mut new = Vec::with_capacity(registrations.len());
    for (slot, at, registration) in registrations {
        let Some((dispatch, known)) = batch.dispatches.get_mut(slot) else { continue };
        if known.is_some() {
            return Err(Error::Exists { dispatch: (*dispatch).clone() });
        }
        let nodes = u32::try_from(registration.nodes.len()).map_err(internal)?;
        *known = Some(Known { row, nodes });
        new.push((row, *dispatch, at, nodes, registration, encode_plan(registration)?));
        row += 1;
    }
    batch.next_row = NextRow { number: row, is_counted: true };
    let dispatches = Bulk {
        head: "INSERT INTO dispatches (id, dispatch_id, root_id, name, status, cancel_requested, \
               node_count, completed_node_count, created_at, updated_at) VALUES ",
        columns: 10,
        tail: "",
    };
    let inserted =
        dispatches.run(connection, &new, |values, (row, dispatch, at, nodes, one, _)| {
            values.add(*row);
            values.add(dispatch.as_str());
            values.add(one.root.as_str());
            values.add(one.lattice.name.as_str());
            values.add(i64::from(Status::NewObject.code()));
            values.add(false);
            values.add(i64::from(*nodes));
            values.add(0_i64);
            values.add(at.as_micros());
            values.add(at.as_micros());
        });
    inserted.await?;
    let plans = Bulk {
        head: "INSERT INTO plans (dispatch, lattice, executors, graph) VALUES ",
        columns: 4,
        tail: "",
    };
    let planned = plans.run(connection, &new, |values, (row, .., plan)| {
        values.add(*row);
        values.add(plan.lattice.as_str());
        values.add(plan.executors.as_str());
        values.add(plan.graph.as_slice());
    });
    planned.await.map(drop)
}

/// The row number of the next dispatch; the first of a process asks the database.
async fn count_rows(connection: &mut SqliteConnection, next: NextRow) -> Result<i64, Error> {
    if next.is_counted {
        return Ok(next.number);
    }
    let above_all = sqlx::query_scalar(
        "SELECT max(1 + ifnull((SELECT max(id) FROM dispatches), 0), \
         1 + ifnull((SELECT max(dispatch) FROM plans), 0))",
    );
    let above_all: i64 = above_all.fetch_one(connection).await.map_err(from_sql)?;
    Ok(above_all.max(next.number))
}

/// Contents that were not known before.
pub(super) struct Inserted {
    /// Their rows.
    pub(super) rows: HashMap<ContentId, i64>,
    /// Those that are in files.
    pub(super) in_files: Vec<ContentRef>,
}

/// Inserts the contents that are not known yet.
pub(super) async fn insert_contents(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
) -> Result<Inserted, Error> {
    for (content, small) in &batch.contents {
        if small.is_some_and(|bytes| bytes.len() as u64 != content.size) {
            return Err(internal(format!("content {} came with other bytes", content.id)));
        }
    }
    // A small content without its bytes is one that the caller knows to be stored.
    let arrives = |(content, small): &&(ContentRef, Option<&Bytes>)| {
        small.is_some() || content.size > INLINE_BYTES_MAX as u64
    };
    let contents: Vec<_> = batch.contents.iter().filter(arrives).collect();
    let bulk = Bulk {
        head: "INSERT INTO contents (id, size, sha1, data) VALUES ",
        columns: 4,
        tail: " ON CONFLICT (id) DO NOTHING RETURNING id, number",
    };
    let new = bulk.run(connection, &contents, |values, (content, small)| {
        values.add(content.id.as_bytes().as_slice());
        values.add(content.size.cast_signed());
        values.add(content.sha1.as_bytes().as_slice());
        values.add(small.map(|bytes| bytes.as_ref()));
    });
    let rows = rows_of_contents(new.await?)?;
    let is_in_file = |(content, small): &&&(ContentRef, Option<&Bytes>)| {
        small.is_none() && rows.contains_key(&content.id)
    };
    let in_files = contents.iter().filter(is_in_file).map(|(content, _)| *content).collect();
    Ok(Inserted { rows, in_files })
}

/// Adds the rows of the other contents that assets refer to.
pub(super) async fn find_contents(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
    found: &mut HashMap<ContentId, i64>,
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "SELECT id, number FROM contents WHERE (id) IN (VALUES ",
        columns: 1,
        tail: ")",
    };
    let named: HashSet<&ContentId> =
        batch.contents_named().filter(|id| !found.contains_key(*id)).collect();
    let named: Vec<&ContentId> = named.into_iter().collect();
    let rows =
        bulk.run(connection, &named, |values, id| values.add(id.as_bytes().as_slice())).await?;
    found.extend(rows_of_contents(rows)?);
    Ok(())
}

/// Which content is in which row: the digest, then the row's number.
fn rows_of_contents(rows: Vec<SqliteRow>) -> Result<HashMap<ContentId, i64>, Error> {
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let id: Vec<u8> = row.try_get(0).map_err(from_sql)?;
        let id = <[u8; 32]>::try_from(id)
            .map_err(|id| corrupt("a content", format!("its id has {} bytes", id.len())))?;
        found.insert(ContentId::from_bytes(id), row.try_get(1).map_err(from_sql)?);
    }
    Ok(found)
}

/// Writes the state of assets.
pub(super) async fn put_assets(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
    contents: &HashMap<ContentId, i64>,
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "INSERT INTO assets (dispatch, node, key, content, size, sha1) VALUES ",
        columns: 6,
        tail: " ON CONFLICT (dispatch, node, key) DO UPDATE SET \
               content = excluded.content, size = excluded.size, sha1 = excluded.sha1",
    };
    let slots = 0..batch.dispatches.len();
    let rows: Vec<i64> =
        slots.map(|slot| Ok(batch.row(slot)?.row)).collect::<Result<_, Error>>()?;
    bulk.run(connection, &batch.assets, |values, (slot, address, state)| {
        values.add(rows.get(*slot).copied());
        values.add(node_column(*address));
        values.add(i64::from(address.key.code()));
        let (content, announced) = match state {
            AssetState::Present(content) => (contents.get(&content.id), None),
            AssetState::Awaited(announced) => (None, Some(announced)),
        };
        values.add(content.copied());
        values.add(announced.map(|announced| announced.size.cast_signed()));
        values.add(announced.and_then(|a| a.sha1.as_ref()).map(|sha1| sha1.as_bytes().as_slice()));
    })
    .await?;
    Ok(())
}

/// Gives contents to all assets that await them. Without the index, each would cost a look at
/// every asset of its dispatch.
pub(super) async fn fulfil_assets(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
    contents: &HashMap<ContentId, i64>,
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "WITH new (dispatch, content, sha1, size) AS (VALUES ",
        columns: 4,
        tail: ") UPDATE assets INDEXED BY assets_awaited \
               SET content = new.content, sha1 = NULL, size = NULL FROM new \
               WHERE assets.dispatch = new.dispatch AND assets.sha1 = new.sha1 \
               AND assets.size = new.size AND assets.content IS NULL",
    };
    let fulfilled = batch.fulfilled.iter();
    let fulfilled: Vec<_> = fulfilled
        .map(|(slot, content)| Ok((batch.row(*slot)?.row, *content)))
        .collect::<Result<_, Error>>()?;
    bulk.run(connection, &fulfilled, |values, (dispatch, content)| {
        values.add(*dispatch);
        values.add(contents.get(&content.id).copied());
        values.add(content.sha1.as_bytes().as_slice());
        values.add(content.size.cast_signed());
    })
    .await?;
    Ok(())
}

/// Writes the state of nodes.
pub(super) async fn put_nodes(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "INSERT INTO nodes (dispatch, node, status, cancel_requested, failed_attempts, \
               attempt, fault, started_at, ended_at) VALUES ",
        columns: 9,
        tail: " ON CONFLICT (dispatch, node) DO UPDATE SET status = excluded.status, \
               cancel_requested = excluded.cancel_requested, \
               failed_attempts = excluded.failed_attempts, attempt = excluded.attempt, \
               fault = excluded.fault, started_at = excluded.started_at, \
               ended_at = excluded.ended_at",
    };
    let nodes = batch.nodes.iter();
    let nodes: Vec<_> = nodes
        .map(|(slot, node, state)| Ok((batch.row(*slot)?.row, *node, *state)))
        .collect::<Result<_, Error>>()?;
    bulk.run(connection, &nodes, |values, (dispatch, node, state)| {
        values.add(*dispatch);
        values.add(i64::from(node.0));
        values.add(i64::from(state.status.code()));
        values.add(state.cancel_requested);
        values.add(i64::from(state.failed_attempts));
        values.add(state.attempt.map(|attempt| attempt.to_bits().cast_signed()));
        values.add(state.fault.map(|fault| fault.as_str()));
        values.add(state.started_at.map(|at| at.as_micros()));
        values.add(state.ended_at.map(|at| at.as_micros()));
    })
    .await?;
    Ok(())
}

/// Writes the state of dispatches, and when they changed.
pub(super) async fn put_states(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "WITH new (id, at, status, cancel_requested, started_at, ended_at) AS (VALUES ",
        columns: 6,
        tail: ") UPDATE dispatches SET updated_at = new.at, \
               status = iif(new.status IS NULL, dispatches.status, new.status), \
               cancel_requested = iif(new.status IS NULL, dispatches.cancel_requested, \
               new.cancel_requested), \
               started_at = iif(new.status IS NULL, dispatches.started_at, new.started_at), \
               ended_at = iif(new.status IS NULL, dispatches.ended_at, new.ended_at) \
               FROM new WHERE dispatches.id = new.id",
    };
    let heads = batch.heads.iter();
    let heads: Vec<_> = heads
        .map(|head| Ok((batch.row(head.slot)?.row, head.at, head.state)))
        .collect::<Result<_, Error>>()?;
    bulk.run(connection, &heads, |values, (dispatch, at, state)| {
        values.add(*dispatch);
        values.add(at.as_micros());
        values.add(state.map(|state| i64::from(state.status.code())));
        values.add(state.map(|state| state.cancel_requested));
        values.add(state.and_then(|state| state.started_at).map(|at| at.as_micros()));
        values.add(state.and_then(|state| state.ended_at).map(|at| at.as_micros()));
    })
    .await?;
    Ok(())
}
