//! Which dispatch is the sub-dispatch of which node, and whose root is whose.

use sqlx::sqlite::SqliteConnection;

use super::batch::{Batch, Link};
use crate::Error;
use crate::fault::{from_sql, internal};

/// The dispatch `?1` and everything below it. `UNION` ends even in a circle.
macro_rules! below {
    ($statement:literal) => {
        concat!(
            "WITH RECURSIVE below (dispatch_id) AS (SELECT ?1 UNION SELECT d.dispatch_id ",
            "FROM dispatches d JOIN below ON d.parent_id = below.dispatch_id) ",
            $statement
        )
    };
}

/// Links in the order of the batch.
pub(super) async fn put_links(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
) -> Result<(), Error> {
    for link in &batch.links {
        put_link(connection, batch, link).await?;
    }
    Ok(())
}

async fn put_link(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
    link: &Link,
) -> Result<(), Error> {
    let name = |slot: usize| match batch.dispatches.get(slot) {
        Some((dispatch, _)) => Ok(dispatch.as_str()),
        None => Err(internal("a link names no dispatch of its batch")),
    };
    let (parent, child) = (name(link.parent)?, name(link.child)?);
    refuse_circle(connection, parent, child).await?;
    part_earlier_child(connection, parent, link, child).await?;
    sqlx::query("UPDATE dispatches SET parent_id = ?, parent_node = ? WHERE dispatch_id = ?")
        .bind(parent)
        .bind(i64::from(link.node.0))
        .bind(child)
        .execute(&mut *connection)
        .await
        .map_err(from_sql)?;
    if link.at_registration {
        return Ok(());
    }
    sqlx::query(below!(
        "UPDATE dispatches SET root_id = (SELECT root_id FROM dispatches WHERE dispatch_id = ?2) \
         WHERE dispatch_id IN (SELECT dispatch_id FROM below)"
    ))
    .bind(child)
    .bind(parent)
    .execute(&mut *connection)
    .await
    .map_err(from_sql)?;
    Ok(())
}

async fn refuse_circle(
    connection: &mut SqliteConnection,
    parent: &str,
    child: &str,
) -> Result<(), Error> {
    let circle: bool = sqlx::query_scalar(below!("SELECT ?2 IN (SELECT dispatch_id FROM below)"))
        .bind(child)
        .bind(parent)
        .fetch_one(&mut *connection)
        .await
        .map_err(from_sql)?;
    match circle {
        true => Err(internal(format!("dispatch {child} would stand above itself"))),
        false => Ok(()),
    }
}

/// A node that gets another sub-dispatch lets go of the one it has, which then stands alone.
async fn part_earlier_child(
    connection: &mut SqliteConnection,
    parent: &str,
    link: &Link,
    child: &str,
) -> Result<(), Error> {
    let earlier: Option<String> = sqlx::query_scalar(
        "SELECT dispatch_id FROM dispatches WHERE parent_id = ? AND parent_node = ?",
    )
    .bind(parent)
    .bind(i64::from(link.node.0))
    .fetch_optional(&mut *connection)
    .await
    .map_err(from_sql)?;
    let Some(earlier) = earlier.filter(|earlier| earlier != child) else { return Ok(()) };
    sqlx::query("UPDATE dispatches SET parent_id = NULL, parent_node = NULL WHERE dispatch_id = ?")
        .bind(&earlier)
        .execute(&mut *connection)
        .await
        .map_err(from_sql)?;
    sqlx::query(below!(
        "UPDATE dispatches SET root_id = ?1 WHERE dispatch_id IN (SELECT dispatch_id FROM below)"
    ))
    .bind(&earlier)
    .execute(&mut *connection)
    .await
    .map_err(from_sql)?;
    Ok(())
}
