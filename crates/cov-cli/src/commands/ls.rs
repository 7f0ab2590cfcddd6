//! `cov ls`: dispatches, filtered and sorted.

use cov_client::Filter;

use crate::args::Ls;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::view::list::{Listing, sort};

/// Rows that are asked for at once.
const PAGE: u32 = 1_000;

pub(super) async fn run(context: &Context, ls: &Ls) -> Result<Code, Error> {
    let screen = context.printer.screen();
    let client = context.client(Patience::Once)?;
    let wanted = if ls.limit == 0 { u32::MAX } else { ls.limit };
    let mut filter = Filter {
        statuses: ls.status.clone(),
        name: ls.name.clone(),
        since: ls.since.map(|since| since.at(screen.now)),
        until: ls.until.map(|until| until.at(screen.now)),
        roots_only: !ls.sub,
        ..Filter::default()
    };
    let mut dispatches = Vec::new();
    let mut total = None;
    loop {
        let left = wanted.saturating_sub(u32::try_from(dispatches.len()).unwrap_or(u32::MAX));
        filter.limit = left.min(PAGE);
        let page = client.list(&filter).await.map_err(|error| context.told(error))?;
        // Behind a cursor, only what comes behind it is counted.
        total.get_or_insert(page.total);
        dispatches.extend(page.dispatches);
        filter.cursor = page.cursor;
        if filter.cursor.is_none() || left <= PAGE {
            break;
        }
    }
    sort(&mut dispatches, ls.sort, ls.reverse, screen);
    let total = total.unwrap_or_default();
    let shown = dispatches.len();
    let columns = ls.columns.clone();
    let filtered =
        !ls.status.is_empty() || ls.name.is_some() || ls.since.is_some() || ls.until.is_some();
    let listing = Listing { dispatches, total, columns, quiet: ls.quiet, filtered };
    context.printer.print(&listing)?;
    if (shown as u64) < total && screen.is_terminal && !ls.quiet {
        context.printer.aside(&format!("{shown} of {total}; -n 0 lists all"));
    }
    Ok(Code::Done)
}
