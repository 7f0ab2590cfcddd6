//! How connections are made: over the network, encrypted or not, or over a Unix socket. Sends
//! nothing on them.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower_service::Service;

#[cfg(not(feature = "tls"))]
type Network = HttpConnector;
#[cfg(feature = "tls")]
type Network = hyper_rustls::HttpsConnector<HttpConnector>;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Makes the connections of one client.
#[derive(Debug, Clone)]
pub(crate) enum Connector {
    /// To the host of each address.
    Network(Network),
    /// To this socket, whatever the address.
    Unix { path: Arc<Path>, timeout: Duration },
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Fault>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self {
            Self::Network(network) => network.poll_ready(cx).map_err(Into::into),
            Self::Unix { .. } => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        match self {
            Self::Network(network) => {
                let connecting = network.call(address);
                Box::pin(async move { Ok(Stream::Network(Box::new(connecting.await?))) })
            }
            Self::Unix { path, timeout } => {
                let (path, timeout) = (Arc::clone(path), *timeout);
                Box::pin(async move {
                    let connecting = UnixStream::connect(&path);
                    let connected = tokio::time::timeout(timeout, connecting).await;
                    let stream =
                        connected.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))?;
                    Ok(Stream::Unix(TokioIo::new(stream?)))
                })
            }
        }
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    /// In a box, since one that is encrypted is large.
    Network(Box<<Network as Service<Uri>>::Response>),
    Unix(TokioIo<UnixStream>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Network(stream) => stream.connected(),
            Self::Unix(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        place: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream.as_mut()).poll_read(cx, place),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, place),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Network(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }
}
