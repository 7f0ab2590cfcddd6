//! What the trigger routes of both APIs share: the service, the reads, and how its errors are
//! answered. Watches nothing itself.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use cov_core::error::ErrorCode;
use cov_core::trigger::TriggerId;
use cov_dispatcher::store::TriggerStore;

use crate::access::Access;
use crate::error::Refusal;
use crate::{Limits, Options};

/// The running triggers of a server.
#[derive(Debug, Clone)]
pub struct Triggers {
    /// The service that runs them.
    pub service: cov_triggers::Triggers,
    /// Their records and histories, for lists.
    pub store: Arc<dyn TriggerStore>,
}

/// What the handlers of trigger routes need.
#[derive(Debug)]
pub(crate) struct TriggerShared {
    triggers: Option<Triggers>,
    pub(crate) limits: Limits,
    pub(crate) access: Access,
}

pub(crate) type TriggerApp = axum::extract::State<Arc<TriggerShared>>;

impl TriggerShared {
    pub(crate) fn new(triggers: Option<Triggers>, options: &Options) -> Self {
        Self { triggers, limits: options.limits.clone(), access: options.access.clone() }
    }

    /// The triggers, if this server runs any.
    pub(crate) fn get(&self) -> Option<&Triggers> {
        self.triggers.as_ref()
    }

    /// The triggers, for a caller who needs them.
    ///
    /// # Errors
    /// This server was started without.
    pub(crate) fn need(&self) -> Result<&Triggers, Refusal> {
        let said = "triggers are disabled on this server";
        self.get().ok_or_else(|| Refusal::new(ErrorCode::IllegalState, said))
    }
}

impl From<cov_triggers::Error> for Refusal {
    fn from(error: cov_triggers::Error) -> Self {
        use cov_triggers::Error;
        let code = match &error {
            Error::NotFound(_) => ErrorCode::TriggerNotFound,
            Error::Conflict(_) => ErrorCode::IllegalState,
            Error::Forbidden(_) => ErrorCode::SignatureMismatch,
            Error::Unavailable(reason) => {
                tracing::error!(error = reason, "triggers are not available");
                ErrorCode::StoreUnavailable
            }
            _ => ErrorCode::TriggerRefused,
        };
        Self::new(code, error.to_string())
    }
}

/// A fault of the store below the triggers.
pub(crate) fn store_refusal(error: cov_dispatcher::store::Error) -> Refusal {
    Refusal::from(cov_dispatcher::Error::from(error))
}

/// The trigger that a path names. Its existence is the service's business.
#[derive(Debug)]
pub(crate) struct TriggerPath {
    pub(crate) trigger: TriggerId,
    /// The event that the path names, where it names one.
    pub(crate) event_key: String,
}

impl<S: Send + Sync> FromRequestParts<S> for TriggerPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_error| {
            Refusal::new(ErrorCode::InvalidParameter, "the path is no UTF-8 text")
        })?;
        let param = |name: &str| {
            let found = params.iter().find(|(known, _)| *known == name);
            found.map_or("", |(_, value)| value).to_owned()
        };
        let text = param("trigger");
        let trigger = text.parse().map_err(|_error| {
            let shown: String = text.chars().take(80).collect();
            Refusal::new(ErrorCode::TriggerNotFound, format!("there is no trigger {shown}"))
        })?;
        Ok(Self { trigger, event_key: param("key") })
    }
}
