//! The caller: talks to a dispatch server from Rust, over the server's native API. The only
//! crate that sends HTTP requests. It knows nothing of how a server works inside, starts no
//! process and keeps nothing on disk.
//!
//! ```no_run
//! use cov_client::{Client, Filter};
//! use cov_core::status::Status;
//!
//! # async fn example() -> Result<(), cov_client::Error> {
//! let client = Client::builder("http://127.0.0.1:48008").build()?;
//! let running = Filter { statuses: vec![Status::Running], ..Filter::default() };
//! for summary in client.list(&running).await?.dispatches {
//!     println!("{} {}", summary.dispatch_id, summary.name);
//! }
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod access;
#[cfg(feature = "blocking")]
pub mod blocking;
mod builder;
mod client;
mod commands;
mod connector;
mod dispatcher;
mod dispatches;
mod download;
mod error;
mod events;
mod health;
mod import;
mod insight;
mod maintenance;
mod payload;
mod results;
mod retry;
mod revision;
pub mod saved;
#[cfg(feature = "tls")]
mod tls;
mod triggers;
mod workflow;

pub use access::{AuditEntry, AuditFilter, AuditPage, NewToken, Token};
pub use builder::Builder;
pub use client::Client;
pub use commands::{Accepted, MissingAsset, Redispatch};
pub use dispatcher::{DEFAULT_ADDRESS, cancel, get_result, stop_triggers};
pub use dispatches::{Dispatch, Filter, Node, Page};
pub use download::Download;
pub use error::{Error, Kind};
pub use events::{Event, Events};
pub use health::Health;
pub use import::Imported;
pub use insight::{ExecutorSlots, Executors, NodeFailure, NodeInFull, NodePlan};
pub use maintenance::{Backup, Purge, Purged};
pub use results::Ending;
pub use retry::RetryPolicy;
pub use triggers::{Decision, History, Trigger, TriggerFilter, TriggerPage};
pub use workflow::Workflow;
