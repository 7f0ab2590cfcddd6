//! Reading what is kept of triggers: whole lists for a start, pages for people.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::trigger::{Firing, TriggerId, TriggerRecord, TriggerState};
use sqlx::{QueryBuilder, Sqlite};

use super::SqliteStore;
use super::list::UNFINISHED;
use super::rows::triggers::{
    TriggerColumns, TriggerRow, read_firing, read_trigger, read_trigger_id, state_code,
    trigger_columns,
};
use super::rows::{read_id, read_status};
use crate::Error;
use crate::fault::{corrupt, from_sql};
use crate::triggers::{
    FiringPage, FiringQuery, LiveTrigger, TriggerChange, TriggerPage, TriggerQuery, TriggerStore,
};

#[async_trait]
impl TriggerStore for SqliteStore {
    async fn change_triggers(&self, changes: &[TriggerChange]) -> Result<(), Error> {
        self.apply_to_triggers(changes).await
    }

    async fn live_triggers(&self) -> Result<Vec<LiveTrigger>, Error> {
        let mut snapshot = self.readers.begin().await.map_err(from_sql)?;
        let rows: Vec<TriggerColumns> = sqlx::query_as(concat!(
            "SELECT ",
            trigger_columns!(),
            " WHERE t.state <> ? ORDER BY t.id"
        ))
        .bind(state_code(TriggerState::Stopped))
        .fetch_all(&mut *snapshot)
        .await
        .map_err(from_sql)?;
        let waiting: Vec<WaitingColumns> = sqlx::query_as(
            "SELECT trigger, event_key, due_at, decided_at, outcome, reason, dispatch_id, next_try \
             FROM trigger_firings INDEXED BY trigger_firings_waiting \
             WHERE outcome = 2 OR (outcome = 4 AND next_try IS NOT NULL) ORDER BY number",
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(from_sql)?;
        snapshot.rollback().await.map_err(from_sql)?;
        let mut waiting_of: HashMap<i64, Vec<Firing>> = HashMap::new();
        for (trigger, key, due, decided, outcome, reason, dispatch, next_try) in waiting {
            let columns = (key, due, decided, outcome, reason, dispatch, next_try);
            let firing = sound(read_firing(columns), &format!("a decision of row {trigger}"));
            waiting_of.entry(trigger).or_default().extend(firing);
        }
        let live = readable(rows).map(|TriggerRow { row, record, has_observed }| LiveTrigger {
            record,
            waiting: waiting_of.remove(&row).unwrap_or_default(),
            has_observed,
        });
        Ok(live.collect())
    }

    async fn trigger(&self, trigger: &TriggerId) -> Result<TriggerRecord, Error> {
        let row: Option<TriggerColumns> =
            sqlx::query_as(concat!("SELECT ", trigger_columns!(), " WHERE t.trigger_id = ?"))
                .bind(trigger.as_str())
                .fetch_optional(&self.readers)
                .await
                .map_err(from_sql)?;
        let row = row.ok_or_else(|| Error::TriggerGone { trigger: trigger.clone() })?;
        let read = read_trigger(row);
        read.map(|row| row.record).map_err(|reason| corrupt(format!("trigger {trigger}"), reason))
    }

    async fn triggers(&self, asked: &TriggerQuery) -> Result<TriggerPage, Error> {
        let mut query = QueryBuilder::<Sqlite>::new(concat!("SELECT ", trigger_columns!()));
        query.push(" WHERE t.id < ");
        query.push_bind(asked.after.map_or(i64::MAX, u64::cast_signed));
        if let Some(dispatch) = &asked.dispatch {
            query.push(" AND t.dispatch_id = ").push_bind(dispatch.as_str());
        }
        if let Some(state) = asked.state {
            query.push(" AND t.state = ").push_bind(state_code(state));
        }
        query.push(" ORDER BY t.id DESC LIMIT ").push_bind(i64::from(asked.limit) + 1);
        let mut rows: Vec<TriggerColumns> =
            query.build_query_as().fetch_all(&self.readers).await.map_err(from_sql)?;
        let next = next_page(&mut rows, asked.limit, |row| row.0);
        Ok(TriggerPage { triggers: readable(rows).map(|row| row.record).collect(), next })
    }

    async fn firing(&self, trigger: &TriggerId, event_key: &str) -> Result<Option<Firing>, Error> {
        let row: Option<PaidColumns> = sqlx::query_as(
            "SELECT event_key, due_at, decided_at, outcome, reason, dispatch_id, next_try, data \
             FROM trigger_firings LEFT JOIN trigger_payloads ON firing = number \
             WHERE trigger = (SELECT id FROM triggers WHERE trigger_id = ?) AND event_key = ?",
        )
        .bind(trigger.as_str())
        .bind(event_key)
        .fetch_optional(&self.readers)
        .await
        .map_err(from_sql)?;
        let Some((key, due, decided, outcome, reason, dispatch, next_try, data)) = row else {
            return Ok(None);
        };
        let firing = read_firing((key, due, decided, outcome, reason, dispatch, next_try));
        let firing = firing.map_err(|reason| corrupt(format!("trigger {trigger}"), reason))?;
        Ok(Some(Firing { payload: data.map(Bytes::from), ..firing }))
    }

    async fn firings(&self, asked: &FiringQuery) -> Result<FiringPage, Error> {
        let row: Option<i64> = sqlx::query_scalar("SELECT id FROM triggers WHERE trigger_id = ?")
            .bind(asked.trigger.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(from_sql)?;
        let row = row.ok_or_else(|| Error::TriggerGone { trigger: asked.trigger.clone() })?;
        let mut rows: Vec<HistoryColumns> = sqlx::query_as(
            "SELECT number, event_key, due_at, decided_at, outcome, reason, dispatch_id, next_try, \
             EXISTS (SELECT 1 FROM trigger_payloads WHERE firing = number) \
             FROM trigger_firings INDEXED BY trigger_firings_by_trigger \
             WHERE trigger = ? AND number < ? ORDER BY number DESC LIMIT ?",
        )
        .bind(row)
        .bind(asked.before.map_or(i64::MAX, u64::cast_signed))
        .bind(i64::from(asked.limit) + 1)
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        let next = next_page(&mut rows, asked.limit, |row| row.0);
        let firings = rows.into_iter().filter_map(|row| {
            let (number, key, due, decided, outcome, reason, dispatch, next_try, has_data) = row;
            let read = read_firing((key, due, decided, outcome, reason, dispatch, next_try));
            Some((sound(read, &format!("decision {number}"))?, has_data))
        });
        Ok(FiringPage { firings: firings.collect(), next })
    }

    async fn trigger_marks(&self, trigger: &TriggerId) -> Result<Vec<(String, Bytes)>, Error> {
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
            "SELECT m.name, value FROM trigger_marks m JOIN triggers t ON t.id = m.trigger \
             WHERE t.trigger_id = ?",
        )
        .bind(trigger.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        Ok(rows.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect())
    }

    async fn made_by(&self, trigger: &TriggerId, limit: u32) -> Result<Vec<DispatchId>, Error> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT f.dispatch_id FROM trigger_firings f \
             WHERE f.trigger = (SELECT id FROM triggers WHERE trigger_id = ?1) AND f.outcome = 1 \
             AND f.dispatch_id <> (SELECT dispatch_id FROM triggers WHERE trigger_id = ?1) \
             ORDER BY number DESC LIMIT ?2",
        )
        .bind(trigger.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        Ok(ids.iter().filter_map(|id| sound(read_id(id), id)).collect())
    }

    async fn unsettled(&self) -> Result<Vec<(TriggerId, DispatchId, Status)>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT t.trigger_id, d.dispatch_id, d.status FROM dispatches d \
             JOIN trigger_firings f ON f.dispatch_id = d.dispatch_id AND f.outcome = 1 \
             JOIN triggers t ON t.id = f.trigger WHERE t.state <> ",
        );
        query.push_bind(state_code(TriggerState::Stopped)).push(" AND d.status IN (");
        let mut statuses = query.separated(", ");
        for status in UNFINISHED.into_iter().chain([Status::NewObject]) {
            statuses.push_bind(i64::from(status.code()));
        }
        query.push(") ORDER BY d.id");
        let rows: Vec<(String, String, i64)> =
            query.build_query_as().fetch_all(&self.readers).await.map_err(from_sql)?;
        let read = |(trigger, dispatch, status): &(String, String, i64)| {
            Ok((read_trigger_id(trigger)?, read_id(dispatch)?, read_status(*status)?))
        };
        let sound_row = |row| sound(read(row), &row.1);
        Ok(rows.iter().filter_map(sound_row).collect())
    }
}

/// A row of `trigger_firings`, with the row of its trigger.
type WaitingColumns = (i64, String, i64, i64, i64, String, Option<String>, Option<i64>);

/// A row of `trigger_firings`, with what came with the event.
type PaidColumns = (String, i64, i64, i64, String, Option<String>, Option<i64>, Option<Vec<u8>>);

/// A row of `trigger_firings`, with its number and whether anything came with the event.
type HistoryColumns = (i64, String, i64, i64, i64, String, Option<String>, Option<i64>, bool);

/// Cuts a list that was asked for with one row more, and says where the next one begins.
fn next_page<T>(rows: &mut Vec<T>, limit: u32, number: impl Fn(&T) -> i64) -> Option<u64> {
    if rows.len() <= limit as usize {
        return None;
    }
    rows.truncate(limit as usize);
    rows.last().map(|row| number(row).unsigned_abs())
}

/// One damaged row must not hide the others.
fn readable(rows: Vec<TriggerColumns>) -> impl Iterator<Item = TriggerRow> {
    let read = |row: TriggerColumns| {
        let id = row.1.clone();
        sound(read_trigger(row), &id)
    };
    rows.into_iter().filter_map(read)
}

fn sound<T>(read: Result<T, String>, id: &str) -> Option<T> {
    let logged =
        |error: &String| tracing::error!(trigger.id = id, %error, "a stored row is damaged");
    read.inspect_err(logged).ok()
}
