//! From a lattice to its result: sends the graph and the program to a server, waits, and decodes
//! what comes back. The only module of this crate that talks to a server.

use std::fmt;
use std::marker::PhantomData;

use cov_client::{Client, Ending, Workflow, blocking};
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::transportable::TransportableObject;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::graph::Lattice;
use crate::program::Program;
use crate::runner;

/// Largest result that is taken into memory. Bytes.
const RESULT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A lattice that was sent to a server. `T` is what it returns.
pub struct Dispatched<T> {
    client: Client,
    id: DispatchId,
    value: PhantomData<fn() -> T>,
}

impl<T> Lattice<T> {
    /// The graph as a client sends it, with this program if it has electrons in Rust. Sending the
    /// same one again makes no second dispatch.
    ///
    /// # Errors
    /// `NotInitialised`: a server could not run the program; `Program`: it cannot read itself.
    ///
    /// ```
    /// let lattice = cov::graph::build("constant", || 42i64)?;
    /// let refused = lattice.into_workflow().unwrap_err();
    /// assert!(matches!(refused, cov::Error::NotInitialised));
    ///
    /// cov::runner::init();
    /// let lattice = cov::graph::build("constant", || 42i64)?;
    /// let workflow = lattice.into_workflow()?;
    /// assert_eq!(workflow.dispatch_id().as_str().len(), 36);
    /// # Ok::<(), cov::Error>(())
    /// ```
    pub fn into_workflow(self) -> Result<Workflow, Error> {
        if !self.needs_program() {
            return Ok(Workflow::new(self.bundle().clone()));
        }
        if !runner::is_initialised() {
            return Err(Error::NotInitialised);
        }
        let program = Program::current()?;
        let address = AssetAddress::of_dispatch(AssetKey::Program);
        let bundle = self.into_bundle(&program.name());
        Ok(Workflow::new(bundle).file(address, &program.path, &program.content))
    }

    /// Sends it to a server and starts it.
    ///
    /// # Errors
    /// `Program`; `Client`: the server cannot be reached, or refuses it.
    ///
    /// ```no_run
    /// # async fn example(client: cov::Client) -> Result<(), cov::Error> {
    /// let lattice = cov::graph::build("constant", || 42i64)?;
    /// let dispatched = lattice.dispatch(&client).await?;
    /// println!("{}", dispatched.id());
    /// assert_eq!(dispatched.result().await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn dispatch(self, client: &Client) -> Result<Dispatched<T>, Error> {
        let workflow = self.into_workflow()?;
        let accepted = client.dispatch(&workflow).await?;
        Ok(Dispatched { client: client.clone(), id: accepted.dispatch_id, value: PhantomData })
    }

    /// Sends it to a server, starts it and waits for what it returns.
    ///
    /// # Errors
    /// As [`Lattice::dispatch`] and [`Dispatched::result`].
    pub async fn dispatch_sync(self, client: &Client) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        self.dispatch(client).await?.result().await
    }

    /// As [`Lattice::dispatch_sync`], for programs without an async runtime.
    ///
    /// # Errors
    /// As [`Lattice::dispatch_sync`].
    ///
    /// ```no_run
    /// let client = cov::blocking::Client::new(cov::Client::builder("http://127.0.0.1:48008"))?;
    /// let lattice = cov::graph::build("constant", || 42i64)?;
    /// assert_eq!(lattice.run(&client)?, 42);
    /// # Ok::<(), cov::Error>(())
    /// ```
    pub fn run(self, client: &blocking::Client) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        let workflow = self.into_workflow()?;
        let mut record = client.dispatch_sync(&workflow)?;
        if record.status != Status::Completed {
            let reason = record.error.unwrap_or_default();
            return Err(not_completed(record.dispatch_id, record.status, reason));
        }
        if record.encoded_result().is_none() {
            client.fetch(&mut record)?;
        }
        record.result().map_err(|source| Error::Value {
            type_name: std::any::type_name::<T>(),
            consumer: format!("the result of {}", record.dispatch_id),
            reason: crate::macro_support::chain(&source),
        })
    }
}

impl<T> Dispatched<T> {
    /// Takes up a dispatch that was made before, perhaps by another process.
    #[must_use]
    pub fn new(client: Client, id: DispatchId) -> Self {
        Self { client, id, value: PhantomData }
    }

    /// The dispatch's id.
    #[must_use]
    pub fn id(&self) -> &DispatchId {
        &self.id
    }

    /// Waits for the end and returns what the lattice returned.
    ///
    /// # Errors
    /// `NotCompleted`: it failed or was cancelled, with its failed electrons; `Client`; `Value`:
    /// what came back is no `T`.
    pub async fn result(&self) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        let download = match self.client.ending(&self.id).await? {
            Ending::Returned(download) => download,
            Ending::Otherwise(summary) => {
                let reason = self.client.get(&self.id).await?.error.unwrap_or_default();
                return Err(not_completed(self.id.clone(), summary.status, reason));
            }
        };
        let archive = download.collect(RESULT_BYTES_MAX).await?;
        let read = TransportableObject::from_bytes(&archive).and_then(|object| object.decode());
        read.map_err(|source| Error::Value {
            type_name: std::any::type_name::<T>(),
            consumer: format!("the result of {}", self.id),
            reason: crate::macro_support::chain(&source),
        })
    }

    /// Cancels all of it. What has ended stays as it is.
    ///
    /// # Errors
    /// `Client`.
    pub async fn cancel(&self) -> Result<(), Error> {
        self.client.cancel(&self.id, &[]).await?;
        Ok(())
    }
}

fn not_completed(dispatch_id: DispatchId, status: Status, reason: String) -> Error {
    Error::NotCompleted { dispatch_id, status, reason }
}

impl<T> fmt::Debug for Dispatched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dispatched").field(&self.id).finish()
    }
}
