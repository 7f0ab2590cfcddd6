//! What the server's face can be told. Reads no file and no environment.

use std::net::SocketAddr;
use std::time::Duration;

/// How the routes behave.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The address that is listened on; requests may name it as their host. `None` for a Unix
    /// socket, whose callers say `localhost`.
    pub listen: Option<SocketAddr>,
    /// Further host names, without port, that requests may name.
    pub allowed_hosts: Vec<String>,
    /// What one client may ask for.
    pub limits: Limits,
}

/// The limits of what is accepted from outside.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most nodes of one workflow.
    pub nodes: usize,
    /// Longest body of a registration. Bytes.
    pub manifest_bytes: u64,
    /// Longest upload. Bytes.
    pub upload_bytes: u64,
    /// Longest body of any other request. Bytes.
    pub body_bytes: u64,
    /// Longest request line and headers together. Bytes.
    pub header_bytes: usize,
    /// Most connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Longest wait for a request's headers, also on an idle connection.
    pub header_wait: Duration,
    /// Longest wait for the next bytes of a body.
    pub body_wait: Duration,
    /// Registrations over 8 MiB that may be in memory at once.
    pub large_manifests: usize,
    /// How long a stopping server waits for requests that are under way.
    pub stop_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 2_000_000,
            manifest_bytes: 512 << 20,
            upload_bytes: 16 << 30,
            body_bytes: 16 << 20,
            header_bytes: 128 << 10,
            connections: 4_096,
            header_wait: Duration::from_secs(30),
            body_wait: Duration::from_secs(30),
            large_manifests: 1,
            stop_wait: Duration::from_secs(10),
        }
    }
}
