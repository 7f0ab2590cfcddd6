//! Accepts connections and hands their requests to the router. Bounds how many there are, how
//! long their headers may be and how long they may take. Knows no route.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::Limits;
use crate::listener::{Listener, Stream};

/// Pause after a failed accept, when files or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most headers of one request.
const HEADERS_MAX: usize = 200;

/// Serves `router` on `listener` until `shutdown` completes. Then it accepts no more, lets the
/// requests that are under way end for at most `limits.stop_wait`, and cuts off the rest.
///
/// One task per connection; at most `limits.connections` of them.
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    limits: &Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let listener = listener.into();
    let permits = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &permits) => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, permit)) => {
                let connection = connection(stream, router.clone(), limits);
                let watched = graceful.watch(connection);
                connections.spawn(async move {
                    if let Err(error) = watched.await {
                        tracing::debug!(error = %error, "connection ended early");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.stop_wait, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections.open = connections.len(), "connections cut off");
    }
    connections.shutdown().await;
}

/// Waits for a free place before it accepts, so that what is over the limit stays in the kernel's
/// queue.
async fn accept(
    listener: &Listener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(Stream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    Ok((listener.accept().await?, permit))
}

fn connection(
    stream: Stream,
    router: Router,
    limits: &Limits,
) -> http1::Connection<TokioIo<Stream>, TowerToHyperService<Router>> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_wait)
        .max_buf_size(limits.header_bytes)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
