//! Lets a refused client finish what it is sending. A connection that is closed upon unread
//! bytes is reset, and the client then sees a broken connection in place of the answer. Reads
//! only to throw away, never before the answer, and never for long.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tracing::Instrument as _;

/// Most bytes that are thrown away.
const DRAINED_BYTES_MAX: u64 = 1 << 30;
/// Longest time that is spent on it.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the next bytes: who announces a body need not send one.
const IDLE_WAIT: Duration = Duration::from_millis(500);

/// Where an unread body comes back to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Home(Arc<Mutex<Option<Body>>>);

/// A body that goes home when it is dropped before its end.
#[derive(Debug)]
struct Lent {
    body: Option<Body>,
    home: Home,
}

/// Takes note of what becomes of the request's body.
pub(crate) fn lend(request: Request) -> (Request, Home) {
    let home = Home::default();
    let lent = |body| Body::new(Lent { body: Some(body), home: home.clone() });
    (request.map(lent), home)
}

impl Home {
    /// Reads the rest of a body that was not read to its end, beside the answer.
    pub(crate) fn drain(&self) {
        let unread = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(body) = unread {
            let drained = tokio::time::timeout(DRAIN_WAIT, throw_away(body));
            tokio::spawn(
                async {
                    if drained.await.is_err() {
                        tracing::debug!("a refused client was still sending");
                    }
                }
                .in_current_span(),
            );
        }
    }
}

async fn throw_away(mut body: Body) {
    let mut left = DRAINED_BYTES_MAX;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(IDLE_WAIT, body.frame()).await {
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        if size > left {
            return;
        }
        left -= size;
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }
}
