//! The executors that tasks of this server can ask for.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use cov_dispatcher::Found;
use serde::Serialize;

use crate::App;
use crate::error::Refusal;
use crate::params::QueryParams;

/// How long is waited for executor plugins to be found.
const FOUND_IN: Duration = Duration::from_secs(20);

/// All executors.
#[derive(Debug, Serialize)]
pub(super) struct Executors {
    executors: Vec<Executor>,
    /// Why executor plugins could not be looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// One executor.
#[derive(Debug, Serialize)]
struct Executor {
    /// The name by which electrons ask for it.
    name: String,
    /// How many tasks it runs at once. Executors that share one pool show the pool's number.
    slots: usize,
    /// The module or the file of a plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Whether its tasks outlive the server.
    attaches: bool,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// Lists the executors, executor plugins among them.
pub(super) async fn list(
    State(shared): App,
    params: QueryParams,
) -> Result<Json<Executors>, Refusal> {
    let known = shared.handle.executors();
    let (found, fault) = match params.flag("plugins", true)? {
        true => found(known).await,
        false => (Vec::new(), None),
    };
    let own = known.shown().map(|(name, slots)| Executor {
        name: name.to_owned(),
        slots,
        origin: None,
        attaches: false,
        fault: None,
    });
    let mut executors: Vec<Executor> = own.collect();
    for plugin in found {
        // An executor that was added under its name takes its place.
        if executors.iter().all(|own| own.name != plugin.name) {
            let (origin, attaches) = (Some(plugin.origin), plugin.attaches);
            let (name, slots, fault) = (plugin.name, plugin.slots, plugin.fault);
            executors.push(Executor { name, slots, origin, attaches, fault });
        }
    }
    Ok(Json(Executors { executors, fault }))
}

/// The executor plugins, or why they could not be looked for.
async fn found(known: &cov_dispatcher::Executors) -> (Vec<Found>, Option<String>) {
    match tokio::time::timeout(FOUND_IN, known.found()).await {
        Ok(Ok(found)) => (found, None),
        Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
        Err(_elapsed) => (Vec::new(), Some("executor plugins are still looked for".to_owned())),
    }
}
