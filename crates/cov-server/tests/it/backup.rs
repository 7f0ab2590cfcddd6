//! A backup on its way out of a running server, sound and broken.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cov_client::{Client, Error, RetryPolicy};
use cov_core::asset::AssetKey;
use cov_core::backup::{Inventory, Reader};
use cov_core::status::Status;
use cov_server::{Builder, Config};
use cov_store::conformance::fixtures::{
    LARGE, asset, bytes, dispatch_state, node, of_node, register, set, write,
};
use cov_store::model::Change;
use cov_store::{Blob, Contents as _, SqliteStore, Store as _};

/// Fills a data directory with an ended dispatch; returns the file of its large output.
async fn fill(data: &Path) -> std::path::PathBuf {
    let store = SqliteStore::open(data).await.unwrap();
    let output = write(&store, &bytes(1, LARGE), LARGE).await;
    let changes = vec![
        node(0, Status::Completed, 1),
        asset(of_node(0, AssetKey::Output), &output),
        Change::Dispatch(dispatch_state(Status::Completed)),
    ];
    store.commit(&[register("done", 2), set("done", 2, changes)]).await.unwrap();
    let Blob::File { path, .. } = store.read(&output.content).await.unwrap() else {
        panic!("a large content is a file");
    };
    store.close().await;
    path
}

/// Everything that arrives, and how it ended.
async fn receive(client: &Client) -> (Vec<u8>, Result<(), Error>) {
    let mut arrived = Vec::new();
    let mut backup = match client.backup().await {
        Ok(backup) => backup,
        Err(error) => return (arrived, Err(error)),
    };
    loop {
        match backup.next().await {
            Ok(Some(bytes)) => arrived.extend_from_slice(&bytes),
            Ok(None) => return (arrived, Ok(())),
            Err(error) => return (arrived, Err(error)),
        }
    }
}

fn check(bytes: &[u8]) -> Result<Inventory, cov_core::backup::Error> {
    let mut reader = Reader::default();
    let mut unread = bytes;
    while reader.next(&mut unread)?.is_some() {}
    reader.finish()
}

#[tokio::test]
async fn a_backup_that_breaks_midway_does_not_look_whole() {
    let data = tempfile::tempdir().unwrap();
    let content = fill(data.path()).await;
    let config = Config { python: Some("/no/python".into()), ..Config::embedded(data.path()) };
    let server = Builder::new(config).start().await.unwrap();
    let client = Client::builder(server.url());
    let client = client.retry(RetryPolicy::never()).build().unwrap();
    let (arrived, end) = receive(&client).await;
    end.unwrap();
    let whole = check(&arrived).unwrap();
    assert_eq!(whole.contents, 1);
    assert!(whole.bytes > LARGE as u64);

    let mut damaged = bytes(1, LARGE);
    damaged[LARGE / 2] ^= 1;
    fs::set_permissions(&content, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&content, damaged).unwrap();
    let (arrived, broken) = receive(&client).await;
    assert!(matches!(broken, Err(Error::Interrupted { .. })), "{broken:?}");
    assert!(arrived.len() > LARGE && check(&arrived).is_err());
    fs::remove_file(&content).unwrap();
    let (_, refused) = receive(&client).await;
    assert!(matches!(refused, Err(Error::Answered { status: 500, .. })), "{refused:?}");
    assert!(client.ready().await.unwrap());
    server.stop().await;
}
