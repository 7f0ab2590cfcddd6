//! Reading everything that is kept, to find what is damaged. Changes and repairs nothing.

use std::path::Path;

use cov_core::asset::ContentRef;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::SqliteStore;
use super::open::DATABASE;
use super::rows::read_content;
use crate::fault::from_sql;
use crate::model::Query;
use crate::{Contents as _, Error, Store as _};

/// Rows that are read at once.
const PAGE: u32 = 500;

/// How many findings are told; a broken disk has endless ones.
const PROBLEMS_MAX: usize = 100;

/// What was read, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Dispatches that were read.
    pub dispatches: u64,
    /// Contents that were read, in the database and in files.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is damaged, a sentence each; the first hundred.
    pub problems: Vec<String>,
}

impl SqliteStore {
    /// The number of the schema in the data directory `data`; `None` if there is no database.
    /// Changes nothing.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn schema(data: impl AsRef<Path>) -> Result<Option<i64>, Error> {
        let database = data.as_ref().join(DATABASE);
        if !database.exists() {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new().filename(database).read_only(true);
        let mut connection = options.connect().await.map_err(from_sql)?;
        let version = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await
            .map_err(from_sql)?;
        connection.close().await.map_err(from_sql)?;
        Ok(version)
    }

    /// Reads the whole database, every dispatch and every content.
    ///
    /// # Errors
    /// The database does not answer. What is damaged is no error: see [`Checked::problems`].
    pub async fn check(&self) -> Result<Checked, Error> {
        let mut checked = Checked::default();
        let said: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_all(&self.readers)
            .await
            .map_err(from_sql)?;
        for problem in said.iter().filter(|line| *line != "ok") {
            checked.tell(format!("the database: {problem}"));
        }
        self.check_dispatches(&mut checked).await?;
        self.check_contents(&mut checked).await?;
        Ok(checked)
    }

    async fn check_dispatches(&self, checked: &mut Checked) -> Result<(), Error> {
        let mut query = Query { limit: PAGE, latest_first: false, ..Query::default() };
        loop {
            let page = self.summaries(&query).await?;
            for summary in &page {
                checked.dispatches += 1;
                if let Err(error) = self.load(&summary.dispatch_id).await {
                    checked.tell(format!("dispatch {}: {error}", summary.dispatch_id));
                }
            }
            let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
            query.behind = Some(last.dispatch_id.clone());
        }
        let rows = self.count(&Query::default()).await?;
        if rows > checked.dispatches {
            let unread = rows - checked.dispatches;
            checked.tell(format!("{unread} rows of dispatches cannot be read"));
        }
        Ok(())
    }

    async fn check_contents(&self, checked: &mut Checked) -> Result<(), Error> {
        let mut behind = -1_i64;
        loop {
            let rows: Vec<(i64, Vec<u8>, i64, Vec<u8>)> = sqlx::query_as(
                "SELECT number, id, size, sha1 FROM contents WHERE number > ? \
                 ORDER BY number LIMIT ?",
            )
            .bind(behind)
            .bind(PAGE)
            .fetch_all(&self.readers)
            .await
            .map_err(from_sql)?;
            let Some((last, ..)) = rows.last() else { return Ok(()) };
            behind = *last;
            for (number, id, size, sha1) in &rows {
                match read_content(id, *size, sha1) {
                    Ok(content) => self.check_content(&content, checked).await,
                    Err(reason) => checked.tell(format!("content number {number}: {reason}")),
                }
            }
        }
    }

    async fn check_content(&self, content: &ContentRef, checked: &mut Checked) {
        checked.contents += 1;
        checked.bytes += content.size;
        // Reading checks bytes against their digest.
        if let Err(error) = self.read(content).await {
            checked.tell(format!("content {}: {error}", content.id));
        }
    }
}

impl Checked {
    fn tell(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use cov_core::asset::AssetKey;

    use super::*;
    use crate::conformance::fixtures::{of_node, register, set, small};

    async fn filled(folder: &Path) -> SqliteStore {
        let store = SqliteStore::open(folder).await.unwrap();
        let output = small(of_node(0, AssetKey::Output), "seventeen");
        store.commit(&[register("a", 1), set("a", 1, vec![output])]).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_whole_database_has_no_problems() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(SqliteStore::schema(folder.path()).await.unwrap(), None);
        let store = filled(folder.path()).await;
        let checked = store.check().await.unwrap();
        assert_eq!((checked.dispatches, checked.problems.as_slice()), (1, &[][..]));
        assert!(checked.contents >= 1 && checked.bytes >= 9, "{checked:?}");
        store.close().await;
        assert!(SqliteStore::schema(folder.path()).await.unwrap() >= Some(3));
    }

    #[tokio::test]
    async fn damage_is_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        for statement in [
            "UPDATE contents SET data = CAST('seventeeN' AS BLOB) WHERE data = CAST('seventeen' AS BLOB)",
            "UPDATE dispatches SET status = 77",
        ] {
            let mut writer = store.writer.lock().await;
            let done = sqlx::query(statement).execute(writer.as_mut().unwrap()).await.unwrap();
            assert_eq!(done.rows_affected(), 1, "{statement}");
        }
        store.close().await;
        drop(store);
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let problems = store.check().await.unwrap().problems;
        assert!(problems.iter().any(|problem| problem.starts_with("content ")), "{problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("dispatch")), "{problems:?}");
    }
}
