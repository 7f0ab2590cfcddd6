//! The way from the checks of a request to its handler: who calls, whether there is room, and
//! what is written down afterwards. Knows no route by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use cov_core::error::ErrorCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Limits;
use crate::access::{self, Access, Admitted, Target};
use crate::error::Refusal;
use crate::request_id::RequestId;
use crate::routes::{Class, Route};

/// What stands in front of every handler.
#[derive(Debug)]
pub(crate) struct Gate {
    access: Access,
    upload_bytes_max: u64,
    registrations: Semaphore,
    uploads: Semaphore,
    others: Semaphore,
    turn_wait: Duration,
}

impl Gate {
    pub(crate) fn new(access: Access, limits: &Limits) -> Self {
        Self {
            access,
            upload_bytes_max: limits.upload_bytes.saturating_add(limits.manifest_bytes),
            registrations: Semaphore::new(limits.registrations),
            uploads: Semaphore::new(limits.uploads),
            others: Semaphore::new(limits.requests),
            turn_wait: limits.turn_wait,
        }
    }

    async fn enter(&self, class: Class) -> Result<Option<SemaphorePermit<'_>>, Refusal> {
        let turns = match class {
            Class::Free => return Ok(None),
            Class::Register => &self.registrations,
            Class::Upload => &self.uploads,
            Class::Other => &self.others,
        };
        match tokio::time::timeout(self.turn_wait, turns.acquire()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_closed)) => Err(Refusal::new(ErrorCode::Stopping, "the server is stopping")),
            Err(_too_long) => {
                Err(Refusal::new(ErrorCode::Overloaded, "too many requests are under way"))
            }
        }
    }
}

/// Lets a request through, or refuses it.
pub(crate) async fn pass(
    State(gate): State<Arc<Gate>>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = Route::of(&request);
    let id = request.extensions().get::<RequestId>().cloned();
    let caller =
        match access::check(&gate.access, &route, &mut request, gate.upload_bytes_max).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal.into_response(),
        };
    let _turn = match gate.enter(route.class()).await {
        Ok(turn) => turn,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(caller) = caller else { return next.run(request).await };
    let mut note = Note { gate: &gate, caller, route, id, is_open: true };
    let response = next.run(request).await;
    note.close(&response);
    response
}

/// What is to be written down. A client that leaves before it is answered drops its request, and
/// what it asked for may have been done: then the row has no status.
struct Note<'a> {
    gate: &'a Gate,
    caller: Admitted,
    route: Route,
    id: Option<RequestId>,
    is_open: bool,
}

impl Note<'_> {
    fn close(&mut self, response: &Response) {
        self.is_open = false;
        self.write(Some(response));
        let registered = response.extensions().get::<Target>();
        if let (Some(inner), Some(Target(dispatch))) = (self.gate.access.inner(), registered)
            && self.route.class() == Class::Register
        {
            inner.note_registered(&self.caller, dispatch);
        }
    }

    fn write(&self, response: Option<&Response>) {
        if let Some(inner) = self.gate.access.inner() {
            let id = self.id.as_ref().map_or("", RequestId::as_str);
            access::record(inner, &self.caller, &self.route, id, response);
        }
    }
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.write(None);
        }
    }
}
