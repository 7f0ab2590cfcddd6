//! `cov show`: one dispatch with its graph, and those of its sub-dispatches.

use std::collections::HashMap;

use cov_client::{Client, Dispatch, Kind};
use cov_core::graph::Edge;
use cov_core::ids::DispatchId;

use crate::args::Show;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::tree::Shown;

/// How many sub-dispatches are fetched, unless all of it is asked for.
const BELOW_MAX: usize = 32;

/// What was fetched, by its id.
type Fetched = HashMap<DispatchId, (Dispatch, Vec<Edge>)>;

pub(super) async fn run(context: &Context, show: &Show) -> Result<Code, Error> {
    let client = context.client(Patience::Once)?;
    let id = find::dispatch(context, &client, &show.dispatch).await?;
    let told = |error| context.told(error);
    let edges = client.edges(&id).await.map_err(told)?;
    let dispatch = client.get(&id).await.map_err(told)?;
    // Lists of nodes in a state are about this dispatch.
    let depth = if show.status.is_empty() { show.depth } else { 0 };
    let most = if show.all { usize::MAX } else { BELOW_MAX };
    let mut fetched = below(&client, &dispatch, depth, most).await.map_err(told)?;
    let mut shown = assemble(dispatch, edges, show.all, &mut fetched);
    shown.statuses.clone_from(&show.status);
    context.printer.print(&shown)?;
    Ok(Code::Done)
}

/// Fetches the sub-dispatches of so many levels, at most so many of them.
async fn below(
    client: &Client,
    top: &Dispatch,
    depth: u32,
    most: usize,
) -> Result<Fetched, cov_client::Error> {
    let mut fetched = Fetched::new();
    let mut level: Vec<DispatchId> = ids_below(top).collect();
    for _ in 0..depth {
        let mut next = Vec::new();
        for id in std::mem::take(&mut level) {
            if fetched.len() >= most {
                return Ok(fetched);
            }
            let got = async { Ok((client.get(&id).await?, client.edges(&id).await?)) };
            match got.await {
                Ok((dispatch, edges)) => {
                    next.extend(ids_below(&dispatch));
                    fetched.insert(id, (dispatch, edges));
                }
                // It is removed by now.
                Err(error) if cov_client::Error::kind(&error) == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        level = next;
    }
    Ok(fetched)
}

fn ids_below(dispatch: &Dispatch) -> impl Iterator<Item = DispatchId> {
    dispatch.nodes.iter().filter_map(|node| node.sub_dispatch_id.clone())
}

/// Puts each below its parent. Levels are as many as were asked for.
fn assemble(dispatch: Dispatch, edges: Vec<Edge>, all: bool, fetched: &mut Fetched) -> Shown {
    let ids: Vec<DispatchId> = ids_below(&dispatch).collect();
    let sub_dispatches = ids
        .iter()
        .filter_map(|id| fetched.remove(id))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(dispatch, edges)| assemble(dispatch, edges, all, fetched))
        .collect();
    Shown { dispatch, edges, sub_dispatches, all, statuses: Vec::new() }
}
