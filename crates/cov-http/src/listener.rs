//! Where connections come from: a TCP port, or a Unix socket. Accepts them one by one.

use std::io;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// A connection of either kind.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

/// Something that is listened on. Made from a listener of tokio.
///
/// ```
/// # async fn example() -> std::io::Result<()> {
/// let listener: cov_http::Listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?.into();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket. Who may connect is up to the permissions of its file.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl Listener {
    /// Cancelling the wait is safe.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Either::Left(stream))
            }
            Self::Unix(listener) => Ok(Either::Right(listener.accept().await?.0)),
        }
    }
}
