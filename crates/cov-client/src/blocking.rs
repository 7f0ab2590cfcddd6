//! The same calls for programs without an async runtime. Must not be used from within one: a call
//! would hold up its thread, and panics there as tokio does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::AssetAddress;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::ended::Outcome;
use cov_core::result::{self, Summary};
use cov_core::trigger::Dictionary;
use tokio::runtime::{self, Runtime};

use crate::{
    Accepted, Builder, Dispatch, Error, Event, Filter, Health, Imported, Page, Redispatch, Trigger,
    Workflow,
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
///
/// ```no_run
/// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// let mut events = client.events(Some(&id));
/// while let Some(event) = events.next_event()? {
///     println!("{event:?}");
/// }
/// # Ok(())
/// # }
/// ```
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
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{:?}", client.events(None).next_event()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        self.runtime.block_on(self.inner.next())
    }
}

impl Client {
    /// Makes a client. Connects to nothing yet.
    ///
    /// # Errors
    /// As [`Builder::build`]; the system gives no thread or no descriptor.
    ///
    /// ```
    /// let builder = cov_client::Client::builder("http://127.0.0.1:48008");
    /// let client = cov_client::blocking::Client::new(builder)?;
    /// # drop(client);
    /// # Ok::<(), cov_client::Error>(())
    /// ```
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
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{:?}", client.health()?.version);
    /// # Ok(())
    /// # }
    /// ```
    pub fn health(&self) -> Result<Health, Error> {
        self.runtime.block_on(self.inner.health())
    }

    /// Sends a workflow and starts it.
    ///
    /// # Errors
    /// As [`crate::Client::dispatch`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client, workflow: cov_client::Workflow)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{}", client.dispatch(&workflow)?.dispatch_id);
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client, workflow: cov_client::Workflow)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let registered = client.register(&workflow)?;
    /// client.start(&registered.dispatch_id)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register(&self, workflow: &Workflow) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.register(workflow))
    }

    /// Starts a registered dispatch.
    ///
    /// # Errors
    /// As [`crate::Client::start`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{}", client.start(&id)?.status);
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(&self, dispatch: &DispatchId) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.start(dispatch))
    }

    /// Cancels these tasks of a dispatch, or all of them.
    ///
    /// # Errors
    /// As [`crate::Client::cancel`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// client.cancel(&id, &[])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&self, dispatch: &DispatchId, task_ids: &[NodeId]) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.cancel(dispatch, task_ids))
    }

    /// Dispatches again what was dispatched before, as it was.
    ///
    /// # Errors
    /// As [`crate::Client::redispatch`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let again = client.redispatch(&id, &cov_client::Redispatch::default())?;
    /// println!("{}", again.dispatch_id);
    /// # Ok(())
    /// # }
    /// ```
    pub fn redispatch(&self, dispatch: &DispatchId, how: &Redispatch) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.redispatch(dispatch, how))
    }

    /// The workflow of a dispatch, to be changed and dispatched again.
    ///
    /// # Errors
    /// As [`crate::Client::workflow`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{}", client.workflow(&id)?.parameters().count());
    /// # Ok(())
    /// # }
    /// ```
    pub fn workflow(&self, dispatch: &DispatchId) -> Result<Workflow, Error> {
        self.runtime.block_on(self.inner.workflow(dispatch))
    }

    /// Sends a workflow that takes the place of an earlier dispatch's.
    ///
    /// # Errors
    /// As [`crate::Client::redispatch_as`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client, workflow: cov_client::Workflow)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{}", client.redispatch_as(&id, &workflow, true)?.dispatch_id);
    /// # Ok(())
    /// # }
    /// ```
    pub fn redispatch_as(
        &self,
        earlier: &DispatchId,
        workflow: &Workflow,
        reuse: bool,
    ) -> Result<Accepted, Error> {
        self.runtime.block_on(self.inner.redispatch_as(earlier, workflow, reuse))
    }

    /// Registers triggers for a dispatch.
    ///
    /// # Errors
    /// As [`crate::Client::register_triggers`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let hourly = serde_json::from_str(r#"{"name": "TimeTrigger", "time_gap": 3600}"#)?;
    /// client.register_triggers(&[hourly], &id)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_triggers(
        &self,
        dictionaries: &[Dictionary],
        dispatch: &DispatchId,
    ) -> Result<Vec<Trigger>, Error> {
        self.runtime.block_on(self.inner.register_triggers(dictionaries, dispatch))
    }

    /// Stops all triggers of these dispatches.
    ///
    /// # Errors
    /// As [`crate::Client::stop_triggers`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// client.stop_triggers(&[id])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop_triggers(&self, dispatches: &[DispatchId]) -> Result<Vec<Trigger>, Error> {
        self.runtime.block_on(self.inner.stop_triggers(dispatches))
    }

    /// The short record of a dispatch; with `wait`, once it has ended.
    ///
    /// # Errors
    /// As [`crate::Client::summary`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{}", client.summary(&id, true)?.status);
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let mut record = client.get_result(&id, true, false)?;
    /// client.fetch(&mut record)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch(&self, record: &mut result::Result) -> Result<(), Error> {
        self.runtime.block_on(self.inner.fetch(record))
    }

    /// Saves a record below `results_dir`, or below the record's own.
    ///
    /// # Errors
    /// As [`crate::Client::save_result`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let mut record = client.get_result(&id, true, false)?;
    /// let folder = client.save_result(&mut record, Some("results".as_ref()))?;
    /// println!("{}", folder.display());
    /// # Ok(())
    /// # }
    /// ```
    pub fn save_result(
        &self,
        record: &mut result::Result,
        results_dir: Option<&Path>,
    ) -> Result<PathBuf, Error> {
        self.runtime.block_on(self.inner.save_result(record, results_dir))
    }

    /// Has a dispatch taken over that ended elsewhere.
    ///
    /// # Errors
    /// As [`crate::Client::import`].
    ///
    /// ```no_run
    /// # fn example(
    /// #     client: cov_client::blocking::Client,
    /// #     workflow: cov_client::Workflow,
    /// #     outcome: cov_core::manifest::ended::Outcome,
    /// # ) -> Result<(), cov_client::Error> {
    /// let imported = client.import(&workflow, &outcome)?;
    /// println!("{} is {}", imported.dispatch_id, imported.status);
    /// # Ok(())
    /// # }
    /// ```
    pub fn import(&self, workflow: &Workflow, outcome: &Outcome) -> Result<Imported, Error> {
        self.runtime.block_on(self.inner.import(workflow, outcome))
    }

    /// All bytes of an asset, at most `limit` of them.
    ///
    /// # Errors
    /// As [`crate::Client::read_asset`], and [`crate::Download::collect`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// use cov_core::asset::{AssetAddress, AssetKey};
    /// let result = AssetAddress::of_dispatch(AssetKey::Result);
    /// println!("{} bytes", client.read_asset(&id, result, 1_000_000)?.len());
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{}", client.get(&id)?.nodes.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, dispatch: &DispatchId) -> Result<Dispatch, Error> {
        self.runtime.block_on(self.inner.get(dispatch))
    }

    /// A part of the list of all dispatches, newest first.
    ///
    /// # Errors
    /// As [`crate::Client::list`].
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{}", client.list(&cov_client::Filter::default())?.total);
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, filter: &Filter) -> Result<Page, Error> {
        self.runtime.block_on(self.inner.list(filter))
    }

    /// Follows one dispatch until it has ended, or all dispatches.
    ///
    /// ```no_run
    /// # fn example(client: cov_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{:?}", client.events(Some(&id)).next_event()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self, dispatch: Option<&DispatchId>) -> Events {
        Events { inner: self.inner.events(dispatch), runtime: Arc::clone(&self.runtime) }
    }
}
