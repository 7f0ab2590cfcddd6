//! The senses: triggers that watch the outside and run a workflow again when something happens.
//! The only watcher of the outside. Acts on dispatches only through [`TriggerHost`].

#![deny(missing_docs)]

pub mod base;
mod base_trigger;
#[cfg(feature = "cron")]
pub mod cron;
#[cfg(feature = "_sqlx")]
pub mod db;
#[cfg(feature = "dir")]
pub mod dir;
pub mod error;
mod ext;
pub mod fields;
pub mod host;
mod machine;
#[cfg(any(test, feature = "test-util"))]
pub mod memory;
pub mod observer;
pub mod policies;
mod registry;
mod secrets;
pub mod service;
#[cfg(feature = "time")]
mod time;
pub mod trigger;
#[cfg(feature = "webhook")]
mod webhook;

pub use crate::base::Base;
pub use crate::base_trigger::BaseTrigger;
#[cfg(feature = "cron")]
pub use crate::cron::CronTrigger;
#[cfg(feature = "_sqlx")]
pub use crate::db::DatabaseTrigger;
#[cfg(feature = "sqlite")]
pub use crate::db::SQLiteTrigger;
#[cfg(feature = "dir")]
pub use crate::dir::DirTrigger;
pub use crate::error::Error;
pub use crate::ext::TriggerExt;
pub use crate::fields::{Fields, Seconds};
pub use crate::host::TriggerHost;
pub use crate::observer::{Event, Observer};
pub use crate::policies::Policies;
pub use crate::registry::Registry;
pub use crate::secrets::hide_secrets;
pub use crate::service::{Service, Triggers};
#[cfg(feature = "time")]
pub use crate::time::TimeTrigger;
pub use crate::trigger::{Schedule, Source, Trigger};
#[cfg(feature = "webhook")]
pub use crate::webhook::WebhookTrigger;
