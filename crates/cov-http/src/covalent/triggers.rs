//! The trigger endpoints as the SDK calls them. A server that runs no triggers answers them as
//! Covalent's does when it was started without.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use cov_core::error::ErrorCode;
use cov_core::ids::DispatchId;
use cov_core::trigger::Dictionary;
use serde_json::{Value, json};

use crate::access::{Admitted, OnBehalf, Target, unauthenticated};
use crate::body::{Chunks, Collected, parse};
use crate::error::Refusal;
use crate::triggers::{TriggerApp, TriggerShared};

/// The longest description of a trigger, in bytes.
const TRIGGER_BYTES_MAX: u64 = 1 << 20;

/// Whether triggers run here.
pub(super) async fn status(State(shared): TriggerApp) -> Json<Value> {
    let status = if shared.get().is_some() { "running" } else { "disabled" };
    Json(json!({ "status": status }))
}

/// Answers as long as the process does.
pub(super) async fn healthcheck() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Registers a trigger. It is kept when this is answered.
pub(super) async fn register(
    State(shared): TriggerApp,
    caller: Option<Extension<Admitted>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = read(&shared, &headers, body).await?;
    let unproven = caller.as_deref().filter(|caller| caller.is_unproven());
    let Some(triggers) = shared.get() else {
        return match unproven {
            Some(_) => Err(unauthenticated("this address has to log in")),
            None => Ok(disabled()),
        };
    };
    let dictionary: Dictionary = match unproven {
        // Nothing is told to who is not known, not even what is wrong with its JSON.
        Some(_) => parse(&bytes, "body").unwrap_or_default(),
        None => parse(&bytes, "body")?,
    };
    let named = dictionary.get("lattice_dispatch_id").and_then(Value::as_str).unwrap_or_default();
    let target = Target(named.to_owned());
    let behind = unproven.map(|caller| of_registration(&shared, caller, named)).transpose()?;
    triggers.service.register(dictionary).await?;
    let mut response = (Extension(target), Json(Value::Null)).into_response();
    if let Some(behind) = behind {
        response.extensions_mut().insert(behind);
    }
    Ok(response)
}

/// The SDK sends no token with a trigger. Whoever registered its dispatch with one a moment ago,
/// from the same address, is taken for the caller.
fn of_registration(
    shared: &TriggerShared,
    caller: &Admitted,
    named: &str,
) -> Result<OnBehalf, Refusal> {
    let dispatch: Option<DispatchId> = named.parse().ok();
    let found = dispatch.zip(caller.ip).and_then(|(dispatch, ip)| {
        shared.access.inner().and_then(|inner| inner.granted(&dispatch, ip))
    });
    let said = "a trigger without a token has to follow the registration of its dispatch with one";
    found.map(OnBehalf).ok_or_else(|| unauthenticated(said))
}

/// Stops all triggers of the listed dispatches. None of them fires after the answer.
pub(super) async fn stop_observe(
    State(shared): TriggerApp,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = read(&shared, &headers, body).await?;
    let Some(triggers) = shared.get() else { return Ok(disabled()) };
    let named: Vec<String> = parse(&bytes, "body")?;
    let dispatches: Result<Vec<DispatchId>, Refusal> =
        named.iter().map(|text| text.parse().map_err(|_error| unknown(text))).collect();
    triggers.service.stop_dispatches(&dispatches?).await?;
    Ok(Json(Value::Null).into_response())
}

async fn read(
    shared: &TriggerShared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Collected, Refusal> {
    let limit = TRIGGER_BYTES_MAX.min(shared.limits.body_bytes);
    Chunks::new(body, headers, limit, &shared.limits)?.collect().await
}

fn unknown(text: &str) -> Refusal {
    let shown: String = text.chars().take(80).collect();
    Refusal::new(ErrorCode::TriggerNotFound, format!("dispatch {shown} has no triggers"))
}

/// What a server that runs nothing but triggers says to everything else.
pub(crate) async fn nothing_else() -> (StatusCode, Json<Value>) {
    (StatusCode::NOT_FOUND, Json(json!({ "detail": "Not Found" })))
}

/// Refuses to register or to stop a trigger.
fn disabled() -> Response {
    let detail = "Trigger endpoints are disabled as requested";
    (StatusCode::BAD_REQUEST, Json(json!({ "detail": detail }))).into_response()
}
