//! The client itself: one connection pool, one way to send a request. Knows no route.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cov_core::error::Problem;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::builder::Builder;
use crate::connector::Connector;
use crate::error::Error;
use crate::payload::{Outgoing, Payload};
use crate::retry::RetryPolicy;

const AGENT: &str = concat!("cov-client/", env!("CARGO_PKG_VERSION"));

/// Slower than this no upload is expected to be.
const BYTES_PER_MILLISECOND_MIN: u64 = 256;

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
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// As the caller gave it.
    pub(crate) address: String,
    /// What the addresses of requests begin with.
    pub(crate) origin: String,
    pub(crate) http: legacy::Client<Connector, Outgoing>,
    pub(crate) token: Option<HeaderValue>,
    pub(crate) retry: RetryPolicy,
    pub(crate) try_timeout: Duration,
    pub(crate) answer_bytes_max: usize,
    pub(crate) random: Mutex<fastrand::Rng>,
}

impl fmt::Debug for Inner {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, retry, try_timeout, answer_bytes_max, .. } = self;
        f.debug_struct("Inner")
            .field("address", address)
            .field("retry", retry)
            .field("try_timeout", try_timeout)
            .field("answer_bytes_max", answer_bytes_max)
            .finish_non_exhaustive()
    }
}

/// A request. What it carries can be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    payload: Payload,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// How much longer than others it may take.
    patience: Duration,
    /// Whether it does the same thing when it is repeated.
    repeatable: bool,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let repeatable = method.is_idempotent();
        let (payload, headers, path) = (Payload::default(), Vec::new(), path.into());
        Self { method, path, payload, headers, patience: Duration::ZERO, repeatable }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.patience += Duration::from_millis(payload.size() / BYTES_PER_MILLISECOND_MIN);
        self.payload = payload;
        self
    }

    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        self.payload(Payload::json(body))
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience += patience;
        self
    }

    /// It does the same thing when it is repeated, although its method does not say so.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// It is sent once, although its method says that it could be repeated.
    pub(crate) fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }
}

/// The begin of an answer; its body is still to come.
pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) url: String,
    tries: u32,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
    url: String,
    tries: u32,
}

impl Client {
    /// Begins to make a client for the server at `address`, such as `http://127.0.0.1:48008`, or
    /// `unix:/run/user/1000/cov.sock` for one that listens on a Unix socket.
    ///
    /// ```
    /// let client = cov_client::Client::builder("http://127.0.0.1:48008/").build()?;
    /// assert_eq!(client.address(), "http://127.0.0.1:48008");
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address.into())
    }

    /// The server's address, without a slash at its end.
    ///
    /// ```
    /// let client = cov_client::Client::builder("http://localhost:1").build()?;
    /// assert_eq!(client.address(), "http://localhost:1");
    /// # Ok::<(), cov_client::Error>(())
    /// ```
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Gets `path` and reads the JSON that it answers.
    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.json(&Call::get(path)).await
    }

    /// Posts JSON to `path`, once, and reads the JSON that it answers.
    pub(crate) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Error> {
        self.json(&Call::post(path).json(body)).await
    }

    /// Posts JSON to `path`, again if need be: for calls that do the same thing when they are
    /// repeated.
    pub(crate) async fn post_json_again<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Error> {
        self.json(&Call::post(path).json(body).repeatable()).await
    }

    /// Sends a request and reads the JSON that it answers.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let answer = self.call(call).await?;
        if !answer.status.is_success() {
            return Err(answer.into_error());
        }
        let Answer { url, tries, body, .. } = answer;
        serde_json::from_slice(&body).map_err(|source| Error::Unreadable { url, tries, source })
    }

    /// Sends a request that is answered without a body.
    pub(crate) async fn command(&self, call: &Call) -> Result<(), Error> {
        let answer = self.call(call).await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(answer.into_error()),
        }
    }

    /// Sends a request until it is answered or the policy gives up. An answer that says *try
    /// again later* counts as a failed try; every other one is returned as it is.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, Error> {
        self.until_answered(call).await
    }

    /// Sends a request until its answer begins well, or the policy gives up.
    ///
    /// # Errors
    /// As [`Client::call`], and every answer that is no success.
    pub(crate) async fn open(&self, call: &Call) -> Result<Opened, Error> {
        let opened: Opened = self.until_answered(call).await?;
        match opened.status.is_success() {
            true => Ok(opened),
            false => Err(Answer::take(opened, self.inner.answer_bytes_max).await?.into_error()),
        }
    }

    async fn until_answered<R: Reply>(&self, call: &Call) -> Result<R, Error> {
        let begin = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.once::<R>(call, tries).await;
            let (again, asked) = match outcome.as_ref().map(R::head) {
                Ok((status, headers)) => (is_temporary(status), retry_after(headers)),
                Err(error) => (is_transient(error), None),
            };
            if !again || !call.repeatable {
                return outcome;
            }
            let wait = self.inner.retry.wait(tries, begin.elapsed(), asked, self.jitter());
            let Some(wait) = wait else { return outcome };
            tracing::debug!(path = call.path, tries, ?wait, "request is sent again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn once<R: Reply>(&self, call: &Call, tries: u32) -> Result<R, Error> {
        let limit = self.inner.try_timeout + call.patience;
        let answered = async {
            let opened = self.exchange(call, tries).await?;
            R::take(opened, self.inner.answer_bytes_max).await
        };
        match tokio::time::timeout(limit, answered).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::TimedOut { url: self.url(&call.path), tries, limit }),
        }
    }

    async fn exchange(&self, call: &Call, tries: u32) -> Result<Opened, Error> {
        let url = self.url(&call.path);
        let malformed = |error: http::Error| Error::Address {
            address: self.url(&call.path),
            reason: error.to_string(),
        };
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.inner.origin, call.path))
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json, application/problem+json, */*");
        if let Some(kind) = call.payload.kind() {
            request = request.header(CONTENT_TYPE, kind);
        }
        for (name, value) in call.headers.iter().map(|(name, value)| (name, value.clone())) {
            request = request.header(name, value);
        }
        if let Some(token) = &self.inner.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let request = request.body(call.payload.body()).map_err(malformed)?;
        match self.inner.http.request(request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok(Opened { status: head.status, headers: head.headers, body, url, tries })
            }
            Err(error) if error.is_connect() => {
                Err(Error::Unreachable { url, tries, source: Box::new(error) })
            }
            Err(error) => Err(Error::Interrupted { url, tries, source: Box::new(error) }),
        }
    }

    pub(crate) fn try_timeout(&self) -> Duration {
        self.inner.try_timeout
    }

    /// A request's address for people.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.inner.address)
    }

    fn jitter(&self) -> f64 {
        let random = self.inner.random.lock();
        random.unwrap_or_else(PoisonError::into_inner).f64()
    }
}

/// As much of an answer as a caller wants.
trait Reply: Sized {
    fn take(opened: Opened, limit: usize) -> impl Future<Output = Result<Self, Error>> + Send;
    fn head(&self) -> (StatusCode, &HeaderMap);
}

impl Reply for Opened {
    async fn take(opened: Opened, _limit: usize) -> Result<Self, Error> {
        Ok(opened)
    }

    fn head(&self) -> (StatusCode, &HeaderMap) {
        (self.status, &self.headers)
    }
}

impl Reply for Answer {
    async fn take(opened: Opened, limit: usize) -> Result<Self, Error> {
        let Opened { status, headers, body, url, tries } = opened;
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(Self { status, headers, body: body.to_bytes(), url, tries }),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(Error::TooLarge { url, tries, limit })
            }
            Err(source) => Err(Error::Interrupted { url, tries, source }),
        }
    }

    fn head(&self) -> (StatusCode, &HeaderMap) {
        (self.status, &self.headers)
    }
}

impl Answer {
    /// The error that an answer with a bad status is.
    pub(crate) fn into_error(self) -> Error {
        let Self { status, headers, body, url, tries } = self;
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = kind.is_some_and(|value| value.contains("json"));
        let problem = is_json.then(|| serde_json::from_slice::<Problem>(&body).ok()).flatten();
        Error::Answered { url, tries, status: status.as_u16(), problem: problem.map(Box::new) }
    }
}

fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn is_transient(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::Interrupted { .. } | Error::TimedOut { .. } => true,
        Error::Address { .. }
        | Error::Workflow { .. }
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
