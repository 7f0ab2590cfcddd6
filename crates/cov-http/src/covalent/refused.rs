//! The bodies of refused requests as the SDK and Covalent's own clients know them.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use cov_core::error::ErrorCode;
use serde::Serialize;

use crate::error::{BodyFault, Refusal, hint_of};

/// Which of the two shapes a request gets when it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The export of an unknown dispatch has a shape of its own.
    Export,
    /// Everything else.
    Other,
}

impl Refused {
    /// The shape for `request`.
    pub(crate) fn of(request: &Request) -> Self {
        let id = request.uri().path().strip_prefix("/api/v2/dispatches/");
        let is_export = request.method() == axum::http::Method::GET
            && id.is_some_and(|rest| !rest.contains('/'));
        if is_export { Self::Export } else { Self::Other }
    }

    /// The body.
    pub(crate) fn body(self, refusal: &Refusal) -> Response {
        match self {
            Self::Export => {
                Json(ExportNotFound { message: refusal.public_detail() }).into_response()
            }
            Self::Other => Json(Detail::of(refusal)).into_response(),
        }
    }
}

/// A sentence, or a list of faults.
#[derive(Debug, Serialize)]
struct Detail<'a> {
    detail: DetailValue<'a>,
    code: ErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum DetailValue<'a> {
    Sentence(&'a str),
    Faults(&'a [BodyFault]),
}

#[derive(Debug, Serialize)]
struct ExportNotFound<'a> {
    message: &'a str,
}

impl<'a> Detail<'a> {
    fn of(refusal: &'a Refusal) -> Self {
        let detail = if refusal.faults().is_empty() {
            DetailValue::Sentence(refusal.public_detail())
        } else {
            DetailValue::Faults(refusal.faults())
        };
        Self { detail, code: refusal.code(), hint: hint_of(refusal.code()) }
    }
}

/// What is told of a refusal, as text.
#[cfg(test)]
pub(crate) fn told(refusal: &Refusal) -> String {
    serde_json::to_string(&Detail::of(refusal)).unwrap()
}
