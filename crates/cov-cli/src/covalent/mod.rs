//! The database and the results directory of a Covalent server, read and never written. The only
//! place of this program that knows their form, and the only one with SQL. Sends nothing.

mod files;
mod names;
mod rows;
mod workflow;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use cov_core::manifest::ended::ParentNode;
use cov_core::status::Status;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

pub(crate) use self::workflow::Taken;

/// The tables without which nothing can be read.
const TABLES: [&str; 6] =
    ["lattices", "electrons", "electron_dependency", "assets", "lattice_assets", "electron_assets"];

/// Why the database, or one dispatch of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{} cannot be opened as a database", path.display())]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("{} has no table `{table}`", path.display())]
    Foreign { path: PathBuf, table: &'static str },
    #[error("the database cannot be read: {0}")]
    Read(#[from] sqlx::Error),
    #[error("{what} cannot be understood: {reason}")]
    Row { what: String, reason: String },
    #[error("{} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

/// A database of Covalent, open for reading.
#[derive(Debug)]
pub(crate) struct Database {
    connection: SqliteConnection,
    /// Where the contents are, if not where the database says.
    results: Option<PathBuf>,
}

/// A dispatch as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its row.
    pub(crate) id: i64,
    /// Its id, as it stands there.
    pub(crate) dispatch_id: String,
    /// Its lattice's name.
    pub(crate) name: String,
    /// Its state, or what stands there instead of one.
    pub(crate) status: Result<Status, String>,
    /// Whether somebody has deleted it.
    pub(crate) is_deleted: bool,
    /// The row of the dispatch above it.
    pub(crate) parent: Option<i64>,
}

impl Database {
    /// Opens a database so that nothing in it can be changed. Contents are read below `results`
    /// if there is one.
    ///
    /// # Errors
    /// There is no database, or it is none of Covalent, or one of a release without assets.
    pub(crate) async fn open(path: &Path, results: Option<PathBuf>) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
        let found = rows::table_names(&mut connection).await.map_err(failed)?;
        match TABLES.into_iter().find(|table| !found.iter().any(|name| name == table)) {
            Some(table) => Err(Error::Foreign { path: path.to_owned(), table }),
            None => Ok(Self { connection, results }),
        }
    }

    /// Every dispatch, those above others first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) async fn list(&mut self) -> Result<Vec<Listed>, Error> {
        let mut left = rows::lattices(&mut self.connection).await?;
        let mut listed = Vec::with_capacity(left.len());
        let mut known: HashSet<i64> = HashSet::new();
        let all: HashSet<i64> = left.iter().map(|one| one.id).collect();
        while !left.is_empty() {
            let is_next = |one: &Listed| {
                one.parent.is_none_or(|above| known.contains(&above) || !all.contains(&above))
            };
            let (next, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(is_next);
            if next.is_empty() {
                // A circle: each counts as if it stood alone.
                let alone = rest.into_iter().map(|one| Listed { parent: None, ..one });
                listed.extend(alone);
                break;
            }
            known.extend(next.iter().map(|one| one.id));
            listed.extend(next);
            left = rest;
        }
        Ok(listed)
    }

    /// Everything of one dispatch, as of one moment. What is under way counts as lost.
    ///
    /// # Errors
    /// A row makes no sense, or a content is there and cannot be read.
    pub(crate) async fn take(&mut self, listed: &Listed) -> Result<Taken, Error> {
        let results = self.results.clone();
        let mut transaction = self.connection.begin().await?;
        let lattice = rows::lattice(&mut transaction, listed.id).await?;
        let parent = match listed.parent {
            Some(_) => rows::parent(&mut transaction, listed.id).await?,
            None => None,
        };
        let electrons = rows::electrons(&mut transaction, listed.id).await?;
        let edges = rows::edges(&mut transaction, listed.id).await?;
        let assets = rows::assets(&mut transaction, listed.id).await?;
        transaction.rollback().await?;
        let parent = parent.map(|(dispatch, node)| {
            let dispatch = dispatch.parse().map_err(|error| row(listed, &error))?;
            let node = u32::try_from(node).map_err(|error| row(listed, &error))?;
            Ok::<_, Error>(ParentNode { dispatch, node: cov_core::ids::NodeId(node) })
        });
        let rows = workflow::Rows { lattice, electrons, edges, assets };
        let parent = parent.transpose()?;
        let taken = move || workflow::take(&rows, parent, results.as_deref());
        match tokio::task::spawn_blocking(taken).await {
            Ok(taken) => taken,
            Err(error) => Err(row(listed, &error)),
        }
    }
}

fn row(listed: &Listed, reason: &dyn std::fmt::Display) -> Error {
    Error::Row { what: format!("dispatch {}", listed.dispatch_id), reason: reason.to_string() }
}

/// Where Covalent keeps its database, unless it was told otherwise.
pub(crate) fn default_database(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let named = variable("COVALENT_DATABASE");
    let data = || {
        let home = || variable("HOME").map(|home| home.join(".local/share"));
        let shared = variable("XDG_DATA_HOME").or_else(home)?;
        Some(shared.join("covalent").join("dispatcher_db.sqlite"))
    };
    named.or_else(data)
}

#[cfg(test)]
mod tests;
