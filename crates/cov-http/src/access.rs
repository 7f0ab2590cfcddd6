//! Who may do what: tokens, signed addresses, the trust that comes with a place, the audit and
//! the quotas. Keeps what a server knows of its callers in memory, in step with the store. Serves
//! no route.

mod audit;
mod check;
mod grants;
mod rate;
mod sign;
mod space;
mod token;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cov_core::access::Scope;
use cov_core::asset::AssetKey;
use cov_core::ids::DispatchId;
use cov_core::time::{Clock, Timestamp};
use cov_dispatcher::store;
use cov_dispatcher::store::access::{
    AccessStore, AuditEntry, AuditPage, AuditQuery, TokenChange, TokenOutcome, TokenRecord,
};

pub(crate) use self::audit::{Action, OnBehalf, Target, record};
pub(crate) use self::check::{Admitted, check, unauthenticated};
pub(crate) use self::sign::{Right, Signer};
pub use self::space::Quotas;
pub use self::token::Secret;

use self::audit::Audit;
use self::grants::Grants;
use self::rate::Rates;
use self::space::Space;

/// The name of the key that signs addresses, in the store.
const ADDRESS_KEY: &str = "addresses";

/// Who needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Login {
    /// Nobody; tokens that are sent are checked all the same.
    Off,
    /// Callers from other machines.
    #[default]
    Remote,
    /// Everybody but those who come by a Unix socket.
    Always,
}

/// How a server treats its callers.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Who needs a token.
    pub login: Login,
    /// How long a signed address is valid.
    pub address_life: Duration,
    /// Most requests of one token or address in a second; 0 is no limit. Callers who are trusted
    /// for their place are not counted.
    pub requests_per_second: u32,
    /// Most refused tokens of one address in a minute.
    pub refusals_per_minute: u32,
    /// How long rows of the audit are kept; zero keeps them for good.
    pub audit_life: Duration,
    /// What may be used up.
    pub quotas: Quotas,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            login: Login::default(),
            address_life: Duration::from_secs(24 * 60 * 60),
            requests_per_second: 2_000,
            refusals_per_minute: 60,
            audit_life: Duration::ZERO,
            quotas: Quotas::default(),
        }
    }
}

/// What a server knows of its callers. Cheap to clone. The default knows nobody, lets everybody
/// do everything and writes nothing down, as suits a server inside a test.
#[derive(Debug, Clone, Default)]
pub struct Access(Option<Arc<Inner>>);

#[derive(Debug)]
pub(crate) struct Inner {
    store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
    rules: Rules,
    /// By the public part; those that were revoked are not here.
    tokens: RwLock<HashMap<String, TokenRecord>>,
    /// Taken by a change of tokens, so that the map follows the store in its order.
    changing: tokio::sync::Mutex<()>,
    /// For the tasks of this server, as long as this process lives.
    task_secret: Secret,
    signer: Signer,
    grants: Mutex<Grants>,
    rates: Mutex<Rates>,
    refusals: Mutex<Rates>,
    audit: Audit,
    space: Space,
}

impl Access {
    /// Reads what is kept. Begins to write the audit, in a task of its own.
    ///
    /// # Errors
    /// The store is unavailable, or the system has no random numbers.
    pub async fn load(
        store: Arc<dyn AccessStore>,
        clock: Arc<dyn Clock>,
        rules: Rules,
    ) -> Result<Self, store::Error> {
        let fresh = token::random().map_err(|error| store::Error::Internal(error.into()))?;
        let key = store.server_key(ADDRESS_KEY, fresh).await?;
        let kept = store.tokens().await?.into_iter();
        let tokens = kept.filter(|token| token.revoked_at.is_none());
        let task_secret = Secret::make().map_err(|error| store::Error::Internal(error.into()))?;
        let audit = Audit::start(Arc::clone(&store), Arc::clone(&clock), rules.audit_life);
        Ok(Self(Some(Arc::new(Inner {
            signer: Signer::new(key, Arc::clone(&clock), rules.address_life),
            tokens: RwLock::new(tokens.map(|token| (token.id.clone(), token)).collect()),
            changing: tokio::sync::Mutex::new(()),
            task_secret,
            grants: Mutex::default(),
            rates: Mutex::new(Rates::per_second(rules.requests_per_second)),
            refusals: Mutex::new(Rates::per_minute(rules.refusals_per_minute)),
            audit,
            space: Space::new(Arc::clone(&store), rules.quotas),
            store,
            clock,
            rules,
        }))))
    }

    /// Whether any token is valid now.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        let Some(inner) = &self.0 else { return false };
        let now = inner.clock.now();
        inner.read_tokens().values().any(|token| is_valid(token, now))
    }

    /// What tasks of this server can log in with, as long as this process lives.
    #[must_use]
    pub fn task_token(&self) -> Option<&str> {
        let inner = self.0.as_ref().filter(|inner| inner.rules.login != Login::Off)?;
        Some(inner.task_secret.as_str())
    }

    /// Where workers of engines outside fetch the program of a dispatch, for as long as a signed
    /// address is valid. `base` is the server's address as they see it, such as
    /// `https://cov.example.org`.
    #[must_use]
    pub fn program_address(&self, base: &str, dispatch: &DispatchId) -> String {
        let path = format!("/api/v3/dispatches/{dispatch}/assets/{}", AssetKey::Program.as_str());
        let query = self.0.as_ref().map(|inner| inner.signer.query(Right::Read, &path));
        format!("{}{path}{}", base.trim_end_matches('/'), query.unwrap_or_default())
    }

    /// Writes what is left of the audit. To be called when no request is under way any more.
    pub async fn close(&self) {
        if let Some(inner) = &self.0 {
            inner.audit.close().await;
        }
    }

    pub(crate) fn inner(&self) -> Option<&Arc<Inner>> {
        self.0.as_ref()
    }
}

/// Makes a token with every right in the data directory of a server that does not run, and
/// returns its secret, or `None` when the name is taken.
///
/// # Errors
/// The store is unavailable.
pub async fn create_first_token(
    store: &dyn AccessStore,
    name: &str,
    now: Timestamp,
) -> Result<Option<Secret>, store::Error> {
    let secret = Secret::make().map_err(|error| store::Error::Internal(error.into()))?;
    let change = TokenChange::Create(secret.record(name, Scope::Admin, now, None));
    let entry = AuditEntry {
        at: now,
        who: "server".to_owned(),
        origin: "command".to_owned(),
        action: "token.create".to_owned(),
        target: name.to_owned(),
        status: 0,
        request: String::new(),
    };
    match store.change_token(&change, &entry).await? {
        TokenOutcome::Done(_) => Ok(Some(secret)),
        TokenOutcome::Exists | TokenOutcome::Unknown => Ok(None),
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn read_tokens(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, TokenRecord>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All tokens, with those that are not valid any more.
    pub(crate) async fn list(&self) -> Result<Vec<TokenRecord>, store::Error> {
        self.store.tokens().await
    }

    /// Makes a change; it counts for the next request when this returns.
    pub(crate) async fn change(
        &self,
        change: &TokenChange,
        entry: &AuditEntry,
    ) -> Result<TokenOutcome, store::Error> {
        let _in_the_order_of_the_store = self.changing.lock().await;
        let outcome = self.store.change_token(change, entry).await?;
        if let TokenOutcome::Done(token) = &outcome {
            let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
            tokens.retain(|_, known| known.name != token.name);
            if token.revoked_at.is_none() {
                tokens.insert(token.id.clone(), token.clone());
            }
        }
        Ok(outcome)
    }

    pub(crate) async fn audit_page(&self, query: &AuditQuery) -> Result<AuditPage, store::Error> {
        self.audit.flush().await;
        self.store.audit(query).await
    }

    pub(crate) async fn purge_audit(&self, until: Timestamp) -> Result<u64, store::Error> {
        self.store.purge_audit(until).await
    }

    /// Remembers that a caller with a token has registered this dispatch: the SDK registers its
    /// triggers next, and sends no token then.
    fn grant(&self, dispatch: DispatchId, origin: IpAddr, who: &Arc<str>) {
        lock(&self.grants).put(dispatch, origin, Arc::clone(who));
    }

    /// Who has registered this dispatch a moment ago, from this address.
    pub(crate) fn granted(&self, dispatch: &DispatchId, origin: IpAddr) -> Option<Arc<str>> {
        lock(&self.grants).find(dispatch, origin)
    }
}

fn is_valid(token: &TokenRecord, now: Timestamp) -> bool {
    token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end)
}

/// What these locks protect is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
