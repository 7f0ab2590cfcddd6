//! Gives every request a name that its answer and its log lines carry. Trusts no name from
//! outside; the trace that a request belongs to is noted beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::ContinueTrace;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const TRACE: HeaderName = HeaderName::from_static("traceparent");

/// The name of one request.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Makes names: a random beginning for this process, then a number.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    process: u32,
    next: Arc<AtomicU64>,
    continue_trace: Option<ContinueTrace>,
}

impl Ids {
    pub(crate) fn new(continue_trace: Option<ContinueTrace>) -> Self {
        let (process, ..) = uuid::Uuid::new_v4().as_fields();
        Self { process, next: Arc::new(AtomicU64::new(1)), continue_trace }
    }

    fn draw(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId(format!("{:08x}-{number}", self.process).into())
    }
}

/// Names the request, opens its span, and names it in the answer.
pub(crate) async fn name_request(
    State(ids): State<Ids>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = ids.draw();
    let span = tracing::info_span!(
        "request",
        request.id = id.as_str(),
        http.method = request.method().as_str(),
        http.path = request.uri().path(),
        trace.id = Empty,
    );
    if let Some((text, trace)) = trace_of(&request) {
        span.record("trace.id", trace);
        ids.continue_trace.into_iter().for_each(|told| told(&span, text));
    }
    request.extensions_mut().insert(id.clone());
    let answered = async {
        let response = next.run(request).await;
        tracing::debug!(http.status = response.status().as_u16(), "request answered");
        response
    };
    let mut response = answered.instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// The `traceparent` of a request, and the id of the trace in it, if it has the form that W3C
/// gives it.
fn trace_of(request: &Request) -> Option<(&str, &str)> {
    let text = request.headers().get(TRACE)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let is_id = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && part.bytes().any(|byte| byte != b'0')
    };
    let is_known = version == "00" && parts.next().is_none() && flags.len() == 2;
    (is_known && is_id(trace, 32) && is_id(parent, 16)).then_some((text, trace))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn trace(header: &str) -> Option<String> {
        let request = Request::builder().header(TRACE, header).body(Body::empty()).unwrap();
        trace_of(&request).map(|(_, trace)| trace.to_owned())
    }

    #[test]
    fn only_a_well_formed_trace_is_continued() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        for wrong in [
            "",
            id,
            &format!("00-{id}-00f067aa0ba902b7"),
            &format!("ff-{id}-00f067aa0ba902b7-01"),
            &format!("00-{id}-00f067aa0ba902b7-01-more"),
            &format!("00-{id}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
        ] {
            assert_eq!(trace(wrong), None, "{wrong}");
        }
    }
}
