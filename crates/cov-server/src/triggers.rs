//! Starts the triggers beside a dispatcher, or on a server of their own. Knows no trigger type.

use std::sync::Arc;
use std::time::Duration;

use cov_client::Client;
use cov_core::time::Clock;
use cov_dispatcher::{Handle, LocalHost};
use cov_http::Access;
use cov_store::{AccessStore, SqliteStore, TriggerStore};
use cov_triggers::{Registry, Service, TriggerHost};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::access;
use crate::config::Config;
use crate::error::Error;
use crate::listen::Listen;
use crate::meters::Meters;
use crate::remote_host::RemoteHost;
use crate::server::open_store;

/// How long a stopping server waits for firings that have begun, at least.
const FIRINGS_END_IN: Duration = Duration::from_secs(3);

/// Starts the triggers of a dispatcher.
pub(crate) async fn beside(
    handle: Handle,
    store: Arc<dyn TriggerStore>,
    registry: Registry,
    meters: &Meters,
) -> Result<(cov_http::Triggers, Service), Error> {
    let host = LocalHost::new(handle, Arc::clone(&store));
    start(Arc::new(host), store, registry, meters).await
}

async fn start(
    host: Arc<dyn TriggerHost>,
    store: Arc<dyn TriggerStore>,
    registry: Registry,
    meters: &Meters,
) -> Result<(cov_http::Triggers, Service), Error> {
    let part = "the trigger service";
    let started = Service::start_measured(host, registry, meters.triggers.clone()).await;
    let (service, running) =
        started.map_err(|error| Error::Part { part, source: Box::new(error) })?;
    Ok((cov_http::Triggers { service, store }, running))
}

/// Lets firings that have begun end, and stops the triggers.
pub(crate) async fn stop(service: Service, grace: Duration) {
    if tokio::time::timeout(grace.max(FIRINGS_END_IN), service.stop()).await.is_err() {
        tracing::warn!("some firings did not end; they are taken up at the next start");
    }
}

/// A server that runs nothing but triggers; their dispatches are on another one.
#[derive(Debug)]
pub struct TriggerServer {
    address: Listen,
    grace: Duration,
    service: Service,
    serving: JoinHandle<()>,
    quit: oneshot::Sender<()>,
    gate: Access,
    url: String,
}

impl TriggerServer {
    pub(crate) async fn start(
        config: Config,
        dispatcher: &str,
        registry: Registry,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let (listener, address) = config.listen.open().await?;
        let store: Arc<SqliteStore> = open_store(&config).await?;
        let listener = access::encrypted(listener, &config)?;
        let gate = access::load(&config, &store, &clock).await?;
        let url = access::url(&config, &address);
        let part = "the client of the dispatcher";
        let client = Client::builder(dispatcher)
            .build()
            .map_err(|source| Error::Part { part, source: Box::new(source) })?;
        let host = RemoteHost::new(Arc::clone(&store) as Arc<dyn TriggerStore>, client, clock);
        let meters = Meters::new();
        let sizes: Arc<dyn AccessStore> = Arc::<SqliteStore>::clone(&store);
        let (triggers, service) = start(Arc::new(host), store, registry, &meters).await?;
        let options = access::http_options(&config, &address, gate.clone());
        let options = options.measured(meters.shown(None, sizes));
        let limits = options.limits.clone();
        let router = cov_http::trigger_router(triggers, options);
        let (quit, quitting) = oneshot::channel();
        let serving = tokio::spawn(async move {
            // A sender that is dropped means the same as one that sends.
            let quitting = async { quitting.await.unwrap_or(()) };
            cov_http::serve(listener, router, &limits, quitting).await;
        });
        tracing::info!(address = %address, dispatcher, "trigger server started");
        Ok(Self { address, grace: config.grace, service, serving, quit, gate, url })
    }

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

    /// Waits until the server ends by itself, which it should not. Cancelling the wait is safe.
    pub async fn ended(&mut self) -> Error {
        if let Err(error) = (&mut self.serving).await {
            return Error::Part { part: "the HTTP server", source: Box::new(error) };
        }
        Error::Ended { part: "the HTTP server" }
    }

    /// Stops: accepts no more, and lets firings that have begun end.
    pub async fn stop(self) {
        let Self { address, grace, service, serving, quit, gate, .. } = self;
        // An error means that it has ended already.
        quit.send(()).ok();
        if let Err(error) = serving.await {
            tracing::error!(error = %error, "the HTTP server ended badly");
        }
        gate.close().await;
        address.clean();
        stop(service, grace).await;
        tracing::info!("trigger server stopped");
    }
}
