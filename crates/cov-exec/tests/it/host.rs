//! A host of plugins with folders of its own, and plugins written as files.

use std::path::PathBuf;
use std::sync::Arc;

use cov_core::executor::ExecutorSpec;
use cov_core::ids::AttemptId;
use cov_exec::plugins::{PluginHost, PluginOptions};
use cov_exec::{Ending, Event, Finder as _, Job, Report, Task};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::{has_module, next, python};

/// Whether the interpreter can host plugins. A missing one fails the run where nothing may be
/// left out.
pub(crate) fn has_plugins(module: &str) -> bool {
    let has = has_module("covalent") && has_module(module);
    assert!(has || std::env::var_os("CI").is_none(), "COV_TEST_PYTHON lacks covalent or {module}");
    has
}

pub(crate) struct Host {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) host: PluginHost,
    pub(crate) reports: mpsc::Receiver<Report>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut PluginOptions)) -> Self {
        Self::within(Arc::new(tempfile::tempdir().unwrap()), change)
    }

    /// One more life of the server that has this folder.
    pub(crate) fn within(folder: Arc<TempDir>, change: impl FnOnce(&mut PluginOptions)) -> Self {
        let log =
            tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG);
        drop(log.try_init());
        let path = |name| folder.path().join(name);
        std::fs::create_dir_all(path("plugins")).unwrap();
        let mut options =
            PluginOptions::new(path("run"), path("spool"), "http://localhost:1".into());
        options.python = Some(python());
        options.executor_dir = Some(path("plugins"));
        options.known = vec!["local".to_owned()];
        change(&mut options);
        let (sender, reports) = mpsc::channel(64);
        Self { host: PluginHost::new(options, sender), reports, folder }
    }

    /// Ends this life and begins the next.
    pub(crate) async fn restarted(self) -> Self {
        self.host.stop().await;
        Self::within(self.folder, |_| {})
    }

    /// Writes a plugin.
    pub(crate) fn plugin(&self, name: &str, source: &str) {
        std::fs::write(self.path("plugins").join(format!("{name}.py")), source).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("run").join("plugins.log")).unwrap()
    }

    pub(crate) async fn next(&mut self) -> Report {
        next(&mut self.reports).await
    }

    pub(crate) async fn submit(&self, task: Task) -> AttemptId {
        let (attempt, name) = (task.attempt, task.engine.as_ref().unwrap().name.clone());
        self.host.executor(&name).submit(task).await.unwrap();
        attempt
    }

    /// The job of a task that another life submitted.
    pub(crate) async fn attach(&self, task: &Task, handle: Box<str>) {
        let engine = Arc::clone(task.engine.as_ref().unwrap());
        let name = engine.name.clone();
        let (attempt, node) = (task.attempt, task.node);
        let job = Job { attempt, dispatch: task.dispatch.clone(), node, engine, handle };
        self.host.executor(&name).attach(job).await.unwrap();
    }

    /// What comes of this attempt next, but for its begin and its handle.
    pub(crate) async fn end_of(&mut self, attempt: AttemptId) -> Event {
        loop {
            let report = self.next().await;
            assert_eq!(report.attempt, attempt, "{:?}", report.event);
            if !matches!(report.event, Event::Begun | Event::Accepted { .. }) {
                return report.event;
            }
        }
    }

    /// Up to this attempt's handle.
    pub(crate) async fn handle_of(&mut self, attempt: AttemptId) -> Box<str> {
        loop {
            let report = self.next().await;
            assert_eq!(report.attempt, attempt);
            match report.event {
                Event::Accepted { handle } => return handle,
                Event::Begun => {}
                other => panic!("expected a handle: {other:?}"),
            }
        }
    }

    /// Runs a task on an engine.
    pub(crate) async fn run(&mut self, task: Task) -> Ending {
        let attempt = self.submit(task).await;
        match self.end_of(attempt).await {
            Event::Ended(ending) => ending,
            other => panic!("expected an end: {other:?}"),
        }
    }
}

/// The task on this engine.
pub(crate) fn on(name: &str, attributes: Value, mut task: Task) -> Task {
    let data = json!({ "type": "", "short_name": name, "attributes": attributes });
    task.engine = Some(Arc::new(ExecutorSpec { name: name.to_owned(), data }));
    task
}

/// A plugin by the old contract, synchronous, with this body of its class.
pub(crate) fn plugin(body: &str) -> String {
    based_on("BaseExecutor", body)
}

/// The same, made of coroutines.
pub(crate) fn plugin_of_coroutines(body: &str) -> String {
    based_on("AsyncBaseExecutor", body)
}

fn based_on(base: &str, body: &str) -> String {
    format!(
        "import asyncio, json, os, sys, time\n\
         from covalent._shared_files import TaskRuntimeError\n\
         from covalent._shared_files.exceptions import TaskCancelledError\n\
         from covalent.executor.base import {base}\n\
         EXECUTOR_PLUGIN_NAME = 'Plugin'\n\
         class Plugin({base}):\n{body}\n"
    )
}

/// Runs the function right there.
pub(crate) const RUN: &str = "
    def run(self, function, args, kwargs, task_metadata):
        return function(*args, **kwargs)
";
