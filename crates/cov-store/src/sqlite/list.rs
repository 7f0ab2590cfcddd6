//! Lists of dispatches, and how many there are. Every list is read from an index that has its
//! order and its filters, so that a page costs its own rows, however many dispatches there are.

use cov_core::ids::DispatchId;
use cov_core::result::Summary;
use cov_core::status::Status;
use sqlx::{QueryBuilder, Sqlite};

use super::SqliteStore;
use super::rows::{DispatchColumns, read_dispatch, read_id};
use crate::Error;
use crate::fault::from_sql;
use crate::model::Query;

/// States of a dispatch that was started and has not ended.
pub(super) const UNFINISHED: [Status; 4] =
    [Status::Starting, Status::Running, Status::Dispatching, Status::Postprocessing];

/// Ids with one prefix are looked up one by one up to here. Where there are more, every list comes
/// across enough of them.
const LOOKED_UP_MAX: i64 = 10_000;

/// The index that a list is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All, in the order of lists.
    Age,
    /// Each state has a part of its own; the parts are merged.
    Status,
    Name,
    /// By id: few rows, in no order.
    Id,
}

impl Way {
    /// What a list is put into order by. A value that is computed is in the order of no index.
    fn columns(self) -> &'static str {
        match self {
            Self::Age | Self::Status | Self::Name => "SELECT created_at, id",
            Self::Id => "SELECT +created_at AS created_at, +id AS id",
        }
    }

    fn table(self) -> &'static str {
        match self {
            Self::Age => " FROM dispatches INDEXED BY dispatches_by_age WHERE 1",
            Self::Status => " FROM dispatches INDEXED BY dispatches_by_status WHERE 1",
            Self::Name => " FROM dispatches INDEXED BY dispatches_by_name WHERE 1",
            // The index of ids, which belongs to the table itself.
            Self::Id => " FROM dispatches INDEXED BY sqlite_autoindex_dispatches_1 WHERE 1",
        }
    }
}

impl SqliteStore {
    pub(super) async fn list_unfinished(&self) -> Result<Vec<DispatchId>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT dispatch_id");
        query.push(Way::Status.table());
        push_statuses(&mut query, &UNFINISHED);
        query.push(" ORDER BY id");
        let ids: Vec<String> =
            query.build_query_scalar().fetch_all(&self.readers).await.map_err(from_sql)?;
        Ok(ids.iter().filter_map(|id| sound(read_id(id), id)).collect())
    }

    pub(super) async fn list(&self, asked: &Query) -> Result<Vec<Summary>, Error> {
        let mut query = page(self.way(asked).await?, asked, "");
        let rows: Vec<DispatchColumns> =
            query.build_query_as().fetch_all(&self.readers).await.map_err(from_sql)?;
        Ok(readable(rows))
    }

    pub(super) async fn count_matching(&self, asked: &Query) -> Result<u64, Error> {
        if is_kept_count(asked) {
            return self.kept_count(asked).await;
        }
        let way = match is_prefix_only(asked) {
            // Its index tells it alone.
            true => Way::Id,
            false => self.way(asked).await?,
        };
        let mut query = QueryBuilder::<Sqlite>::new("SELECT count(*)");
        query.push(way.table());
        push_conditions(&mut query, asked, &asked.statuses);
        push_behind(&mut query, asked);
        let count: i64 =
            query.build_query_scalar().fetch_one(&self.readers).await.map_err(from_sql)?;
        Ok(count.unsigned_abs())
    }

    /// The sum of those that the database keeps itself.
    async fn kept_count(&self, asked: &Query) -> Result<u64, Error> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT ifnull(sum(total), 0) FROM dispatch_totals WHERE 1",
        );
        push_statuses(&mut query, &asked.statuses);
        if asked.roots_only {
            query.push(" AND is_root = 1");
        }
        let count: i64 =
            query.build_query_scalar().fetch_one(&self.readers).await.map_err(from_sql)?;
        Ok(count.unsigned_abs())
    }

    async fn way(&self, asked: &Query) -> Result<Way, Error> {
        if !asked.ids.is_empty() {
            return Ok(Way::Id);
        }
        if let Some(prefix) = &asked.prefix {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT count(*) FROM (SELECT 1 FROM dispatches WHERE 1",
            );
            push_prefix(&mut query, prefix);
            query.push(" LIMIT ").push_bind(LOOKED_UP_MAX + 1).push(")");
            let found: i64 =
                query.build_query_scalar().fetch_one(&self.readers).await.map_err(from_sql)?;
            if found <= LOOKED_UP_MAX {
                return Ok(Way::Id);
            }
        }
        Ok(match () {
            () if asked.name.is_some() => Way::Name,
            () if !asked.statuses.is_empty() => Way::Status,
            () => Way::Age,
        })
    }
}

/// The rows of one page. They are found in the index first, and looked up after that.
fn page(way: Way, asked: &Query, explain: &str) -> QueryBuilder<Sqlite> {
    let order = if asked.latest_first { "DESC" } else { "ASC" };
    let mut query = QueryBuilder::<Sqlite>::new(explain);
    query.push(
        "SELECT dispatch_id, root_id, parent_id, parent_node, name, status, cancel_requested, \
         node_count, completed_node_count, d.created_at, updated_at, started_at, ended_at FROM (",
    );
    let parts: Vec<&[Status]> = match way {
        Way::Status => asked.statuses.chunks(1).collect(),
        Way::Age | Way::Name | Way::Id => vec![asked.statuses.as_slice()],
    };
    for (place, statuses) in parts.into_iter().enumerate() {
        query.push(if place == 0 { "" } else { " UNION ALL " });
        query.push(way.columns()).push(way.table());
        push_conditions(&mut query, asked, statuses);
        push_behind(&mut query, asked);
    }
    query.push(format!(" ORDER BY 1 {order}, 2 {order} LIMIT "));
    query.push_bind(i64::from(asked.limit));
    let offset = i64::try_from(asked.offset).unwrap_or(i64::MAX);
    query.push(" OFFSET ").push_bind(offset);
    query.push(") AS page JOIN dispatches d ON d.id = page.id");
    query.push(format!(" ORDER BY page.created_at {order}, page.id {order}"));
    query
}

/// Whether states and roots are all that is asked for.
fn is_kept_count(asked: &Query) -> bool {
    let Query { ids, prefix, name, since, until, behind, .. } = asked;
    (ids.is_empty() && prefix.is_none() && name.is_none())
        && (since.is_none() && until.is_none() && behind.is_none())
}

fn is_prefix_only(asked: &Query) -> bool {
    let nothing_else = Query { prefix: None, ..asked.clone() };
    let is_any = asked.statuses.is_empty() && !asked.roots_only;
    asked.prefix.is_some() && is_any && is_kept_count(&nothing_else)
}

/// One damaged row must not hide the others.
fn readable(rows: Vec<DispatchColumns>) -> Vec<Summary> {
    let read = |row: DispatchColumns| {
        let id = row.0.clone();
        sound(read_dispatch(row), &id).map(|row| row.summary)
    };
    rows.into_iter().filter_map(read).collect()
}

fn sound<T, E: std::fmt::Display>(read: Result<T, E>, id: &str) -> Option<T> {
    let logged = |error: &E| tracing::error!(dispatch.id = id, %error, "a stored row is damaged");
    read.inspect_err(logged).ok()
}

fn push_conditions(query: &mut QueryBuilder<Sqlite>, asked: &Query, statuses: &[Status]) {
    if !asked.ids.is_empty() {
        // One value, however many ids: statements have a limit of values. Ids need no escapes.
        let ids = asked.ids.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(",");
        query.push(" AND dispatch_id IN (SELECT value FROM json_each(");
        query.push_bind(format!("[{ids}]"));
        query.push("))");
    }
    push_statuses(query, statuses);
    if let Some(prefix) = &asked.prefix {
        push_prefix(query, prefix);
    }
    if asked.roots_only {
        query.push(" AND parent_node IS NULL");
    }
    if let Some(name) = &asked.name {
        query.push(" AND name = ").push_bind(name.clone());
    }
    if let Some(since) = asked.since {
        query.push(" AND created_at >= ").push_bind(since.as_micros());
    }
    if let Some(until) = asked.until {
        query.push(" AND created_at < ").push_bind(until.as_micros());
    }
}

fn push_statuses(query: &mut QueryBuilder<Sqlite>, statuses: &[Status]) {
    if statuses.is_empty() {
        return;
    }
    query.push(" AND status IN (");
    let mut listed = query.separated(", ");
    for status in statuses {
        listed.push_bind(i64::from(status.code()));
    }
    query.push(")");
}

fn push_prefix(query: &mut QueryBuilder<Sqlite>, prefix: &str) {
    // As a range, so that the index of ids is used. No id has a character above `z`.
    query.push(" AND dispatch_id >= ").push_bind(prefix.to_owned());
    query.push(" AND dispatch_id < ").push_bind(format!("{prefix}{{"));
}

fn push_behind(query: &mut QueryBuilder<Sqlite>, asked: &Query) {
    if let Some(behind) = &asked.behind {
        query.push(" AND (created_at, id) ").push(if asked.latest_first { "<" } else { ">" });
        query.push(" (SELECT created_at, id FROM dispatches WHERE dispatch_id = ");
        query.push_bind(behind.as_str().to_owned()).push(")");
    }
}

#[cfg(test)]
mod tests {
    use cov_core::ids::NodeId;
    use cov_core::time::Timestamp;

    use super::*;
    use crate::Store as _;
    use crate::conformance::fixtures::{dispatch_state, id, register, set};
    use crate::model::{Change, ChangeSet, PurgeQuery};

    async fn plan(store: &SqliteStore, asked: &Query) -> Vec<String> {
        let mut query = page(store.way(asked).await.unwrap(), asked, "EXPLAIN QUERY PLAN ");
        let steps: Vec<(i64, i64, i64, String)> =
            query.build_query_as().fetch_all(&store.readers).await.unwrap();
        steps.into_iter().map(|(.., step)| step).collect()
    }

    /// Nothing is sorted, and what is looked at beside the page are entries of an index.
    #[tokio::test]
    async fn every_list_is_read_from_an_index_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let time = Some(Timestamp::from_micros(5));
        let all = Query::default();
        let named = Query { name: Some("a".into()), ..all.clone() };
        let ended = vec![Status::Completed, Status::Failed, Status::Cancelled];
        for (asked, index) in [
            (all.clone(), "dispatches_by_age"),
            (Query { since: time, until: time, ..all.clone() }, "dispatches_by_age (created_at>"),
            (Query { behind: Some(id("a")), ..all.clone() }, "dispatches_by_age (created_at<?)"),
            (Query { roots_only: true, ..all.clone() }, "dispatches_by_age"),
            (named.clone(), "dispatches_by_name (name=?)"),
            (Query { statuses: ended.clone(), ..named }, "dispatches_by_name (name=?)"),
            (
                Query { statuses: ended, roots_only: true, since: time, ..all },
                "dispatches_by_status (status=? AND created_at>?)",
            ),
        ] {
            for asked in [Query { latest_first: false, ..asked.clone() }, asked] {
                let steps = plan(&store, &asked).await;
                let reads = |step: &&String| step.contains("COVERING INDEX");
                let read = steps.iter().filter(reads).all(|step| match asked.latest_first {
                    true => step.contains(index),
                    false => step.contains(index.split(" (created_at<").next().unwrap()),
                });
                assert!(read && steps.iter().any(|step| reads(&step)), "{index}: {steps:#?}");
                let sorted = steps.iter().filter(|step| step.contains("TEMP B-TREE")).count();
                assert_eq!(sorted, 0, "{index}: {steps:#?}");
            }
        }
    }

    #[tokio::test]
    async fn a_prefix_of_many_is_listed_like_one_of_few() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let many = LOOKED_UP_MAX + 50;
        let numbered = |number: i64| {
            let at = Timestamp::from_micros(number);
            ChangeSet { at, ..register(&format!("m{number:05}"), 1) }
        };
        store.commit(&(0..many).map(numbered).collect::<Vec<_>>()).await.unwrap();
        store.commit(&[register("other", 1)]).await.unwrap();
        let wide = Query { prefix: Some("m".into()), limit: 2, ..Query::default() };
        let new = Query { statuses: vec![Status::NewObject], ..wide.clone() };
        let narrow = Query { prefix: Some("m1000".into()), limit: 2, ..Query::default() };
        assert_eq!(store.way(&wide).await.unwrap(), Way::Age);
        assert_eq!(store.way(&narrow).await.unwrap(), Way::Id);
        for (asked, listed, count) in [
            (wide, ["m10049", "m10048"], many),
            (new, ["m10049", "m10048"], many),
            (narrow, ["m10009", "m10008"], 10),
        ] {
            let found = store.summaries(&asked).await.unwrap();
            assert_eq!(
                found.into_iter().map(|one| one.dispatch_id).collect::<Vec<_>>(),
                listed.map(id)
            );
            assert_eq!(store.count(&asked).await.unwrap(), count.unsigned_abs());
        }
    }

    /// Totals that are kept stay those of the table, whatever happens to a dispatch.
    #[tokio::test]
    async fn kept_totals_are_those_of_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let be = |name, status| set(name, 9, vec![Change::Dispatch(dispatch_state(status))]);
        let link =
            |name, child| set(name, 9, vec![Change::Link { node: NodeId(0), child: id(child) }]);
        for batch in [
            vec![register("a", 1), register("b", 1), register("c", 1), register("d", 1)],
            vec![be("a", Status::Running), be("b", Status::Running), be("b", Status::Failed)],
            vec![link("a", "b"), be("c", Status::Completed)],
            // The node parts from the one that it had.
            vec![link("a", "c"), be("a", Status::Completed)],
            vec![be("b", Status::Failed)],
        ] {
            store.commit(&batch).await.unwrap();
            check_totals(&store).await;
        }
        let ended_before = Timestamp::from_micros(i64::MAX);
        let statuses = vec![Status::Completed];
        let purged = PurgeQuery { ended_before, statuses, dry_run: false };
        assert_eq!(store.purge(&purged).await.unwrap().dispatches, 2);
        check_totals(&store).await;
        assert_eq!(store.count(&Query::default()).await.unwrap(), 2);
    }

    async fn check_totals(store: &SqliteStore) {
        let differs = "SELECT status, is_root, total FROM dispatch_totals WHERE total <> 0 \
                       EXCEPT SELECT status, parent_node IS NULL, count(*) FROM dispatches \
                       GROUP BY 1, 2";
        let differs: Vec<(i64, i64, i64)> =
            sqlx::query_as(differs).fetch_all(&store.readers).await.unwrap();
        assert_eq!(differs, []);
        let all: i64 = sqlx::query_scalar("SELECT count(*) FROM dispatches")
            .fetch_one(&store.readers)
            .await
            .unwrap();
        assert_eq!(store.count(&Query::default()).await.unwrap(), all.unsigned_abs());
    }
}
