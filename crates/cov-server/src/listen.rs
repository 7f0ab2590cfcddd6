//! Where the server listens: an address and port, or a Unix socket. Opens either, and says under
//! which address callers reach it. Accepts nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::error::Error;

/// What the address of a Unix socket begins with.
const UNIX: &str = "unix:";
/// Connections that wait to be accepted, as far as the system lets them. Those that find no room
/// try again after a second.
const BACKLOG: u16 = 4096;

/// Where a server listens, or where it is reached.
///
/// ```
/// use cov_server::Listen;
///
/// let socket: Listen = "unix:/run/user/1000/cov.sock".parse().unwrap();
/// assert_eq!(socket.url(), "unix:/run/user/1000/cov.sock");
/// let port: Listen = "127.0.0.1:48008".parse().unwrap();
/// assert_eq!(port.url(), "http://127.0.0.1:48008");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket at this path. Only processes of the server's user can connect.
    Unix(PathBuf),
}

/// The text is no address of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither ADDRESS:PORT nor unix:PATH")]
pub struct NoAddress;

impl FromStr for Listen {
    type Err = NoAddress;

    /// `localhost` is taken by its usual meaning, so that no name service is asked.
    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return if path.is_empty() { Err(NoAddress) } else { Ok(Self::Unix(path.into())) };
        }
        let parsed = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().map(|port| (Ipv4Addr::LOCALHOST, port).into()).ok(),
            None => text.parse().ok(),
        };
        parsed.map(Self::Tcp).ok_or(NoAddress)
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Listen {
    /// What a client on this machine is given to reach a server that listens here.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(address) => format!("http://{}", reachable(*address)),
            Self::Unix(_) => self.to_string(),
        }
    }

    /// The address and port, if it is no Unix socket.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether only programs on this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.tcp().is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    /// Opens it. Returns also where it is: with port 0 the port that was taken.
    pub(crate) async fn open(&self) -> Result<(cov_http::Listener, Self), Error> {
        let failed = |source| Error::Listen { address: self.clone(), source };
        match self {
            Self::Tcp(address) => {
                let listener = bind_port(*address).map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                Ok((listener.into(), address.into()))
            }
            Self::Unix(path) => {
                // Absolute, because callers stand in other folders.
                let path = std::path::absolute(path).map_err(failed)?;
                let listener = bind_socket(&path).map_err(failed)?;
                Ok((listener.into(), Self::Unix(path)))
            }
        }
    }

    /// Removes what a closed listener leaves.
    pub(crate) fn clean(&self) {
        let Self::Unix(path) = self else { return };
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(path = %path.display(), error = %error, "the socket stays");
        }
    }
}

fn bind_port(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections of an earlier life that the system remembers do not keep a server from its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG.into())
}

/// Makes a socket that only this user can connect to: it does not listen before its file has
/// those permissions.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    remove_dead(path)?;
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address)?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, BACKLOG.into())?;
    UnixListener::from_std(socket.into())
}

/// Removes a socket that a server left when it was killed. Nothing else is removed.
fn remove_dead(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)
            }
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a program on this machine reaches a server that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What to do when an address cannot be listened on.
pub(crate) fn hint(address: &Listen, source: &io::Error) -> String {
    match address {
        Listen::Tcp(address) => tcp_hint(*address, source),
        Listen::Unix(path) => socket_hint(path, source),
    }
}

fn tcp_hint(address: SocketAddr, source: &io::Error) -> String {
    let port = address.port();
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program listens on port {port}, perhaps a server that runs already (`cov status`) or Covalent's own; stop it, or choose another port with --listen {}:PORT (0 takes a free one)",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not listen on port {port}; choose one above 1023 with --listen")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine; choose another with --listen", address.ip())
        }
        _ => "choose another address with --listen".to_owned(),
    }
}

fn socket_hint(path: &Path, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another server listens there; stop it, or choose another path with --listen".to_owned()
        }
        io::ErrorKind::AlreadyExists => {
            "there is a file that is no socket; it is left alone: choose another path with --listen"
                .to_owned()
        }
        _ => format!(
            "the path has {} bytes, of which the system takes about 100, and its folder must be writable; choose another with --listen",
            path.as_os_str().len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_server_for_everybody_is_reached_from_here_by_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("127.0.0.1:80", "http://127.0.0.1:80"),
            ("localhost:80", "http://127.0.0.1:80"),
            ("192.0.2.7:80", "http://192.0.2.7:80"),
            ("unix:/run/cov.sock", "unix:/run/cov.sock"),
        ] {
            assert_eq!(listen.parse::<Listen>().unwrap().url(), reached);
        }
        for text in ["", "here", "unix:", "127.0.0.1", "localhost:x", "example.org:80"] {
            assert_eq!(text.parse::<Listen>(), Err(NoAddress), "{text}");
        }
    }

    /// A crowd that comes at once does not have to come again.
    #[tokio::test]
    async fn many_can_wait_to_be_accepted() {
        const CROWD: usize = 400;
        let address: Listen = "127.0.0.1:0".parse().unwrap();
        let (_listener, opened) = address.open().await.unwrap();
        let connect = |_| tokio::net::TcpStream::connect(opened.tcp().unwrap());
        let crowd = (0..CROWD).map(connect).collect::<tokio::task::JoinSet<_>>().join_all();
        let connected = tokio::time::timeout(std::time::Duration::from_secs(20), crowd).await;
        let connected = connected.expect("somebody was not let in");
        assert!(connected.len() == CROWD && connected.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("server.sock");
        let listen = Listen::Unix(path.clone());
        let (first, _) = listen.open().await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let in_use = listen.open().await.unwrap_err();
        assert!(in_use.report().contains("another server listens there"), "{}", in_use.report());
        // As after a kill: the file is there and nobody listens.
        drop(first);
        let (second, _) = listen.open().await.unwrap();
        drop(second);
        listen.clean();
        assert!(!path.exists());
        std::fs::write(&path, "kept").unwrap();
        let refused = listen.open().await.unwrap_err();
        assert!(refused.report().contains("it is left alone"), "{}", refused.report());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        let long = Listen::Unix(folder.path().join("x".repeat(120)));
        let refused = long.open().await.unwrap_err().report();
        assert!(refused.contains("the system takes about 100"), "{refused}");
    }
}
