//! The statements of a commit, each for many rows at once. Two scripts of them are a whole commit:
//! one looks up what the other refers to.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use cov_core::asset::{AssetState, ContentRef};
use cov_core::ids::{ContentId, DispatchId};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::batch::{Batch, NextRow, may_be_new};
use super::script::{Bulk, INSERTED, LOOKED_UP, Script};
use crate::Error;
use crate::fault::{corrupt, from_sql, internal};
use crate::model::Registration;
use crate::sqlite::rows::{EncodedPlan, encode_plan, node_column, read_u32};
use crate::sqlite::{Known, ResultNode};

/// Up to so many assets, all of their contents are looked up together with what is inserted; of
/// more, those that turn out to be there already need another trip.
const LOOKED_UP_MAX: usize = 16;

/// What a row of the first script is about: its first column. Anything else is a content that was
/// there before.
const DISPATCH: i64 = 0;
const NEW_CONTENT: i64 = 1;

const FIND_DISPATCHES: Bulk = Bulk {
    head: "SELECT 0, dispatch_id, id, node_count FROM dispatches WHERE (dispatch_id) IN (VALUES ",
    columns: 1,
    tail: ")",
    sizes: LOOKED_UP,
    may_repeat: true,
};

const FIND_CONTENTS: Bulk = Bulk {
    head: "SELECT 2, id, number FROM contents WHERE (id) IN (VALUES ",
    columns: 1,
    tail: ")",
    sizes: LOOKED_UP,
    may_repeat: true,
};

const FULFIL: Bulk = Bulk {
    head: "WITH new (dispatch, content, sha1, size) AS (VALUES ",
    columns: 4,
    tail: ") UPDATE assets INDEXED BY assets_awaited \
           SET content = new.content, sha1 = NULL, size = NULL FROM new \
           WHERE assets.dispatch = new.dispatch AND assets.sha1 = new.sha1 \
           AND assets.size = new.size AND assets.content IS NULL",
    sizes: LOOKED_UP,
    may_repeat: true,
};

const PUT_STATES: Bulk = Bulk {
    head: "WITH new (id, at, status, cancel_requested, started_at, ended_at) AS (VALUES ",
    columns: 6,
    tail: ") UPDATE dispatches SET updated_at = new.at, \
           status = iif(new.status IS NULL, dispatches.status, new.status), \
           cancel_requested = iif(new.status IS NULL, dispatches.cancel_requested, \
           new.cancel_requested), \
           started_at = iif(new.status IS NULL, dispatches.started_at, new.started_at), \
           ended_at = iif(new.status IS NULL, dispatches.ended_at, new.ended_at) \
           FROM new WHERE dispatches.id = new.id",
    sizes: LOOKED_UP,
    may_repeat: true,
};

/// What the changes of a batch refer to.
#[derive(Default)]
pub(super) struct Found {
    /// The rows of contents.
    pub(super) contents: HashMap<ContentId, i64>,
    /// Contents that were not known before, and are in files.
    pub(super) new_files: Vec<ContentRef>,
}

/// Finds the dispatches and contents that a batch names, and inserts the contents that are not
/// known yet.
pub(super) async fn look_up(
    script: &mut Script<'_>,
    batch: &mut Batch<'_>,
) -> Result<Found, Error> {
    let arriving = arriving(batch)?;
    find_dispatches(script, batch).await?;
    insert_contents(script, &arriving).await?;
    let all = batch.assets.len() + batch.fulfilled.len() <= LOOKED_UP_MAX;
    let asked = batch.contents_named().filter(|id| all || !batch.arrives(id));
    let asked: Vec<&ContentId> = asked.collect::<HashSet<_>>().into_iter().collect();
    find_contents(script, &asked).await?;
    let (mut found, mut new, mut dispatches) = (Found::default(), HashSet::new(), HashMap::new());
    for row in script.run().await? {
        match row.try_get(0).map_err(from_sql)? {
            DISPATCH => {
                let (dispatch, known) = read_known(&row)?;
                dispatches.insert(dispatch, known);
            }
            kind => {
                let (id, number) = read_content_row(&row)?;
                found.contents.insert(id, number);
                if kind == NEW_CONTENT {
                    new.insert(id);
                }
            }
        }
    }
    let in_file = |(content, small): &&(ContentRef, Option<&Bytes>)| {
        small.is_none() && new.contains(&content.id)
    };
    found.new_files = arriving.iter().filter(in_file).map(|(content, _)| *content).collect();
    let rest = batch.contents_named().filter(|id| !found.contents.contains_key(*id));
    let rest: Vec<&ContentId> = rest.collect::<HashSet<_>>().into_iter().collect();
    find_contents(script, &rest).await?;
    for row in script.run().await? {
        let (id, number) = read_content_row(&row)?;
        found.contents.insert(id, number);
    }
    for (dispatch, known) in batch.entries_mut().filter(|(_, known)| known.is_none()) {
        *known = dispatches.remove(dispatch.as_str());
    }
    Ok(found)
}

/// The contents that may not be known yet.
fn arriving<'a>(batch: &Batch<'a>) -> Result<Vec<(ContentRef, Option<&'a Bytes>)>, Error> {
    for (content, small) in &batch.contents {
        if small.is_some_and(|bytes| bytes.len() as u64 != content.size) {
            return Err(internal(format!("content {} came with other bytes", content.id)));
        }
    }
    let arrives = |(content, small): &&(ContentRef, Option<&Bytes>)| may_be_new(content, *small);
    Ok(batch.contents.iter().filter(arrives).copied().collect())
}

/// The named dispatches that are not known yet.
async fn find_dispatches(script: &mut Script<'_>, batch: &Batch<'_>) -> Result<(), Error> {
    let missing = batch.dispatches.iter().filter(|(_, known)| known.is_none());
    let names: Vec<&str> = missing.map(|(dispatch, _)| dispatch.as_str()).collect();
    script.bulk(&FIND_DISPATCHES, &names, |values, name| values.add(*name)).await
}

async fn insert_contents(
    script: &mut Script<'_>,
    contents: &[(ContentRef, Option<&Bytes>)],
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "INSERT INTO contents (id, size, sha1, data) VALUES ",
        columns: 4,
        tail: " ON CONFLICT (id) DO NOTHING RETURNING 1, id, number",
        sizes: INSERTED,
        may_repeat: true,
    };
    let inserted = script.bulk(&bulk, contents, |values, (content, small)| {
        values.add(content.id.as_bytes().as_slice());
        values.add(content.size.cast_signed());
        values.add(content.sha1.as_bytes().as_slice());
        values.add(small.map(|bytes| bytes.as_ref()));
    });
    inserted.await
}

async fn find_contents(script: &mut Script<'_>, contents: &[&ContentId]) -> Result<(), Error> {
    script.bulk(&FIND_CONTENTS, contents, |values, id| values.add(id.as_bytes().as_slice())).await
}

fn read_known(row: &SqliteRow) -> Result<(String, Known), Error> {
    let name: String = row.try_get(1).map_err(from_sql)?;
    let nodes = read_u32(row.try_get(3).map_err(from_sql)?)
        .map_err(|reason| corrupt(format!("dispatch {name}"), reason))?;
    let row = row.try_get(2).map_err(from_sql)?;
    Ok((name, Known { row, nodes, result: ResultNode::Unread }))
}

/// The digest of a content and the number of its row.
fn read_content_row(row: &SqliteRow) -> Result<(ContentId, i64), Error> {
    let id: Vec<u8> = row.try_get(1).map_err(from_sql)?;
    let id = <[u8; 32]>::try_from(id)
        .map_err(|id| corrupt("a content", format!("its id has {} bytes", id.len())))?;
    Ok((ContentId::from_bytes(id), row.try_get(2).map_err(from_sql)?))
}

/// Gives the new dispatches of a batch their rows.
pub(super) async fn number_dispatches<'a>(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'a>,
) -> Result<Vec<New<'a>>, Error> {
    let registrations = std::mem::take(&mut batch.registrations);
    let mut new = Vec::with_capacity(registrations.len());
    if registrations.is_empty() {
        return Ok(new);
    }
    let mut row = count_rows(connection, batch.next_row).await?;
    for (slot, at, registration) in registrations {
        let Some((dispatch, known)) = batch.dispatches.get_mut(slot) else { continue };
        if known.is_some() {
            return Err(Error::Exists { dispatch: (*dispatch).clone() });
        }
        let nodes = u32::try_from(registration.nodes.len()).map_err(internal)?;
        let result = ResultNode::Read(registration.result_node());
        *known = Some(Known { row, nodes, result });
        let plan = encode_plan(registration)?;
        new.push(New { row, dispatch, at, nodes, registration, plan });
        row += 1;
    }
    batch.next_row = NextRow { number: row, is_counted: true };
    Ok(new)
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

/// A dispatch that is not stored yet.
pub(super) struct New<'a> {
    row: i64,
    dispatch: &'a DispatchId,
    at: Timestamp,
    nodes: u32,
    registration: &'a Registration,
    plan: EncodedPlan,
}

/// Inserts the new dispatches and their plans.
pub(super) async fn insert_dispatches(
    script: &mut Script<'_>,
    new: &[New<'_>],
) -> Result<(), Error> {
    let dispatches = Bulk {
        head: "INSERT INTO dispatches (id, dispatch_id, root_id, name, status, cancel_requested, \
               node_count, completed_node_count, created_at, updated_at) VALUES ",
        columns: 10,
        tail: "",
        sizes: INSERTED,
        may_repeat: false,
    };
    let inserted = script.bulk(&dispatches, new, |values, new| {
        values.add(new.row);
        values.add(new.dispatch.as_str());
        values.add(new.registration.root.as_str());
        values.add(new.registration.lattice.name.as_str());
        values.add(i64::from(Status::NewObject.code()));
        values.add(false);
        values.add(i64::from(new.nodes));
        values.add(0_i64);
        values.add(new.at.as_micros());
        values.add(new.at.as_micros());
    });
    inserted.await?;
    let plans = Bulk {
        head: "INSERT INTO plans (dispatch, lattice, executors, graph) VALUES ",
        columns: 4,
        tail: "",
        sizes: INSERTED,
        may_repeat: false,
    };
    let planned = script.bulk(&plans, new, |values, New { row, plan, .. }| {
        values.add(*row);
        values.add(plan.lattice.as_str());
        values.add(plan.executors.as_str());
        values.add(plan.graph.as_slice());
    });
    planned.await
}

/// Writes the state of assets.
pub(super) async fn put_assets(
    script: &mut Script<'_>,
    batch: &Batch<'_>,
    contents: &HashMap<ContentId, i64>,
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "INSERT INTO assets (dispatch, node, key, content, size, sha1) VALUES ",
        columns: 6,
        tail: " ON CONFLICT (dispatch, node, key) DO UPDATE SET \
               content = excluded.content, size = excluded.size, sha1 = excluded.sha1",
        sizes: INSERTED,
        may_repeat: true,
    };
    let slots = 0..batch.dispatches.len();
    let rows: Vec<i64> =
        slots.map(|slot| Ok(batch.row(slot)?.row)).collect::<Result<_, Error>>()?;
    script
        .bulk(&bulk, &batch.assets, |values, (slot, address, state)| {
            values.add(rows.get(*slot).copied());
            values.add(node_column(*address));
            values.add(i64::from(address.key.code()));
            let (content, announced) = match state {
                AssetState::Present(content) => (contents.get(&content.id), None),
                AssetState::Awaited(announced) => (None, Some(announced)),
            };
            values.add(content.copied());
            values.add(announced.map(|announced| announced.size.cast_signed()));
            values.add(
                announced.and_then(|a| a.sha1.as_ref()).map(|sha1| sha1.as_bytes().as_slice()),
            );
        })
        .await
}

/// Gives contents to all assets that await them. Without the index, each would cost a look at
/// every asset of its dispatch.
pub(super) async fn fulfil_assets(
    script: &mut Script<'_>,
    batch: &Batch<'_>,
    contents: &HashMap<ContentId, i64>,
) -> Result<(), Error> {
    let fulfilled = batch.fulfilled.iter();
    let fulfilled: Vec<_> = fulfilled
        .map(|(slot, content)| Ok((batch.row(*slot)?.row, *content)))
        .collect::<Result<_, Error>>()?;
    script
        .bulk(&FULFIL, &fulfilled, |values, (dispatch, content)| {
            values.add(*dispatch);
            values.add(contents.get(&content.id).copied());
            values.add(content.sha1.as_bytes().as_slice());
            values.add(content.size.cast_signed());
        })
        .await
}

/// Writes the state of nodes.
pub(super) async fn put_nodes(script: &mut Script<'_>, batch: &Batch<'_>) -> Result<(), Error> {
    let bulk = Bulk {
        head: "INSERT INTO nodes (dispatch, node, status, cancel_requested, failed_attempts, \
               attempt, fault, started_at, ended_at) VALUES ",
        columns: 9,
        tail: " ON CONFLICT (dispatch, node) DO UPDATE SET status = excluded.status, \
               cancel_requested = excluded.cancel_requested, \
               failed_attempts = excluded.failed_attempts, attempt = excluded.attempt, \
               fault = excluded.fault, started_at = excluded.started_at, \
               ended_at = excluded.ended_at",
        sizes: INSERTED,
        may_repeat: true,
    };
    let nodes = batch.nodes.iter();
    let nodes: Vec<_> = nodes
        .map(|(slot, node, state)| Ok((batch.row(*slot)?.row, *node, *state)))
        .collect::<Result<_, Error>>()?;
    script
        .bulk(&bulk, &nodes, |values, (dispatch, node, state)| {
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
        .await
}

/// Writes the state of dispatches, and when they changed.
pub(super) async fn put_states(script: &mut Script<'_>, batch: &Batch<'_>) -> Result<(), Error> {
    let heads = batch.heads.iter();
    let heads: Vec<_> = heads
        .map(|head| Ok((batch.row(head.slot)?.row, head.at, head.state)))
        .collect::<Result<_, Error>>()?;
    script
        .bulk(&PUT_STATES, &heads, |values, (dispatch, at, state)| {
            values.add(*dispatch);
            values.add(at.as_micros());
            values.add(state.map(|state| i64::from(state.status.code())));
            values.add(state.map(|state| state.cancel_requested));
            values.add(state.and_then(|state| state.started_at).map(|at| at.as_micros()));
            values.add(state.and_then(|state| state.ended_at).map(|at| at.as_micros()));
        })
        .await
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::sqlite::SqliteStore;

    #[tokio::test]
    async fn what_looks_among_stored_rows_never_goes_through_them_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        for (bulk, table) in [
            (FIND_DISPATCHES, "dispatches"),
            (FIND_CONTENTS, "contents"),
            (FULFIL, "assets"),
            (PUT_STATES, "dispatches"),
        ] {
            for &rows in LOOKED_UP {
                let statement = format!("EXPLAIN QUERY PLAN {}", bulk.statement(rows));
                let query = sqlx::query_as(AssertSqlSafe(statement));
                let plan: Vec<(i64, i64, i64, String)> =
                    query.fetch_all(&store.readers).await.unwrap();
                let searched = format!("SEARCH {table} USING");
                assert!(plan.iter().any(|(.., step)| step.contains(&searched)), "{plan:?}");
            }
        }
    }
}
