//! Lists of dispatches.

use cov_core::ids::NodeId;
use cov_core::status::Status;

use super::Harness;
use super::fixtures::{at, dispatch_state, id, register, set};
use crate::Store;
use crate::model::{Change, ChangeSet, Query};

fn become_(name: &str, status: Status) -> ChangeSet {
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

/// A list is in the order of registration, by the clock: what was imported stands where it was then.
/// At the same moment, the one that came later is the newer one.
pub async fn lists_go_by_when_a_dispatch_was_registered(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    for (name, time) in [("b", 20), ("d", 40), ("a", 10), ("c", 20), ("e", 40)] {
        let set = ChangeSet { at: at(time), ..register(name, 1) };
        store.commit(&[set]).await.unwrap();
    }
    store.commit(&[become_("a", Status::Failed), become_("d", Status::Running)]).await.unwrap();
    let every = Query { limit: 100, ..Query::default() };
    let behind = |name| Query { behind: Some(id(name)), ..every.clone() };
    let names_of = async |query: Query| names(store, &query).await.join(" ");
    assert_eq!(names_of(every.clone()).await, "e d c b a");
    assert_eq!(names_of(Query { latest_first: false, ..every.clone() }).await, "a b c d e");
    let some = vec![Status::Running, Status::Failed, Status::NewObject];
    assert_eq!(names_of(Query { statuses: some, ..every.clone() }).await, "e d c b a");
    assert_eq!(names_of(behind("c")).await, "b a");
    assert_eq!(names_of(Query { latest_first: false, ..behind("c") }).await, "d e");
    assert_eq!(names_of(Query { since: Some(at(20)), ..behind("d") }).await, "c b");
    let middle = Query { since: Some(at(20)), until: Some(at(40)), ..every.clone() };
    assert_eq!(names_of(middle.clone()).await, "c b");
    assert_eq!(store.count(&middle).await.unwrap(), 2);
}

/// Pages follow one another without a gap, in every order and by every filter, also where many
/// dispatches are of one moment.
pub async fn pages_by_cursor_and_by_offset_are_the_same(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    for number in 0_i64..30 {
        let name = format!("p{number:02}");
        let status = [Status::Completed, Status::Failed, Status::Running]
            [usize::try_from(number % 3).unwrap()];
        let set = ChangeSet { at: at(number / 7), ..register(&name, 1) };
        store.commit(&[set, become_(&name, status)]).await.unwrap();
    }
    let every = Query { limit: 4, ..Query::default() };
    let two = vec![Status::Failed, Status::Completed];
    for asked in [
        every.clone(),
        Query { statuses: two.clone(), ..every.clone() },
        Query { prefix: Some("p1".into()), ..every.clone() },
        Query { prefix: Some("p".into()), statuses: two, roots_only: true, ..every.clone() },
        Query { since: Some(at(1)), until: Some(at(4)), latest_first: false, ..every },
    ] {
        let whole = names(store, &Query { limit: 100, ..asked.clone() }).await;
        assert_eq!(store.count(&asked).await.unwrap(), whole.len() as u64);
        let (mut by_offset, mut by_cursor) = (Vec::new(), Vec::new());
        while by_offset.len() < whole.len() {
            let offset = by_offset.len() as u64;
            by_offset.extend(names(store, &Query { offset, ..asked.clone() }).await);
            let behind = by_cursor.last().map(|name: &String| id(name));
            by_cursor.extend(names(store, &Query { behind, ..asked.clone() }).await);
        }
        assert_eq!((&by_offset, &by_cursor), (&whole, &whole));
    }
}
