//! The client itself: one connection pool, one way to send a request. Knows no route.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cov_core::error::Problem;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::Error;
use crate::retry::RetryPolicy;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TRY_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_CONNECTIONS_MAX: usize = 8;
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
const AGENT: &str = concat!("cov-client/", env!("CARGO_PKG_VERSION"));

/// Talks to one server. Cheap to clone; clones share their connections.
///
/// ```no_run
/// # async fn example() -> Result<(), cov_client::Error> {
/// use cov_client::Client;
///
/// let client = Client::builder("http://127.0.0.1:48008").build()?;
/// assert!(client.ready().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    base: String,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    retry: RetryPolicy,
    try_timeout: Duration,
    answer_bytes_max: usize,
    random: Mutex<fastrand::Rng>,
}

/// Makes a [`Client`]. Every option has a default that suits a server on the same machine.
#[derive(Debug, Clone)]
pub struct Builder {
    address: String,
    retry: RetryPolicy,
    connect_timeout: Duration,
    try_timeout: Duration,
    answer_bytes_max: usize,
    jitter_seed: Option<u64>,
}

impl Builder {
    /// How often and how long requests are tried again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How long making a connection may take. Default: 5 seconds.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long one try may take, from its begin to the last byte of the answer.
    /// Default: 30 seconds.
    #[must_use]
    pub fn try_timeout(mut self, limit: Duration) -> Self {
        self.try_timeout = limit;
        self
    }

    /// How long an answer may be. Bytes. Default: 256 MiB.
    #[must_use]
    pub fn answer_bytes_max(mut self, limit: usize) -> Self {
        self.answer_bytes_max = limit;
        self
    }

    /// Makes the waits between tries repeatable.
    #[must_use]
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.jitter_seed = Some(seed);
        self
    }

    /// Makes the client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Address`] when the address is no plain `http://host:port`.
    pub fn build(self) -> Result<Client, Error> {
        let base = base_of(&self.address)?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(self.connect_timeout));
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            // Every try is counted, so hyper must not make its own.
            .retry_canceled_requests(false)
            .build(connector);
        let random = self.jitter_seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let inner = Inner {
            base,
            http,
            retry: self.retry,
            try_timeout: self.try_timeout,
            answer_bytes_max: self.answer_bytes_max,
            random: Mutex::new(random),
        };
        Ok(Client { inner: Arc::new(inner) })
    }
}

/// The address without a slash at its end, checked.
fn base_of(address: &str) -> Result<String, Error> {
    let refuse = |reason: String| Error::Address { address: address.to_owned(), reason };
    let uri: Uri =
        address.parse().map_err(|error: http::uri::InvalidUri| refuse(error.to_string()))?;
    match uri.scheme_str() {
        Some("http") => {}
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

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
    tries: u32,
}

impl Client {
    /// Begins to make a client for the server at `address`, such as `http://127.0.0.1:48008`.
    #[must_use]
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder {
            address: address.into(),
            retry: RetryPolicy::default(),
            connect_timeout: CONNECT_TIMEOUT,
            try_timeout: TRY_TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
            jitter_seed: None,
        }
    }

    /// The server's address, without a slash at its end.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.base
    }

    /// Gets `path` and reads the JSON that it answers.
    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.call(&Method::GET, path).await?;
        self.read_json(path, &answer)
    }

    /// Posts JSON to `path`, once, and reads the JSON that it answers.
    pub(crate) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Error> {
        let body = Bytes::from(body.to_string());
        let answer = self.call_once(&Method::POST, path, body, 1).await?;
        self.read_json(path, &answer)
    }

    /// Posts JSON to `path`, again if need be: for calls that do the same thing when they are
    /// repeated.
    pub(crate) async fn post_json_again<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Error> {
        let body = Bytes::from(body.to_string());
        let answer = self.call_until_answered(&Method::POST, path, body).await?;
        self.read_json(path, &answer)
    }

    pub(crate) fn read_json<T: DeserializeOwned>(
        &self,
        path: &str,
        answer: &Answer,
    ) -> Result<T, Error> {
        if !answer.status.is_success() {
            return Err(self.answered(path, answer));
        }
        serde_json::from_slice(&answer.body).map_err(|source| Error::Unreadable {
            url: self.url(path),
            tries: answer.tries,
            source,
        })
    }

    /// Sends a request without a body until it is answered or the policy gives up.
    pub(crate) async fn call(&self, method: &Method, path: &str) -> Result<Answer, Error> {
        self.call_until_answered(method, path, Bytes::new()).await
    }

    /// Sends a request, which must do the same thing when it is repeated, until it is answered
    /// or the policy gives up. An answer that says *try again later* counts as a failed try;
    /// every other one is returned as it is.
    async fn call_until_answered(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let begin = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.call_once(method, path, body.clone(), tries).await;
            let (again, asked) = match &outcome {
                Ok(answer) => (is_temporary(answer.status), retry_after(&answer.headers)),
                Err(error) => (is_transient(error), None),
            };
            if !again {
                return outcome;
            }
            let wait = self.inner.retry.wait(tries, begin.elapsed(), asked, self.jitter());
            let Some(wait) = wait else { return outcome };
            tracing::debug!(path, tries, ?wait, "request is sent again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends a request once.
    pub(crate) async fn call_without_retry(
        &self,
        method: &Method,
        path: &str,
    ) -> Result<Answer, Error> {
        self.call_once(method, path, Bytes::new(), 1).await
    }

    async fn call_once(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        tries: u32,
    ) -> Result<Answer, Error> {
        let limit = self.inner.try_timeout;
        match tokio::time::timeout(limit, self.exchange(method, path, body, tries)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::TimedOut { url: self.url(path), tries, limit }),
        }
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        tries: u32,
    ) -> Result<Answer, Error> {
        let response = self.send(method, path, body, tries).await?;
        self.collect(path, response, tries).await
    }

    /// Sends a request and returns when the answer begins.
    pub(crate) async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        tries: u32,
    ) -> Result<Response<Incoming>, Error> {
        let url = self.url(path);
        let mut request = Request::builder();
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .method(method)
            .uri(&url)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json, application/problem+json")
            .body(Full::new(body))
            .map_err(|error| Error::Address { address: url.clone(), reason: error.to_string() })?;
        self.inner.http.request(request).await.map_err(|error| {
            let is_connect = error.is_connect();
            let source = Box::new(error);
            match is_connect {
                true => Error::Unreachable { url, tries, source },
                false => Error::Interrupted { url, tries, source },
            }
        })
    }

    /// The whole of an answer that has begun.
    pub(crate) async fn collect(
        &self,
        path: &str,
        response: Response<Incoming>,
        tries: u32,
    ) -> Result<Answer, Error> {
        let url = self.url(path);
        let (head, body) = response.into_parts();
        let limit = self.inner.answer_bytes_max;
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
                tries,
            }),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(Error::TooLarge { url, tries, limit })
            }
            Err(source) => Err(Error::Interrupted { url, tries, source }),
        }
    }

    /// The error that an answer with a bad status is.
    pub(crate) fn answered(&self, path: &str, answer: &Answer) -> Error {
        let is_json = answer
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains("json"));
        let problem =
            is_json.then(|| serde_json::from_slice::<Problem>(&answer.body).ok()).flatten();
        Error::Answered {
            url: self.url(path),
            tries: answer.tries,
            status: answer.status.as_u16(),
            problem: problem.map(Box::new),
        }
    }

    /// How long one try may take.
    pub(crate) fn try_limit(&self) -> Duration {
        self.inner.try_timeout
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.inner.base)
    }

    fn jitter(&self) -> f64 {
        let random = self.inner.random.lock();
        random.unwrap_or_else(PoisonError::into_inner).f64()
    }
}

fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn is_transient(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::Interrupted { .. } | Error::TimedOut { .. } => true,
        Error::Address { .. }
        | Error::Answered { .. }
        | Error::Unreadable { .. }
        | Error::TooLarge { .. } => false,
    }
}

/// The wait that the server asks for. Only the form in seconds is read: the other names a date,
/// and clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value: &HeaderValue = headers.get(RETRY_AFTER)?;
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
