//! Writing: a batch of change sets in one transaction. Few statements of many rows, because each
//! statement costs a trip to the connection's thread. Checks references, decides nothing.

mod batch;
mod links;
mod script;
mod statements;
mod triggers;

use std::sync::Arc;

use cov_core::asset::ContentRef;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::{Known, SqliteStore, lock};
use crate::Error;
use crate::fault::{corrupt, from_sql, internal};
use crate::files::Files;
use crate::model::ChangeSet;
use batch::{Batch, NextRow};
use script::Script;
use statements::Found;
use triggers::Refusal;

impl SqliteStore {
    pub(super) async fn apply(&self, sets: &[ChangeSet]) -> Result<(), Error> {
        let mut batch = Batch::new(sets);
        // The connection is out of its place while it is in a transaction, so that one whose
        // transaction was given up midway, by a fault or a dropped future, is never used again.
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        // A purge forgets rows and removes contents under the same lock.
        let purges = self.purges();
        for (dispatch, entry) in batch.entries_mut() {
            *entry = self.known(dispatch);
        }
        {
            let known = lock(&self.known);
            batch.next_row = NextRow { number: known.next_row, is_counted: known.is_counted };
        }
        self.files.pins().name(batch.contents_named());
        let applied = apply_all(&mut connection, &mut batch, &self.files).await;
        let usable = match &applied {
            Ok(()) => true,
            Err(error) => is_refusal(error) && roll_back(&mut connection).await,
        };
        if usable {
            *place = Some(connection);
        } else if connection.close().await.is_err() {
            tracing::warn!("the writing connection did not close in order");
        }
        if applied.is_ok() {
            let NextRow { number, is_counted } = batch.next_row;
            let mut known = lock(&self.known);
            known.next_row = known.next_row.max(number);
            known.is_counted = is_counted;
            drop(known);
            self.remember(purges, batch.committed());
        }
        drop(place);
        applied?;
        self.files.pins().release_batch(sets);
        let mut small = lock(&self.small);
        for (content, bytes) in batch.small_contents() {
            small.put(content.id, bytes);
        }
        Ok(())
    }

    pub(super) async fn count_epoch(&self) -> Result<u32, Error> {
        let mut place = self.writer.lock().await;
        let mut connection = self.take(&mut place).await?;
        let counted: i64 =
            sqlx::query_scalar("UPDATE server SET epoch = epoch + 1 RETURNING epoch")
                .fetch_one(&mut connection)
                .await
                .map_err(from_sql)?;
        *place = Some(connection);
        u32::try_from(counted).map_err(internal)
    }
}

/// Whether a batch was refused for what it asks for, and not by the database.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. }
            | Error::Exists { .. }
            | Error::TriggerGone { .. }
            | Error::Claimed { .. }
    )
}

/// Gives up the open transaction. Returns whether the connection is as before it.
async fn roll_back(connection: &mut SqliteConnection) -> bool {
    sqlx::query("ROLLBACK").execute(connection).await.is_ok()
}

/// Applies a batch in one transaction. After an error it is still open.
async fn apply_all(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    files: &Arc<Files>,
) -> Result<(), Error> {
    let mut script = Script::new(connection);
    script.statement("BEGIN IMMEDIATE");
    write(&mut script, batch, files).await?;
    script.statement("COMMIT");
    script.run().await.map(drop)
}

/// Everything that a batch changes, in an order in which each part finds what it refers to.
async fn write(
    script: &mut Script<'_>,
    batch: &mut Batch<'_>,
    files: &Arc<Files>,
) -> Result<(), Error> {
    let Found { contents, new_files } = statements::look_up(script, batch).await?;
    let new = statements::number_dispatches(script.connection, batch).await?;
    batch.check()?;
    statements::insert_dispatches(script, &new).await?;
    if !batch.firings.is_empty() {
        script.run().await?;
        triggers::put_decisions(script.connection, &batch.firings, Refusal::Report).await?;
    }
    check_files(files, new_files).await?;
    if let Some(missing) = batch.contents_named().find(|id| !contents.contains_key(*id)) {
        return Err(corrupt(
            format!("content {missing}"),
            "an asset refers to it and it is unknown",
        ));
    }
    statements::put_assets(script, batch, &contents).await?;
    statements::fulfil_assets(script, batch, &contents).await?;
    statements::put_nodes(script, batch).await?;
    statements::put_states(script, batch).await?;
    if !batch.links.is_empty() {
        script.run().await?;
        links::put_links(script.connection, batch).await?;
    }
    Ok(())
}

/// A large content becomes known only while its file stands. It was staged, but maybe so long ago
/// that a purge has removed it again.
async fn check_files(files: &Arc<Files>, contents: Vec<ContentRef>) -> Result<(), Error> {
    if contents.is_empty() {
        return Ok(());
    }
    let stand = files.stand_whole(contents.clone()).await?;
    match contents.iter().zip(stand).find(|(_, stands)| !stands) {
        Some((gone, _)) => Err(corrupt(format!("content {}", gone.id), "its file is gone")),
        None => Ok(()),
    }
}

impl Batch<'_> {
    /// The row of the dispatch in `slot`.
    fn row(&self, slot: usize) -> Result<Known, Error> {
        match self.dispatches.get(slot) {
            Some((_, Some(known))) => Ok(*known),
            Some((dispatch, None)) => Err(Error::NotFound { dispatch: (*dispatch).clone() }),
            None => Err(internal("a change names no dispatch of its batch")),
        }
    }
}
