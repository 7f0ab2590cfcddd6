//! The parts of the server in the order in which they start, and in the reverse order in which
//! they stop.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cov_core::time::Clock;
use cov_dispatcher::{Executors, Handle, Parts, Service};
use cov_exec::local::{LocalExecutor, LocalOptions};
use cov_exec::{Executor, Report};
use cov_http::{Access, StagingArchive};
use cov_store::SqliteStore;
use cov_store::{Contents, Store, TriggerStore};
use cov_triggers::{Fields, Registry, Trigger};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::access;
use crate::clock::SystemClock;
use crate::config::{Cgroups, Config, Faults, OnRestart};
use crate::engines;
use crate::error::Error;
use crate::listen::Listen;
use crate::meters::Meters;
use crate::triggers::{self, TriggerServer};

/// Reports of runners that wait for the dispatcher; runners wait beyond that.
const REPORTS_MAX: usize = 1024;

/// How long requests may take to end when tasks have used up the grace period.
const LAST_ANSWERS_IN: Duration = Duration::from_millis(200);

/// Folder in the data directory for what lives as long as the process.
pub(crate) const RUN_FOLDER: &str = "run";

/// Makes a [`Server`]. The program's `main` begins with [`init`](crate::init), if the server is to
/// run more than Python.
///
/// ```no_run
/// # async fn example() -> Result<(), cov_server::Error> {
/// let config = cov_server::Config::embedded("/var/lib/my-program/dispatches");
/// let server = cov_server::Builder::new(config).start().await?;
/// println!("{}", server.url());
/// server.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Builder {
    config: Config,
    clock: Arc<dyn Clock>,
    trigger_types: Registry,
    executors: Vec<(String, MakeExecutor)>,
    warm: bool,
}

/// Makes an executor that reports here.
struct MakeExecutor(Box<dyn FnOnce(mpsc::Sender<Report>) -> Arc<dyn Executor> + Send>);

impl fmt::Debug for MakeExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeExecutor")
    }
}

impl Builder {
    /// A server that will run with this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let trigger_types = Registry::builtin();
        let clock = Arc::new(SystemClock);
        Self { config, clock, trigger_types, executors: Vec::new(), warm: true }
    }

    /// Has Python start with its first task, and not with the server: for servers that may never
    /// run any.
    #[must_use]
    pub fn cold(mut self) -> Self {
        self.warm = false;
        self
    }

    /// The configuration that it will run with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Adds a trigger type, or replaces the one of that name. `factory` takes the type's own
    /// fields out of a trigger's dictionary.
    #[must_use]
    pub fn trigger_type<T: Trigger>(
        mut self,
        name: &str,
        factory: impl Fn(&mut Fields) -> Result<T, cov_triggers::Error> + Send + Sync + 'static,
    ) -> Self {
        self.trigger_types.register(name, factory);
        self
    }

    /// Adds an executor for electrons that ask for `name`, or puts it in the place of the one of
    /// that name. `make` is called when the server starts, in its runtime; what it makes reports by the
    /// channel that it is given. Each executor has slots of its own, which are shared fairly among
    /// dispatches.
    #[must_use]
    pub fn executor<E: Executor>(
        mut self,
        name: &str,
        make: impl FnOnce(mpsc::Sender<Report>) -> E + Send + 'static,
    ) -> Self {
        let make = MakeExecutor(Box::new(move |reports| Arc::new(make(reports))));
        self.executors.push((name.to_owned(), make));
        self
    }

    /// Starts a server that runs nothing but triggers, for dispatches of the server that the
    /// configuration names.
    ///
    /// # Errors
    /// The configuration, the address or the data directory cannot be used.
    pub async fn start_triggers_only(self) -> Result<TriggerServer, Error> {
        let Self { mut config, clock, trigger_types, .. } = self;
        config.triggers_only = true;
        let faults = config.validate();
        let Some(dispatcher) = config.dispatcher.clone().filter(|_| faults.is_empty()) else {
            return Err(Faults(faults).into());
        };
        TriggerServer::start(config, &dispatcher, trigger_types, clock).await
    }

    /// Starts everything. When this returns, requests are answered and every dispatch that was
    /// under way goes on.
    ///
    /// # Errors
    /// The configuration, the address or the data directory cannot be used.
    pub async fn start(self) -> Result<Server, Error> {
        let Self { config, clock, trigger_types, executors: added, warm } = self;
        let faults = config.validate();
        if !faults.is_empty() {
            return Err(Faults(faults).into());
        }
        // First, because it is the cheapest way to find out that another server runs. Requests
        // that come early wait in the system's queue.
        let (listener, address) = config.listen.open().await?;
        let store = open_store(&config).await?;
        let listener = access::encrypted(listener, &config)?;
        let gate = access::load(&config, &store, &clock).await?;
        let url = access::url(&config, &address);
        let meters = Meters::new();
        let (reporter, reports) = mpsc::channel(REPORTS_MAX);
        let mut options = local_options(&config, &store, &url);
        options.metrics = meters.runners.clone();
        options.warm = warm;
        options.login = access::task_login(&config, &address, &gate);
        let local = Arc::new(LocalExecutor::start(options, reporter.clone()));
        let executors = added.into_iter().fold(Executors::new(local), |all, (name, make)| {
            all.with(name, make.0(reporter.clone()))
        });
        let executors = engines::beside(executors, &config, &store, &url, &meters, reporter);
        let parts = Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            contents: Arc::clone(&store) as Arc<dyn Contents>,
            executors: executors.clone(),
            reports,
            sublattices: Arc::new(StagingArchive { nodes_max: config.limits.nodes }),
            clock,
        };
        let mut options = dispatcher_options(&config);
        options.metrics = meters.dispatcher.clone();
        options.program_addresses = access::program_addresses(&config, &address, &gate);
        let (handle, service) = match cov_dispatcher::start(options, parts).await {
            Ok(started) => started,
            Err(error) => {
                executors.stop().await;
                return Err(Error::Part { part: "the dispatcher", source: Box::new(error) });
            }
        };
        let triggers = match config.no_triggers {
            true => Ok(None),
            false => {
                let store: Arc<dyn TriggerStore> = Arc::<SqliteStore>::clone(&store);
                triggers::beside(handle.clone(), store, trigger_types, &meters).await.map(Some)
            }
        };
        let (triggers, trigger_service) = match triggers {
            Ok(started) => started.unzip(),
            Err(error) => {
                service.stop(Duration::ZERO).await;
                return Err(error);
            }
        };
        let (quit, quitting) = oneshot::channel();
        let options = access::http_options(&config, &address, gate.clone());
        let mut options = options.measured(meters.shown(Some(handle.clone()), store));
        options.continue_trace = crate::telemetry::continue_trace();
        let limits = options.limits.clone();
        let router = cov_http::router(handle.clone(), triggers, options);
        let serving = tokio::spawn(async move {
            // A sender that is dropped means the same as one that sends.
            let quitting = async { quitting.await.unwrap_or(()) };
            cov_http::serve(listener, router, &limits, quitting).await;
        });
        tracing::info!(address = %address, data_dir = %config.data_dir.display(), "server started");
        let grace = config.grace;
        Ok(Server { address, grace, handle, service, trigger_service, serving, quit, gate, url })
    }
}

/// A server that runs. Dropping it leaves its parts running: end it with [`Server::stop`].
#[derive(Debug)]
pub struct Server {
    address: Listen,
    grace: Duration,
    handle: Handle,
    service: Service,
    trigger_service: Option<cov_triggers::Service>,
    serving: JoinHandle<()>,
    quit: oneshot::Sender<()>,
    gate: Access,
    url: String,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Listen {
        &self.address
    }

    /// Where clients on this machine reach it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The dispatcher, for calls that need no HTTP.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the server ends by itself, which it should not. Cancelling the wait is safe.
    pub async fn ended(&mut self) -> Error {
        if let Err(error) = (&mut self.serving).await {
            return Error::Part { part: "the HTTP server", source: Box::new(error) };
        }
        Error::Ended { part: "the HTTP server" }
    }

    /// Stops: takes no more dispatches, lets tasks and then requests that are under way end within
    /// the grace period, and leaves the rest to be resumed at the next start.
    pub async fn stop(self) {
        let Self { address, grace, handle, service, trigger_service, serving, quit, gate, .. } =
            self;
        let begin = Instant::now();
        tracing::info!(grace = ?grace, "server stops");
        // Clients see how what runs ends, and where to go on: new dispatches are answered 503.
        service.drain();
        if tokio::time::timeout(grace, service.idle()).await.is_err() {
            tracing::info!("tasks outlast the grace period");
        }
        service.close();
        // An error means that it has ended already.
        quit.send(()).ok();
        end_serving(serving, grace.saturating_sub(begin.elapsed())).await;
        gate.close().await;
        address.clean();
        // Against the stream: first those who make dispatches, then those who run them.
        if let Some(triggers) = trigger_service {
            triggers::stop(triggers, grace.saturating_sub(begin.elapsed())).await;
        }
        drop(handle);
        service.stop(grace.saturating_sub(begin.elapsed())).await;
        tracing::info!("server stopped");
    }
}

/// Lets requests end that are under way, for `grace` or a moment.
async fn end_serving(mut serving: JoinHandle<()>, grace: Duration) {
    match tokio::time::timeout(grace.max(LAST_ANSWERS_IN), &mut serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = %error, "the HTTP server ended badly"),
        Err(_elapsed) => {
            tracing::warn!("requests that did not end are cut off");
            serving.abort();
        }
    }
}

pub(crate) async fn open_store(config: &Config) -> Result<Arc<SqliteStore>, Error> {
    let opened = SqliteStore::open_keeping(&config.data_dir, config.upgrade_copies).await;
    let path = config.data_dir.clone();
    opened.map(Arc::new).map_err(|source| Error::Data { path, source })
}

fn local_options(config: &Config, store: &SqliteStore, url: &str) -> LocalOptions {
    let run_dir = config.data_dir.join(RUN_FOLDER);
    let spool_dir = store.spool().to_path_buf();
    let mut options = LocalOptions::new(run_dir, spool_dir, url.to_owned());
    options.python.clone_from(&config.python);
    options.workers = config.workers;
    options.cgroups = config.cgroups == Cgroups::Auto;
    options
}

fn dispatcher_options(config: &Config) -> cov_dispatcher::Options {
    cov_dispatcher::Options {
        nodes_max: config.limits.nodes,
        upload_bytes_max: config.limits.upload_bytes,
        on_restart: match config.on_restart {
            OnRestart::Rerun => cov_dispatcher::OnRestart::Rerun,
            OnRestart::Fail => cov_dispatcher::OnRestart::Fail,
        },
        ..cov_dispatcher::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, OnRestart, dispatcher_options};

    #[test]
    fn the_policy_for_lost_attempts_reaches_the_dispatcher() {
        let mut config = Config::embedded("data");
        assert_eq!(dispatcher_options(&config).on_restart, cov_dispatcher::OnRestart::Rerun);
        config.on_restart = OnRestart::Fail;
        assert_eq!(dispatcher_options(&config).on_restart, cov_dispatcher::OnRestart::Fail);
    }
}
