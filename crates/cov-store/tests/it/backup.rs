//! A backup of a store in use, and what it is restored to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cov_core::asset::{AssetKey, ContentRef};
use cov_core::backup::{Member, Writer};
use cov_core::status::Status;
use cov_store::conformance::fixtures::{
    LARGE, asset, at, bytes, content, dispatch_state, id, node, of_node, register, set, small,
    write,
};
use cov_store::model::{Change, ChangeSet, PurgeQuery, Query};
use cov_store::{BackupReader, Blob, Contents, Error, MemoryStore, SqliteStore, Staged, Store};

use super::opening::beside;

/// Where a test keeps its store, its archive and what it restores.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn restored(&self) -> PathBuf {
        self.0.path().join("restored")
    }

    /// Writes an archive and restores it.
    async fn restore(&self, archive: &[u8]) -> Result<cov_store::Restored, Error> {
        let path = self.0.path().join("archive.tar");
        fs::write(&path, archive).unwrap();
        SqliteStore::restore(&path, self.restored()).await
    }

    /// Restoring is refused with these words, and leaves nothing behind.
    async fn refuses(&self, archive: &[u8], words: &str) {
        let refused = self.restore(archive).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(_) | Error::Schema(_)), "{refused:?}");
        assert!(refused.to_string().contains(words), "{refused}");
        let mut left: Vec<_> =
            fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["archive.tar", "data"]);
    }
}

async fn rest(mut reader: Box<dyn BackupReader>, mut begin: Vec<u8>) -> Result<Vec<u8>, Error> {
    while let Some(piece) = reader.next().await? {
        begin.extend_from_slice(&piece);
    }
    Ok(begin)
}

async fn archive_of(store: &SqliteStore) -> Vec<u8> {
    rest(store.backup().await.unwrap(), Vec::new()).await.unwrap()
}

fn ended(dispatch: &str, output: &Staged) -> [ChangeSet; 2] {
    let changes = vec![
        node(0, Status::Completed, 1),
        asset(of_node(0, AssetKey::Output), output),
        Change::Dispatch(dispatch_state(Status::Completed)),
    ];
    [register(dispatch, 2), set(dispatch, 2, changes)]
}

/// A store with an ended dispatch that has a large output, and one that is under way.
async fn filled(data: &Path) -> (SqliteStore, Staged) {
    let store = SqliteStore::open(data).await.unwrap();
    assert_eq!(store.begin_epoch().await.unwrap(), 1);
    let large = write(&store, &bytes(1, LARGE), LARGE).await;
    store.commit(&ended("done", &large)).await.unwrap();
    let changes = vec![
        node(0, Status::Running, 1),
        small(of_node(1, AssetKey::Function), "code"),
        Change::Dispatch(dispatch_state(Status::Running)),
    ];
    store.commit(&[register("busy", 3), set("busy", 1, changes)]).await.unwrap();
    (store, large)
}

async fn bytes_of(store: &SqliteStore, content: &ContentRef) -> Bytes {
    match store.read(content).await.unwrap() {
        Blob::Small(bytes) => bytes,
        Blob::File { path, .. } => fs::read(path).unwrap().into(),
    }
}

fn all() -> PurgeQuery {
    PurgeQuery { ended_before: at(1_000), statuses: Vec::new(), dry_run: false }
}

#[tokio::test]
async fn everything_comes_back() {
    let place = Place::new();
    let (store, large) = filled(&place.data()).await;
    let archive = archive_of(&store).await;
    let restored = place.restore(&archive).await.unwrap();
    assert_eq!((restored.dispatches, restored.contents), (2, 1));

    let copy = SqliteStore::open(place.restored()).await.unwrap();
    let every = Query { limit: 10, ..Query::default() };
    let (theirs, ours) =
        (copy.summaries(&every).await.unwrap(), store.summaries(&every).await.unwrap());
    assert_eq!(theirs, ours);
    for dispatch in ["done", "busy"] {
        let theirs = copy.record(&id(dispatch)).await.unwrap();
        let ours = store.record(&id(dispatch)).await.unwrap();
        assert_eq!(format!("{theirs:?}"), format!("{ours:?}"));
    }
    assert_eq!(copy.unfinished().await.unwrap(), [id("busy")]);
    assert_eq!(bytes_of(&copy, &large.content).await, bytes(1, LARGE));
    assert_eq!(bytes_of(&copy, &content("code")).await, "code");
    assert_eq!(copy.begin_epoch().await.unwrap(), 2);
    copy.commit(&[register("new", 1)]).await.unwrap();
    let mode = fs::metadata(place.restored()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!place.restored().join("restore.lock").exists());
}

#[tokio::test]
async fn a_backup_is_of_one_moment_whatever_is_purged_and_committed_meanwhile() {
    let place = Place::new();
    let (store, large) = filled(&place.data()).await;
    let mut reader = store.backup().await.unwrap();
    let begin = reader.next().await.unwrap().unwrap().to_vec();

    let purged = store.purge(&all()).await.unwrap();
    assert_eq!((purged.dispatches, purged.contents), (1, 0), "the backup still reads its content");
    let later = write(&store, &bytes(2, LARGE), LARGE).await;
    store.commit(&ended("later", &later)).await.unwrap();
    store.purge(&all()).await.unwrap();
    assert!(!store.holds(&later.content.id).await.unwrap(), "it came after the snapshot");

    let archive = rest(reader, begin).await.unwrap();
    place.restore(&archive).await.unwrap();
    let copy = SqliteStore::open(place.restored()).await.unwrap();
    assert_eq!(copy.count(&Query::default()).await.unwrap(), 2);
    assert_eq!(bytes_of(&copy, &large.content).await, bytes(1, LARGE));
    // The next backup begins when this one is over.
    drop(store.backup().await.unwrap());
    drop(store.backup().await.unwrap());
    let backup = archive_of(&store).await;
    assert!(backup.len() > LARGE, "held as long as there was a backup");
    // The last piece is out; its source may be about to go.
    while store.purge(&all()).await.unwrap().contents == 0 {}
    assert!(!store.holds(&large.content.id).await.unwrap());
    let incoming = place.data().join("contents/incoming");
    assert_eq!(fs::read_dir(incoming).unwrap().count(), 0, "no snapshot is left");
}

#[tokio::test]
async fn what_is_no_whole_backup_is_refused() {
    let place = Place::new();
    let (store, _) = filled(&place.data()).await;
    let archive = archive_of(&store).await;
    place.refuses(b"", "cut off").await;
    place.refuses(&[b'x'; 2048], "no backup").await;
    for end in
        [100, 600, 1024, 5000, archive.len() - LARGE / 2, archive.len() - 1025, archive.len() - 1]
    {
        place.refuses(&archive[..end], "cut off").await;
    }
    for at in [700, 4000, archive.len() / 2, archive.len() - LARGE / 2] {
        let mut damaged = archive.clone();
        damaged[at] ^= 1;
        place.refuses(&damaged, "damaged").await;
    }
    let mut longer = archive.clone();
    longer.extend_from_slice(&[0; 512]);
    place.refuses(&longer, "follows its end").await;
    place.restore(&archive).await.unwrap();
}

/// An archive that is sound in itself.
fn made_up(database: &[u8], contents: &[&[u8]]) -> Vec<u8> {
    let (mut writer, mut bytes) = Writer::begin(contents.len() as u64);
    let named = contents.iter().map(|data| {
        let content = cov_core::asset::SmallContent::new(Bytes::copy_from_slice(data)).content;
        (Member::Content(content.id), *data)
    });
    for (member, data) in std::iter::once((Member::Database, database)).chain(named) {
        bytes.extend_from_slice(&writer.member(member, data.len() as u64));
        writer.data(data);
        bytes.extend_from_slice(data);
        bytes.extend(writer.end().unwrap().1);
    }
    bytes.extend(writer.finish());
    bytes
}

#[tokio::test]
async fn a_database_that_does_not_fit_is_refused() {
    let place = Place::new();
    let (store, _) = filled(&place.data()).await;
    let snapshot = place.0.path().join("data").join("snapshot");
    let mut connection = beside(&place.data()).await;
    let copy = async |connection: &mut sqlx::SqliteConnection| {
        sqlx::query("VACUUM INTO ?").bind(snapshot.to_str()).execute(connection).await.unwrap();
        let copied = fs::read(&snapshot).unwrap();
        fs::remove_file(&snapshot).unwrap();
        copied
    };
    let database = copy(&mut connection).await;
    place.refuses(&made_up(&database, &[]), "not those of its database").await;
    let two: [&[u8]; 2] = [&bytes(1, LARGE), b"nobody refers to it"];
    let mut two = two.to_vec();
    two.sort_by_key(|data| {
        cov_core::asset::SmallContent::new(Bytes::copy_from_slice(data)).content.id
    });
    place.refuses(&made_up(&database, &two), "not those of its database").await;
    place.refuses(&made_up(&[b'x'; 8192], &[]), "database is damaged").await;
    let mut torn = database.clone();
    let end = torn.len();
    torn[end - 4096..].fill(0xee);
    place.refuses(&made_up(&torn, &[&bytes(1, LARGE)]), "database is damaged").await;

    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'of the future', 1, x'00', 1)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    drop(store);
    let newer = copy(&mut connection).await;
    place.refuses(&made_up(&newer, &[&bytes(1, LARGE)]), "newer release").await;
    place.restore(&made_up(&database, &[&bytes(1, LARGE)])).await.unwrap();
}

#[tokio::test]
async fn only_an_empty_folder_is_filled() {
    let place = Place::new();
    let (store, _) = filled(&place.data()).await;
    let archive = archive_of(&store).await;
    let own = place.restored().join("own");
    fs::create_dir(place.restored()).unwrap();
    fs::write(&own, "mine").unwrap();
    let refused = place.restore(&archive).await.unwrap_err();
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    assert_eq!(fs::read(&own).unwrap(), b"mine");
    fs::remove_file(&own).unwrap();
    // What a restore that was killed has left.
    let site = place.0.path().join(".restored.restoring");
    fs::create_dir_all(site.join("contents/00")).unwrap();
    fs::write(site.join("dispatches.sqlite-wal"), "old").unwrap();
    place.restore(&archive).await.unwrap();
    assert!(!site.exists());
    SqliteStore::open(place.restored()).await.unwrap();
    let again = place.restore(&archive).await.unwrap_err();
    assert!(again.to_string().contains("is not empty"), "{again}");
}

#[tokio::test]
async fn a_content_that_is_damaged_is_named_and_ends_the_backup() {
    let place = Place::new();
    let (store, large) = filled(&place.data()).await;
    let Blob::File { path, .. } = store.read(&large.content).await.unwrap() else {
        panic!("a large content is a file");
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut changed = bytes(1, LARGE);
    changed[LARGE / 2] ^= 1;
    fs::write(&path, &changed).unwrap();
    let broken = rest(store.backup().await.unwrap(), Vec::new()).await.unwrap_err();
    assert!(broken.to_string().contains(&large.content.id.to_string()), "{broken}");
    fs::remove_file(&path).unwrap();
    let refused = store.backup().await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    store.commit(&[register("next", 1)]).await.unwrap();
}

#[tokio::test]
async fn a_store_in_memory_has_no_backup() {
    let refused = MemoryStore::new().unwrap().backup().await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
}
