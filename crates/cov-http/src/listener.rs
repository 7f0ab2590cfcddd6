//! Where connections come from: a TCP port, with TLS or without, or a Unix socket. Accepts them
//! one by one, and tells who is at the other end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::tls::Tls;

/// A connection of either kind, before anything was said.
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
    /// A TCP port on which only TLS is spoken.
    Tls(TcpListener, Arc<Tls>),
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

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A program that has this address.
    Tcp { address: SocketAddr, encrypted: bool },
    /// A program on this machine, of this user if the system says so.
    Unix { user: Option<u32> },
}

impl Peer {
    /// Its address, if it has one. An address of version 4 in the clothes of version 6 counts as
    /// what it is.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp { address, .. } => Some(address.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }

    /// Whether it is on this machine.
    pub(crate) fn is_near(self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }

    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Tcp { encrypted: true, .. })
    }

    /// What the audit calls it.
    pub(crate) fn origin(self) -> String {
        match self {
            Self::Tcp { address, .. } => address.ip().to_canonical().to_string(),
            Self::Unix { user: Some(user) } => format!("unix:{user}"),
            Self::Unix { user: None } => "unix".to_owned(),
        }
    }
}

impl Listener {
    /// Speaks TLS on a TCP port. A Unix socket stays as it is.
    #[must_use]
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => Self::Tls(listener, tls),
            Self::Unix(listener) => Self::Unix(listener),
        }
    }

    pub(crate) fn tls(&self) -> Option<&Arc<Tls>> {
        match self {
            Self::Tls(_, tls) => Some(tls),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Cancelling the wait is safe.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => tcp(listener, false).await,
            Self::Tls(listener, _) => tcp(listener, true).await,
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok((Either::Right(stream), Peer::Unix { user }))
            }
        }
    }
}

async fn tcp(listener: &TcpListener, encrypted: bool) -> io::Result<(Stream, Peer)> {
    let (stream, address) = listener.accept().await?;
    // A client that has gone already needs neither.
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%error, "a connection has not its options");
    }
    Ok((Either::Left(stream), Peer::Tcp { address, encrypted }))
}

/// Answers go out at once; a machine that is gone without a word is found out.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    use std::time::Duration;
    const IDLE: Duration = Duration::from_secs(60);
    const EVERY: Duration = Duration::from_secs(15);
    const PROBES: u32 = 4;
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        rustix::net::sockopt::set_tcp_keepidle(stream, IDLE)?;
        rustix::net::sockopt::set_tcp_keepintvl(stream, EVERY)?;
        rustix::net::sockopt::set_tcp_keepcnt(stream, PROBES)?;
    }
    Ok(())
}
