//! How triggers and their decisions are written in rows, and read back with every check.

use cov_core::time::Timestamp;
use cov_core::trigger::{
    Dictionary, Firing, Outcome, TriggerId, TriggerRecord, TriggerState, Trouble,
};

use super::{Reading, read_id};

/// A row of `triggers` with its settings: `t.id, trigger_id, name, dispatch_id, state, note,
/// created_at, updated_at, decided_until, has_observed, fired_count, trouble, trouble_since,
/// trouble_next_try, settings`.
pub(in crate::sqlite) type TriggerColumns = (
    i64,
    String,
    String,
    String,
    i64,
    Option<String>,
    i64,
    i64,
    i64,
    bool,
    i64,
    Option<String>,
    Option<i64>,
    Option<i64>,
    String,
);

/// The columns of [`TriggerColumns`], from `triggers t` and `trigger_settings s`.
macro_rules! trigger_columns {
    () => {
        "t.id, t.trigger_id, t.name, t.dispatch_id, t.state, t.note, t.created_at, t.updated_at, \
         t.decided_until, t.has_observed, t.fired_count, t.trouble, t.trouble_since, \
         t.trouble_next_try, s.settings FROM triggers t \
         JOIN trigger_settings s ON s.trigger = t.id"
    };
}
pub(in crate::sqlite) use trigger_columns;

/// A row of `triggers`, read.
#[derive(Debug)]
pub(in crate::sqlite) struct TriggerRow {
    pub(in crate::sqlite) row: i64,
    pub(in crate::sqlite) record: TriggerRecord,
    pub(in crate::sqlite) has_observed: bool,
}

pub(in crate::sqlite) fn read_trigger(columns: TriggerColumns) -> Reading<TriggerRow> {
    let (row, id, name, dispatch, state, note, created, updated, until, ..) = columns;
    let (.., has_observed, fired, trouble, since, next_try, settings) = columns;
    let trouble = trouble.zip(since).map(|(error, since)| Trouble {
        error,
        since: Timestamp::from_micros(since),
        next_try: next_try.map(Timestamp::from_micros),
    });
    let settings: Dictionary = serde_json::from_str(&settings)
        .map_err(|error| format!("its settings cannot be read: {error}"))?;
    let record = TriggerRecord {
        id: read_trigger_id(&id)?,
        name,
        lattice_dispatch_id: read_id(&dispatch)?,
        settings,
        state: read_state(state)?,
        note,
        created_at: Timestamp::from_micros(created),
        updated_at: Timestamp::from_micros(updated),
        decided_until: Timestamp::from_micros(until),
        trouble,
        fired_count: fired.unsigned_abs(),
    };
    Ok(TriggerRow { row, record, has_observed })
}

pub(in crate::sqlite) fn read_trigger_id(text: &str) -> Reading<TriggerId> {
    text.parse().map_err(|error: cov_core::ids::IdError| error.to_string())
}

/// A row of `trigger_firings`: `event_key, due_at, decided_at, outcome, reason, dispatch_id,
/// next_try`.
pub(in crate::sqlite) type FiringColumns =
    (String, i64, i64, i64, String, Option<String>, Option<i64>);

pub(in crate::sqlite) fn read_firing(columns: FiringColumns) -> Reading<Firing> {
    let (event_key, due, decided, outcome, reason, dispatch, next_try) = columns;
    Ok(Firing {
        event_key,
        due_at: Timestamp::from_micros(due),
        decided_at: Timestamp::from_micros(decided),
        outcome: read_outcome(outcome)?,
        reason,
        dispatch: dispatch.as_deref().map(read_id).transpose()?,
        next_try: next_try.map(Timestamp::from_micros),
        payload: None,
    })
}

pub(in crate::sqlite) fn state_code(state: TriggerState) -> i64 {
    match state {
        TriggerState::Active => 1,
        TriggerState::Paused => 2,
        TriggerState::Stopped => 3,
    }
}

pub(in crate::sqlite) fn read_state(code: i64) -> Reading<TriggerState> {
    let all = [TriggerState::Active, TriggerState::Paused, TriggerState::Stopped];
    let found = all.into_iter().find(|state| state_code(*state) == code);
    found.ok_or_else(|| format!("{code} is no state of a trigger"))
}

pub(in crate::sqlite) fn outcome_code(outcome: Outcome) -> i64 {
    match outcome {
        Outcome::Fired => 1,
        Outcome::Queued => 2,
        Outcome::Skipped => 3,
        Outcome::Failed => 4,
    }
}

fn read_outcome(code: i64) -> Reading<Outcome> {
    let all = [Outcome::Fired, Outcome::Queued, Outcome::Skipped, Outcome::Failed];
    let found = all.into_iter().find(|outcome| outcome_code(*outcome) == code);
    found.ok_or_else(|| format!("{code} is no outcome of a decision"))
}
