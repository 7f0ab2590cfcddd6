//! The same calls for programs without an async runtime. Must not be used from within one: a call
//! would hold up its thread, and panics there as tokio does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::AssetAddress;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::result::{self, Summary};
use tokio::runtime::{self, Runtime};

use crate::{
    Accepted, Builder, Dispatch, Error, Event, Filter, Health, Page, Redispatch, Workflow,
};

/// Talks to one server, one call at a time. Cheap to clone; clones share connections and runtime.
///
/// ```no_run
/// use cov_client::blocking::Client;
///
/// # fn main() -> Result<(), cov_client::Error> {
/// let client = Client::new(cov_client::Client::builder("http://127.0.0.1:48008"))?;
/// println!("{:?}", client.health()?.version);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    inner: crate::Client,
    runtime: Arc<Runtime>,
}

/// Events as they come.
#[derive(Debug)]
pub struct Events {
    inner: crate::Events,
    runtime: Arc<Runtime>,
}

impl Events {
    /// The next event; `None` when the dispatch has ended.
    ///
    /// # Errors
    /// As [`crate::Events::next`].
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        self.runtime.block_on(self.inner.next())
    }
}

impl Client {
    /// Makes a client. Connects to nothing yet.
    ///
    /// # Errors
    /// As [`Builder::build`]; the system gives no thread or no descriptor.
    pub fn new(builder: Builder) -> Result<Self, Error> {
        let inner = builder.build()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Workflow {
            reason: "no runtime can be made".to_owned(),
            source: source.into(),
        })?;
        Ok(Self { inner, runtime: Arc::new(runtime) })
    }

    /// Asks whether the server lives, and for its version.
    ///
    /// # Errors
    /// As [`crate::Client::health`].
    pub fn health(&self) -> Result<Health, Error> {
        self.runtime.block_on(self.inner.health())
    }

    /// Sends a workflow and starts it.
    ///
    /// # Errors
    /// As [`crate::Client::dispatch`].
    pub fn dispatch(&self, workflow: &Workflow) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.dispatch(workflow))
    }

    /// Sends a workflow, starts it, and waits for its end.
    ///
    /// # Errors
    /// As [`crate::Client::dispatch_sync`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client, bundle: cov_core::bundle::Bundle)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let total: i64 = client.dispatch_sync(&bundle.into())?.result()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn dispatch_sync(&self, workflow: &Workflow) -> Result<result::Result, Error> {
        self.runtime.block_on(self.inner.dispatch_sync(workflow))
    }

    /// Sends a workflow without starting it.
    ///
    /// # Errors
    /// As [`crate::Client::register`].
    pub fn register(&self, workflow: &Workflow) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.register(workflow))
    }

    /// Starts a registered dispatch.
    ///
    /// # Errors
    /// As [`crate::Client::start`].
    pub fn start(&self, dispatch: &DispatchId) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.start(dispatch))
    }

    /// Cancels these tasks of a dispatch, or all of them.
    ///
    /// # Errors
    /// As [`crate::Client::cancel`].
    pub fn cancel(&self, dispatch: &DispatchId, task_ids: &[NodeId]) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.cancel(dispatch, task_ids))
    }

    /// Dispatches again what was dispatched before, as it was.
    ///
    /// # Errors
    /// As [`crate::Client::redispatch`].
    pub fn redispatch(&self, dispatch: &DispatchId, how: &Redispatch) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.redispatch(dispatch, how))
    }

    /// Sends a workflow that takes the place of an earlier dispatch's.
    ///
    /// # Errors
    /// As [`crate::Client::redispatch_as`].
    pub fn redispatch_as(
        &self,
        earlier: &DispatchId,
        workflow: &Workflow,
        reuse: bool,
    ) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.redispatch_as(earlier, workflow, reuse))
    }

    /// The short record of a dispatch; with `wait`, once it has ended.
    ///
    /// # Errors
    /// As [`crate::Client::summary`].
    pub fn summary(&self, dispatch: &DispatchId, wait: bool) -> Result<Summary, Error> {
        self.runtime.block_on(self.inner.summary(dispatch, wait))
    }

    /// The record of a dispatch.
    ///
    /// # Errors
    /// As [`crate::Client::get_result`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{}", client.get_result(&id, true, false)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_result(
        &self,
        dispatch: &DispatchId,
        wait: bool,
        status_only: bool,
    ) -> Result<result::Result, Error> {
        self.runtime.block_on(self.inner.get_result(dispatch, wait, status_only))
    }

    /// Fetches every content of a record that was not fetched yet.
    ///
    /// # Errors
    /// As [`crate::Client::fetch`].
    pub fn fetch(&self, record: &mut result::Result) -> Result<(), Error> {
        self.runtime.block_on(self.inner.fetch(record))
    }

    /// Saves a record below `results_dir`, or below the record's own.
    ///
    /// # Errors
    /// As [`crate::Client::save_result`].
    pub fn save_result(
        &self,
        record: &mut result::Result,
        results_dir: Option<&Path>,
    ) -> Result<PathBuf, Error> {
        self.runtime.block_on(self.inner.save_result(record, results_dir))
    }

    /// All bytes of an asset, at most `limit` of them.
    ///
    /// # Errors
    /// As [`crate::Client::read_asset`], and [`crate::Download::collect`].
    pub fn read_asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        limit: usize,
    ) -> Result<Bytes, Error> {
        self.runtime.block_on(async {
            self.inner.read_asset(dispatch, address, ..).await?.collect(limit).await
        })
    }

    /// The record of one dispatch, without the contents of its assets.
    ///
    /// # Errors
    /// As [`crate::Client::get`].
    pub fn get(&self, dispatch: &DispatchId) -> Result<Dispatch, Error> {
        self.runtime.block_on(self.inner.get(dispatch))
    }

    /// A part of the list of all dispatches, newest first.
    ///
    /// # Errors
    /// As [`crate::Client::list`].
    pub fn list(&self, filter: &Filter) -> Result<Page, Error> {
        self.runtime.block_on(self.inner.list(filter))
    }

    /// Follows one dispatch until it has ended, or all dispatches.
    #[must_use]
    pub fn events(&self, dispatch: Option<&DispatchId>) -> Events {
        Events { inner: self.inner.events(dispatch), runtime: Arc::clone(&self.runtime) }
    }
}
