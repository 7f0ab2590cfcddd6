//! What the server's face can be told. Reads no file and no environment.

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::access::Access;
use crate::body::BodyMemory;
use crate::metrics::Metrics;

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
    /// Who may do what.
    pub access: Access,
    /// Where requests are counted.
    pub metrics: Metrics,
    /// Who hears of traces that clients have begun.
    pub continue_trace: Option<ContinueTrace>,
}

/// Told of the span of a request, and of the `traceparent` that came with it: W3C Trace Context,
/// checked.
pub type ContinueTrace = fn(&tracing::Span, &str);

impl Options {
    /// Counts requests and connections there.
    #[must_use]
    pub fn measured(mut self, metrics: Metrics) -> Self {
        self.limits.open_connections = metrics.connections();
        self.metrics = metrics;
        self
    }
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
    /// Most connections at once; further ones wait for a moment, and are answered 503 then.
    pub connections: usize,
    /// Shows how many connections are open.
    pub open_connections: Gauge,
    /// Most connections at once from one address.
    pub connections_per_address: usize,
    /// Most registrations that are read and stored at once; further ones wait for a moment.
    pub registrations: usize,
    /// Most uploads at once.
    pub uploads: usize,
    /// Most other requests at once, without those that wait for the end of a dispatch.
    pub requests: usize,
    /// How long a request waits for its turn, when so many are under way.
    pub turn_wait: Duration,
    /// What bodies may take together while they are read and parsed.
    pub body_memory: BodyMemory,
    /// Longest wait for a request's headers, also on an idle connection.
    pub header_wait: Duration,
    /// Longest wait for the next bytes of a body.
    pub body_wait: Duration,
    /// What a sender of a body has to keep up, in the long run.
    pub body_bytes_per_second: u64,
    /// Longest wait for a client to read on.
    pub write_wait: Duration,
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
            open_connections: Gauge::default(),
            connections_per_address: 2_048,
            registrations: 256,
            uploads: 1_024,
            requests: 2_048,
            turn_wait: Duration::from_secs(5),
            body_memory: BodyMemory::new(1 << 30),
            header_wait: Duration::from_secs(30),
            body_wait: Duration::from_secs(30),
            body_bytes_per_second: 1_024,
            write_wait: Duration::from_secs(30),
            large_manifests: 1,
            stop_wait: Duration::from_secs(10),
        }
    }
}
