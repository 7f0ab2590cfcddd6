//! `cov show`: one dispatch with its graph.

use crate::args::Show;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::tree::Shown;

pub(super) async fn run(context: &Context, show: &Show) -> Result<Code, Error> {
    let client = context.client(Patience::Once)?;
    let id = find::dispatch(context, &client, &show.dispatch).await?;
    let told = |error| context.told(error);
    let edges = client.edges(&id).await.map_err(told)?;
    let dispatch = client.get(&id).await.map_err(told)?;
    let (all, statuses) = (show.all, show.status.clone());
    context.printer.print(&Shown { dispatch, edges, all, statuses })?;
    Ok(Code::Done)
}
