//! The part of the machine that is about nodes which build a sub-dispatch: linking it, starting
//! it, and following its end. Never reaches into the sub-dispatch itself.

use cov_core::error::Fault;
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;

use super::{Machine, Reject};
use crate::effect::Effect;
use crate::phase::{End, Phase};

impl Machine<'_> {
    /// A sublattice's graph was built: its sub-dispatch is started, or first taken over.
    pub(super) fn built(&mut self, id: NodeId) {
        let Some(node) = self.dispatch.nodes.get_mut(id.index()) else { return };
        let cancelled = node.state.cancel_requested;
        let child = node.built.take();
        self.set_phase(id, Phase::Dispatching { child: child.clone() });
        match child {
            Some(child) => self.start_child(id, child, cancelled),
            None => self.step.effects.push(Effect::ImportChild { node: id }),
        }
    }

    pub(super) fn start_child(&mut self, id: NodeId, child: DispatchId, cancelled: bool) {
        if cancelled {
            self.step.effects.push(Effect::CancelChild { child: child.clone() });
        }
        self.step.effects.push(Effect::StartChild { node: id, child });
    }

    /// A sub-dispatch that its builder did not live to hand over is cancelled before it starts.
    pub(super) fn drop_built(&mut self, id: NodeId) {
        let Some(node) = self.dispatch.nodes.get_mut(id.index()) else { return };
        if let Some(child) = node.built.take() {
            self.step.effects.push(Effect::CancelChild { child });
        }
    }

    pub(super) fn linked(&mut self, id: NodeId, child: DispatchId) -> Result<(), Reject> {
        let is_sublattice = self.dispatch.kind(id) == NodeKind::Sublattice;
        let node = self.node(id)?;
        let (from, cancelled) = (node.phase.status(), node.state.cancel_requested);
        match &node.phase {
            Phase::Running { .. } if is_sublattice && node.built.as_ref() == Some(&child) => {
                Err(Reject::Duplicate)
            }
            Phase::Running { .. } if is_sublattice => {
                if let Some(child) = node.built.replace(child) {
                    self.step.effects.push(Effect::CancelChild { child });
                }
                self.step.changed_nodes.push(id);
                Ok(())
            }
            Phase::Dispatching { child: None } => {
                self.set_phase(id, Phase::Dispatching { child: Some(child.clone()) });
                self.start_child(id, child, cancelled);
                Ok(())
            }
            Phase::Dispatching { child: Some(present) } if *present == child => {
                Err(Reject::Duplicate)
            }
            Phase::Waiting { .. }
            | Phase::Ready
            | Phase::Running { .. }
            | Phase::Backoff
            | Phase::Dispatching { child: Some(_) }
            | Phase::Ended(_) => Err(Reject::Illegal { node: id, from, to: Status::Dispatching }),
        }
    }

    pub(super) fn build_refused(&mut self, id: NodeId) -> Result<(), Reject> {
        if self.node(id)?.phase != (Phase::Dispatching { child: None }) {
            return Err(Reject::Stale { node: id });
        }
        self.set_end(id, End::Failed, Some(Fault::Task));
        Ok(())
    }

    pub(super) fn child_ended(
        &mut self,
        id: NodeId,
        child: &DispatchId,
        end: End,
    ) -> Result<(), Reject> {
        match &self.node(id)?.phase {
            Phase::Dispatching { child: Some(present) } if present == child => {}
            Phase::Waiting { .. }
            | Phase::Ready
            | Phase::Running { .. }
            | Phase::Backoff
            | Phase::Dispatching { .. }
            | Phase::Ended(_) => return Err(Reject::Stale { node: id }),
        }
        match end {
            End::Completed => self.complete(id),
            End::Failed => self.set_end(id, End::Failed, Some(Fault::Task)),
            End::Cancelled => self.set_end(id, End::Cancelled, None),
        }
        Ok(())
    }
}
