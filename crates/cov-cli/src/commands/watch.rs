//! `cov watch`: follows a dispatch until it has ended. Bars in a terminal, lines elsewhere.

use cov_client::{Client, Dispatch, Event};
use cov_core::ids::DispatchId;
use cov_core::status::Status;

use crate::bars;
use crate::clock;
use crate::commands::code_of;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::progress::{Ended, Progress};
use crate::view::short;

pub(super) async fn run(context: &Context, text: &str) -> Result<Code, Error> {
    let client = context.client(Patience::OverRestarts)?;
    let id = find::dispatch(context, &client, text).await?;
    follow(context, &client, &id).await
}

/// Follows a dispatch to its end; the exit code tells how it ended.
pub(super) async fn follow(
    context: &Context,
    client: &Client,
    id: &DispatchId,
) -> Result<Code, Error> {
    let printer = &context.printer;
    let followed = async {
        let summary = client.summary(id, false).await.map_err(|error| context.told(error))?;
        if summary.status == Status::NewObject {
            printer.aside("It was registered and not started yet.");
        }
        match bars::are_wanted(printer) {
            true => {
                let ended = bars::follow(client, printer.screen(), id).await;
                ended.map_err(|error| context.told(error))
            }
            false => lines(context, client, id).await,
        }
    };
    let ended = tokio::select! {
        ended = followed => Ended::of(&ended?),
        _ = tokio::signal::ctrl_c() => {
            let begin = short(id);
            printer.aside(&format!(
                "The dispatch goes on; `cov watch {begin}` follows it again, `cov cancel {begin}` ends it."
            ));
            return Ok(Code::Interrupted);
        }
    };
    printer.print(&ended)?;
    Ok(code_of(ended.status))
}

/// Prints a line for each change until the dispatch has ended; returns it as it is then.
async fn lines(context: &Context, client: &Client, id: &DispatchId) -> Result<Dispatch, Error> {
    let told = |error| context.told(error);
    // Before the state is read, so that no change is missed in between.
    let mut events = client.events(Some(id));
    let first = events.next().await.map_err(told)?;
    let dispatch = client.get(id).await.map_err(told)?;
    let mut progress = Progress::of(&dispatch, clock::now());
    if let Some(first) = first {
        progress.take(&first);
    }
    while let Some(event) = events.next().await.map_err(told)? {
        if event == Event::Lagged {
            progress.refresh(&client.get(id).await.map_err(told)?);
        }
        if let Some(changed) = progress.take(&event) {
            context.printer.print(&changed)?;
        }
    }
    client.get(id).await.map_err(told)
}
