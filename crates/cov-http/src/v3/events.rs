//! Server-sent events: what has become durable, of one dispatch or of all. A reader that is too
//! slow is told `lagged` and reads the present state; one that comes back with `Last-Event-ID`
//! goes on where it was, as long as the events in between are kept.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use cov_core::ids::DispatchId;
use cov_dispatcher::{Changed, Event, Followed, Handle, Position, Subscription};
use serde_json::json;

use crate::App;
use crate::error::Refusal;
use crate::params::DispatchPath;

/// A comment is sent when nothing else was for this long, so that both sides see a connection
/// that is gone.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// Follows all dispatches.
pub(super) async fn of_all(State(shared): App, headers: HeaderMap) -> Result<Response, Refusal> {
    let events = shared.handle.events(last_seen(&headers)?);
    let begin = Bytes::from_static(b": follows all dispatches\n\n");
    Ok(stream(Stream::new(shared.handle.clone(), events, None, begin)))
}

/// Follows one dispatch until it has ended. Begins with its present state.
pub(super) async fn of_one(
    State(shared): App,
    DispatchPath(dispatch): DispatchPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // Before the state is read, so that no change is missed in between.
    let events = shared.handle.events(last_seen(&headers)?);
    let summary = shared.handle.summary(&dispatch).await?;
    let begin = Bytes::from(format!("event: summary\ndata: {}\n\n", json!(summary)));
    let is_over = summary.status.is_terminal();
    let mut following = Stream::new(shared.handle.clone(), events, Some(dispatch), begin);
    following.is_over = is_over;
    Ok(stream(following))
}

fn last_seen(headers: &HeaderMap) -> Result<Option<Position>, Refusal> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let position = text.trim().parse::<Position>();
    position.map(Some).map_err(|error| {
        let code = cov_core::error::ErrorCode::InvalidParameter;
        Refusal::new(code, format!("Last-Event-ID: {error}"))
    })
}

fn stream(following: Stream) -> Response {
    let step = |mut following: Stream| async move {
        following.next().await.map(|text| (Ok::<_, std::io::Error>(text), following))
    };
    let body = Body::from_stream(futures_util::stream::unfold(following, step));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Events on their way to a client.
struct Stream {
    handle: Handle,
    events: Subscription,
    /// Only of this dispatch.
    only: Option<DispatchId>,
    ready: VecDeque<Bytes>,
    is_over: bool,
}

impl Stream {
    fn new(handle: Handle, events: Subscription, only: Option<DispatchId>, begin: Bytes) -> Self {
        Self { handle, events, only, ready: VecDeque::from([begin]), is_over: false }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Some(text);
            }
            if self.is_over {
                return None;
            }
            let followed = tokio::select! {
                () = self.handle.closed() => return None,
                () = tokio::time::sleep(QUIET_MAX) => {
                    return Some(Bytes::from_static(b": quiet\n\n"));
                }
                followed = self.events.next() => followed?,
            };
            match followed {
                Followed::Events(events) => self.take(&events),
                Followed::Lagged { newest } => self.lagged(newest).await,
            }
        }
    }

    fn take(&mut self, events: &[Event]) {
        for event in events {
            if self.only.as_ref().is_some_and(|only| *only != event.dispatch) {
                continue;
            }
            self.ready.push_back(text_of(event));
            if self.only.is_some()
                && matches!(event.changed, Changed::Dispatch(status) if status.is_terminal())
            {
                self.is_over = true;
                return;
            }
        }
    }

    async fn lagged(&mut self, newest: Position) {
        let text = format!("id: {newest}\nevent: lagged\ndata: {{}}\n\n");
        self.ready.push_back(text.into());
        let Some(only) = &self.only else { return };
        // Its end may be among what was missed.
        match self.handle.summary(only).await {
            Ok(summary) => {
                let text = format!("event: summary\ndata: {}\n\n", json!(summary));
                self.ready.push_back(text.into());
                self.is_over = summary.status.is_terminal();
            }
            Err(_gone) => self.is_over = true,
        }
    }
}

fn text_of(event: &Event) -> Bytes {
    let Event { position, dispatch, at, changed } = event;
    let (kind, data) = match changed {
        Changed::Registered => ("registered", json!({"dispatch_id": dispatch, "at": at})),
        Changed::Dispatch(status) => {
            ("dispatch", json!({"dispatch_id": dispatch, "status": status, "at": at}))
        }
        Changed::Node(node, status) => {
            let data = json!({
                "dispatch_id": dispatch, "node_id": node, "status": status, "at": at
            });
            ("node", data)
        }
        Changed::Link(node, child) => {
            let data = json!({
                "dispatch_id": dispatch, "node_id": node, "sub_dispatch_id": child, "at": at
            });
            ("link", data)
        }
    };
    Bytes::from(format!("id: {position}\nevent: {kind}\ndata: {data}\n\n"))
}
