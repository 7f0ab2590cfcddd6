//! Gives every request a name that its answer and its log lines carry. Trusts no name from
//! outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

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
}

impl Ids {
    pub(crate) fn new() -> Self {
        let (process, ..) = uuid::Uuid::new_v4().as_fields();
        Self { process, next: Arc::new(AtomicU64::new(1)) }
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
    );
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
