//! `cov redispatch`: runs again what was dispatched before, or says what would run.

use crate::args::Redispatch;
use crate::commands::watch;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::outcome::Redispatched;
use crate::view::plan::Plan;

pub(super) async fn run(context: &Context, asked: &Redispatch) -> Result<Code, Error> {
    let client = context.client(Patience::OverRestarts)?;
    let told = |error| context.told(error);
    let earlier = find::dispatch(context, &client, &asked.dispatch).await?;
    let reuse = asked.reuse;
    if asked.plan {
        let nodes = client.redispatch_preview(&earlier, reuse).await.map_err(told)?;
        context.printer.print(&Plan { dispatch_id: earlier, reuse, nodes })?;
        return Ok(Code::Done);
    }
    let how = cov_client::Redispatch { reuse, ..cov_client::Redispatch::default() };
    let made = client.redispatch(&earlier, &how).await.map_err(told)?;
    let (dispatch_id, status) = (made.dispatch_id, made.status);
    context.printer.print(&Redispatched { dispatch_id: dispatch_id.clone(), earlier, status })?;
    match asked.watch {
        true => watch::follow(context, &client, &dispatch_id).await,
        false => Ok(Code::Done),
    }
}
