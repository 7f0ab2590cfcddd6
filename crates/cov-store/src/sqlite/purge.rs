//! Removing ended dispatches and the contents that nobody refers to, in short transactions beside
//! everything else. Decides only what may be removed without harm, not what is old enough.
//!
//! A dispatch goes in two steps. Its row and those below it go in one transaction, and with that
//! they are gone for everybody. What hangs on the rows goes after that, piece by piece; the plan
//! goes last, so that the next purge finds what a death in between has left. Row numbers are not
//! used again while a plan has them.

use cov_core::asset::ContentRef;
use cov_core::ids::{ContentId, DispatchId};
use cov_core::status::Status;
use cov_core::trigger::TriggerState;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, QueryBuilder, Sqlite};

use super::list::UNFINISHED;
use super::rows::triggers::state_code;
use super::rows::{read_content, read_id};
use super::{SqliteStore, lock};
use crate::Error;
use crate::fault::{corrupt, from_sql};
use crate::model::{PurgeQuery, Purged};

/// Hierarchies of dispatches that go in one transaction.
const ROOTS_AT_ONCE: usize = 32;

/// Dispatches that are gone, whose rows go together. Fewer than [`ROWS_AT_ONCE`].
const DISPATCHES_AT_ONCE: usize = 128;

/// Rows of nodes or assets that go in one transaction.
const ROWS_AT_ONCE: i64 = 4096;

/// Contents that go in one transaction. Small ones go with their bytes.
const CONTENTS_AT_ONCE: usize = 256;

/// A dispatch and everything below it, from the roots in `roots`.
macro_rules! hierarchies {
    ($statement:literal) => {
        concat!(
            "WITH RECURSIVE hierarchy (root, dispatch_id) AS (SELECT value, value FROM json_each(?1) ",
            "UNION SELECT h.root, d.dispatch_id FROM dispatches d ",
            "JOIN hierarchy h ON d.parent_id = h.dispatch_id) ",
            $statement
        )
    };
}

/// Removes the hierarchies `?1`. A root that was linked below another meanwhile is none any more.
const REMOVE_HIERARCHIES: &str = hierarchies!(
    "DELETE FROM dispatches WHERE dispatch_id IN (SELECT dispatch_id FROM hierarchy \
     WHERE EXISTS (SELECT 1 FROM dispatches r WHERE r.dispatch_id = root AND r.parent_id IS NULL)) \
     RETURNING id, dispatch_id"
);

/// Each removes up to `?2` rows of the dispatches `?1`, which are gone. Their plans are last.
const REMOVE_LEFTOVERS: [&str; 3] = [
    "DELETE FROM nodes WHERE (dispatch, node) IN (SELECT n.dispatch, n.node \
     FROM json_each(?1) gone JOIN nodes n ON n.dispatch = gone.value LIMIT ?2)",
    "DELETE FROM assets WHERE (dispatch, node, key) IN (SELECT a.dispatch, a.node, a.key \
     FROM json_each(?1) gone JOIN assets a ON a.dispatch = gone.value LIMIT ?2)",
    "DELETE FROM plans WHERE dispatch IN (SELECT value FROM json_each(?1) LIMIT ?2)",
];

/// A row of `contents`: `number, id, size, sha1`, and whether its bytes are in a file.
type UnusedColumns = (i64, Vec<u8>, i64, Vec<u8>, bool);

/// A content that nobody refers to.
struct Unused {
    number: i64,
    content: ContentRef,
    in_file: bool,
}

impl SqliteStore {
    pub(super) async fn purge_now(&self, asked: &PurgeQuery) -> Result<Purged, Error> {
        let _one_at_a_time = self.purging.lock().await;
        if asked.dry_run {
            return self.count_purge(asked).await;
        }
        {
            let _no_commit_is_under_way = self.writer.lock().await;
            self.files.pins().begin_purge();
        }
        // Also when this future is dropped.
        let _end = OnEnd(self);
        let mut purged = Purged::default();
        let roots = self.purgeable(asked).await?;
        for roots in roots.chunks(ROOTS_AT_ONCE) {
            purged.dispatches += self.remove_dispatches(roots).await?;
        }
        self.remove_leftovers().await?;
        self.remove_unused_contents(&mut purged).await?;
        purged.bytes += self.remove_orphans().await?;
        Ok(purged)
    }

    /// What a purge would remove now.
    async fn count_purge(&self, asked: &PurgeQuery) -> Result<Purged, Error> {
        let roots = self.purgeable(asked).await?;
        let rows: Vec<i64> = sqlx::query_scalar(hierarchies!(
            "SELECT id FROM dispatches WHERE dispatch_id IN (SELECT dispatch_id FROM hierarchy)"
        ))
        .bind(json(&roots))
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        let unused = self.unused_contents(&rows).await?;
        let pins = self.files.pins();
        let free = unused.iter().filter(|unused| !pins.is_kept(&unused.content.id));
        let (mut contents, mut bytes) = (0, 0);
        for unused in free {
            contents += 1;
            bytes += unused.content.size;
        }
        Ok(Purged { dispatches: rows.len() as u64, contents, bytes })
    }

    /// The roots that may go: they match, and nothing below them is under way.
    async fn purgeable(&self, asked: &PurgeQuery) -> Result<Vec<String>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT dispatch_id FROM dispatches WHERE parent_id IS NULL AND ended_at < ",
        );
        query.push_bind(asked.ended_before.as_micros());
        query.push(" AND status IN (");
        let mut statuses = query.separated(", ");
        for status in asked.ended_statuses() {
            statuses.push_bind(i64::from(status.code()));
        }
        query.push(") ORDER BY id");
        let roots: Vec<String> =
            query.build_query_scalar().fetch_all(&self.readers).await.map_err(from_sql)?;
        let mut free = Vec::with_capacity(roots.len());
        for roots in roots.chunks(ROOTS_AT_ONCE) {
            let mut snapshot = self.readers.acquire().await.map_err(from_sql)?;
            let busy = busy_roots(&mut snapshot, roots).await?;
            free.extend(roots.iter().filter(|root| !busy.contains(root)).cloned());
        }
        Ok(free)
    }

    /// Removes these hierarchies, but none in which something has begun meanwhile.
    async fn remove_dispatches(&self, roots: &[String]) -> Result<u64, Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        let removing = async {
            let mut transaction =
                connection.begin_with("BEGIN IMMEDIATE").await.map_err(from_sql)?;
            let busy = busy_roots(&mut transaction, roots).await?;
            let free: Vec<&String> = roots.iter().filter(|root| !busy.contains(root)).collect();
            let gone: Vec<(i64, String)> = sqlx::query_as(REMOVE_HIERARCHIES)
                .bind(json(&free))
                .fetch_all(&mut *transaction)
                .await
                .map_err(from_sql)?;
            transaction.commit().await.map_err(from_sql)?;
            Ok(gone)
        };
        let gone = removing.await?;
        *place = Some(connection);
        // Before the next commit, which looks up rows here.
        self.forget(&gone);
        drop(place);
        Ok(gone.len() as u64)
    }

    /// Removes what belongs to dispatches that are gone.
    async fn remove_leftovers(&self) -> Result<(), Error> {
        let rows: Vec<i64> = sqlx::query_scalar(
            "SELECT dispatch FROM plans WHERE dispatch NOT IN (SELECT id FROM dispatches)",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        for rows in rows.chunks(DISPATCHES_AT_ONCE) {
            for statement in REMOVE_LEFTOVERS {
                while self.remove_rows(statement, rows).await? == ROWS_AT_ONCE.unsigned_abs() {}
            }
        }
        Ok(())
    }

    async fn remove_rows(&self, statement: &'static str, rows: &[i64]) -> Result<u64, Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        let removing = sqlx::query(statement).bind(json_numbers(rows)).bind(ROWS_AT_ONCE);
        let removed = removing.execute(&mut connection).await.map_err(from_sql)?;
        *place = Some(connection);
        Ok(removed.rows_affected())
    }

    /// Every content that no asset refers to, beside those of the dispatches in `without`.
    async fn unused_contents(&self, without: &[i64]) -> Result<Vec<Unused>, Error> {
        let rows: Vec<UnusedColumns> = sqlx::query_as(
            "SELECT number, id, size, sha1, data IS NULL FROM contents WHERE number NOT IN \
             (SELECT content FROM assets WHERE content IS NOT NULL \
             AND dispatch NOT IN (SELECT value FROM json_each(?)))",
        )
        .bind(json_numbers(without))
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        let read = |(number, id, size, sha1, in_file): &UnusedColumns| {
            let content = read_content(id, *size, sha1);
            let content = content.map_err(|reason| corrupt("a content", reason))?;
            Ok(Unused { number: *number, content, in_file: *in_file })
        };
        rows.iter().map(read).collect()
    }

    async fn remove_unused_contents(&self, purged: &mut Purged) -> Result<(), Error> {
        let mut unused = self.unused_contents(&[]).await?;
        while !unused.is_empty() {
            let rest = unused.split_off(unused.len().min(CONTENTS_AT_ONCE));
            let (gone, files) = self.remove_contents(unused).await?;
            purged.contents += gone.contents;
            purged.bytes += gone.bytes;
            self.files.remove(files).await?;
            unused = rest;
        }
        Ok(())
    }

    /// Removes the rows of those contents that nobody speaks for, and names those in files.
    async fn remove_contents(
        &self,
        unused: Vec<Unused>,
    ) -> Result<(Purged, Vec<ContentId>), Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        // What commits name is noted under the same lock.
        let free = self.files.pins().doom(unused, |unused| unused.content.id);
        let numbers: Vec<i64> = free.iter().map(|unused| unused.number).collect();
        let removed =
            sqlx::query("DELETE FROM contents WHERE number IN (SELECT value FROM json_each(?))")
                .bind(json_numbers(&numbers))
                .execute(&mut connection)
                .await;
        self.files.pins().doom_is_over();
        removed.map_err(from_sql)?;
        *place = Some(connection);
        let mut small = lock(&self.small);
        free.iter().for_each(|unused| small.forget(&unused.content.id));
        let bytes = free.iter().map(|unused| unused.content.size).sum();
        let files = free.iter().filter(|unused| unused.in_file).map(|unused| unused.content.id);
        Ok((Purged { dispatches: 0, contents: free.len() as u64, bytes }, files.collect()))
    }

    /// Removes files without a row that crashes have left. Returns their bytes.
    async fn remove_orphans(&self) -> Result<u64, Error> {
        let mut removed = 0;
        for found in self.files.old_files().await?.chunks(CONTENTS_AT_ONCE) {
            let ids: Vec<String> = found.iter().map(|id| format!("{id}")).collect();
            let known: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT id FROM contents WHERE id IN (SELECT unhex(value) FROM json_each(?))",
            )
            .bind(json(&ids))
            .fetch_all(&self.readers)
            .await
            .map_err(from_sql)?;
            let is_orphan =
                |id: &&ContentId| !known.iter().any(|known| known == id.as_bytes().as_slice());
            removed += self.files.remove(found.iter().filter(is_orphan).copied().collect()).await?;
        }
        Ok(removed)
    }

    fn forget(&self, gone: &[(i64, String)]) {
        let mut known = lock(&self.known);
        known.purges += 1;
        for (row, name) in gone {
            known.next_row = known.next_row.max(row + 1);
            if let Ok(dispatch) = read_id(name) {
                known.rows.remove::<DispatchId>(&dispatch);
            }
        }
    }
}

/// Ends the purge for those who note what is named.
struct OnEnd<'a>(&'a SqliteStore);

impl Drop for OnEnd<'_> {
    fn drop(&mut self) {
        self.0.files.pins().end_purge();
    }
}

/// Those of `roots` below which something is under way, or is run again by a trigger.
async fn busy_roots(
    connection: &mut SqliteConnection,
    roots: &[String],
) -> Result<Vec<String>, Error> {
    let codes: Vec<i64> =
        UNFINISHED.iter().map(|status| i64::from(Status::code(*status))).collect();
    sqlx::query_scalar(hierarchies!(
        "SELECT DISTINCT h.root FROM hierarchy h JOIN dispatches d \
         ON d.dispatch_id = h.dispatch_id WHERE d.status IN (SELECT value FROM json_each(?2)) \
         OR EXISTS (SELECT 1 FROM triggers t WHERE t.dispatch_id = d.dispatch_id AND t.state <> ?3)"
    ))
    .bind(json(roots))
    .bind(json_numbers(&codes))
    .bind(state_code(TriggerState::Stopped))
    .fetch_all(connection)
    .await
    .map_err(from_sql)
}

/// Ids as a JSON list: one value of a statement, however many. Ids need no escapes.
fn json<T: AsRef<str>>(ids: &[T]) -> String {
    let quoted: Vec<String> = ids.iter().map(|id| format!("\"{}\"", id.as_ref())).collect();
    format!("[{}]", quoted.join(","))
}

fn json_numbers(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a purge of one dispatch costs does not grow with those that stay.
    #[tokio::test]
    async fn no_removal_looks_at_what_stays() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        for statement in REMOVE_LEFTOVERS.into_iter().chain([REMOVE_HIERARCHIES]) {
            let explain = format!("EXPLAIN QUERY PLAN {statement}");
            let query = sqlx::query_as(sqlx::AssertSqlSafe(explain)).bind("[1]").bind(1);
            let plan: Vec<(i64, i64, i64, String)> = query.fetch_all(&store.readers).await.unwrap();
            for (.., step) in plan {
                for table in ["dispatches", "plans", "nodes", "assets", "contents"] {
                    assert_ne!(step, format!("SCAN {table}"), "of {statement}");
                }
            }
        }
    }
}
