//! The senses: triggers that watch the outside and run a workflow again when something happens.
//! The only watcher of the outside. Acts on dispatches only through [`TriggerHost`].

#![deny(missing_docs)]

pub mod base;
pub mod error;
pub mod host;
pub mod observer;
pub mod trigger;

pub use crate::base::Base;
pub use crate::error::Error;
pub use crate::host::TriggerHost;
pub use crate::observer::{Event, Observer};
pub use crate::trigger::{Schedule, Source, Trigger};
