//! From the configuration to who may do what: tokens, TLS, limits and quotas of the server. Makes
//! the first token. Checks no request.

use std::sync::Arc;
use std::time::Duration;

use cov_core::access::is_token_name;
use cov_core::ids::DispatchId;
use cov_core::time::Clock;
use cov_dispatcher::ProgramAddresses;
use cov_exec::local::Login;
use cov_http::{Access, BodyMemory, Listener, Quotas, Rules, Secret, Tls};
use cov_store::{AccessStore, SqliteStore};

use crate::clock::SystemClock;
use crate::config::{self, Config, Fault, Faults};
use crate::error::Error;
use crate::listen::Listen;
use crate::server::open_store;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads tokens and keys. Refuses a server that nobody could log in to.
pub(crate) async fn load(
    config: &Config,
    store: &Arc<SqliteStore>,
    clock: &Arc<dyn Clock>,
) -> Result<Access, Error> {
    let store = Arc::clone(store) as Arc<dyn AccessStore>;
    let access = Access::load(store, Arc::clone(clock), rules(config)).await;
    let path = config.data_dir.clone();
    let access = access.map_err(|source| Error::Data { path, source })?;
    if config.is_exposed() && !access.has_tokens() {
        return Err(Faults(vec![config.no_token()]).into());
    }
    Ok(access)
}

fn rules(config: &Config) -> Rules {
    let limits = &config.limits;
    Rules {
        login: match (config.insecure, config.login) {
            (true, _) => cov_http::Login::Off,
            (false, config::Login::Remote) => cov_http::Login::Remote,
            (false, config::Login::Always) => cov_http::Login::Always,
        },
        address_life: Duration::from_secs(limits.address_seconds),
        requests_per_second: limits.requests_per_second,
        refusals_per_minute: limits.refusals_per_minute,
        audit_life: DAY.saturating_mul(config.audit_days),
        quotas: Quotas {
            disk: limits.disk_bytes,
            database: limits.database_bytes,
            free: limits.free_bytes,
        },
    }
}

pub(crate) fn http_options(config: &Config, address: &Listen, access: Access) -> cov_http::Options {
    let limits = &config.limits;
    cov_http::Options {
        listen: address.tcp(),
        allowed_hosts: config.hosts(),
        limits: cov_http::Limits {
            nodes: limits.nodes,
            manifest_bytes: limits.manifest_bytes,
            upload_bytes: limits.upload_bytes,
            body_memory: BodyMemory::new(limits.body_memory_bytes),
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            registrations: limits.registrations,
            uploads: limits.uploads,
            requests: limits.requests,
            header_wait: Duration::from_secs(limits.idle_seconds),
            write_wait: Duration::from_secs(limits.idle_seconds),
            body_wait: Duration::from_secs(limits.body_seconds),
            body_bytes_per_second: limits.body_bytes_per_second,
            stop_wait: config.grace,
            ..cov_http::Limits::default()
        },
        access,
        ..cov_http::Options::default()
    }
}

/// Speaks TLS, if the configuration names a certificate.
pub(crate) fn encrypted(listener: Listener, config: &Config) -> Result<Listener, Error> {
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else {
        return Ok(listener);
    };
    let tls = Tls::load(certificate.clone(), key.clone()).map_err(|error| {
        let mut message = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            message = format!("{message}: {cause}");
        }
        let hint = "give --tls-cert and --tls-key files in PEM that belong together".to_owned();
        Error::from(Faults(vec![Fault { message, hint }]))
    })?;
    Ok(listener.with_tls(tls))
}

/// Makes the first token in a data directory that no server uses.
pub(crate) async fn create_token(name: &str, config: &Config) -> Result<Secret, Error> {
    let fault = |message: String, hint: &str| {
        Error::from(Faults(vec![Fault { message, hint: hint.to_owned() }]))
    };
    if !is_token_name(name) {
        let hint = "a name has 1 to 64 letters, digits, `.`, `_` or `-`";
        return Err(fault(format!("`{name}` is no name for a token"), hint));
    }
    let store = open_store(config).await?;
    let now = SystemClock.now();
    let made = cov_http::create_first_token(&*store, name, now).await;
    store.close().await;
    let path = config.data_dir.clone();
    let made = made.map_err(|source| Error::Data { path, source })?;
    let hint = "choose another name, or give it a new secret with `cov token rotate`";
    made.ok_or_else(|| fault(format!("a token `{name}` exists, or existed"), hint))
}

/// What tasks log in with: nothing where their place lets them in, so that they carry no secret
/// that they do not need.
pub(crate) fn task_login(config: &Config, address: &Listen, access: &Access) -> Login {
    let reached_by_loopback = match address.tcp() {
        None => true,
        Some(address) => address.ip().is_unspecified() || address.ip().to_canonical().is_loopback(),
    };
    let let_in = config.login == config::Login::Remote && reached_by_loopback;
    match access.task_token().filter(|_| !let_in) {
        Some(token) => Login::with_token(token),
        None => Login::default(),
    }
}

/// Where workers of engines outside fetch programs; nowhere from a server on a Unix socket whose
/// configuration names no other address.
pub(crate) fn program_addresses(
    config: &Config,
    address: &Listen,
    access: &Access,
) -> Option<Arc<dyn ProgramAddresses>> {
    let own = || address.tcp().map(|_| url(config, address));
    let base = config.public_url.clone().or_else(own)?;
    Some(Arc::new(Addresses { base, access: access.clone() }))
}

/// Addresses of programs, as machines see them that are not this one.
#[derive(Debug)]
struct Addresses {
    base: String,
    access: Access,
}

impl ProgramAddresses for Addresses {
    fn address(&self, dispatch: &DispatchId) -> String {
        self.access.program_address(&self.base, dispatch)
    }
}

/// What a client on this machine is given to reach the server.
pub(crate) fn url(config: &Config, address: &Listen) -> String {
    let url = address.url();
    match (&config.tls_cert, url.strip_prefix("http://")) {
        (Some(_), Some(rest)) => format!("https://{rest}"),
        _ => url,
    }
}
