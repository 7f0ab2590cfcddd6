//! What every route asks of its caller, how many may be at it at once, and what the audit calls
//! it. A route that is not named here needs `read` to look and `dispatch` to change something, and
//! is written down under its method and path: a new one is never open by accident.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use cov_core::access::Scope;

use crate::covalent;

/// What a caller needs for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// A scope.
    Scope(Scope),
    /// A scope, or an address that is signed.
    Signed(Scope),
    /// A scope, or a dispatch that a caller with that scope has just registered.
    Granted(Scope),
}

/// Which requests share a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Answered without work, or held on purpose: the number of connections is limit enough.
    Free,
    /// Brings a workflow.
    Register,
    /// Brings bytes that are streamed.
    Upload,
    /// Everything else.
    Other,
}

/// What the audit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing: it changes nothing, or a row of its own is written with the change.
    Nothing,
    /// This.
    As(&'static str),
}

/// Method, path, what it needs, what it shares a limit with, what the audit is told.
pub(crate) type Line = (&'static str, &'static str, Need, Class, Told);

pub(crate) const READ: Need = Need::Scope(Scope::Read);
pub(crate) const DISPATCH: Need = Need::Scope(Scope::Dispatch);
const ADMIN: Need = Need::Scope(Scope::Admin);

/// The routes that differ from the rule; those of Covalent are with it.
const LINES: &[Line] = &[
    ("GET", "/healthz", Need::Nothing, Class::Free, Told::Nothing),
    ("GET", "/readyz", Need::Nothing, Class::Free, Told::Nothing),
    ("GET", "/api/v3/openapi.json", Need::Nothing, Class::Other, Told::Nothing),
    // Says by its signature that it may.
    ("POST", "/api/v3/triggers/{trigger}/webhook", Need::Nothing, Class::Other, Told::Nothing),
    // The native API.
    ("POST", "/api/v3/dispatches", DISPATCH, Class::Register, Told::As("dispatch.register")),
    // It takes ids and outcomes from elsewhere as true.
    ("POST", "/api/v3/import", ADMIN, Class::Register, Told::As("dispatch.import")),
    (
        "POST",
        "/api/v3/dispatches/{dispatch}/redispatch",
        DISPATCH,
        Class::Register,
        Told::As("dispatch.redispatch"),
    ),
    (
        "POST",
        "/api/v3/dispatches/{dispatch}/start",
        DISPATCH,
        Class::Other,
        Told::As("dispatch.start"),
    ),
    (
        "POST",
        "/api/v3/dispatches/{dispatch}/cancel",
        DISPATCH,
        Class::Other,
        Told::As("dispatch.cancel"),
    ),
    ("PUT", "/api/v3/dispatches/{dispatch}/assets/{key}", DISPATCH, Class::Upload, Told::Nothing),
    // Workers of an engine outside fetch the program there.
    (
        "GET",
        "/api/v3/dispatches/{dispatch}/assets/{key}",
        Need::Signed(Scope::Read),
        Class::Other,
        Told::Nothing,
    ),
    (
        "PUT",
        "/api/v3/dispatches/{dispatch}/assets/{node}/{key}",
        DISPATCH,
        Class::Upload,
        Told::Nothing,
    ),
    ("POST", "/api/v3/contents/known", DISPATCH, Class::Other, Told::Nothing),
    ("GET", "/api/v3/events", READ, Class::Free, Told::Nothing),
    ("GET", "/api/v3/dispatches/{dispatch}/events", READ, Class::Free, Told::Nothing),
    ("GET", "/api/v3/dispatches/{dispatch}/result", READ, Class::Free, Told::Nothing),
    ("POST", "/api/v3/purge", ADMIN, Class::Other, Told::As("purge")),
    ("POST", "/api/v3/backup", ADMIN, Class::Other, Told::As("backup")),
    ("POST", "/api/v3/triggers", DISPATCH, Class::Other, Told::As("trigger.register")),
    ("POST", "/api/v3/triggers/{trigger}/test", DISPATCH, Class::Other, Told::Nothing),
    // Written down with the change.
    ("GET", "/api/v3/tokens", ADMIN, Class::Other, Told::Nothing),
    ("POST", "/api/v3/tokens", ADMIN, Class::Other, Told::Nothing),
    ("POST", "/api/v3/tokens/{name}/rotate", ADMIN, Class::Other, Told::Nothing),
    ("DELETE", "/api/v3/tokens/{name}", ADMIN, Class::Other, Told::Nothing),
    ("GET", "/api/v3/audit", ADMIN, Class::Other, Told::Nothing),
    ("POST", "/api/v3/audit/purge", ADMIN, Class::Other, Told::As("audit.purge")),
];

/// The route that a request has taken.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    method: Method,
    /// `None` for a path that leads nowhere.
    pattern: Option<MatchedPath>,
    path: String,
}

impl Route {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            method: match *request.method() {
                Method::HEAD => Method::GET,
                ref method => method.clone(),
            },
            pattern: request.extensions().get::<MatchedPath>().cloned(),
            path: request.uri().path().to_owned(),
        }
    }

    fn pattern(&self) -> &str {
        self.pattern.as_ref().map_or("", MatchedPath::as_str)
    }

    fn line(&self) -> Option<&'static Line> {
        line(self.method.as_str(), self.pattern())
    }

    pub(crate) fn need(&self) -> Need {
        need(self.method.as_str(), self.pattern())
    }

    pub(crate) fn class(&self) -> Class {
        self.line().map_or(Class::Other, |line| line.3)
    }

    /// Whether it brings something that takes room.
    pub(crate) fn is_intake(&self) -> bool {
        matches!(self.class(), Class::Register | Class::Upload)
    }

    /// What the audit calls it; `None` for what changes nothing.
    pub(crate) fn action(&self) -> Option<String> {
        match self.line().map(|line| line.4) {
            Some(Told::Nothing) => None,
            Some(Told::As(action)) => Some(action.to_owned()),
            None if self.method == Method::GET => None,
            None => Some(spelled(&self.method, self.pattern())),
        }
    }

    /// What the path acts upon: the first part of it that is not the same for all.
    pub(crate) fn target(&self) -> &str {
        let parts = self.pattern().split('/').zip(self.path.split('/'));
        let mut varying = parts.filter(|(part, _)| part.starts_with('{'));
        varying.next().map_or("", |(_, value)| value)
    }
}

fn line(method: &str, pattern: &str) -> Option<&'static Line> {
    let all = LINES.iter().chain(covalent::LINES);
    all.into_iter().find(|line| line.0 == method && line.1 == pattern)
}

/// What a route asks of its caller.
fn need(method: &str, pattern: &str) -> Need {
    match line(method, pattern) {
        Some(line) => line.2,
        None if method == Method::GET => READ,
        None => DISPATCH,
    }
}

/// `trigger.pause` for `/api/v3/triggers/{trigger}/pause`, and the like.
fn spelled(method: &Method, pattern: &str) -> String {
    let mut parts = pattern.split('/').filter(|part| !part.is_empty() && !part.starts_with('{'));
    let what = parts.nth(2).unwrap_or("request").trim_end_matches('s').to_owned();
    let done = parts.next_back().map_or_else(|| method.as_str().to_lowercase(), str::to_owned);
    format!("{what}.{done}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_without_a_line_have_a_name() {
        for (method, pattern, expected) in [
            (Method::POST, "/api/v3/triggers/{trigger}/pause", "trigger.pause"),
            (Method::DELETE, "/api/v3/triggers/{trigger}", "trigger.delete"),
            (Method::PUT, "/api/v9/new/{x}/y/z", "new.z"),
            (Method::PUT, "/x", "request.put"),
        ] {
            assert_eq!(spelled(&method, pattern), expected);
        }
    }

    /// A line with a slip of the pen would leave its route to the rule.
    #[test]
    fn every_line_is_a_route() {
        let known = crate::v3::known();
        let native = LINES.iter().filter(|line| line.1.starts_with("/api/v3/"));
        for (method, pattern, ..) in native {
            let found = known
                .iter()
                .any(|(known, path)| known.eq_ignore_ascii_case(method) && path == pattern);
            assert!(found, "{method} {pattern}");
        }
    }

    #[test]
    fn no_route_is_open_that_is_not_named() {
        for (method, pattern) in crate::v3::known() {
            let line = line(&method.to_uppercase(), pattern);
            let open = line.is_some_and(|line| line.2 == Need::Nothing);
            let meant = ["/api/v3/openapi.json", "/api/v3/triggers/{trigger}/webhook"];
            assert_eq!(open, meant.contains(&pattern), "{method} {pattern}");
        }
    }

    /// Clients read there which token they need.
    #[test]
    fn the_description_says_what_every_route_needs() {
        let text = include_str!("../../../docs/openapi.json");
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        for (method, path) in crate::v3::known() {
            let written = &document["paths"][path][method]["x-scope"];
            let expected = match need(&method.to_uppercase(), path) {
                Need::Nothing => "none",
                Need::Scope(scope) | Need::Signed(scope) | Need::Granted(scope) => scope.as_str(),
            };
            assert_eq!(written, expected, "{method} {path}");
        }
    }
}
