//! The calls that the seed of this project has as functions: each names its server beside what it
//! is about. For programs that make few calls; each makes a [`Client`] of its own, with everything
//! else at its default, and drops it. Must not grow options: whoever wants one has the client.

use cov_core::ids::{DispatchId, NodeId};
use cov_core::result;

use crate::client::Client;
use crate::commands::Accepted;
use crate::error::Error;
use crate::triggers::Trigger;

/// The server that is called when none is named.
///
/// ```
/// let client = cov_client::Client::builder(cov_client::DEFAULT_ADDRESS).build()?;
/// assert_eq!(client.address(), cov_client::DEFAULT_ADDRESS);
/// # Ok::<(), cov_client::Error>(())
/// ```
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:48008";

fn client(address: Option<&str>) -> Result<Client, Error> {
    Client::builder(address.unwrap_or(DEFAULT_ADDRESS)).build()
}

/// Cancels these tasks of a dispatch, or all of them if none is named, on the server at this
/// address, or at [`DEFAULT_ADDRESS`]. See [`Client::cancel`].
///
/// # Errors
/// As [`Client::cancel`]; [`Kind::Address`](crate::Kind::Address) for an address that is none.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use cov_core::ids::NodeId;
/// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// let answer = cov_client::cancel(&id, &[NodeId(3)], Some("http://127.0.0.1:48008")).await?;
/// println!("{}", answer.status);
/// # Ok(())
/// # }
/// ```
pub async fn cancel(
    dispatch_id: &DispatchId,
    task_ids: &[NodeId],
    dispatcher_addr: Option<&str>,
) -> Result<Accepted, Error> {
    client(dispatcher_addr)?.cancel(dispatch_id, task_ids).await
}

/// The record of a dispatch on the server at this address, or at [`DEFAULT_ADDRESS`]. See
/// [`Client::get_result`].
///
/// # Errors
/// As [`Client::get_result`]; [`Kind::Address`](crate::Kind::Address) for an address that is none.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// let record = cov_client::get_result(&id, true, false, None).await?;
/// println!("{:?}", record.result::<f64>());
/// # Ok(())
/// # }
/// ```
pub async fn get_result(
    dispatch_id: &DispatchId,
    wait: bool,
    status_only: bool,
    dispatcher_addr: Option<&str>,
) -> Result<result::Result, Error> {
    client(dispatcher_addr)?.get_result(dispatch_id, wait, status_only).await
}

/// Stops all triggers of these dispatches on the server at this address, or at
/// [`DEFAULT_ADDRESS`]. See [`Client::stop_triggers`].
///
/// # Errors
/// As [`Client::stop_triggers`]; [`Kind::Address`](crate::Kind::Address) for an address that is
/// none.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// cov_client::stop_triggers(&[id], None).await?;
/// # Ok(())
/// # }
/// ```
pub async fn stop_triggers(
    dispatch_ids: &[DispatchId],
    triggers_server_addr: Option<&str>,
) -> Result<Vec<Trigger>, Error> {
    client(triggers_server_addr)?.stop_triggers(dispatch_ids).await
}
