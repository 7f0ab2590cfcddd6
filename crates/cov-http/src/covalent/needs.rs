//! What Covalent's routes ask of their callers, where it is not the rule. Decides nothing.

use cov_core::access::Scope;

use crate::routes::{Class, DISPATCH, Line, Need, READ, Told};

/// The routes that differ from the rule.
pub(crate) const LINES: &[Line] = &[
    ("GET", "/api/triggers/healthcheck", Need::Nothing, Class::Free, Told::Nothing),
    ("POST", "/api/draw", READ, Class::Other, Told::Nothing),
    ("GET", "/api/v2/dispatches", READ, Class::Free, Told::Nothing),
    ("POST", "/api/v2/dispatches", DISPATCH, Class::Register, Told::As("dispatch.register")),
    (
        "POST",
        "/api/v2/dispatches/{dispatch}/redispatches",
        DISPATCH,
        Class::Register,
        Told::As("dispatch.redispatch"),
    ),
    (
        "PUT",
        "/api/v2/dispatches/{dispatch}/status",
        DISPATCH,
        Class::Other,
        Told::As("dispatch.start"),
    ),
    (
        "PATCH",
        "/api/v2/dispatches/{dispatch}/electrons/{node}",
        DISPATCH,
        Class::Other,
        Told::As("dispatch.link"),
    ),
    (
        "POST",
        "/api/v2/dispatches/{dispatch}/electrons/{node}/assets/{key}",
        DISPATCH,
        Class::Other,
        Told::Nothing,
    ),
    (
        "PUT",
        "/api/v2/dispatches/{dispatch}/electrons/{node}/job",
        DISPATCH,
        Class::Other,
        Told::As("task.report"),
    ),
    ("GET", "/api/v0/files/{*key}", Need::Signed(Scope::Read), Class::Other, Told::Nothing),
    ("PUT", "/api/v0/files/{*key}", Need::Signed(Scope::Dispatch), Class::Upload, Told::Nothing),
    (
        "POST",
        "/api/triggers/register",
        Need::Granted(Scope::Dispatch),
        Class::Other,
        Told::As("trigger.register"),
    ),
    ("POST", "/api/triggers/stop_observe", DISPATCH, Class::Other, Told::As("trigger.stop")),
];
