//! What Covalent's words mean: states, prefixes of node names, kinds of edges.

use cov_core::graph::{EdgeKind, NodeKind};
use cov_core::status::Status;

/// The name of the edge that passes no value.
const WAITING_EDGE: &str = "!waiting_edge";

/// What the name of a node says about it.
pub(super) fn kind(name: &str) -> NodeKind {
    const KINDS: [(&str, NodeKind); 3] = [
        (":parameter:", NodeKind::Parameter),
        (":sublattice:", NodeKind::Sublattice),
        (":postprocess:", NodeKind::Postprocess),
    ];
    let named = KINDS.into_iter().find(|(prefix, _)| name.starts_with(prefix));
    match named {
        Some((_, kind)) => kind,
        None if takes_apart(name) => NodeKind::Helper,
        None => NodeKind::Task,
    }
}

/// `:split.__getitem__`, `:split.__getattr__`, `:split()[0]`: the SDK's own electrons.
fn takes_apart(name: &str) -> bool {
    let is_index = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unpacks = || name.strip_suffix(']').and_then(|rest| rest.rsplit_once("()["));
    name.starts_with(':')
        && (name.ends_with(".__getitem__")
            || name.ends_with(".__getattr__")
            || unpacks().is_some_and(|(_, index)| is_index(index)))
}

/// A state, by the name under which it is stored.
pub(super) fn status(text: &str) -> Result<Status, String> {
    match text {
        "POSTPROCESSING_FAILED" => Ok(Status::Failed),
        "PENDING_POSTPROCESSING" => Ok(Status::Postprocessing),
        text => text.parse().map_err(|_unknown| text.to_owned()),
    }
}

/// How an edge passes a value. `None` for a positional argument without a position.
pub(super) fn edge_kind(
    name: &str,
    parameter: Option<&str>,
    index: Option<i64>,
) -> Option<EdgeKind> {
    match parameter {
        _ if name == WAITING_EDGE => Some(EdgeKind::Wait),
        None => Some(EdgeKind::Wait),
        Some("kwarg") => Some(EdgeKind::Kwarg),
        Some(_) => index.and_then(|index| u32::try_from(index).ok()).map(EdgeKind::Arg),
    }
}
