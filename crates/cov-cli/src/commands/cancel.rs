//! `cov cancel`: ends dispatches, or some nodes of one.

use crate::args::Cancel;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::outcome::Cancelled;

pub(super) async fn run(context: &Context, cancel: &Cancel) -> Result<Code, Error> {
    let Cancel { dispatches, node: nodes, wait } = cancel;
    if dispatches.len() > 1 && !nodes.is_empty() {
        return Err(Error::Usage {
            said: "--node names nodes of one dispatch, and several are given".to_owned(),
            hint: "cancel them one by one".to_owned(),
        });
    }
    let patience = if *wait { Patience::OverRestarts } else { Patience::Once };
    let client = context.client(patience)?;
    let told = |error| context.told(error);
    let mut ids = Vec::with_capacity(dispatches.len());
    // All are found before one is cancelled.
    for text in dispatches {
        ids.push(find::dispatch(context, &client, text).await?);
    }
    for id in ids {
        let had_ended = client.summary(&id, false).await.map_err(told)?.status.is_terminal();
        let mut status = client.cancel(&id, nodes).await.map_err(told)?.status;
        if *wait {
            status = client.summary(&id, true).await.map_err(told)?.status;
        }
        let nodes = nodes.clone();
        context.printer.print(&Cancelled { dispatch_id: id, nodes, status, had_ended })?;
    }
    Ok(Code::Done)
}
