//! Follows a dispatch to its end: bars in a terminal, a line for each task that has ended elsewhere,
//! then what the workflow gave, or why it failed.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use cov_client::{Client, Event, Events, Kind, Node};
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_core::transportable::TransportableObject;
use serde::Serialize;
use serde_json::Value;

use crate::bars;
use crate::context::Context;
use crate::error::{Code, Error};
use crate::output::units::duration;
use crate::output::{Report, Screen};
use crate::view::progress;

/// With more tasks than this, only their number is shown as they end.
const LINES_MAX: usize = 500;

/// How many failed tasks are told of.
const FAILURES_MAX: usize = 10;

/// How much of a failure is told. Bytes.
const FAILURE_BYTES_MAX: usize = 16 * 1024;

/// How much of a result is printed. Bytes.
const RESULT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How often the number of ended tasks is told, if it is told.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// A run has ended.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    dispatch_id: DispatchId,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    failures: Vec<Failure>,
}

/// Why a task failed.
#[derive(Debug, Serialize)]
struct Failure {
    task: String,
    error: String,
}

impl Report for Ended {
    const EVENT: &'static str = "run";

    fn text(&self, _screen: &Screen) -> String {
        match &self.result {
            None => String::new(),
            Some(Value::String(text)) => text.strip_suffix('\n').unwrap_or(text).to_owned(),
            Some(other) => serde_json::to_string_pretty(other).unwrap_or_default(),
        }
    }
}

/// Says something beside the output.
pub(super) fn say(text: &str) {
    // Nobody is left to tell if the error stream is closed.
    writeln!(std::io::stderr(), "{text}").ok();
}

/// How a dispatch is followed.
pub(crate) struct Follow<'a> {
    pub(crate) context: &'a Context,
    pub(crate) client: &'a Client,
    pub(crate) quiet: bool,
    /// The log of the server, if it is one for this alone: then an interrupt cancels the dispatch.
    pub(crate) own_log: Option<&'a Path>,
}

/// A task that is followed.
struct Task {
    name: String,
    began: Option<Timestamp>,
    has_ended: bool,
}

/// The tasks that are shown.
#[derive(Default)]
struct Shown {
    tasks: HashMap<NodeId, Task>,
    total: usize,
    done: usize,
}

impl Follow<'_> {
    /// Follows it, prints what came of it, and says how this program ends.
    pub(crate) async fn to_the_end(&self, dispatch: &DispatchId) -> Result<Code, Error> {
        let told = |error| self.told(error);
        let status = tokio::select! {
            status = self.progress(dispatch) => status.map_err(told)?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(|source| Error::System { what: "the handling of signals", source })?;
                return self.interrupted(dispatch).await;
            }
        };
        let ended = self.ended(dispatch, status).await.map_err(told)?;
        if !self.context.printer.is_json() {
            for Failure { task, error } in &ended.failures {
                say(&format!("\n{task} failed: {error}"));
            }
        }
        self.context.printer.print(&ended)?;
        Ok(if status == Status::Completed { Code::Done } else { Code::Failed })
    }

    /// An error of the client, as it is told here.
    fn told(&self, error: cov_client::Error) -> Error {
        match (self.own_log, error.kind()) {
            (Some(log), Kind::Unreachable | Kind::TimedOut) => Error::Impossible {
                said: "the server of this run has ended, or does not answer".to_owned(),
                hint: format!("its log is {}", log.display()),
            },
            _ => self.context.told(error),
        }
    }

    async fn interrupted(&self, dispatch: &DispatchId) -> Result<Code, Error> {
        if self.own_log.is_none() {
            say(&format!("it goes on: cov watch {dispatch}"));
            return Ok(Code::Interrupted);
        }
        if !self.quiet {
            say("interrupted: what is running is cancelled; once more, and it is killed");
        }
        let cancelled = async {
            self.client.cancel(dispatch, &[]).await?;
            self.client.summary(dispatch, true).await
        };
        tokio::select! {
            summary = cancelled => {
                let status = summary.map_err(|error| self.told(error))?.status;
                if !self.quiet {
                    say(&status.to_string());
                }
            }
            _again = tokio::signal::ctrl_c() => {}
        }
        Ok(Code::Interrupted)
    }

    async fn progress(&self, dispatch: &DispatchId) -> Result<Status, cov_client::Error> {
        if self.quiet || !bars::are_wanted(&self.context.printer) {
            return self.lines(dispatch).await;
        }
        let screen = self.context.printer.screen();
        let ended = bars::follow(self.client, screen, dispatch).await?;
        let ended = progress::Ended::of(&ended);
        say(&ended.line(screen));
        Ok(ended.status)
    }

    /// Tells of each task as it ends.
    async fn lines(&self, dispatch: &DispatchId) -> Result<Status, cov_client::Error> {
        let mut events = self.client.events(Some(dispatch));
        let mut shown = Shown::default();
        let mut looks = tokio::time::interval(COUNT_EVERY);
        let mut counted = 0;
        loop {
            let event = tokio::select! {
                event = next(&mut events) => event?,
                _ = looks.tick() => {
                    let Shown { done, total, .. } = &shown;
                    if *total > LINES_MAX && !self.quiet && counted != *done {
                        counted = *done;
                        say(&format!("{done} of {total} tasks have ended"));
                    }
                    continue;
                }
            };
            match event {
                None => return Ok(self.client.summary(dispatch, true).await?.status),
                // The first event, and what comes behind a gap: nothing later is missed.
                Some(Event::Summary(_) | Event::Lagged) => {
                    for node in self.client.get(dispatch).await?.nodes {
                        self.read(&mut shown, node);
                    }
                }
                Some(Event::Node { node_id, status, at, .. }) => {
                    self.take(&mut shown, node_id, status, at);
                }
                Some(_) => {}
            }
        }
    }

    /// Takes in a node as it is.
    fn read(&self, shown: &mut Shown, node: Node) {
        if node.kind != NodeKind::Task {
            return;
        }
        let Node { node_id, name, started_at, ended_at, status, .. } = node;
        let new = || Task { name, began: started_at, has_ended: false };
        let before = shown.tasks.len();
        shown.tasks.entry(node_id).or_insert_with(new);
        shown.total += shown.tasks.len() - before;
        if let Some(at) = ended_at {
            self.take(shown, node_id, status, at);
        }
    }

    /// Takes in a change, and tells of a task that has ended.
    fn take(&self, shown: &mut Shown, node: NodeId, status: Status, at: Timestamp) {
        let Some(task) = shown.tasks.get_mut(&node) else { return };
        if status == Status::Running {
            task.began = Some(at);
        }
        if !status.is_terminal() || std::mem::replace(&mut task.has_ended, true) {
            return;
        }
        shown.done += 1;
        if shown.total <= LINES_MAX && !self.quiet {
            self.line(task, status, at, shown.done, shown.total);
        }
    }

    fn line(&self, task: &Task, status: Status, at: Timestamp, done: usize, total: usize) {
        let screen = self.context.printer.screen();
        let took = task.began.map(|began| format!("  {}", duration(at.since(began))));
        let width = total.to_string().len();
        let (status, took) = (screen.status(status), took.unwrap_or_default());
        say(&format!("{done:>width$}/{total}  {status}  {}{took}", task.name));
    }

    async fn ended(
        &self,
        dispatch: &DispatchId,
        status: Status,
    ) -> Result<Ended, cov_client::Error> {
        let mut failures = Vec::new();
        let mut result = None;
        if status == Status::Completed {
            result = Some(self.result(dispatch).await?);
        } else {
            let nodes = self.client.get(dispatch).await?.nodes;
            let failed = nodes.into_iter().filter(|node| node.status == Status::Failed);
            for node in failed.take(FAILURES_MAX) {
                let error = AssetAddress::of_node(node.node_id, AssetKey::Error);
                let text =
                    self.client.read_asset(dispatch, error, ..FAILURE_BYTES_MAX as u64).await;
                let text = match text {
                    Ok(text) => {
                        let bytes = text.collect(FAILURE_BYTES_MAX).await?;
                        String::from_utf8_lossy(&bytes).trim_end().to_owned()
                    }
                    // One that failed without a word.
                    Err(_) => "nothing is known".to_owned(),
                };
                failures.push(Failure { task: node.name, error: text });
            }
        }
        Ok(Ended { dispatch_id: dispatch.clone(), status, result, failures })
    }

    async fn result(&self, dispatch: &DispatchId) -> Result<Value, cov_client::Error> {
        let address = AssetAddress::of_dispatch(AssetKey::Result);
        let bytes = self.client.read_asset(dispatch, address, ..).await?;
        let bytes = bytes.collect(RESULT_BYTES_MAX).await?;
        let value = TransportableObject::from_bytes(&bytes);
        // Bytes that are no text are told of, and can be fetched.
        Ok(value
            .ok()
            .and_then(|value| value.to_json().ok().or(Some(Value::String(value.object_string))))
            .unwrap_or_default())
    }
}

async fn next(events: &mut Events) -> Result<Option<Event>, cov_client::Error> {
    events.next().await
}
