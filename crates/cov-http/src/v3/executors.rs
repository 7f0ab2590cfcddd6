//! The executors that tasks of this server can ask for.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::App;

/// All executors.
#[derive(Debug, Serialize)]
pub(super) struct Executors {
    executors: Vec<Executor>,
}

/// One executor.
#[derive(Debug, Serialize)]
struct Executor {
    /// The name by which electrons ask for it.
    name: String,
    /// How many tasks it runs at once. Executors that share one pool show the pool's number.
    slots: usize,
}

/// Lists the executors.
pub(super) async fn list(State(shared): App) -> Json<Executors> {
    let known = shared.handle.executors();
    let executors =
        known.shown().map(|(name, slots)| Executor { name, slots }).collect();
    Json(Executors { executors })
}
