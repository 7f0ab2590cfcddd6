//! Short reads: single assets, contents. Each is one statement, or a few that need not
//! agree on one moment.

use std::collections::HashMap;

use bytes::Bytes;
use cov_core::asset::{
    Announced, AssetAddress, AssetState, ContentRef, INLINE_BYTES_MAX, SmallContent,
};
use cov_core::ids::{ContentId, DispatchId, NodeId, Sha1Digest};
use sqlx::{QueryBuilder, Sqlite};

use super::rows::{
    AssetColumns, EncodedPlan, decode_plan, node_column, read_asset, read_content, read_id,
    read_u32,
};
use super::{Known, ResultNode, SqliteStore, lock};
use crate::fault::{corrupt, from_sql, internal};
use crate::model::result_node;
use crate::{Awaited, Blob, Error};

/// How many announcements one statement looks up.
const ANNOUNCED_A_STATEMENT: usize = 512;

/// How many contents one statement reads.
const CONTENTS_A_STATEMENT: usize = 512;

impl SqliteStore {
    /// The row of `dispatch`.
    async fn find(&self, dispatch: &DispatchId) -> Result<Known, Error> {
        if let Some(known) = self.known(dispatch) {
            return Ok(known);
        }
        let purges = self.purges();
        let found: Option<(i64, i64)> =
            sqlx::query_as("SELECT id, node_count FROM dispatches WHERE dispatch_id = ?")
                .bind(dispatch.as_str())
                .fetch_optional(&self.readers)
                .await
                .map_err(from_sql)?;
        let Some((row, nodes)) = found else {
            return Err(Error::NotFound { dispatch: dispatch.clone() });
        };
        let nodes =
            read_u32(nodes).map_err(|reason| corrupt(format!("dispatch {dispatch}"), reason))?;
        let known = Known { row, nodes, result: ResultNode::Unread };
        self.remember(purges, [(dispatch.clone(), known)]);
        Ok(known)
    }

    pub(super) async fn find_asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
    ) -> Result<Option<AssetState>, Error> {
        let known = self.find(dispatch).await?;
        let row: Option<AssetColumns> = sqlx::query_as(
            "SELECT a.node, a.key, c.id, ifnull(a.size, c.size), ifnull(a.sha1, c.sha1) FROM assets a \
             LEFT JOIN contents c ON c.number = a.content \
             WHERE a.dispatch = ? AND a.node = ? AND a.key = ?",
        )
        .bind(known.row)
        .bind(node_column(address))
        .bind(i64::from(address.key.code()))
        .fetch_optional(&self.readers)
        .await
        .map_err(from_sql)?;
        let read = row.map(read_asset).transpose();
        let read = read.map_err(|reason| corrupt(format!("dispatch {dispatch}"), reason))?;
        Ok(read.map(|(_, state)| state))
    }

    pub(super) async fn find_result_node(
        &self,
        dispatch: &DispatchId,
    ) -> Result<Option<NodeId>, Error> {
        let known = self.find(dispatch).await?;
        if let ResultNode::Read(node) = known.result {
            return Ok(node);
        }
        let purges = self.purges();
        let plan = sqlx::query_as("SELECT lattice, executors, graph FROM plans WHERE dispatch = ?");
        let plan: Option<(String, String, Vec<u8>)> =
            plan.bind(known.row).fetch_optional(&self.readers).await.map_err(from_sql)?;
        let corrupt = |reason: String| corrupt(format!("dispatch {dispatch}"), reason);
        let (lattice, executors, graph) =
            plan.ok_or_else(|| corrupt("its graph is gone".into()))?;
        let decoding = tokio::task::spawn_blocking(move || {
            let plan = EncodedPlan { lattice, executors, graph };
            let plan = decode_plan(&plan)?;
            Ok(result_node(plan.nodes.iter().map(|node| node.kind)))
        });
        let node = decoding.await.map_err(internal)?.map_err(corrupt)?;
        let known = Known { result: ResultNode::Read(node), ..known };
        self.remember(purges, [(dispatch.clone(), known)]);
        Ok(node)
    }

    pub(super) async fn list_awaited(&self, dispatch: &DispatchId) -> Result<Awaited, Error> {
        let known = self.find(dispatch).await?;
        let rows: Vec<AssetColumns> = sqlx::query_as(
            "SELECT node, key, NULL, size, sha1 FROM assets \
             WHERE dispatch = ? AND content IS NULL ORDER BY node, key",
        )
        .bind(known.row)
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        let mut assets = Vec::with_capacity(rows.len());
        for row in rows {
            let (address, state) = read_asset(row)
                .map_err(|reason| corrupt(format!("dispatch {dispatch}"), reason))?;
            if let AssetState::Awaited(announced) = state {
                assets.push((address, announced));
            }
        }
        Ok(Awaited { assets, node_count: known.nodes })
    }

    pub(super) async fn find_parent(
        &self,
        child: &DispatchId,
    ) -> Result<Option<(DispatchId, NodeId)>, Error> {
        let found: Option<(Option<String>, Option<i64>)> =
            sqlx::query_as("SELECT parent_id, parent_node FROM dispatches WHERE dispatch_id = ?")
                .bind(child.as_str())
                .fetch_optional(&self.readers)
                .await
                .map_err(from_sql)?;
        let Some((parent, node)) = found else {
            return Err(Error::NotFound { dispatch: child.clone() });
        };
        let Some((parent, node)) = parent.zip(node) else { return Ok(None) };
        let read = || Ok((read_id(&parent)?, NodeId(read_u32(node)?)));
        read().map(Some).map_err(|reason: String| corrupt(format!("dispatch {child}"), reason))
    }

    pub(super) async fn match_contents(
        &self,
        announced: &[Announced],
    ) -> Result<Vec<Option<ContentRef>>, Error> {
        let mut wanted: HashMap<(Sha1Digest, u64), Option<ContentRef>> = HashMap::new();
        wanted.extend(announced.iter().filter_map(|one| Some(((one.sha1?, one.size), None))));
        let keys: Vec<(Sha1Digest, u64)> = wanted.keys().copied().collect();
        let mut found = self.match_and_pin(&keys).await?;
        // Two contents of one SHA-1 and size: nobody can tell which one is meant.
        let mut meant: HashMap<(Sha1Digest, u64), usize> = HashMap::new();
        for content in &found {
            *meant.entry((content.sha1, content.size)).or_default() += 1;
        }
        found.retain(|content| meant.get(&(content.sha1, content.size)) == Some(&1));
        for content in self.keep_whole(found).await? {
            wanted.insert((content.sha1, content.size), Some(content));
        }
        let of = |one: &Announced| wanted.get(&(one.sha1?, one.size)).copied().flatten();
        Ok(announced.iter().map(of).collect())
    }

    /// The contents of these digests and sizes, which stay until the caller had the time to commit.
    async fn match_and_pin(&self, keys: &[(Sha1Digest, u64)]) -> Result<Vec<ContentRef>, Error> {
        loop {
            let removals = self.files.pins().removals();
            let mut found = Vec::new();
            for keys in keys.chunks(ANNOUNCED_A_STATEMENT) {
                found.extend(self.match_some(keys).await?);
            }
            if let Some(found) = self.files.pins().pin_found(removals, found, |one| one.id) {
                return Ok(found);
            }
        }
    }

    async fn match_some(&self, keys: &[(Sha1Digest, u64)]) -> Result<Vec<ContentRef>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new("WITH wanted (sha1, size) AS (");
        query.push_values(keys, |mut row, (sha1, size)| {
            row.push_bind(sha1.as_bytes().to_vec()).push_bind(size.cast_signed());
        });
        query.push(
            ") SELECT c.id, c.size, c.sha1 FROM wanted CROSS JOIN contents c \
             ON c.sha1 = wanted.sha1 AND c.size = wanted.size",
        );
        let rows: Vec<(Vec<u8>, i64, Vec<u8>)> =
            query.build_query_as().fetch_all(&self.readers).await.map_err(from_sql)?;
        let read = |(id, size, sha1): &(Vec<u8>, i64, Vec<u8>)| {
            read_content(id, *size, sha1).map_err(|reason| corrupt("a content", reason))
        };
        rows.iter().map(read).collect()
    }

    /// Leaves out large contents whose file is gone or cut off, so that they are uploaded anew.
    async fn keep_whole(&self, found: Vec<ContentRef>) -> Result<Vec<ContentRef>, Error> {
        let is_small = |content: &ContentRef| content.size <= INLINE_BYTES_MAX as u64;
        let (mut kept, large): (Vec<_>, Vec<_>) = found.into_iter().partition(is_small);
        if large.is_empty() {
            return Ok(kept);
        }
        let whole = self.files.stand_whole(large.clone()).await?;
        kept.extend(large.into_iter().zip(whole).filter(|(_, whole)| *whole).map(|(one, _)| one));
        Ok(kept)
    }

    /// The bytes of `content`, if they are kept in its row; checked. Those of the next rows come
    /// along, if this goes on with an earlier read.
    pub(super) async fn read_row(&self, content: &ContentRef) -> Result<Option<Blob>, Error> {
        let guess = lock(&self.ahead).guess();
        let rows: Vec<(i64, Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT number, id, data FROM contents \
             WHERE number >= (SELECT number FROM contents WHERE id = ?1) ORDER BY number \
             LIMIT ifnull((SELECT iif(number BETWEEN ?2 AND ?3, ?4, 1) FROM contents \
             WHERE id = ?1), 1)",
        )
        .bind(content.id.as_bytes().as_slice())
        .bind(guess.low)
        .bind(guess.high)
        .bind(guess.rows)
        .fetch_all(&self.readers)
        .await
        .map_err(from_sql)?;
        let mut rows = rows.into_iter();
        let Some((number, _, Some(data))) = rows.next() else { return Ok(None) };
        lock(&self.ahead).note(guess, number);
        let read = SmallContent::new(Bytes::from(data));
        if read.content != *content {
            let reason = "its row does not match its digest";
            return Err(corrupt(format!("content {}", content.id), reason));
        }
        let mut cached = lock(&self.small);
        cached.put(content.id, &read.bytes);
        for (_, id, data) in rows {
            let Some(data) = data else { continue };
            // One that is damaged is reported to whoever wants it.
            let ahead = SmallContent::new(Bytes::from(data));
            if ahead.content.id.as_bytes().as_slice() == id {
                cached.put(ahead.content.id, &ahead.bytes);
            }
        }
        Ok(Some(Blob::Small(read.bytes)))
    }

    /// The small ones of `contents`: from memory, or else a few hundred at a time. They are not
    /// kept in memory, where so many would take the place of others. A single one that is missing
    /// is left out: [`SqliteStore::read_row`] reads ahead of it.
    pub(super) async fn read_small(
        &self,
        contents: &[ContentRef],
    ) -> Result<HashMap<ContentId, Bytes>, Error> {
        let inline = contents.iter().filter(|content| content.size <= INLINE_BYTES_MAX as u64);
        let (mut found, mut missing) = (HashMap::new(), HashMap::new());
        {
            let mut cached = lock(&self.small);
            for content in inline {
                match cached.get(&content.id) {
                    Some(bytes) => found.insert(content.id, bytes).is_some(),
                    None => missing.insert(content.id, content).is_some(),
                };
            }
        }
        let ids: Vec<ContentId> = match missing.len() {
            1 => Vec::new(),
            _ => missing.keys().copied().collect(),
        };
        for some in ids.chunks(CONTENTS_A_STATEMENT) {
            for (id, bytes) in self.read_rows_of(some).await? {
                let read = SmallContent::new(bytes);
                if missing.get(&id).is_none_or(|content| read.content != **content) {
                    let reason = "its row does not match its digest";
                    return Err(corrupt(format!("content {id}"), reason));
                }
                found.insert(id, read.bytes);
            }
        }
        Ok(found)
    }

    async fn read_rows_of(&self, ids: &[ContentId]) -> Result<Vec<(ContentId, Bytes)>, Error> {
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT id, data FROM contents WHERE (id) IN (");
        query.push_values(ids, |mut row, id| {
            row.push_bind(id.as_bytes().to_vec());
        });
        query.push(") AND data IS NOT NULL");
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            query.build_query_as().fetch_all(&self.readers).await.map_err(from_sql)?;
        let read = |(id, data): (Vec<u8>, Vec<u8>)| match <[u8; 32]>::try_from(id) {
            Ok(id) => Ok((ContentId::from_bytes(id), Bytes::from(data))),
            Err(id) => Err(corrupt("a content", format!("its id has {} bytes", id.len()))),
        };
        rows.into_iter().map(read).collect()
    }

    /// Whether the row of `content` has its bytes.
    pub(super) async fn row_has_bytes(&self, content: &ContentId) -> Result<bool, Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM contents WHERE id = ? AND data IS NOT NULL)",
        )
        .bind(content.as_bytes().as_slice())
        .fetch_one(&self.readers)
        .await
        .map_err(from_sql)
    }
}
