//! Tells the service manager of systemd how the server fares: datagrams to the socket that
//! `NOTIFY_SOCKET` names. Where there is none, nothing is sent. Nothing depends on it.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The shortest time between two signs of life.
const SIGN_MIN: Duration = Duration::from_millis(100);

/// The way to the service manager.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: Option<OsString>,
    /// How long the manager waits for a sign of life, if it waits for any.
    patience: Option<Duration>,
}

impl Notifier {
    /// Reads where the service manager listens, and what it expects of this process.
    pub(crate) fn from_environment() -> Self {
        let own = std::env::var("WATCHDOG_PID").ok();
        let is_meant = own.is_none_or(|pid| pid == std::process::id().to_string());
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            patience: micros.filter(|_| is_meant).map(Duration::from_micros),
        }
    }

    /// Requests are answered from now on. Must be called on the runtime, whose life the signs show.
    pub(crate) fn ready(&self, url: &str) {
        self.tell(&format!("READY=1\nSTATUS=Serving at {url}"));
        let (Some(socket), Some(patience)) = (self.socket.clone(), self.patience) else { return };
        let signs = Self { socket: Some(socket), patience: None };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep((patience / 3).max(SIGN_MIN)).await;
                signs.tell("WATCHDOG=1");
            }
        });
    }

    /// The server stops, as it was asked.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Stopping: what runs may end within the grace period");
    }

    fn tell(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, state.as_bytes()) {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

/// Sends without waiting: a manager that does not read must not hold up the server.
fn send(socket: &OsString, state: &[u8]) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    match socket.as_encoded_bytes().split_first() {
        Some((b'@', name)) => send_abstract(&sender, name, state),
        _ => sender.send_to(state, socket),
    }
    .map(|_sent| ())
}

/// A socket that has a name and no file.
#[cfg(target_os = "linux")]
fn send_abstract(sender: &UnixDatagram, name: &[u8], state: &[u8]) -> io::Result<usize> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    sender.send_to_addr(state, &address)
}

#[cfg(not(target_os = "linux"))]
fn send_abstract(_sender: &UnixDatagram, _name: &[u8], _state: &[u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}
