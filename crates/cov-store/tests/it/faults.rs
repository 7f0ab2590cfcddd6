//! A store that fails now and then: nothing acknowledged is lost, nothing is half there.

use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::{AssetKey, AssetState};
use cov_core::status::Status;
use cov_store::conformance::fixtures::{
    LARGE, asset, bytes, content, id, node, of_node, register, set, small, write,
};
use cov_store::faulty::{Failure, Faults, Faulty, Operation};
use cov_store::model::ChangeSet;
use cov_store::{Contents, Error, MemoryStore, SqliteStore, Store};

/// Step `number` changes both dispatches.
fn step(number: u32) -> [ChangeSet; 2] {
    let half = |name| {
        let text = format!("output {number}");
        let output = small(of_node(number, AssetKey::Output), &text);
        set(name, 1, vec![node(number, Status::Completed, 1), output])
    };
    [half("a"), half("b")]
}

async fn has_step(store: &dyn Store, number: u32) -> bool {
    let mut parts = Vec::new();
    for name in ["a", "b"] {
        let record = store.record(&id(name)).await.unwrap();
        parts.push(record.nodes[number as usize].state.status == Status::Completed);
        let output = of_node(number, AssetKey::Output);
        let expected = AssetState::Present(content(&format!("output {number}")));
        parts.push(store.asset(&id(name), output).await.unwrap() == Some(expected));
    }
    assert!(parts.iter().all(|part| *part == parts[0]), "step {number} is half there: {parts:?}");
    parts[0]
}

async fn exactly_the_acknowledged_steps_are_there<S: Store>(store: S) {
    const STEPS: u32 = 12;
    let faults = Faults::default();
    let store = Faulty::new(store, faults.clone());
    store.commit(&[register("a", STEPS), register("b", STEPS)]).await.unwrap();
    faults.fail_nth(Operation::Commit, 1, Failure::Full);
    faults.fail_nth(Operation::Commit, 4, Failure::Unavailable);
    faults.fail_nth(Operation::Commit, 5, Failure::Full);
    let mut acknowledged = Vec::new();
    for number in 0..STEPS {
        match store.commit(&step(number)).await {
            Ok(()) => acknowledged.push(number),
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
    }
    assert_eq!(acknowledged, [1, 2, 5, 6, 7, 8, 9, 10, 11]);
    for number in 0..STEPS {
        assert_eq!(has_step(&store, number).await, acknowledged.contains(&number));
    }
    // The same calls succeed once the fault has gone.
    for number in [0, 3, 4] {
        store.commit(&step(number)).await.unwrap();
        assert!(has_step(&store, number).await);
    }
    faults.fail_all(Operation::Commit, Failure::Unavailable);
    assert!(store.commit(&[]).await.is_err());
    faults.mend();
    store.commit(&[]).await.unwrap();
    assert_eq!(faults.calls(Operation::Commit), 1 + u64::from(STEPS) + 3 + 2);
}

#[tokio::test]
async fn exactly_the_acknowledged_steps_are_in_memory() {
    exactly_the_acknowledged_steps_are_there(MemoryStore::new().unwrap()).await;
}

#[tokio::test]
async fn exactly_the_acknowledged_steps_are_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    exactly_the_acknowledged_steps_are_there(store).await;
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing_and_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let faults = Faults::default();
    let store = Faulty::new(store, faults.clone());
    let data = Bytes::from(bytes(1, LARGE));
    let mut digest = cov_core::asset::ContentDigest::default();
    digest.update(&data);
    let names = digest.finish();
    for failing in [Operation::Write, Operation::Finish] {
        faults.fail_nth(failing, 1, Failure::Full);
        let mut writer = store.writer().await.unwrap();
        let ended = match writer.write(data.clone()).await {
            Ok(()) => writer.finish().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(ended, Err(Error::Full(_))), "{ended:?}");
        assert!(!store.holds(&names.id).await.unwrap());
    }
    let staged = write(&store, &data, 100_000).await;
    assert_eq!(staged.content, names);
    let change = asset(of_node(0, AssetKey::Output), &staged);
    store.commit(&[register("a", 1), set("a", 1, vec![change])]).await.unwrap();
    store.read(&names).await.unwrap();
}

/// A content that lost a part is never finished as another one.
#[tokio::test]
async fn a_writer_is_of_no_more_use_after_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let incoming = folder.path().join("contents/incoming");
    let large = Bytes::from(bytes(1, LARGE));
    std::fs::remove_dir(&incoming).unwrap();
    // The fault is told with the call after it, because writing goes on meanwhile.
    let mut told_at_finish = store.writer().await.unwrap();
    told_at_finish.write(large.clone()).await.unwrap();
    assert!(told_at_finish.finish().await.is_err());
    let mut told_at_write = store.writer().await.unwrap();
    told_at_write.write(large.clone()).await.unwrap();
    assert!(told_at_write.write(large.clone()).await.is_err());
    std::fs::create_dir(&incoming).unwrap();
    assert!(told_at_write.write(large.clone()).await.is_err());
    assert!(told_at_write.finish().await.is_err());
    let staged = write(&store, &large, 100_000).await;
    assert!(store.holds(&staged.content.id).await.unwrap());
}

/// A commit whose caller goes away at any moment is whole or absent, and the next one works.
#[tokio::test]
async fn a_commit_that_is_dropped_midway_is_whole_or_absent() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let polls = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987];
    let count = u32::try_from(polls.len()).unwrap();
    store.commit(&[register("a", count + 1), register("b", count + 1)]).await.unwrap();
    for (number, polls) in (0..count).zip(polls) {
        let batch = step(number);
        {
            let mut commit = store.commit(&batch);
            for _ in 0..polls {
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(commit.as_mut().poll(context))
                });
                if polled.await.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // Waits for the dropped one, if that was on its way.
        store.commit(&step(count)).await.unwrap();
        has_step(store.as_ref(), number).await;
    }
    drop(store);
    let store = SqliteStore::open(folder.path()).await.unwrap();
    assert!(has_step(&store, count).await);
}

#[tokio::test]
async fn a_file_that_cannot_be_taken_over_now_is_taken_over_later() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let path = store.spool().join("attempt-1.output");
    let output = "x".repeat(LARGE);
    std::fs::write(&path, &output).unwrap();
    let expected = content(&output);
    // A file where the content's folder has to be.
    let name = expected.id.to_string();
    let obstacle = folder.path().join("contents").join(&name[..2]);
    std::fs::write(&obstacle, b"").unwrap();
    for _ in 0..2 {
        let refused = store.adopt(&path).await.unwrap_err();
        assert!(refused.is_transient(), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), output, "the file stands");
    }
    std::fs::remove_file(&obstacle).unwrap();
    assert_eq!(store.adopt(&path).await.unwrap().content, expected);
    assert!(!path.exists());
    store.close().await;
}
