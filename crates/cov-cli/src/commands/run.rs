//! `cov run`: a workflow file, run once, on a server of its own that comes and goes with it.

mod folder;
mod follow;
mod keep;
mod private;

use std::path::PathBuf;

use cov_cli::workflow::Workflow;
use cov_client::{Client, Redispatch};
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use serde::Serialize;

pub(super) use self::folder::load;
pub(super) use self::follow::Follow;

use self::folder::Disk;
use self::keep::{Keep, Record};
use self::private::Private;
use crate::args::Run;
use crate::context::Context;
use crate::error::{Code, Error};
use crate::output::{Report, Screen};

/// What the server of a run says, in the folder of the run.
const LOG: &str = "server.log";

/// What would run.
#[derive(Debug, Serialize)]
struct Checked {
    name: String,
    tasks: usize,
    triggers: usize,
}

impl Report for Checked {
    const EVENT: &'static str = "checked";

    fn text(&self, _screen: &Screen) -> String {
        let Self { name, tasks, triggers } = self;
        let tasks = if *tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") };
        match triggers {
            0 => format!("{name}: {tasks}"),
            1 => format!("{name}: {tasks}, 1 trigger"),
            count => format!("{name}: {tasks}, {count} triggers"),
        }
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context, run: &Run) -> Result<Code, Error> {
    if run.schema {
        let schema = serde_json::to_string_pretty(&cov_cli::workflow::schema());
        let schema = schema.map_err(|error| Error::Output(error.into()))?;
        context.printer.raw(format!("{schema}\n").as_bytes())?;
        return Ok(Code::Done);
    }
    // What programs read has no words beside it.
    let quiet = run.quiet || context.printer.is_json();
    let read = match &run.file {
        Some(file) => Some(load(file)?),
        None => None,
    };
    let plan = match &read {
        Some((workflow, disk)) => Some(planned(workflow, disk, run, quiet)?),
        None => None,
    };
    if run.check {
        let Some(plan) = plan else { return Ok(Code::Usage) };
        let (tasks, triggers) = (plan.tasks, plan.triggers.len());
        context.printer.print(&Checked { name: plan.name, tasks, triggers })?;
        return Ok(Code::Done);
    }
    let keep = match &run.resume {
        Some(folder) => Keep::resume(folder)?,
        None => Keep::new(run.folder.as_deref(), plan.as_ref().map_or("run", |plan| &plan.name))?,
    };
    let server = Private::start(keep.folder(), run).await?;
    let outcome = on_server(context, run, &keep, &server, plan).await;
    server.stop().await;
    match &outcome {
        Ok(Code::Done) => keep.done(),
        Ok(_) | Err(_) => tell_of_folder(context, keep, run.quiet)?,
    }
    outcome
}

/// Says where a run can be gone on with.
fn tell_of_folder(context: &Context, keep: Keep, quiet: bool) -> Result<(), Error> {
    let Some(folder) = keep.left() else { return Ok(()) };
    match (context.printer.is_json(), quiet) {
        (_, true) => {}
        (true, false) => context.printer.print(&Kept { folder })?,
        (false, false) => {
            follow::say(&format!("go on with it: cov run --resume {}", folder.display()));
        }
    }
    Ok(())
}

/// A run left its folder.
#[derive(Debug, Serialize)]
struct Kept {
    folder: PathBuf,
}

impl Report for Kept {
    const EVENT: &'static str = "kept";

    fn text(&self, _screen: &Screen) -> String {
        self.folder.display().to_string()
    }
}

fn planned(
    workflow: &Workflow,
    disk: &Disk,
    run: &Run,
    quiet: bool,
) -> Result<cov_cli::workflow::Plan, Error> {
    let plan = workflow.plan(&run.set, disk).map_err(Error::workflow)?;
    if !plan.triggers.is_empty() && !run.check && !quiet {
        follow::say("its triggers are for `cov dispatch`; this runs it once, now");
    }
    Ok(plan)
}

async fn on_server(
    context: &Context,
    run: &Run,
    keep: &Keep,
    server: &Private,
    plan: Option<cov_cli::workflow::Plan>,
) -> Result<Code, Error> {
    let client = server.client()?;
    let earlier = keep.record()?;
    let mut plan = plan;
    if let Some(plan) = &mut plan {
        keep.compare(&mut plan.bundle)?;
    }
    let dispatch = match (earlier, plan) {
        (Some(Record { dispatch_id, .. }), None) => go_on(&client, dispatch_id).await,
        (Some(Record { dispatch_id, .. }), Some(plan)) => {
            settle(&client, keep, &dispatch_id).await?;
            let sent = client.redispatch_as(&dispatch_id, &plan.bundle.into(), true).await;
            sent.map(|accepted| accepted.dispatch_id)
        }
        (None, Some(plan)) => {
            let workflow = cov_client::Workflow::new(plan.bundle);
            // Written first: a run that is interrupted while it is sent can be gone on with.
            keep.remember(workflow.dispatch_id(), run)?;
            client.dispatch(&workflow).await.map(|accepted| accepted.dispatch_id)
        }
        (None, None) => {
            return Err(Error::Usage {
                said: "nothing was ever run in this folder".to_owned(),
                hint: "name a workflow file, too".to_owned(),
            });
        }
    };
    let dispatch = dispatch.map_err(|source| refused(keep, source))?;
    keep.remember(&dispatch, run)?;
    let log = keep.folder().join(LOG);
    let follow = Follow {
        context,
        client: &client,
        quiet: run.quiet || context.printer.is_json(),
        own_log: Some(&log),
    };
    follow.to_the_end(&dispatch).await
}

/// Goes on with a dispatch: it runs by itself if the server went down under it.
async fn go_on(client: &Client, dispatch: DispatchId) -> Result<DispatchId, cov_client::Error> {
    match client.summary(&dispatch, false).await?.status {
        Status::Failed | Status::Cancelled => {
            let again = Redispatch { reuse: true, ..Redispatch::default() };
            Ok(client.redispatch(&dispatch, &again).await?.dispatch_id)
        }
        Status::NewObject => Ok(client.start(&dispatch).await?.dispatch_id),
        _ => Ok(dispatch),
    }
}

/// Has a dispatch end, so that another one can take its place.
async fn settle(client: &Client, keep: &Keep, dispatch: &DispatchId) -> Result<(), Error> {
    let settled = async {
        if !client.summary(dispatch, false).await?.status.is_terminal() {
            client.cancel(dispatch, &[]).await?;
            client.summary(dispatch, true).await?;
        }
        Ok(())
    };
    match settled.await {
        // It was never sent.
        Err(error) if cov_client::Error::kind(&error) == cov_client::Kind::NotFound => Ok(()),
        settled => settled.map_err(|source| refused(keep, source)),
    }
}

fn refused(keep: &Keep, source: cov_client::Error) -> Error {
    let log = keep.folder().join(LOG);
    let hint = format!("the log of its server is {}", log.display());
    Error::Refused { what: "the run", hint, source }
}
