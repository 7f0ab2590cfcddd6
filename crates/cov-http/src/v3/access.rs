//! Tokens and the audit, for administrators. The text of a token is in the answer that makes it
//! and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use cov_core::access::{Scope, is_token_name};
use cov_core::error::ErrorCode;
use cov_core::time::Timestamp;
use cov_dispatcher::store::access::{
    AuditEntry, AuditQuery, TokenChange, TokenOutcome, TokenRecord,
};
use serde::{Deserialize, Serialize};

use crate::Limits;
use crate::access::{Access, Admitted, Inner, Secret};
use crate::body;
use crate::error::Refusal;
use crate::params::QueryParams;
use crate::request_id::RequestId;
use crate::triggers::store_refusal;
use crate::v3::table::Table;

/// Rows of one page, when the client does not say how many.
const PAGE_DEFAULT: u32 = 100;
/// Most rows of one page.
const PAGE_MAX: u32 = 1_000;
/// Longest life of a token. Seconds.
const LIFE_MAX: u64 = 100 * 366 * 24 * 60 * 60;

/// What the handlers here need.
#[derive(Debug)]
pub(super) struct AccessShared {
    pub(super) access: Access,
    pub(super) limits: Limits,
}

type App = State<Arc<AccessShared>>;

/// The routes of tokens and of the audit.
pub(super) fn table() -> Table<Arc<AccessShared>> {
    Table::new()
        .get("/api/v3/tokens", list)
        .post("/api/v3/tokens", create)
        .post("/api/v3/tokens/{name}/rotate", rotate)
        .delete("/api/v3/tokens/{name}", revoke)
        .get("/api/v3/audit", audit)
        .post("/api/v3/audit/purge", purge_audit)
}

impl AccessShared {
    fn inner(&self) -> Result<&Inner, Refusal> {
        let said = "this server keeps no tokens and no audit";
        let inner = self.access.inner().map(AsRef::as_ref);
        inner.ok_or_else(|| Refusal::new(ErrorCode::IllegalState, said))
    }
}

/// A token as it is shown: nothing of it lets anybody in.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    id: String,
    scope: Scope,
    created_at: Timestamp,
    rotated_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl From<TokenRecord> for Shown {
    fn from(token: TokenRecord) -> Self {
        let TokenRecord {
            id,
            name,
            scope,
            created_at,
            rotated_at,
            expires_at,
            revoked_at,
            hash: _,
        } = token;
        Self { name, id, scope, created_at, rotated_at, expires_at, revoked_at }
    }
}

#[derive(Debug, Serialize)]
struct Tokens {
    tokens: Vec<Shown>,
}

/// A token that was just made, with its text.
#[derive(Debug, Serialize)]
struct Made {
    #[serde(flatten)]
    shown: Shown,
    token: String,
}

/// Lists all tokens by name.
async fn list(State(shared): App) -> Result<Json<Tokens>, Refusal> {
    let tokens = shared.inner()?.list().await.map_err(store_refusal)?;
    Ok(Json(Tokens { tokens: tokens.into_iter().map(Shown::from).collect() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    #[serde(default = "dispatch")]
    scope: Scope,
    /// For good if it is missing.
    expires_in_seconds: Option<u64>,
}

fn dispatch() -> Scope {
    Scope::Dispatch
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    /// The end stays if it is missing.
    expires_in_seconds: Option<u64>,
}

/// Who asks, for the row of the audit that is written with the change.
struct Asker {
    who: String,
    origin: String,
    request: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let caller = parts.extensions.get::<Admitted>();
        let who = caller.map_or_else(|| "unknown".to_owned(), |caller| caller.who.to_string());
        let origin = caller.map_or_else(|| "unknown".to_owned(), |caller| caller.origin.clone());
        let id = parts.extensions.get::<RequestId>();
        let request = id.map_or_else(String::new, |id| id.as_str().to_owned());
        Ok(Self { who, origin, request })
    }
}

impl Asker {
    fn entry(self, at: Timestamp, action: &str, name: &str, status: StatusCode) -> AuditEntry {
        AuditEntry {
            at,
            who: self.who,
            origin: self.origin,
            action: action.to_owned(),
            target: name.to_owned(),
            status: status.as_u16(),
            request: self.request,
        }
    }
}

/// Makes a token.
async fn create(
    State(shared): App,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Made>), Refusal> {
    let New { name, scope, expires_in_seconds } =
        body::json(body, &headers, &shared.limits).await?;
    let inner = shared.inner()?;
    if !is_token_name(&name) {
        let said = "a name has 1 to 64 letters, digits, `.`, `_` or `-`, and is none of `local`, \
                    `task`, `anonymous` and `server`";
        let loc = vec!["body".into(), "name".into()];
        return Err(Refusal::at(ErrorCode::InvalidBody, "value_error", loc, said));
    }
    let now = inner.now();
    let secret = secret()?;
    let record = secret.record(&name, scope, now, end(now, expires_in_seconds)?);
    let entry = asker.entry(now, "token.create", &name, StatusCode::CREATED);
    let made = change(inner, TokenChange::Create(record), entry).await?;
    Ok((StatusCode::CREATED, Json(Made { shown: made, token: secret.as_str().to_owned() })))
}

/// Gives a token another secret; the earlier one is not valid any more.
async fn rotate(
    State(shared): App,
    asker: Asker,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Made>, Refusal> {
    let limits = &shared.limits;
    let bytes = body::Chunks::new(body, &headers, limits.body_bytes, limits)?.collect().await?;
    let asked: Again = match &*bytes {
        [] => Again::default(),
        bytes => body::parse(bytes, "body")?,
    };
    let inner = shared.inner()?;
    let now = inner.now();
    let secret = secret()?;
    let entry = asker.entry(now, "token.rotate", &name, StatusCode::OK);
    let rotation = TokenChange::Rotate {
        name,
        id: secret.id().to_owned(),
        hash: secret.hash(),
        at: now,
        expires_at: end(now, asked.expires_in_seconds)?,
    };
    let shown = change(inner, rotation, entry).await?;
    Ok(Json(Made { shown, token: secret.as_str().to_owned() }))
}

/// Revokes a token, for good. The next request with it is refused.
async fn revoke(
    State(shared): App,
    asker: Asker,
    Path(name): Path<String>,
) -> Result<Json<Shown>, Refusal> {
    let inner = shared.inner()?;
    let now = inner.now();
    let entry = asker.entry(now, "token.revoke", &name, StatusCode::OK);
    change(inner, TokenChange::Revoke { name, at: now }, entry).await.map(Json)
}

async fn change(inner: &Inner, change: TokenChange, entry: AuditEntry) -> Result<Shown, Refusal> {
    let shown: String = entry.target.chars().take(80).collect();
    match inner.change(&change, &entry).await.map_err(store_refusal)? {
        TokenOutcome::Done(token) => Ok(token.into()),
        TokenOutcome::Exists => {
            let said = format!("a token `{shown}` exists, or existed");
            Err(Refusal::new(ErrorCode::TokenExists, said))
        }
        TokenOutcome::Unknown => {
            let said = format!("there is no token `{shown}`, or it was revoked");
            Err(Refusal::new(ErrorCode::TokenNotFound, said))
        }
    }
}

fn secret() -> Result<Secret, Refusal> {
    Secret::make().map_err(|error| {
        tracing::error!(%error, "the system has no random numbers");
        Refusal::new(ErrorCode::Internal, "no random numbers")
    })
}

fn end(now: Timestamp, seconds: Option<u64>) -> Result<Option<Timestamp>, Refusal> {
    let Some(seconds) = seconds else { return Ok(None) };
    if seconds == 0 || seconds > LIFE_MAX {
        let loc = vec!["body".into(), "expires_in_seconds".into()];
        let said = format!("expected a number of seconds from 1 to {LIFE_MAX}");
        return Err(Refusal::at(ErrorCode::InvalidBody, "value_error", loc, said));
    }
    Ok(Some(now.after(Duration::from_secs(seconds))))
}

/// A row of the audit.
#[derive(Debug, Serialize)]
struct Row {
    number: u64,
    at: Timestamp,
    who: String,
    origin: String,
    action: String,
    target: String,
    /// Missing when nobody was there to be answered.
    status: Option<u16>,
    request_id: String,
}

#[derive(Debug, Serialize)]
struct Page {
    entries: Vec<Row>,
    /// Asks for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<u64>,
}

/// A page of the audit, latest first.
async fn audit(State(shared): App, params: QueryParams) -> Result<Json<Page>, Refusal> {
    let text = |name| params.last(name).map(str::to_owned);
    let query = AuditQuery {
        before: params.parsed("cursor")?,
        who: text("who"),
        action: text("action"),
        target: text("target"),
        limit: params.number("limit", PAGE_DEFAULT)?.clamp(1, PAGE_MAX),
    };
    let page = shared.inner()?.audit_page(&query).await.map_err(store_refusal)?;
    let row = |(number, entry): (u64, AuditEntry)| Row {
        number,
        at: entry.at,
        who: entry.who,
        origin: entry.origin,
        action: entry.action,
        target: entry.target,
        status: Some(entry.status).filter(|status| *status != 0),
        request_id: entry.request,
    };
    Ok(Json(Page { entries: page.entries.into_iter().map(row).collect(), cursor: page.next }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditPurge {
    older_than_seconds: u64,
}

#[derive(Debug, Serialize)]
struct AuditPurged {
    entries: u64,
}

/// Removes old rows of the audit. That it was done is a row itself.
async fn purge_audit(
    State(shared): App,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AuditPurged>, Refusal> {
    let AuditPurge { older_than_seconds } = body::json(body, &headers, &shared.limits).await?;
    let inner = shared.inner()?;
    let age = i64::try_from(older_than_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let until = Timestamp::from_micros(inner.now().as_micros().saturating_sub(age));
    let entries = inner.purge_audit(until).await.map_err(store_refusal)?;
    Ok(Json(AuditPurged { entries }))
}
