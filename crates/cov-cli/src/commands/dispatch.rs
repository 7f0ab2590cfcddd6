//! `cov dispatch`: a workflow file, sent to a server; with its triggers, if it has some.

use cov_client::Workflow;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::trigger::TriggerId;
use serde::Serialize;

use super::run::{Follow, load};
use crate::args::Dispatch;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::output::{Report, Screen};

/// A workflow was sent.
#[derive(Debug, Serialize)]
struct Dispatched {
    dispatch_id: DispatchId,
    name: String,
    status: Status,
    tasks: usize,
    triggers: Vec<TriggerId>,
}

impl Report for Dispatched {
    const EVENT: &'static str = "dispatched";

    fn text(&self, screen: &Screen) -> String {
        // Into a pipe goes what the next command wants.
        match (screen.is_terminal, self.triggers.as_slice()) {
            (false, _) | (true, []) => self.dispatch_id.to_string(),
            (true, triggers) => {
                let triggers: Vec<String> = triggers
                    .iter()
                    .map(|trigger| format!("\ntrigger {trigger}: cov triggers next {trigger}"))
                    .collect();
                format!("{}{}", self.dispatch_id, triggers.concat())
            }
        }
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context, dispatch: &Dispatch) -> Result<Code, Error> {
    let (workflow, disk) = load(&dispatch.file)?;
    let plan = workflow.plan(&dispatch.set, &disk).map_err(Error::workflow)?;
    let client = context.client(Patience::OverRestarts)?;
    let told = |error| context.told(error);
    let (name, tasks) = (plan.name, plan.tasks);
    let workflow = Workflow::new(plan.bundle);
    let triggers = if dispatch.once { Vec::new() } else { plan.triggers };
    if !triggers.is_empty() && dispatch.wait {
        return Err(Error::Usage {
            said: "a workflow with triggers runs when they fire; there is nothing to wait for"
                .to_owned(),
            hint: "run it once, now, with `--once`".to_owned(),
        });
    }
    let accepted = match triggers.is_empty() {
        true => client.dispatch(&workflow).await.map_err(told)?,
        false => client.register(&workflow).await.map_err(told)?,
    };
    let mut registered = Vec::new();
    for mut dictionary in triggers {
        let id = accepted.dispatch_id.as_str().into();
        dictionary.insert("lattice_dispatch_id".to_owned(), id);
        registered.push(client.register_trigger(&dictionary).await.map_err(told)?.record.id);
    }
    if dispatch.wait {
        // What programs read has no words beside it.
        let quiet = dispatch.quiet || context.printer.is_json();
        let follow = Follow { context, client: &client, quiet, own_log: None };
        return follow.to_the_end(&accepted.dispatch_id).await;
    }
    let status = accepted.status;
    let dispatch_id = accepted.dispatch_id;
    context.printer.print(&Dispatched {
        dispatch_id,
        name,
        status,
        tasks,
        triggers: registered,
    })?;
    Ok(Code::Done)
}
