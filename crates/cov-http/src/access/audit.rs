//! The audit: who changed what, when, from where. Rows are gathered for a moment and written
//! together, so that they cost the commits of dispatches next to nothing; rows about tokens are
//! written with the change itself. Holds a bounded number of rows, and says when some were lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::header;
use axum::response::Response;
use cov_core::time::Clock;
use cov_dispatcher::store::access::{AccessStore, AuditEntry};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Admitted, Inner};
use crate::routes::Route;

/// Rows that wait to be gathered.
const WAITING_MAX: usize = 4_096;
/// Rows of one transaction.
const TOGETHER_MAX: usize = 1_000;
/// How long rows are gathered.
const LINGER: Duration = Duration::from_millis(250);
/// Pause before rows that could not be written are written again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a stopping server waits for its rows.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How often old rows are removed.
const CLEAN_EVERY: Duration = Duration::from_secs(3600);

/// What was acted upon, if the path does not name it.
#[derive(Debug, Clone)]
pub(crate) struct Target(pub(crate) String);

/// What was done, if the route does not say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Action(pub(crate) &'static str);

/// In whose name it was done, if the handler found that out.
#[derive(Debug, Clone)]
pub(crate) struct OnBehalf(pub(crate) Arc<str>);

#[derive(Debug)]
enum Message {
    Row(AuditEntry),
    /// Answered when everything before it is written, or was tried.
    Flush(oneshot::Sender<()>),
    /// The writer ends when it comes to this, and lets go of the store.
    End,
}

/// Takes rows.
#[derive(Debug)]
pub(super) struct Audit {
    sender: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
    writing: tokio::sync::Mutex<JoinHandle<()>>,
}

impl Audit {
    /// Begins to write; ends when it is closed or dropped.
    pub(super) fn start(
        store: Arc<dyn AccessStore>,
        clock: Arc<dyn Clock>,
        life: Duration,
    ) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer { store, clock, life, waiting, lost: Arc::clone(&lost) };
        let writing = tokio::sync::Mutex::new(tokio::spawn(writer.run()));
        Self { sender, lost, writing }
    }

    fn put(&self, entry: AuditEntry) {
        if self.sender.try_send(Message::Row(entry)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a row of the audit is lost: too many wait");
        }
    }

    /// Waits until what was put before is written, or was tried.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let asked = async {
            if self.sender.send(Message::Flush(done)).await.is_ok() {
                // An error means that the writer has ended.
                wait.await.ok();
            }
        };
        if tokio::time::timeout(CLOSE_WAIT, asked).await.is_err() {
            tracing::error!("the audit cannot be written");
        }
    }

    /// Writes what is left and lets go of the store. What comes later is lost.
    pub(super) async fn close(&self) {
        let ended = async {
            let mut writing = self.writing.lock().await;
            if self.sender.send(Message::End).await.is_ok()
                && let Err(error) = (&mut *writing).await
            {
                tracing::error!(%error, "the audit ended badly");
            }
        };
        if tokio::time::timeout(CLOSE_WAIT, ended).await.is_err() {
            tracing::error!("the audit cannot be written");
        }
    }
}

struct Writer {
    store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
    life: Duration,
    waiting: mpsc::Receiver<Message>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self) {
        let mut clean = tokio::time::interval(CLEAN_EVERY);
        loop {
            let first = tokio::select! {
                message = self.waiting.recv() => message,
                _ = clean.tick() => {
                    self.clean().await;
                    continue;
                }
            };
            let Some(first) = first else { return };
            let (rows, last) = self.gather(first).await;
            self.write(rows).await;
            match last {
                // An error means that nobody waits any more.
                Some(Message::Flush(done)) => done.send(()).unwrap_or(()),
                Some(Message::End) => return,
                Some(Message::Row(_)) | None => {}
            }
        }
    }

    /// The rows that come within a moment, or until somebody waits for them: then also for what.
    async fn gather(&mut self, first: Message) -> (Vec<AuditEntry>, Option<Message>) {
        let mut rows = Vec::new();
        let mut next = Some(first);
        let end = tokio::time::Instant::now() + LINGER;
        while let Some(message) = next.take() {
            match message {
                Message::Row(row) => rows.push(row),
                other @ (Message::Flush(_) | Message::End) => return (rows, Some(other)),
            }
            if rows.len() >= TOGETHER_MAX {
                break;
            }
            next = tokio::time::timeout_at(end, self.waiting.recv()).await.ok().flatten();
        }
        (rows, None)
    }

    /// Writes rows; as long as that fails, further ones wait, and those beyond are counted.
    async fn write(&mut self, mut rows: Vec<AuditEntry>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            rows.push(self.row_about_lost(lost));
        }
        if rows.is_empty() {
            return;
        }
        while let Err(error) = self.store.write_audit(&rows).await {
            tracing::error!(%error, rows = rows.len(), "the audit is not written; tried again");
            if self.waiting.is_closed() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn row_about_lost(&self, lost: u64) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            who: "server".to_owned(),
            origin: "server".to_owned(),
            action: "audit.lost".to_owned(),
            target: lost.to_string(),
            status: 0,
            request: String::new(),
        }
    }

    async fn clean(&self) {
        if self.life.is_zero() {
            return;
        }
        let now = self.clock.now().as_micros();
        let life = i64::try_from(self.life.as_micros()).unwrap_or(i64::MAX);
        let until = cov_core::time::Timestamp::from_micros(now.saturating_sub(life));
        if let Err(error) = self.store.purge_audit(until).await {
            tracing::warn!(%error, "old rows of the audit are not removed");
        }
    }
}

/// Writes down what was done, if anything was, or may have been: without an answer, nobody knows.
pub(crate) fn record(
    inner: &Inner,
    caller: &Admitted,
    route: &Route,
    request: &str,
    response: Option<&Response>,
) {
    if response.is_some_and(|response| !response.status().is_success()) {
        return;
    }
    let said = response.map(Response::extensions);
    let action = said.and_then(|said| said.get::<Action>()).map(|action| action.0.to_owned());
    let Some(action) = action.or_else(|| route.action()) else { return };
    let target = said.and_then(|said| said.get::<Target>()).map(|target| target.0.clone());
    let target = target.or_else(|| response.and_then(made));
    let behind = said.and_then(|said| said.get::<OnBehalf>());
    inner.audit.put(AuditEntry {
        at: inner.now(),
        who: behind.map_or_else(|| caller.who.to_string(), |behind| behind.0.to_string()),
        origin: caller.origin.clone(),
        action,
        target: target.unwrap_or_else(|| route.target().to_owned()),
        status: response.map_or(0, |response| response.status().as_u16()),
        request: request.to_owned(),
    });
}

/// The last part of the address of what was made.
fn made(response: &Response) -> Option<String> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    location.rsplit('/').next().map(str::to_owned)
}
