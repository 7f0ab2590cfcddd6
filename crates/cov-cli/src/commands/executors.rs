//! `cov executors`: what tasks can ask for, and how many run at once.

use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::view::upkeep::Executors;

pub(super) async fn run(context: &Context) -> Result<Code, Error> {
    let client = context.client(Patience::Once)?;
    let executors = client.executors().await.map_err(|error| context.told(error))?;
    context.printer.print(&Executors(executors))?;
    Ok(Code::Done)
}
