//! Triggers: lists, one with its history, and what can be done to one. Secrets never leave.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use cov_core::error::ErrorCode;
use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Dictionary, Firing, Outcome, TriggerId, TriggerRecord, TriggerState};
use cov_dispatcher::store::triggers::{FiringQuery, TriggerQuery};
use cov_triggers::hide_secrets;
use cov_triggers::service::WebhookCall;
use serde::{Deserialize, Serialize};

use crate::body::{Chunks, Collected, parse};
use crate::error::Refusal;
use crate::params::QueryParams;
use crate::triggers::{TriggerApp, TriggerPath, TriggerShared, Triggers, store_refusal};
use crate::v3::table::Table;

/// Rows of one page, when the client does not say how many.
const PAGE_DEFAULT: u32 = 100;
/// Most rows of one page.
const PAGE_MAX: u32 = 1_000;
/// How many of the dispatches that a trigger made are shown with it.
const MADE_MAX: u32 = 100;
/// Ticks that are told, when the client does not say how many.
const TICKS_DEFAULT: usize = 5;
/// The longest body of a call of a webhook, and of any other request here. Bytes.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// The signature of a call, as GitHub sends it.
const SIGNATURE: &str = "x-hub-signature-256";
/// Headers by which callers name their event, the first one that is there.
const EVENT_NAMES: [&str; 2] = ["idempotency-key", "x-github-delivery"];

/// The routes of triggers. A new one is also described in `openapi`.
pub(super) fn table() -> Table<Arc<TriggerShared>> {
    Table::new()
        .get("/api/v3/triggers", list)
        .post("/api/v3/triggers", register)
        .get("/api/v3/triggers/{trigger}", show)
        .delete("/api/v3/triggers/{trigger}", delete)
        .get("/api/v3/triggers/{trigger}/history", history)
        .get("/api/v3/triggers/{trigger}/history/{key}/payload", payload)
        .get("/api/v3/triggers/{trigger}/next", next)
        .post("/api/v3/triggers/{trigger}/pause", pause)
        .post("/api/v3/triggers/{trigger}/resume", resume)
        .post("/api/v3/triggers/{trigger}/fire", fire)
        .post("/api/v3/triggers/{trigger}/test", test)
        .post("/api/v3/triggers/{trigger}/stop", stop)
        .post("/api/v3/triggers/{trigger}/webhook", webhook)
}

/// A trigger as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    record: TriggerRecord,
    /// Its next tick, if it has a schedule and is active.
    next_due: Option<Timestamp>,
    /// The dispatches that it has made, latest first, up to a limit.
    new_dispatch_ids: Vec<DispatchId>,
}

impl Shown {
    async fn of(triggers: &Triggers, mut record: TriggerRecord) -> Result<Self, Refusal> {
        let made = triggers.store.made_by(&record.id, MADE_MAX).await.map_err(store_refusal)?;
        let next_due = match record.state {
            // One that was stopped meanwhile has none.
            TriggerState::Active => triggers
                .service
                .next(&record.id, 1)
                .await
                .ok()
                .and_then(|ticks| ticks.first().copied()),
            TriggerState::Paused | TriggerState::Stopped => None,
        };
        record.settings = hide_secrets(&record.settings);
        Ok(Self { record, next_due, new_dispatch_ids: made })
    }

    async fn by_id(triggers: &Triggers, trigger: &TriggerId) -> Result<Self, Refusal> {
        let record = triggers.store.trigger(trigger).await.map_err(store_refusal)?;
        Self::of(triggers, record).await
    }
}

/// A decision as it is shown.
#[derive(Debug, Serialize)]
struct Decision {
    event_key: String,
    due_at: Timestamp,
    decided_at: Timestamp,
    outcome: Outcome,
    reason: String,
    dispatch_id: Option<DispatchId>,
    next_try: Option<Timestamp>,
    has_payload: bool,
}

impl Decision {
    fn of(firing: Firing, has_payload: bool) -> Self {
        let Firing { event_key, due_at, decided_at, outcome, reason, dispatch, next_try, .. } =
            firing;
        let dispatch_id = dispatch;
        Self { event_key, due_at, decided_at, outcome, reason, dispatch_id, next_try, has_payload }
    }
}

/// One page of the list.
#[derive(Debug, Serialize)]
struct Page {
    triggers: Vec<Shown>,
    /// Asks for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<u64>,
}

/// Lists triggers, latest first.
async fn list(State(shared): TriggerApp, params: QueryParams) -> Result<Json<Page>, Refusal> {
    let triggers = shared.need()?;
    let query = TriggerQuery {
        dispatch: params.parsed("dispatch_id")?,
        state: state(&params)?,
        after: params.parsed("cursor")?,
        limit: limit(&params)?,
    };
    let page = triggers.store.triggers(&query).await.map_err(store_refusal)?;
    let mut shown = Vec::with_capacity(page.triggers.len());
    for record in page.triggers {
        shown.push(Shown::of(triggers, record).await?);
    }
    Ok(Json(Page { triggers: shown, cursor: page.next }))
}

fn limit(params: &QueryParams) -> Result<u32, Refusal> {
    match params.number("limit", PAGE_DEFAULT)? {
        limit if limit > PAGE_MAX => {
            Err(Refusal::query("limit", format!("Input should be at most {PAGE_MAX}")))
        }
        limit => Ok(limit),
    }
}

fn state(params: &QueryParams) -> Result<Option<TriggerState>, Refusal> {
    match params.last("state") {
        None => Ok(None),
        Some("active") => Ok(Some(TriggerState::Active)),
        Some("paused") => Ok(Some(TriggerState::Paused)),
        Some("stopped") => Ok(Some(TriggerState::Stopped)),
        Some(_) => Err(Refusal::query("state", "Input should be active, paused or stopped")),
    }
}

/// Registers a trigger from its dictionary.
async fn register(
    State(shared): TriggerApp,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Shown>), Refusal> {
    let bytes = read(&shared, &headers, body).await?;
    let triggers = shared.need()?;
    let dictionary: Dictionary = parse(&bytes, "body")?;
    let record = triggers.service.register(dictionary).await?;
    Ok((StatusCode::CREATED, Json(Shown::of(triggers, record).await?)))
}

/// One trigger.
async fn show(State(shared): TriggerApp, path: TriggerPath) -> Result<Json<Shown>, Refusal> {
    Ok(Json(Shown::by_id(shared.need()?, &path.trigger).await?))
}

/// A page of a history.
#[derive(Debug, Serialize)]
struct History {
    firings: Vec<Decision>,
    /// Asks for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
}

/// What a trigger has decided, latest first.
async fn history(
    State(shared): TriggerApp,
    path: TriggerPath,
    params: QueryParams,
) -> Result<Json<History>, Refusal> {
    let triggers = shared.need()?;
    let (before, limit) = (params.parsed("before")?, limit(&params)?);
    let query = FiringQuery { trigger: path.trigger, before, limit };
    let page = triggers.store.firings(&query).await.map_err(store_refusal)?;
    let firings = page.firings.into_iter().map(|(firing, has)| Decision::of(firing, has));
    Ok(Json(History { firings: firings.collect(), before: page.next }))
}

/// What came with an event.
async fn payload(State(shared): TriggerApp, path: TriggerPath) -> Result<Response, Refusal> {
    let TriggerPath { trigger, event_key } = path;
    let firing = shared.need()?.store.firing(&trigger, &event_key).await.map_err(store_refusal)?;
    let body = firing.and_then(|firing| firing.payload).ok_or_else(|| {
        let said = format!("trigger {trigger} keeps nothing that came with event {event_key}");
        Refusal::new(ErrorCode::TriggerNotFound, said)
    })?;
    // Whatever it is, no browser is to run it.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, body).into_response())
}

/// The next points of time at which a trigger is due.
async fn next(
    State(shared): TriggerApp,
    path: TriggerPath,
    params: QueryParams,
) -> Result<Json<serde_json::Value>, Refusal> {
    let count = params.number("count", TICKS_DEFAULT)?;
    let ticks = shared.need()?.service.next(&path.trigger, count).await?;
    Ok(Json(serde_json::json!({ "next": ticks })))
}

/// Why a trigger is paused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    #[serde(default)]
    note: Option<String>,
}

/// Pauses a trigger.
async fn pause(
    State(shared): TriggerApp,
    path: TriggerPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Shown>, Refusal> {
    let Pause { note } = json_or_default(&shared, &headers, body).await?;
    let triggers = shared.need()?;
    triggers.service.pause(&path.trigger, note).await?;
    Ok(Json(Shown::by_id(triggers, &path.trigger).await?))
}

/// Lets a paused trigger go on.
async fn resume(State(shared): TriggerApp, path: TriggerPath) -> Result<Json<Shown>, Refusal> {
    let triggers = shared.need()?;
    triggers.service.resume(&path.trigger).await?;
    Ok(Json(Shown::by_id(triggers, &path.trigger).await?))
}

/// Stops a trigger for good. It does not fire after the answer.
async fn stop(State(shared): TriggerApp, path: TriggerPath) -> Result<Json<Shown>, Refusal> {
    let triggers = shared.need()?;
    triggers.service.stop(&path.trigger).await?;
    Ok(Json(Shown::by_id(triggers, &path.trigger).await?))
}

/// Stops a trigger and removes it with its history.
async fn delete(State(shared): TriggerApp, path: TriggerPath) -> Result<StatusCode, Refusal> {
    shared.need()?.service.delete(&path.trigger).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The event that somebody fires by hand.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    /// Names the event: the same one fires once.
    #[serde(default)]
    event_key: Option<String>,
}

/// Fires by hand.
async fn fire(
    State(shared): TriggerApp,
    path: TriggerPath,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Decision>), Refusal> {
    let ByHand { event_key } = json_or_default(&shared, &headers, body).await?;
    let firing = shared.need()?.service.fire(&path.trigger, event_key, None).await?;
    Ok(answer(firing))
}

/// What it would see now, without firing.
async fn test(
    State(shared): TriggerApp,
    path: TriggerPath,
) -> Result<Json<serde_json::Value>, Refusal> {
    let lines = shared.need()?.service.test(&path.trigger).await?;
    Ok(Json(serde_json::json!({ "would_fire": lines })))
}

/// A call from outside, signed with the trigger's secret.
async fn webhook(
    State(shared): TriggerApp,
    path: TriggerPath,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Decision>), Refusal> {
    let body = Bytes::copy_from_slice(&read(&shared, &headers, body).await?);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let call = WebhookCall {
        signature: text(SIGNATURE).map(str::to_owned),
        idempotency_key: EVENT_NAMES.into_iter().find_map(text).map(str::to_owned),
        body,
    };
    let firing = shared.need()?.service.webhook(&path.trigger, call).await?;
    Ok(answer(firing))
}

/// What waits is accepted; everything else is decided.
fn answer(firing: Firing) -> (StatusCode, Json<Decision>) {
    let status = match firing.outcome {
        Outcome::Queued | Outcome::Failed => StatusCode::ACCEPTED,
        Outcome::Fired | Outcome::Skipped => StatusCode::OK,
    };
    let has_payload = firing.payload.is_some();
    (status, Json(Decision::of(firing, has_payload)))
}

async fn read(
    shared: &TriggerShared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Collected, Refusal> {
    let limit = BODY_BYTES_MAX.min(shared.limits.body_bytes);
    Chunks::new(body, headers, limit, &shared.limits)?.collect().await
}

async fn json_or_default<T: serde::de::DeserializeOwned + Default>(
    shared: &TriggerShared,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Refusal> {
    match &*read(shared, headers, body).await? {
        [] => Ok(T::default()),
        bytes => parse(bytes, "body"),
    }
}
