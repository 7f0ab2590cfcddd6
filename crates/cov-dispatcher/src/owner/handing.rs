//! What an owner hands to executors: a task with all its parts, or the wish to take up a job that
//! an engine outside went on with; and to those who wait for the end: how it ended. Changes nothing
//! of the dispatch.

use std::sync::Arc;

use cov_core::asset::ContentRef;
use cov_core::error::Fault;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, NodeId};
use cov_exec::WorkDir;

use crate::admission::Work;
use crate::attach::{self, Attachment};
use crate::effects;
use crate::owner::Owner;
use crate::registry::Ended;
use crate::target::{Target, TargetRuntime};

impl Owner {
    /// How the dispatch ended, for those who wait for that; `None` if it has not.
    pub(super) fn how_it_ended(&self) -> Option<Ended> {
        let status = self.dispatch.state().status;
        if !status.is_terminal() {
            return None;
        }
        let graph = self.dispatch.graph();
        let last = graph.nodes().find(|node| graph.kind(*node).ends_lattice());
        let result = last.and_then(|node| self.loaded.node(node)?.output);
        Some(Ended { status, result })
    }

    pub(super) fn submit(&self, node: NodeId, attempt: AttemptId) {
        let submission = effects::Submission {
            dispatch: self.id.clone(),
            node,
            attempt,
            plan: self.task_plan(node),
        };
        effects::submit(&self.shared, submission);
    }

    /// Takes up what an engine outside went on with while the server was away.
    pub(super) fn attach(&self, node: NodeId, attempt: AttemptId) {
        let (target, contents) = (self.loaded.target(node), self.loaded.node(node));
        let engine = target.and_then(|target| target.engine.as_ref());
        let handle = contents.and_then(|contents| contents.job.as_deref().copied());
        let work = Work { mailbox: self.mailbox.clone(), node, slot: self.loaded.slot(node) };
        if !self.shared.admission.resume(attempt, work) {
            return;
        }
        let attachment = Attachment {
            dispatch: self.id.clone(),
            node,
            attempt,
            job: engine.map(|engine| Arc::clone(&engine.spec)).zip(handle),
        };
        attach::attach(&self.shared, attachment);
    }

    /// What runs a task and where, or why nothing does.
    fn runtime(
        &self,
        target: &Target,
    ) -> Result<(effects::PlannedRuntime, Option<WorkDir>), (Fault, String)> {
        use effects::PlannedRuntime;
        match &target.runtime {
            TargetRuntime::Python { work_dir } => Ok((PlannedRuntime::Python, work_dir.clone())),
            TargetRuntime::Program { digest, work_dir, memory_bytes_max } => {
                let brought = self.loaded.program.as_ref();
                let program = brought.filter(|program| program.content.id == *digest).cloned();
                let program = program.ok_or_else(|| {
                    let brought = brought.map(|program| program.content.id.to_string());
                    let brought = brought.unwrap_or_else(|| "none".to_owned());
                    let text = format!(
                        "the executor names the program {digest}; what came with the dispatch is \
                         {brought}"
                    );
                    (Fault::Executor, text)
                })?;
                let memory_bytes_max = *memory_bytes_max;
                Ok((PlannedRuntime::Program { program, memory_bytes_max }, work_dir.clone()))
            }
            TargetRuntime::Command => Ok((PlannedRuntime::Command, None)),
            TargetRuntime::Unknown(reason) => Err((Fault::Executor, reason.clone())),
        }
    }

    /// Where the parts of a task are, or why it cannot run.
    fn task_plan(&self, node: NodeId) -> Result<effects::TaskPlan, (Fault, String)> {
        let target = self.loaded.target(node);
        let target = target.ok_or((Fault::Server, "the node has no executor".to_owned()))?;
        let (runtime, work_dir) = self.runtime(target)?;
        let engine = target.engine.as_ref().map(|engine| Arc::clone(&engine.spec));
        let contents = self.loaded.node(node).cloned().unwrap_or_default();
        let function = contents
            .function
            .ok_or_else(|| (Fault::Task, format!("node {node} has no function to run")))?;
        let inputs = self.dispatch.graph().inputs(node);
        let output_of = |source: NodeId| {
            let output = self.loaded.node(source).and_then(|contents| contents.output);
            output.map(|content| (source, self.part(content))).ok_or_else(|| {
                (Fault::Task, format!("node {source}, an input of node {node}, has no output"))
            })
        };
        Ok(effects::TaskPlan {
            runtime,
            engine,
            work_dir,
            function: self.part(*function),
            hooks: contents.hooks.map(|content| self.part(*content)),
            run_callables: self.dispatch.graph().kind(node) != NodeKind::Helper,
            timed: self.dispatch.policy(node).time_limit.is_some(),
            args: inputs.args.into_iter().map(output_of).collect::<Result<_, _>>()?,
            kwargs: inputs
                .kwargs
                .into_iter()
                .map(|(name, source)| output_of(source).map(|(node, part)| (name, node, part)))
                .collect::<Result<_, _>>()?,
        })
    }

    /// A content as a task finds it: in the store, or still on its way there.
    fn part(&self, content: ContentRef) -> effects::Part {
        let sent = self.in_flight.as_ref().and_then(|flight| flight.sent.fresh.get(&content.id));
        match sent.or_else(|| self.pending.fresh.get(&content.id)) {
            Some(bytes) => effects::Part::Fresh(bytes.clone()),
            None => effects::Part::Stored(content),
        }
    }
}
