//! What must hold of a dispatch after every step, derived again from first principles. Run by
//! the simulation after every step, and by the server in debug builds.

use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::status::Status;

use crate::dispatch::{Dispatch, Node};
use crate::phase::{End, KillReason, Phase};

/// Checks everything that must hold.
///
/// # Errors
/// The first broken rule, in words.
pub fn check(dispatch: &Dispatch) -> Result<(), String> {
    check_counter(dispatch)?;
    check_life(dispatch)?;
    for (id, node) in dispatch.graph().nodes().zip(&dispatch.nodes) {
        check_node(dispatch, id, node).map_err(|rule| format!("node {id}: {rule}"))?;
    }
    Ok(())
}

fn check_counter(dispatch: &Dispatch) -> Result<(), String> {
    let active = dispatch.nodes.iter().filter(|node| node.phase.is_active()).count();
    rule(active == dispatch.active, || {
        format!("{active} nodes are active, but {} are counted", dispatch.active)
    })
}

fn check_life(dispatch: &Dispatch) -> Result<(), String> {
    let status = dispatch.state.status;
    let has_ended = dispatch.state.ended_at.is_some();
    rule(has_ended == status.is_terminal(), || format!("is {status}; has an end: {has_ended}"))?;
    match status {
        Status::NewObject => {
            let touched = dispatch
                .nodes
                .iter()
                .any(|node| node.phase.is_active() || matches!(node.phase, Phase::Ended(_)));
            rule(!touched, || "a node moved before the dispatch was started".into())
        }
        Status::Running => {
            rule(dispatch.active > 0, || "nothing is under way in a running dispatch".into())
        }
        Status::Completed | Status::Failed | Status::Cancelled => {
            rule(dispatch.active == 0, || "a node is under way in an ended dispatch".into())?;
            let expected = dispatch.end().status();
            rule(status == expected, || format!("ended as {status}, should be {expected}"))?;
            let open =
                dispatch.nodes.iter().any(|node| matches!(node.phase, Phase::Waiting { .. }));
            rule(!(open && status == Status::Completed), || "complete with a waiting node".into())
        }
        Status::Starting
        | Status::PendingReuse
        | Status::PendingReplacement
        | Status::Dispatching
        | Status::Postprocessing => Err(format!("a dispatch is never {status}")),
    }
}

fn check_node(dispatch: &Dispatch, id: NodeId, node: &Node) -> Result<(), String> {
    let shown = (node.state.status, node.phase.status());
    rule(shown.0 == shown.1, || format!("stored as {}, stands as {}", shown.0, shown.1))?;
    let open = dispatch
        .graph()
        .parents(id)
        .filter(|parent| dispatch.phase(*parent) != Some(&Phase::Ended(End::Completed)))
        .count();
    check_sublattice(dispatch, id, node)?;
    check_wishes(node)?;
    match &node.phase {
        Phase::Waiting { pending, .. } => {
            rule(*pending as usize == open, || format!("waits for {pending}, open are {open}"))?;
            let started = dispatch.state.status != Status::NewObject;
            rule(!(started && open == 0), || "is ready and was not reached".into())
        }
        Phase::Ready | Phase::Running { .. } | Phase::Backoff | Phase::Dispatching { .. } => {
            rule(open == 0, || format!("is under way, but {open} inputs are open"))?;
            rule(dispatch.kind(id).runs(), || "is under way, and nothing runs for it".into())
        }
        Phase::Ended(_) => {
            rule(open == 0, || format!("has ended, but {open} inputs are open"))?;
            rule(node.state.ended_at.is_some(), || "has ended at no time".into())
        }
    }
}

/// Only builders are linked, and only sublattices dispatch.
fn check_sublattice(dispatch: &Dispatch, id: NodeId, node: &Node) -> Result<(), String> {
    let is_sublattice = dispatch.kind(id) == NodeKind::Sublattice;
    let dispatches = matches!(node.phase, Phase::Dispatching { .. });
    rule(is_sublattice || !dispatches, || "dispatches and is no sublattice".into())?;
    let is_builder = is_sublattice && matches!(node.phase, Phase::Running { .. });
    rule(is_builder || node.built.is_none(), || "is linked and builds nothing".into())
}

/// Whoever is cancelled is not on the way to an attempt, and who runs is being killed. A failure,
/// and nothing else, has a fault.
fn check_wishes(node: &Node) -> Result<(), String> {
    let cancelled = node.state.cancel_requested;
    match &node.phase {
        Phase::Ready | Phase::Backoff => rule(!cancelled, || "is cancelled and queued".into())?,
        Phase::Running { attempt, kill } => {
            let is_killed = *kill == Some(KillReason::Cancel);
            rule(cancelled == is_killed, || format!("cancelled: {cancelled}, {kill:?}"))?;
            let is_present = node.state.attempt == Some(*attempt);
            rule(is_present, || format!("runs as {attempt}, stored is another attempt"))?;
        }
        Phase::Waiting { .. } | Phase::Dispatching { .. } | Phase::Ended(_) => {}
    }
    let (failed, fault) = (node.phase == Phase::Ended(End::Failed), node.state.fault);
    rule(failed == fault.is_some(), || format!("failed: {failed}, with the fault {fault:?}"))
}

fn rule(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}
