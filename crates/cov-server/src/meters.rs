//! The one registry of metrics: hands each part its own, and shows them all, with what is measured
//! when somebody asks. Counts nothing itself.

mod process;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cov_dispatcher::Handle;
use cov_store::AccessStore;
use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use process::Process;

/// How old a measure of the store's size may be, at least: it looks at every file.
const SIZE_LIFE: Duration = Duration::from_secs(10);
/// How many times longer than it took to measure a size may be shown.
const SIZE_SHARE: u32 = 100;

/// The registry, and what its parts count with.
#[derive(Debug)]
pub(crate) struct Meters {
    registry: Registry,
    pub(crate) runners: cov_exec::Metrics,
    pub(crate) dispatcher: cov_dispatcher::Metrics,
    pub(crate) triggers: cov_triggers::Metrics,
    http: cov_http::Metrics,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("cov_build", "The release that runs", build);
        Self {
            runners: cov_exec::Metrics::register(&mut registry),
            dispatcher: cov_dispatcher::Metrics::register(&mut registry),
            triggers: cov_triggers::Metrics::register(&mut registry),
            http: cov_http::Metrics::register(&mut registry),
            registry,
        }
    }

    /// What counts requests and shows everything. Without a `handle`, nothing of a dispatcher is
    /// measured.
    pub(crate) fn shown(
        self,
        handle: Option<Handle>,
        store: Arc<dyn AccessStore>,
    ) -> cov_http::Metrics {
        let Self { mut registry, http, .. } = self;
        let load = handle.map(|handle| Load::register(handle, &mut registry));
        let size = Size::register(store, &mut registry);
        let process = Process::register(&mut registry);
        http.with_scrape(Arc::new(Shown { registry, load, size, process }))
    }
}

/// Everything that a scrape shows.
#[derive(Debug)]
struct Shown {
    registry: Registry,
    load: Option<Load>,
    size: Size,
    process: Process,
}

#[async_trait]
impl cov_http::Scrape for Shown {
    async fn scrape(&self) -> String {
        if let Some(load) = &self.load {
            load.measure();
        }
        self.size.measure().await;
        self.process.measure().await;
        let mut shown = String::new();
        if let Err(error) = text::encode(&mut shown, &self.registry) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        shown
    }
}

/// What there is to do.
#[derive(Debug)]
struct Load {
    handle: Handle,
    active: Gauge,
    queued: Gauge,
    running: Gauge,
    slots: Gauge,
}

impl Load {
    fn register(handle: Handle, registry: &mut Registry) -> Self {
        let load = Self {
            handle,
            active: Gauge::default(),
            queued: Gauge::default(),
            running: Gauge::default(),
            slots: Gauge::default(),
        };
        for (name, help, gauge) in [
            ("cov_dispatches_active", "Dispatches in which something is under way", &load.active),
            ("cov_queue_length", "Electrons that wait for a slot", &load.queued),
            ("cov_tasks_running", "Attempts that are under way", &load.running),
            ("cov_slots", "Attempts that may be under way at once", &load.slots),
        ] {
            registry.register(name, help, gauge.clone());
        }
        load
    }

    fn measure(&self) {
        let now = self.handle.load();
        for (gauge, number) in [
            (&self.active, now.dispatches),
            (&self.queued, now.queued),
            (&self.running, now.running),
            (&self.slots, now.slots),
        ] {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}

/// What the store takes up.
#[derive(Debug)]
struct Size {
    store: Arc<dyn AccessStore>,
    database: Gauge,
    contents: Gauge,
    free: Gauge,
    valid_until: Mutex<Option<Instant>>,
}

impl Size {
    fn register(store: Arc<dyn AccessStore>, registry: &mut Registry) -> Self {
        let (database, contents, free) = <(Gauge, Gauge, Gauge)>::default();
        for (name, help, gauge) in [
            ("cov_store_database_bytes", "What the database takes on the disk", &database),
            ("cov_store_contents_bytes", "What everything else that is stored takes", &contents),
            ("cov_store_free_bytes", "What is free on the disk of the data directory", &free),
        ] {
            registry.register(name, help, gauge.clone());
        }
        Self { store, database, contents, free, valid_until: Mutex::default() }
    }

    async fn measure(&self) {
        let begin = Instant::now();
        if !self.take_turn(begin) {
            return;
        }
        match self.store.usage().await {
            Ok(usage) => {
                for (gauge, bytes) in [
                    (&self.database, usage.database),
                    (&self.contents, usage.contents),
                    (&self.free, usage.free),
                ] {
                    gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
                }
            }
            Err(error) => tracing::warn!(%error, "the size of the store cannot be measured"),
        }
        let life = SIZE_LIFE.max(begin.elapsed().saturating_mul(SIZE_SHARE));
        *self.lock() = Some(begin + life);
    }

    /// Whether to measure now. Others who ask meanwhile see what was measured before.
    fn take_turn(&self, now: Instant) -> bool {
        let mut valid_until = self.lock();
        let is_old = valid_until.is_none_or(|until| until <= now);
        if is_old {
            *valid_until = Some(now + SIZE_LIFE);
        }
        is_old
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // One value, written in one step.
        self.valid_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
