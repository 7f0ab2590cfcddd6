//! The one place where an error becomes an answer: which status, and which of two bodies. Answers
//! of status 500 and above never carry what went wrong inside.

use std::borrow::Cow;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cov_core::error::{ErrorCode, ErrorKind, Problem};
use cov_core::manifest::ManifestError;
use serde::Serialize;

use crate::covalent;
use crate::linger;
use crate::request_id::RequestId;

/// Seconds after which a refused caller may come again.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request is not served. Becomes a body in [`render`], which knows the caller's API.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    code: ErrorCode,
    detail: Cow<'static, str>,
    faults: Vec<BodyFault>,
}

/// One fault in a request's body or parameters, in the form of a pydantic error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BodyFault {
    /// What kind of fault.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// Where: `body`, `path` or `query`, then members and indices.
    pub(crate) loc: Vec<Step>,
    /// What is wrong.
    pub(crate) msg: String,
}

/// One step of a path into a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Step {
    /// A member of an object.
    Member(Cow<'static, str>),
    /// An element of an array.
    Index(usize),
}

impl From<&'static str> for Step {
    fn from(member: &'static str) -> Self {
        Self::Member(Cow::Borrowed(member))
    }
}

impl From<String> for Step {
    fn from(member: String) -> Self {
        Self::Member(Cow::Owned(member))
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), faults: Vec::new() }
    }

    /// A fault at a known place of the request.
    pub(crate) fn at(
        code: ErrorCode,
        kind: &'static str,
        loc: Vec<Step>,
        msg: impl Into<String>,
    ) -> Self {
        let msg = msg.into();
        let detail = format!("{}: {msg}", pointer(&loc));
        Self { code, detail: detail.into(), faults: vec![BodyFault { kind, loc, msg }] }
    }

    /// A malformed parameter of the query.
    pub(crate) fn query(name: &'static str, msg: impl Into<String>) -> Self {
        Self::at(ErrorCode::InvalidParameter, "value_error", vec!["query".into(), name.into()], msg)
    }

    /// A malformed part of the path.
    pub(crate) fn path(name: &'static str, msg: impl Into<String>) -> Self {
        Self::at(ErrorCode::InvalidParameter, "value_error", vec!["path".into(), name.into()], msg)
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    pub(crate) fn faults(&self) -> &[BodyFault] {
        &self.faults
    }

    /// What the caller may read of it.
    pub(crate) fn public_detail(&self) -> &str {
        match self.code.kind() {
            ErrorKind::Unavailable => "The server cannot do this now; try again.",
            ErrorKind::StorageFull => match self.code {
                ErrorCode::QuotaReached => "The server takes in nothing more: a quota is used up.",
                _ => "There is no space left in the server's data directory.",
            },
            ErrorKind::Internal => "Internal Server Error",
            ErrorKind::Malformed
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::TooLarge
            | ErrorKind::Unauthenticated
            | ErrorKind::Forbidden
            | ErrorKind::TooMany => &self.detail,
        }
    }
}

impl From<cov_dispatcher::Error> for Refusal {
    fn from(error: cov_dispatcher::Error) -> Self {
        let code = error.code();
        if let cov_dispatcher::Error::Manifest(fault) = &error {
            return manifest_fault(code, fault);
        }
        if matches!(status_of(code.kind()).as_u16(), 500..) {
            let chain = SourceChain(&error).to_string();
            tracing::error!(error.code = code.as_str(), error = chain, "request failed");
        }
        Self::new(code, error.to_string())
    }
}

fn manifest_fault(code: ErrorCode, fault: &ManifestError) -> Refusal {
    use cov_core::graph::GraphError;
    let in_graph = |list: &'static str, index: usize| -> Vec<Step> {
        let steps = ["body", "lattice", "transport_graph", list];
        steps.into_iter().map(Step::from).chain([Step::Index(index)]).collect()
    };
    let loc = match fault {
        ManifestError::Graph(
            GraphError::DanglingEdge { edge, .. } | GraphError::DuplicateArgument { edge, .. },
        ) => in_graph("links", *edge),
        ManifestError::Graph(GraphError::Cycle { node })
        | ManifestError::TwoEnds { second: node, .. }
        | ManifestError::Forward { node }
        | ManifestError::Executor { node, .. } => in_graph("nodes", node.index()),
        ManifestError::Asset { address } => match address.node {
            Some(node) => in_graph("nodes", node.index()),
            None => vec!["body".into(), "lattice".into(), "assets".into()],
        },
        _ => vec!["body".into(), "lattice".into(), "transport_graph".into()],
    };
    Refusal::at(code, "value_error", loc, fault.to_string())
}

/// An error with everything below it, for the log.
struct SourceChain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for SourceChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut below = self.0.source();
        while let Some(error) = below {
            write!(f, ": {error}")?;
            below = error.source();
        }
        Ok(())
    }
}

/// Which status answers which kind of error.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Malformed => StatusCode::BAD_REQUEST,
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn title_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Malformed => "The request cannot be read",
        ErrorKind::Invalid => "The request is invalid",
        ErrorKind::NotFound => "Not found",
        ErrorKind::Conflict => "The present state does not allow this",
        ErrorKind::TooLarge => "Over a limit",
        ErrorKind::Unauthenticated => "A token is needed",
        ErrorKind::Forbidden => "Forbidden",
        ErrorKind::TooMany => "Too many requests",
        ErrorKind::Unavailable => "Not available now",
        ErrorKind::StorageFull => "No space left",
        ErrorKind::Internal => "Internal error",
    }
}

pub(crate) fn hint_of(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::AssetsMissing => Some("Upload the named assets, then start the dispatch again."),
        ErrorCode::DigestMismatch => Some("Upload the bytes that were announced."),
        ErrorCode::TooLarge => Some("Raise the limit in the server's configuration."),
        ErrorCode::ForeignOrigin => Some("Add the host to the server's allowed hosts."),
        ErrorCode::Unauthenticated => Some("Send a valid token: Authorization: Bearer TOKEN."),
        ErrorCode::ScopeMissing => Some("Use a token that has the scope."),
        ErrorCode::RateLimited => Some("Wait as long as Retry-After says."),
        ErrorCode::QuotaReached => Some("Purge old dispatches, or raise the quota."),
        ErrorCode::StorageFull => Some("Free space in the server's data directory."),
        ErrorCode::Overloaded | ErrorCode::StoreUnavailable | ErrorCode::Stopping => {
            Some("Try again.")
        }
        _ => None,
    }
}

/// A path into a request as text.
fn pointer(loc: &[Step]) -> String {
    let mut text = String::new();
    for step in loc {
        match step {
            Step::Member(name) if text.is_empty() => text.push_str(name),
            Step::Member(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = status_of(self.code.kind()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of refused requests: problem+json for the native API, Covalent's shape for all
/// else. Stands outside of every handler and check.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let native = request.uri().path().starts_with("/api/v3");
    let covalents = covalent::Refused::of(&request);
    let id = request.extensions().get::<RequestId>().cloned();
    let (request, home) = linger::lend(request);
    let response = next.run(request).await;
    let Some(refusal) = response.extensions().get::<Refusal>() else { return response };
    home.drain();
    let body = match native {
        true => problem(refusal, id.as_ref()),
        false => covalents.body(refusal),
    };
    finish(refusal, response.status(), body)
}

fn finish(refusal: &Refusal, status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("x-error-code", HeaderValue::from_static(refusal.code.as_str()));
    let kind = refusal.code.kind();
    if matches!(kind, ErrorKind::Unavailable | ErrorKind::StorageFull | ErrorKind::TooMany) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    if kind == ErrorKind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn problem(refusal: &Refusal, id: Option<&RequestId>) -> Response {
    let kind = refusal.code.kind();
    let problem = Problem {
        type_uri: format!("urn:cov:error:{}", refusal.code),
        title: title_of(kind).to_owned(),
        status: status_of(kind).as_u16(),
        detail: refusal.public_detail().to_owned(),
        code: refusal.code,
        hint: hint_of(refusal.code).map(str::to_owned),
        pointer: refusal.faults.first().map(|fault| pointer(&fault.loc)),
        request_id: id.map(|id| id.as_str().to_owned()),
    };
    let mut response = Json(problem).into_response();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_words_stay_inside() {
        for code in ErrorCode::ALL.iter().copied() {
            let refusal = Refusal::new(code, "/var/lib/secret: disk I/O error");
            let told = covalent::told(&refusal);
            let hidden = !told.contains("secret");
            assert_eq!(hidden, status_of(code.kind()).as_u16() >= 500, "{code}: {told}");
            let answer = problem(&refusal, None);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }

    #[test]
    fn every_kind_has_its_own_status() {
        let mut seen = std::collections::HashMap::new();
        for code in ErrorCode::ALL {
            let earlier = seen.insert(status_of(code.kind()), code.kind());
            assert!(earlier.is_none_or(|kind| kind == code.kind()), "{code}");
        }
    }

    #[test]
    fn a_path_reads_as_it_would_be_written() {
        let loc = ["body", "lattice", "nodes"].map(Step::from).into_iter();
        let loc: Vec<Step> = loc.chain([Step::Index(3), "id".into()]).collect();
        assert_eq!(pointer(&loc), "body.lattice.nodes[3].id");
    }
}
