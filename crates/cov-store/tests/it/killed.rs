//! A process that is killed while it commits: everything that it acknowledged is there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use cov_core::asset::AssetKey;
use cov_core::status::Status;
use cov_store::conformance::fixtures::{asset, bytes, id, node, of_node, register, set, write};
use cov_store::{Contents, SqliteStore, Store};

/// Names the data directory to the process that will be killed.
const FOLDER: &str = "COV_STORE_TEST_FOLDER";

/// More steps than a process lives for.
const STEPS: u32 = 20_000;

/// Every fourth output is large.
fn output(step: u32) -> Vec<u8> {
    let size = if step.is_multiple_of(4) { 100_000 } else { 500 };
    let mut data = bytes(1, size);
    data.extend_from_slice(&step.to_be_bytes());
    data
}

/// Commits one step after the other, and says so after each, until it is killed.
async fn commit_for_ever(folder: &Path) {
    let store = SqliteStore::open(folder).await.unwrap();
    let epoch = store.begin_epoch().await.unwrap();
    if epoch == 1 {
        store.commit(&[register("a", STEPS), register("b", STEPS)]).await.unwrap();
    }
    let first = store.record(&id("a")).await.unwrap().summary.completed_node_count;
    let mut said = std::io::stdout();
    writeln!(said, "\nepoch {epoch}").unwrap();
    for step in first..STEPS {
        let staged = write(&store, &output(step), usize::MAX).await;
        let half = |name| {
            let changes = vec![
                node(step, Status::Completed, epoch),
                asset(of_node(step, AssetKey::Output), &staged),
            ];
            set(name, 1, changes)
        };
        store.commit(&[half("a"), half("b")]).await.unwrap();
        writeln!(said, "acknowledged {step}").unwrap();
    }
}

/// Runs this test as another process, kills it once it acknowledged `steps` more, and returns
/// its epoch and the last step that it acknowledged.
fn kill_after(folder: &Path, steps: u32) -> (u32, u32) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::what_a_killed_process_acknowledged_is_there", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut epoch, mut last, mut seen) = (0, 0, 0);
    // To the end, for what was acknowledged while the signal was on its way.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(number) = line.strip_prefix("epoch ") {
            epoch = number.parse().unwrap();
        }
        let Some(number) = line.strip_prefix("acknowledged ") else { continue };
        last = number.parse().unwrap();
        seen += 1;
        if seen == steps {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= steps, "the process ended by itself");
    (epoch, last)
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return commit_for_ever(folder.as_ref()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    for (round, steps) in (1..).zip([1, 9, 40, 23]) {
        let (epoch, last) = kill_after(folder.path(), steps);
        assert_eq!(epoch, round);
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let [a, b] = [store.record(&id("a")).await.unwrap(), store.record(&id("b")).await.unwrap()];
        // One more commit may have been made and not been acknowledged.
        let count = a.summary.completed_node_count;
        assert!((last + 1..=last + 2).contains(&count), "{count} of {last}");
        for (step, (a, b)) in (0..count).zip(a.nodes.iter().zip(&b.nodes)) {
            assert_eq!((a.state.status, b.state), (Status::Completed, a.state), "step {step}");
            assert_eq!(a.assets, b.assets);
            let content = a.assets[0].1.content().unwrap();
            let read = match store.read(content).await.unwrap() {
                cov_store::Blob::Small(bytes) => bytes.to_vec(),
                cov_store::Blob::File { path, .. } => std::fs::read(path).unwrap(),
            };
            assert!(read == output(step), "step {step}");
        }
        assert_eq!(b.summary.completed_node_count, count);
    }
}
