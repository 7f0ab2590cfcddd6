//! Many files at once: none is lost, also when the queues of the kernel and our own overflow.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use cov_triggers::Trigger;
use cov_triggers::dir::{DirTrigger, Kind};
use cov_triggers::observer::Marks;
use tokio::time::Instant;

use crate::observing::Observing;

const FILES: usize = 100_000;

fn create(dir: PathBuf, files: usize) -> impl FnOnce() {
    move || {
        for number in 0..files {
            std::fs::write(dir.join(format!("f{number}")), "x").unwrap();
        }
    }
}

/// Counts the events of each file until every file has had one.
async fn collect(observing: &mut Observing, files: usize, batch: usize) -> HashMap<String, u32> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut since_pause = 0;
    while seen.len() < files {
        let detail = observing.next_detail().await;
        *seen.entry(detail).or_default() += 1;
        since_pause += 1;
        if since_pause == batch {
            // What a firing costs: the task that observes is held up meanwhile.
            since_pause = 0;
            tokio::task::yield_now().await;
        }
    }
    seen
}

async fn burst(kind: Kind, batch: usize, room: usize) {
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    let trigger = DirTrigger::new(d.to_str().unwrap(), [kind]);
    let trigger: Arc<dyn Trigger> = Arc::new(trigger);
    let mut observing = Observing::with_room(&trigger, Marks::new(), room);
    observing.until_healthy().await;
    let began = Instant::now();
    let writer = tokio::task::spawn_blocking(create(d.clone(), FILES));
    let seen = collect(&mut observing, FILES, batch).await;
    let took = began.elapsed();
    writer.await.unwrap();
    let lost = (0..FILES).filter(|n| !seen.contains_key(&format!("{kind} {}/f{n}", d.display())));
    assert_eq!(lost.count(), 0, "files that nobody heard of");
    let twice = seen.values().filter(|count| **count > 1).count();
    println!("{kind}, batch {batch}: {FILES} files in {took:?}, 0 lost, {twice} told twice");
    assert_eq!(twice, 0, "files that were told twice");
    let marks = observing.stop().await;
    assert_eq!(marks.keys().filter(|name| name.starts_with("f:")).count(), FILES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_thousand_created_files_none_is_lost_one_by_one() {
    burst(Kind::Created, 1, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_thousand_created_files_none_is_lost_in_batches() {
    burst(Kind::Created, 10_000, 1024).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_files_that_are_closed_none_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    let trigger: Arc<dyn Trigger> = Arc::new(DirTrigger::new(d.to_str().unwrap(), [Kind::Closed]));
    let mut observing = Observing::with_room(&trigger, Marks::new(), 1);
    observing.until_healthy().await;
    let files = 30_000;
    let writer = tokio::task::spawn_blocking(create(d.clone(), files));
    let seen = collect(&mut observing, files, 1).await;
    writer.await.unwrap();
    let twice = seen.values().filter(|count| **count > 1).count();
    println!("closed: {files} files, 0 lost, {twice} told twice");
    let marks = observing.stop().await;
    assert_eq!(marks.keys().filter(|name| name.starts_with("f:")).count(), files);
}

#[tokio::test]
async fn when_nobody_listens_for_a_while_nothing_is_lost_and_nothing_piles_up() {
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    let trigger: Arc<dyn Trigger> = Arc::new(DirTrigger::new(d.to_str().unwrap(), [Kind::Created]));
    let mut observing = Observing::with_room(&trigger, Marks::new(), 1);
    observing.until_healthy().await;
    let files = 40_000;
    // The task cannot run meanwhile: everything goes to the queues.
    create(d.clone(), files)();
    let seen = collect(&mut observing, files, 1).await;
    assert!(seen.values().all(|count| *count == 1));
    observing.stop().await;
}

#[tokio::test]
async fn a_file_is_told_within_milliseconds() {
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    let trigger: Arc<dyn Trigger> = Arc::new(DirTrigger::new(d.to_str().unwrap(), [Kind::Created]));
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    let mut lags = Vec::new();
    for number in 0..200 {
        let path = d.join(format!("f{number}"));
        let began = Instant::now();
        std::fs::write(&path, "x").unwrap();
        observing.next().await;
        lags.push(began.elapsed());
    }
    lags.sort();
    println!("file to event: p50 {:?}, p99 {:?}", lags[100], lags[198]);
    assert!(lags[100].as_millis() < 50, "half of all take longer than {:?}", lags[100]);
    observing.stop().await;
}
