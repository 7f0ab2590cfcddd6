//! Quotas of the data directory, and a floor for the free space of its disk. Looked at before
//! something new is taken in; what is under way may go on, which is what the floor is for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cov_core::error::ErrorCode;
use cov_dispatcher::store::access::{AccessStore, Usage};
use tokio::time::Instant;

use super::lock;
use crate::error::Refusal;

/// How old a measure may be, at least.
const MEASURE_LIFE: Duration = Duration::from_secs(1);
/// How many times longer than it took to make a measure may be used.
const MEASURE_SHARE: u32 = 50;

/// What may be used up. Bytes; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// By everything that is kept.
    pub disk: u64,
    /// By the database alone.
    pub database: u64,
    /// What has to stay free on the disk.
    pub free: u64,
}

/// Knows how much is used, not older than a moment.
#[derive(Debug)]
pub(super) struct Space {
    store: Arc<dyn AccessStore>,
    quotas: Quotas,
    measured: Mutex<Option<Measured>>,
    measuring: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    usage: Usage,
    until: Instant,
}

impl Space {
    pub(super) fn new(store: Arc<dyn AccessStore>, quotas: Quotas) -> Self {
        Self { store, quotas, measured: Mutex::default(), measuring: tokio::sync::Mutex::default() }
    }

    /// Refuses a request that announces `size` bytes if they have no room. What others have
    /// announced does not count: it may never come, and a lie would lock everybody out.
    pub(super) async fn check(&self, size: u64) -> Result<(), Refusal> {
        if self.quotas == Quotas::default() {
            return Ok(());
        }
        let usage = match self.fresh() {
            Some(usage) => usage,
            None => self.measure().await?,
        };
        self.judge(Usage {
            contents: usage.contents.saturating_add(size),
            free: usage.free.saturating_sub(size),
            ..usage
        })
    }

    fn judge(&self, usage: Usage) -> Result<(), Refusal> {
        let Usage { database, contents, free } = usage;
        let over = |used: u64, quota: u64| quota > 0 && used > quota;
        let reached = |what: &str| {
            tracing::warn!(database, contents, free, "{what}");
            Err(Refusal::new(ErrorCode::QuotaReached, what.to_owned()))
        };
        if over(database.saturating_add(contents), self.quotas.disk) {
            return reached("the quota of the data directory is used up");
        }
        if over(database, self.quotas.database) {
            return reached("the quota of the database is used up");
        }
        if free < self.quotas.free {
            return reached("the free space of the disk is at its floor");
        }
        Ok(())
    }

    /// What is used, by the last measure.
    fn fresh(&self) -> Option<Usage> {
        let measured = *lock(&self.measured);
        measured.filter(|known| Instant::now() < known.until).map(|known| known.usage)
    }

    async fn measure(&self) -> Result<Usage, Refusal> {
        let _one_at_a_time = self.measuring.lock().await;
        if let Some(usage) = self.fresh() {
            return Ok(usage);
        }
        let begin = Instant::now();
        let usage = match self.quotas.disk {
            0 => self.store.usage_without_contents().await,
            _ => self.store.usage().await,
        };
        let usage = usage.map_err(|error| {
            tracing::error!(%error, "the space that is used cannot be measured");
            Refusal::new(ErrorCode::StoreUnavailable, "the space cannot be measured")
        })?;
        let took = begin.elapsed();
        let until = begin + MEASURE_LIFE.max(took.saturating_mul(MEASURE_SHARE));
        *lock(&self.measured) = Some(Measured { usage, until });
        Ok(usage)
    }
}
