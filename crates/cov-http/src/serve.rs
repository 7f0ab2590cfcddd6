//! Accepts connections and hands their requests to the router. Bounds how many there are, how
//! long their headers may be and how long they may take. Knows no route.

mod places;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use self::places::Places;
use crate::Limits;
use crate::listener::{Listener, Peer, Stream};
use crate::metrics::Open;
use crate::stream::Impatient;

/// Pause after a failed accept, when files or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most headers of one request.
const HEADERS_MAX: usize = 200;
/// Connections beyond the limit that are looked after; those beyond that are closed at once.
const TURNED_AWAY_MAX: usize = 512;
/// How long a connection waits for a place before it is turned away.
const PLACE_WAIT: Duration = Duration::from_secs(1);
/// How long who is turned away may go on sending.
const LEAVE_WAIT: Duration = Duration::from_secs(1);
/// What a client is told for whom there is no place.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    X-Error-Code: COV3003\r\nContent-Type: application/json\r\nContent-Length: 79\r\n\
    Connection: close\r\n\r\n\
    {\"detail\": \"The server has too many connections; try again.\", \"code\":\"COV3003\"}";

/// Serves `router` on `listener` until `shutdown` completes. Then it accepts no more, lets the
/// requests that are under way end for at most `limits.stop_wait`, and cuts off the rest.
///
/// One task per connection; at most `limits.connections` of them. Who comes then waits for a
/// moment and is answered 503.
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    limits: &Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let listener = listener.into();
    let places = Places::new(limits.connections, limits.connections_per_address);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        match accepted {
            Ok(_) if connections.len() >= limits.connections.saturating_add(TURNED_AWAY_MAX) => {
                tracing::debug!("a connection was closed at once");
            }
            Ok((stream, peer)) => {
                let acceptor = listener.tls().map(|tls| tls.acceptor());
                let service = ForPeer { router: router.clone(), peer };
                let guest = Guest { service, acceptor, limits: limits.clone() };
                connections.spawn(guest.serve(stream, places.clone(), graceful.watcher()));
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

/// One connection.
struct Guest {
    service: ForPeer,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
}

impl Guest {
    async fn serve(self, stream: Stream, places: Places, watcher: Watcher) {
        let _open = Open::new(&self.limits.open_connections);
        let place = tokio::time::timeout(PLACE_WAIT, places.take(self.service.peer.ip())).await;
        let Ok(Some(_place)) = place else {
            tracing::debug!("a connection was turned away");
            if self.acceptor.is_none() {
                turn_away(stream).await;
            }
            return;
        };
        let ended = match self.acceptor {
            None => talk(stream, self.service, &self.limits, watcher).await,
            Some(acceptor) => {
                let wait = self.limits.header_wait;
                match tokio::time::timeout(wait, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, self.service, &self.limits, watcher).await,
                    Ok(Err(error)) => Err(error.into()),
                    Err(_elapsed) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, "connection ended early");
        }
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    service: ForPeer,
    limits: &Limits,
    watcher: Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(Impatient::new(stream, limits.write_wait));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_wait)
        .max_buf_size(limits.header_bytes)
        .max_headers(HEADERS_MAX)
        .serve_connection(stream, service);
    Ok(watcher.watch(connection).await?)
}

/// Answers without having read, and reads for a moment, so that the answer is not lost in a reset.
async fn turn_away(mut stream: Stream) {
    let leaving = async {
        stream.write_all(NO_PLACE).await?;
        stream.shutdown().await?;
        let mut thrown_away = [0; 4096];
        while stream.read(&mut thrown_away).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    if !matches!(tokio::time::timeout(LEAVE_WAIT, leaving).await, Ok(Ok(()))) {
        tracing::debug!("who was turned away did not leave");
    }
}

/// The router, for requests of one peer.
#[derive(Debug, Clone)]
struct ForPeer {
    router: Router,
    peer: Peer,
}

impl hyper::service::Service<hyper::Request<Incoming>> for ForPeer {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(self.peer);
        // A router is always ready. A client that floods the connection uses up the share of time
        // of the task that both live in: without its own, a handler's timers would not be looked at.
        Box::pin(tokio::task::unconstrained(self.router.clone().call(request)))
    }
}
