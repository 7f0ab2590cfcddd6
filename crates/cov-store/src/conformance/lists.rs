//! Lists of dispatches.

use cov_core::ids::NodeId;
use cov_core::status::Status;

use super::Harness;
use super::fixtures::{at, dispatch_state, id, register, set};
use crate::Store;
use crate::model::{Change, Query};

fn become_(name: &str, status: Status) -> crate::model::ChangeSet {
    set(name, 1, vec![Change::Dispatch(dispatch_state(status))])
}

/// Those that were started and have not ended, oldest first.
pub async fn unfinished_dispatches_are_those_at_work(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    for status in Status::ALL {
        let name = status.as_str();
        opened.store.commit(&[register(name, 1), become_(name, status)]).await.unwrap();
    }
    opened.store.commit(&[register("later", 1), become_("later", Status::Running)]).await.unwrap();
    let expected = ["STARTING", "RUNNING", "DISPATCHING", "POSTPROCESSING", "later"];
    assert_eq!(opened.store.unfinished().await.unwrap(), expected.map(id));
    opened.store.commit(&[become_("RUNNING", Status::Completed)]).await.unwrap();
    assert_eq!(opened.store.unfinished().await.unwrap().len(), 4);
}

async fn names(store: &dyn Store, query: &Query) -> Vec<String> {
    let summaries = store.summaries(query).await.unwrap();
    summaries.iter().map(|summary| summary.dispatch_id.to_string()).collect()
}

/// `d0` to `d5`, the later the younger. `d3` is part of `d1`.
async fn six_dispatches(store: &dyn Store) {
    for number in 0..6 {
        store.commit(&[register(&format!("d{number}"), 1)]).await.unwrap();
    }
    let link = Change::Link { node: NodeId(0), child: id("d3") };
    let batch = [
        become_("d1", Status::Running),
        become_("d2", Status::Failed),
        become_("d4", Status::Running),
        set("d1", 2, vec![link]),
    ];
    store.commit(&batch).await.unwrap();
}

/// By id, state and parent; in either order; a page at a time. The count knows no pages.
pub async fn lists_are_filtered_sorted_and_cut(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let every = Query { limit: 100, ..Query::default() };
    assert_eq!(names(store, &every).await, [""; 0]);
    assert_eq!(store.count(&every).await.unwrap(), 0);
    six_dispatches(store).await;
    let oldest = Query { latest_first: false, ..every.clone() };
    let ids = Query { ids: ["d4", "no", "d0"].map(id).to_vec(), ..every.clone() };
    let strangers = (0..40_000).map(|number| id(&format!("no{number}")));
    let many = Query { ids: strangers.chain([id("d2")]).collect(), ..every.clone() };
    let states = Query { statuses: vec![Status::Running, Status::Failed], ..every.clone() };
    let begun = Query { prefix: Some("d".into()), statuses: vec![Status::Failed], ..every.clone() };
    let whole = Query { prefix: Some("d4".into()), ..every.clone() };
    let longer = Query { prefix: Some("d4%".into()), ..every.clone() };
    let roots = Query { roots_only: true, ..every.clone() };
    let page = Query { offset: 1, limit: 2, ..every.clone() };
    let behind = Query { offset: 99, ..every.clone() };
    let nothing = Query { limit: 0, ..every.clone() };
    let older = Query { behind: Some(id("d3")), limit: 2, ..every.clone() };
    let newer = Query { behind: Some(id("d3")), latest_first: false, ..every.clone() };
    let lost = Query { behind: Some(id("no")), ..every.clone() };
    let named = Query { name: Some("lattice of d5".into()), ..every.clone() };
    let misnamed = Query { name: Some("Lattice of d5".into()), ..every.clone() };
    let since = Query { since: Some(at(0)), until: Some(at(1)), limit: 1, ..every.clone() };
    let before = Query { until: Some(at(0)), ..every.clone() };
    let all_of_it = Query {
        statuses: vec![Status::Running],
        ids: ["d1", "d2", "d4"].map(id).to_vec(),
        roots_only: true,
        latest_first: false,
        offset: 1,
        limit: 1,
        ..every.clone()
    };
    for (query, listed, counted) in [
        (every, "d5 d4 d3 d2 d1 d0", 6),
        (oldest, "d0 d1 d2 d3 d4 d5", 6),
        (ids, "d4 d0", 2),
        (many, "d2", 1),
        (states, "d4 d2 d1", 3),
        (begun, "d2", 1),
        (whole, "d4", 1),
        (longer, "", 0),
        (roots, "d5 d4 d2 d1 d0", 5),
        (page, "d4 d3", 6),
        (behind, "", 6),
        (nothing, "", 6),
        (older, "d2 d1", 3),
        (newer, "d4 d5", 2),
        (lost, "", 0),
        (named, "d5", 1),
        (misnamed, "", 0),
        (since, "d5", 6),
        (before, "", 0),
        (all_of_it, "d4", 2),
    ] {
        assert_eq!(names(store, &query).await.join(" "), listed);
        assert_eq!(store.count(&query).await.unwrap(), counted, "of {listed}");
    }
}
