//! Routes with their names, so that the API's description can be held against them. Handles
//! nothing.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, post, put};

/// A router that knows its routes; its handlers share an `S`.
pub(super) struct Table<S> {
    router: Router<S>,
    known: Vec<(&'static str, &'static str)>,
}

impl<S: Clone + Send + Sync + 'static> Table<S> {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), known: Vec::new() }
    }

    pub(super) fn get<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.with("get", path, get(handler))
    }

    pub(super) fn post<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.with("post", path, post(handler))
    }

    pub(super) fn put<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.with("put", path, put(handler))
    }

    pub(super) fn delete<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.with("delete", path, delete(handler))
    }

    fn with(mut self, method: &'static str, path: &'static str, handler: MethodRouter<S>) -> Self {
        self.known.push((method, path));
        self.router = self.router.route(path, handler);
        self
    }

    pub(super) fn into_router(self) -> Router<S> {
        self.router
    }

    /// Method and path of every route.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds the description against it"))]
    pub(super) fn known(&self) -> &[(&'static str, &'static str)] {
        &self.known
    }
}
