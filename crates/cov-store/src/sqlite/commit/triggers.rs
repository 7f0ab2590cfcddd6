//! Writing what is kept of triggers: their own changes in a transaction of their own, and the
//! firings that come with the dispatches that they make. Decides only what takes the place of
//! what.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use cov_core::trigger::{TriggerId, TriggerRecord, TriggerState, Trouble};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::script::{Bulk, INSERTED, LOOKED_UP, Values};
use crate::Error;
use crate::fault::{from_sql, internal};
use crate::sqlite::SqliteStore;
use crate::sqlite::rows::read_id;
use crate::sqlite::rows::triggers::{outcome_code, state_code};
use crate::triggers::{Decision, HISTORY_ROWS_MAX, HISTORY_ROWS_SLACK, TriggerChange};

/// What becomes of a decision that cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is passed over.
    Ignore,
    /// Everything is refused, with a name of the culprit.
    Report,
}

/// The rows of triggers, and whether each is stopped.
type Known<'a> = HashMap<&'a str, (i64, bool)>;

/// A decision and the row of its trigger.
type Placed<'a> = (i64, &'a Decision);

impl SqliteStore {
    pub(in crate::sqlite) async fn apply_to_triggers(
        &self,
        changes: &[TriggerChange],
    ) -> Result<(), Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(from_sql)?;
        let written = write_changes(&mut transaction, changes).await;
        let applied = match written {
            Ok(()) => transaction.commit().await.map_err(from_sql),
            Err(error) => {
                if transaction.rollback().await.is_err() {
                    tracing::warn!("refused changes of triggers were not rolled back in order");
                }
                Err(error)
            }
        };
        if applied.is_ok() {
            *place = Some(connection);
        } else if connection.close().await.is_err() {
            tracing::warn!("the writing connection did not close in order");
        }
        applied
    }
}

/// Changes in their order; decisions that follow each other go together.
async fn write_changes(
    connection: &mut SqliteConnection,
    changes: &[TriggerChange],
) -> Result<(), Error> {
    let mut decisions: Vec<&Decision> = Vec::new();
    for change in changes {
        if let TriggerChange::Decision(decision) = change {
            decisions.push(decision);
            continue;
        }
        put_decisions(connection, &std::mem::take(&mut decisions), Refusal::Ignore).await?;
        write_change(connection, change).await?;
    }
    put_decisions(connection, &decisions, Refusal::Ignore).await
}

async fn write_change(
    connection: &mut SqliteConnection,
    change: &TriggerChange,
) -> Result<(), Error> {
    match change {
        TriggerChange::Register { record, dispatch_is_here } => {
            insert_trigger(connection, record, *dispatch_is_here).await
        }
        TriggerChange::State { trigger, state, note, at } => {
            let update = sqlx::query(
                "UPDATE triggers SET state = ?, note = ?, updated_at = ? WHERE trigger_id = ?",
            )
            .bind(state_code(*state))
            .bind(note)
            .bind(at.as_micros())
            .bind(trigger.as_str());
            let updated = update.execute(connection).await.map_err(from_sql)?;
            found(trigger, updated.rows_affected())
        }
        TriggerChange::Trouble { trigger, trouble } => {
            put_trouble(connection, trigger, trouble.as_ref()).await
        }
        TriggerChange::Marks { trigger, marks } => {
            let observed: Option<i64> = sqlx::query_scalar(
                "UPDATE triggers SET has_observed = 1 WHERE trigger_id = ? RETURNING id",
            )
            .bind(trigger.as_str())
            .fetch_optional(&mut *connection)
            .await
            .map_err(from_sql)?;
            let row = observed.ok_or_else(|| gone(trigger))?;
            let marks = marks.iter().map(|(name, value)| ((row, name.as_str()), value.as_ref()));
            put_marks(connection, marks.collect()).await
        }
        TriggerChange::Decision(_) => Ok(()),
        TriggerChange::Delete { trigger } => delete_trigger(connection, trigger).await,
    }
}

fn gone(trigger: &TriggerId) -> Error {
    Error::TriggerGone { trigger: trigger.clone() }
}

fn found(trigger: &TriggerId, rows: u64) -> Result<(), Error> {
    match rows {
        0 => Err(gone(trigger)),
        _ => Ok(()),
    }
}

async fn insert_trigger(
    connection: &mut SqliteConnection,
    record: &TriggerRecord,
    dispatch_is_here: bool,
) -> Result<(), Error> {
    let dispatch = &record.lattice_dispatch_id;
    if dispatch_is_here {
        let is_known: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM dispatches WHERE dispatch_id = ?)")
                .bind(dispatch.as_str())
                .fetch_one(&mut *connection)
                .await
                .map_err(from_sql)?;
        if !is_known {
            return Err(Error::NotFound { dispatch: dispatch.clone() });
        }
    }
    let settings = serde_json::to_string(&record.settings).map_err(internal)?;
    let row: i64 = sqlx::query_scalar(
        "INSERT INTO triggers (trigger_id, name, dispatch_id, state, note, created_at, updated_at, \
         decided_until, has_observed, fired_count, history_count) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0) RETURNING id",
    )
    .bind(record.id.as_str())
    .bind(&record.name)
    .bind(dispatch.as_str())
    .bind(state_code(record.state))
    .bind(&record.note)
    .bind(record.created_at.as_micros())
    .bind(record.updated_at.as_micros())
    .bind(record.decided_until.as_micros())
    .fetch_one(&mut *connection)
    .await
    .map_err(from_sql)?;
    sqlx::query("INSERT INTO trigger_settings (trigger, settings) VALUES (?, ?)")
        .bind(row)
        .bind(settings)
        .execute(connection)
        .await
        .map_err(from_sql)?;
    Ok(())
}

async fn put_trouble(
    connection: &mut SqliteConnection,
    trigger: &TriggerId,
    trouble: Option<&Trouble>,
) -> Result<(), Error> {
    let update = sqlx::query(
        "UPDATE triggers SET trouble = ?1, trouble_since = ?2, trouble_next_try = ?3, \
         has_observed = max(has_observed, ?1 IS NULL) WHERE trigger_id = ?4",
    )
    .bind(trouble.map(|trouble| &trouble.error))
    .bind(trouble.map(|trouble| trouble.since.as_micros()))
    .bind(trouble.and_then(|trouble| trouble.next_try).map(|at| at.as_micros()))
    .bind(trigger.as_str());
    let updated = update.execute(connection).await.map_err(from_sql)?;
    found(trigger, updated.rows_affected())
}

async fn delete_trigger(
    connection: &mut SqliteConnection,
    trigger: &TriggerId,
) -> Result<(), Error> {
    let row: Option<i64> =
        sqlx::query_scalar("DELETE FROM triggers WHERE trigger_id = ? RETURNING id")
            .bind(trigger.as_str())
            .fetch_optional(&mut *connection)
            .await
            .map_err(from_sql)?;
    let row = row.ok_or_else(|| gone(trigger))?;
    for statement in [
        "DELETE FROM trigger_settings WHERE trigger = ?",
        "DELETE FROM trigger_marks WHERE trigger = ?",
        "DELETE FROM trigger_firings WHERE trigger = ?",
    ] {
        sqlx::query(statement).bind(row).execute(&mut *connection).await.map_err(from_sql)?;
    }
    Ok(())
}

/// Keeps decisions, each with its marks and what came with its event.
pub(super) async fn put_decisions(
    connection: &mut SqliteConnection,
    decisions: &[&Decision],
    refusal: Refusal,
) -> Result<(), Error> {
    if decisions.is_empty() {
        return Ok(());
    }
    let known = find_triggers(connection, decisions).await?;
    let known: Known<'_> = known.iter().map(|(id, place)| (id.as_str(), *place)).collect();
    let mut placed: Vec<Placed<'_>> = Vec::with_capacity(decisions.len());
    for decision in decisions {
        match known.get(decision.trigger.as_str()) {
            Some((row, stopped)) if !stopped || !decision.fires() => placed.push((*row, decision)),
            _ if refusal == Refusal::Report => return Err(gone(&decision.trigger)),
            _ => {}
        }
    }
    let kept = insert_firings(connection, &placed, refusal).await?;
    insert_payloads(connection, &kept).await?;
    let marks = placed.iter().flat_map(|(row, decision)| {
        decision.marks.iter().map(|(name, value)| ((*row, name.as_str()), value.as_ref()))
    });
    put_marks(connection, marks.collect()).await?;
    put_heads(connection, &placed).await
}

async fn find_triggers(
    connection: &mut SqliteConnection,
    decisions: &[&Decision],
) -> Result<HashMap<String, (i64, bool)>, Error> {
    let bulk = Bulk {
        head: "SELECT trigger_id, id, state FROM triggers WHERE (trigger_id) IN (VALUES ",
        columns: 1,
        tail: ")",
        sizes: LOOKED_UP,
        may_repeat: false,
    };
    let mut names: Vec<&str> = decisions.iter().map(|one| one.trigger.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let rows = bulk.run(connection, &names, |values, name| values.add(*name)).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let state: i64 = row.try_get(2).map_err(from_sql)?;
        let place = (row.try_get(1).map_err(from_sql)?, state == state_code(TriggerState::Stopped));
        found.insert(row.try_get(0).map_err(from_sql)?, place);
    }
    Ok(found)
}

/// Inserts decisions, and returns those that were kept, with their rows.
async fn insert_firings<'a>(
    connection: &mut SqliteConnection,
    placed: &[Placed<'a>],
    refusal: Refusal,
) -> Result<Vec<(i64, Placed<'a>)>, Error> {
    let bulk = Bulk {
        head: "INSERT INTO trigger_firings (trigger, event_key, due_at, decided_at, outcome, \
               reason, dispatch_id, next_try) VALUES ",
        columns: 8,
        // 1 and 3 are final.
        tail: " ON CONFLICT (trigger, event_key) DO UPDATE SET due_at = excluded.due_at, \
               decided_at = excluded.decided_at, outcome = excluded.outcome, \
               reason = excluded.reason, \
               dispatch_id = ifnull(excluded.dispatch_id, trigger_firings.dispatch_id), \
               next_try = excluded.next_try WHERE trigger_firings.outcome NOT IN (1, 3) \
               RETURNING number, trigger, event_key",
        sizes: INSERTED,
        may_repeat: false,
    };
    let rows = bulk
        .run(connection, placed, |values, (row, decision)| {
            let firing = &decision.firing;
            values.add(*row);
            values.add(firing.event_key.as_str());
            values.add(firing.due_at.as_micros());
            values.add(firing.decided_at.as_micros());
            values.add(outcome_code(firing.outcome));
            values.add(firing.reason.as_str());
            values.add(firing.dispatch.as_ref().map(|dispatch| dispatch.as_str()));
            values.add(firing.next_try.map(|at| at.as_micros()));
        })
        .await?;
    let mut written: HashMap<(i64, String), (i64, usize)> = HashMap::with_capacity(rows.len());
    for row in rows {
        let key = (row.try_get(1).map_err(from_sql)?, row.try_get(2).map_err(from_sql)?);
        let number = row.try_get(0).map_err(from_sql)?;
        written.entry(key).or_insert((number, 0)).1 += 1;
    }
    let mut kept = Vec::with_capacity(placed.len());
    for (row, decision) in placed {
        let event_key = &decision.firing.event_key;
        match written.get_mut(&(*row, event_key.clone())) {
            Some((number, left)) if *left > 0 => {
                *left -= 1;
                kept.push((*number, (*row, *decision)));
            }
            _ if refusal == Refusal::Report => {
                return Err(claimed(connection, *row, decision).await?);
            }
            _ => {}
        }
    }
    Ok(kept)
}

async fn claimed(
    connection: &mut SqliteConnection,
    row: i64,
    decision: &Decision,
) -> Result<Error, Error> {
    let event_key = decision.firing.event_key.clone();
    let dispatch: Option<String> = sqlx::query_scalar(
        "SELECT dispatch_id FROM trigger_firings WHERE trigger = ? AND event_key = ?",
    )
    .bind(row)
    .bind(&event_key)
    .fetch_one(connection)
    .await
    .map_err(from_sql)?;
    let dispatch = dispatch.and_then(|dispatch| read_id(&dispatch).ok());
    Ok(Error::Claimed { trigger: decision.trigger.clone(), event_key, dispatch })
}

async fn insert_payloads(
    connection: &mut SqliteConnection,
    kept: &[(i64, Placed<'_>)],
) -> Result<(), Error> {
    let bulk = Bulk {
        head: "INSERT INTO trigger_payloads (firing, data) VALUES ",
        columns: 2,
        tail: " ON CONFLICT (firing) DO UPDATE SET data = excluded.data",
        sizes: INSERTED,
        may_repeat: false,
    };
    let payload = |(number, (_, decision)): &(i64, Placed<'_>)| {
        decision.firing.payload.clone().map(|data| (*number, data))
    };
    let payloads: Vec<(i64, Bytes)> = kept.iter().filter_map(payload).collect();
    let bind = |values: &mut Values, (number, data): &(i64, Bytes)| {
        values.add(*number);
        values.add(data.as_ref());
    };
    bulk.run(connection, &payloads, bind).await.map(drop)
}

/// Sets and removes marks; of several about the same one, the last counts.
async fn put_marks(
    connection: &mut SqliteConnection,
    marks: BTreeMap<(i64, &str), Option<&Bytes>>,
) -> Result<(), Error> {
    let set = Bulk {
        head: "INSERT INTO trigger_marks (trigger, name, value) VALUES ",
        columns: 3,
        tail: " ON CONFLICT (trigger, name) DO UPDATE SET value = excluded.value",
        sizes: INSERTED,
        may_repeat: false,
    };
    let remove = Bulk {
        head: "DELETE FROM trigger_marks WHERE (trigger, name) IN (VALUES ",
        columns: 2,
        tail: ")",
        sizes: LOOKED_UP,
        may_repeat: false,
    };
    let valued = |((row, name), value): (&(i64, &str), &Option<&Bytes>)| {
        value.map(|value| (*row, (*name).to_owned(), value.clone()))
    };
    let valued: Vec<(i64, String, Bytes)> = marks.iter().filter_map(valued).collect();
    let removed = marks.iter().filter(|(_, value)| value.is_none());
    let removed: Vec<(i64, &str)> = removed.map(|(place, _)| *place).collect();
    let bind = |values: &mut Values, (row, name, value): &(i64, String, Bytes)| {
        values.add(*row);
        values.add(name.as_str());
        values.add(value.as_ref());
    };
    set.run(connection, &valued, bind).await?;
    let bind = |values: &mut Values, (row, name): &(i64, &str)| {
        values.add(*row);
        values.add(*name);
    };
    remove.run(connection, &removed, bind).await.map(drop)
}

/// Moves on what is decided, and shortens histories that have become long.
async fn put_heads(connection: &mut SqliteConnection, placed: &[Placed<'_>]) -> Result<(), Error> {
    let bulk = Bulk {
        head: "WITH new (id, until, observed) AS (VALUES ",
        columns: 3,
        tail: ") UPDATE triggers SET decided_until = max(triggers.decided_until, new.until), \
               has_observed = max(triggers.has_observed, new.observed) \
               FROM new WHERE triggers.id = new.id RETURNING id, history_count",
        sizes: LOOKED_UP,
        may_repeat: false,
    };
    let mut heads: BTreeMap<i64, (i64, bool)> = BTreeMap::new();
    for (row, decision) in placed {
        let head = heads.entry(*row).or_insert((i64::MIN, false));
        head.0 = head.0.max(decision.decided_until.as_micros());
        head.1 |= !decision.marks.is_empty();
    }
    let heads: Vec<(i64, (i64, bool))> = heads.into_iter().collect();
    let bind = |values: &mut Values, (row, (until, observed)): &(i64, (i64, bool))| {
        values.add(*row);
        values.add(*until);
        values.add(i64::from(*observed));
    };
    for row in bulk.run(connection, &heads, bind).await? {
        let history: i64 = row.try_get(1).map_err(from_sql)?;
        if history > i64::from(HISTORY_ROWS_MAX + HISTORY_ROWS_SLACK) {
            shorten(connection, row.try_get(0).map_err(from_sql)?).await?;
        }
    }
    Ok(())
}

/// Removes the oldest decisions of a trigger, but none that waits.
async fn shorten(connection: &mut SqliteConnection, row: i64) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM trigger_firings WHERE trigger = ?1 AND number <= \
         (SELECT number FROM trigger_firings WHERE trigger = ?1 ORDER BY number DESC \
         LIMIT 1 OFFSET ?2) AND (outcome IN (1, 3) OR (outcome = 4 AND next_try IS NULL))",
    )
    .bind(row)
    .bind(i64::from(HISTORY_ROWS_MAX))
    .execute(connection)
    .await
    .map_err(from_sql)?;
    Ok(())
}
