//! How a client is made: its options, and the connections that it makes. Sends nothing.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::client::{Client, Inner};
use crate::connector::Connector;
use crate::error::Error;
use crate::retry::RetryPolicy;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TRY_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_CONNECTIONS_MAX: usize = 8;
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What the address of a Unix socket begins with.
const UNIX: &str = "unix:";
/// A server on a Unix socket has no host; it takes this name.
const UNIX_ORIGIN: &str = "http://localhost";

/// Makes a [`Client`]. Every option has a default that suits a server on the same machine.
///
/// ```
/// use std::time::Duration;
/// let builder = cov_client::Client::builder("http://127.0.0.1:48008");
/// let client = builder.connect_timeout(Duration::from_secs(1)).build()?;
/// # drop(client);
/// # Ok::<(), cov_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Builder {
    address: String,
    retry: RetryPolicy,
    connect_timeout: Duration,
    try_timeout: Duration,
    answer_bytes_max: usize,
    idle_connections_max: usize,
    token: Option<String>,
    #[cfg(feature = "tls")]
    certificates: Vec<u8>,
    jitter_seed: Option<u64>,
}

impl Builder {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            retry: RetryPolicy::default(),
            connect_timeout: CONNECT_TIMEOUT,
            try_timeout: TRY_TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
            idle_connections_max: IDLE_CONNECTIONS_MAX,
            token: None,
            #[cfg(feature = "tls")]
            certificates: Vec::new(),
            jitter_seed: None,
        }
    }

    /// How many idle connections are kept for further requests. Default: 8.
    ///
    /// ```
    /// let builder = cov_client::Client::builder("http://127.0.0.1:48008");
    /// let client = builder.idle_connections_max(1).build()?;
    /// # drop(client);
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn idle_connections_max(mut self, limit: usize) -> Self {
        self.idle_connections_max = limit;
        self
    }

    /// A token that is sent with every request, as `Authorization: Bearer`.
    ///
    /// ```
    /// let client = cov_client::Client::builder("http://127.0.0.1:48008").token("secret").build()?;
    /// assert!(!format!("{client:?}").contains("secret"));
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How often and how long requests are tried again.
    ///
    /// ```
    /// let builder = cov_client::Client::builder("http://127.0.0.1:48008");
    /// let client = builder.retry(cov_client::RetryPolicy::never()).build()?;
    /// # drop(client);
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How long making a connection may take. Default: 5 seconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// let builder = cov_client::Client::builder("http://127.0.0.1:48008");
    /// let client = builder.connect_timeout(Duration::from_secs(1)).build()?;
    /// # drop(client);
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long one try may take, from its begin to the last byte of the answer.
    /// Default: 30 seconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// let builder = cov_client::Client::builder("http://127.0.0.1:48008");
    /// let client = builder.try_timeout(Duration::from_secs(120)).build()?;
    /// # drop(client);
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn try_timeout(mut self, limit: Duration) -> Self {
        self.try_timeout = limit;
        self
    }

    /// How long an answer may be. Bytes. Default: 256 MiB.
    ///
    /// ```
    /// let builder = cov_client::Client::builder("http://127.0.0.1:48008");
    /// let client = builder.answer_bytes_max(1_000_000).build()?;
    /// # drop(client);
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn answer_bytes_max(mut self, limit: usize) -> Self {
        self.answer_bytes_max = limit;
        self
    }

    /// Certificates, in PEM, that servers may be signed by beside those that the system trusts.
    ///
    /// ```
    /// let pem = b"no certificate".to_vec();
    /// let builder = cov_client::Client::builder("https://example.org").certificates(pem);
    /// assert_eq!(builder.build().unwrap_err().kind(), cov_client::Kind::Workflow);
    /// ```
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates = pem.into();
        self
    }

    /// Makes the waits between tries repeatable.
    ///
    /// ```
    /// let builder = cov_client::Client::builder("http://127.0.0.1:48008");
    /// let client = builder.jitter_seed(7).build()?;
    /// # drop(client);
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.jitter_seed = Some(seed);
        self
    }

    /// Makes the client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Address`] when the address is no plain `http://host:port`, no `https://` with the
    /// feature `tls`, and no `unix:` with the path of a socket; [`Error::Workflow`] when a certificate cannot be read.
    ///
    /// ```
    /// assert!(cov_client::Client::builder("http://localhost:48008").build().is_ok());
    /// assert!(cov_client::Client::builder("localhost").build().is_err());
    /// ```
    pub fn build(self) -> Result<Client, Error> {
        let (address, origin, connector) = self.destination()?;
        let token = self.token.as_deref().map(bearer).transpose()?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(self.idle_connections_max)
            // Every try is counted, so hyper must not make its own.
            .retry_canceled_requests(false)
            .build(connector);
        let random = self.jitter_seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let inner = Inner {
            address,
            origin,
            http,
            token,
            retry: self.retry,
            try_timeout: self.try_timeout,
            answer_bytes_max: self.answer_bytes_max,
            random: Mutex::new(random),
        };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// The address for people, what the addresses of requests begin with, and how to get there.
    fn destination(&self) -> Result<(String, String, Connector), Error> {
        if let Some(path) = self.address.strip_prefix(UNIX) {
            if !Path::new(path).is_absolute() {
                let reason = "the path of the socket does not begin with /".to_owned();
                return Err(Error::Address { address: self.address.clone(), reason });
            }
            let path = Arc::from(Path::new(path));
            let connector = Connector::Unix { path, timeout: self.connect_timeout };
            return Ok((self.address.clone(), UNIX_ORIGIN.to_owned(), connector));
        }
        let base = base_of(&self.address)?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(self.connect_timeout));
        connector.set_nodelay(true);
        #[cfg(feature = "tls")]
        let connector = crate::tls::connector(connector, &self.certificates, is_encrypted(&base))?;
        Ok((base.clone(), base, Connector::Network(connector)))
    }
}

#[cfg(feature = "tls")]
fn is_encrypted(base: &str) -> bool {
    base.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_invalid| Error::Address {
            address: "the token".to_owned(),
            reason: "it has characters that no header may have".to_owned(),
        })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The address without a slash at its end, checked.
fn base_of(address: &str) -> Result<String, Error> {
    let refuse = |reason: String| Error::Address { address: address.to_owned(), reason };
    let uri: Uri =
        address.parse().map_err(|error: http::uri::InvalidUri| refuse(error.to_string()))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if cfg!(feature = "tls") => {}
        Some("https") => return Err(refuse("https needs the feature `tls`".to_owned())),
        Some(other) => return Err(refuse(format!("`{other}` is not supported, only http is"))),
        None => return Err(refuse("it does not begin with http://".to_owned())),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(refuse("it names no host".to_owned()));
    }
    if uri.query().is_some() {
        return Err(refuse("it has a query".to_owned()));
    }
    Ok(address.trim_end_matches('/').to_owned())
}

impl fmt::Debug for Builder {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("address", &self.address)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
