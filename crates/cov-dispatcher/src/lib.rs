//! The motion: the only owner of live dispatches. One task owns each dispatch that is under way,
//! one committer makes all their steps durable, one admission shares the executors' slots among
//! them. Decides nothing itself: that is the engine's. Knows no HTTP and no SQL.
//!
//! Follow a dispatch from [`handle`] (what callers ask) to [`owner`] (the loop), [`committer`]
//! (now it is true), [`admission`] (who may run), [`effects`] (what happens outside), and back
//! to the owner with the report.

pub mod admission;
mod attach;
pub mod committer;
pub mod effects;
pub mod error;
pub mod events;
pub mod executors;
mod gates;
pub mod handle;
pub mod intake;
mod maintenance;
pub mod metrics;
pub mod options;
pub mod owner;
mod programs;
mod redispatch;
pub mod registration;
pub mod registry;
pub mod repeat;
pub mod reports;
pub mod service;
pub mod sublattice;
pub mod target;
pub mod trigger_host;
pub mod upload;

/// The store's types as they come out of a [`Handle`], for callers that need no store themselves.
pub use cov_store as store;

pub use cov_engine::event::OnRestart;
pub use cov_exec::Found;

pub use crate::error::Error;
pub use crate::events::{Changed, Event, Followed, Position, Subscription};
pub use crate::executors::{Executors, Load, Pool, Slot};
pub use crate::handle::{Handle, Registered};
pub use crate::intake::{Intake, Order, Taken};
pub use crate::metrics::Metrics;
pub use crate::options::Options;
pub use crate::programs::ProgramAddresses;
pub use crate::registry::Ended;
pub use crate::repeat::Redispatch;
pub use crate::service::{Parts, Service, start};
pub use crate::trigger_host::LocalHost;
pub use crate::upload::Upload;
