//! What the kernel is asked to do, in which order: seen by strace, because no test of the
//! results can tell a synced file from a lucky one.

use std::fs;
use std::path::Path;
use std::process::Command;

use cov_core::asset::AssetKey;
use cov_store::conformance::fixtures::{LARGE, asset, bytes, of_node, register, set, write};
use cov_store::{SqliteStore, Store};

/// Names the data directory to the process that is traced.
const FOLDER: &str = "COV_STORE_TEST_FOLDER";

/// The test that runs itself.
const SELF: &str =
    "traced::a_content_is_durable_before_its_commit_and_the_commit_before_its_answer";

/// Leaves a line in the trace: the file does not exist.
fn mark(text: &str) {
    let name = format!("mark-{text}");
    assert!(fs::rename(&name, &name).is_err());
}

async fn write_and_commit(folder: &Path) {
    let store = SqliteStore::open(folder).await.unwrap();
    store.commit(&[register("a", 1)]).await.unwrap();
    mark("begin");
    let staged = write(&store, &bytes(1, LARGE), 100_000).await;
    mark("staged");
    let change = asset(of_node(0, AssetKey::Output), &staged);
    store.commit(&[set("a", 1, vec![change])]).await.unwrap();
    mark("committed");
}

/// A call with the lines of the trace on which it began and ended.
#[derive(Debug, Clone)]
struct Call {
    text: String,
    began: usize,
    ended: usize,
}

/// Puts the two halves of calls together that another thread's call interrupted.
fn read_trace(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Vec<(&str, usize)> = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let (thread, text) = text.split_once(' ').unwrap();
        if text.contains(" resumed>") {
            let place = open.iter().position(|(waiting, _)| *waiting == thread).unwrap();
            let (_, call) = open.swap_remove(place);
            calls[call].ended = line;
            continue;
        }
        if text.contains("<unfinished ...>") {
            open.push((thread, calls.len()));
        }
        calls.push(Call { text: text.trim().to_owned(), began: line, ended: line });
    }
    calls
}

/// The first call after `after` ended that contains all of `parts`.
fn find(calls: &[Call], after: &Call, parts: &[&str]) -> Call {
    let mut later = calls.iter().filter(|call| call.began > after.ended);
    let found = later.find(|call| parts.iter().all(|part| call.text.contains(part)));
    found.unwrap_or_else(|| panic!("no {parts:?} after {after:?} in {calls:#?}")).clone()
}

#[tokio::test]
async fn a_content_is_durable_before_its_commit_and_the_commit_before_its_answer() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_and_commit(folder.as_ref()).await;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "strace is not installed");
        println!("skipped: strace is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-s", "512", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2"])
        .arg("-o")
        .arg(&output)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", SELF])
        .env(FOLDER, folder.path().join("data"))
        .output()
        .unwrap();
    assert!(traced.status.success(), "{traced:?}");
    let calls = read_trace(&fs::read_to_string(&output).unwrap());
    let begin = calls.iter().find(|call| call.text.contains("mark-begin")).unwrap();

    let file = find(&calls, begin, &["fsync(", "contents/incoming/", "= 0"]);
    let rename = find(&calls, &file, &["rename", "contents/incoming/", "= 0"]);
    let (_, target) = rename.text.rsplit_once("contents/").unwrap();
    let folder = format!("contents/{}>", target.split('/').next().unwrap());
    let entry = find(&calls, &rename, &["fsync(", &folder]);
    let staged = find(&calls, &entry, &["mark-staged"]);
    let log = find(&calls, &staged, &["sync(", "dispatches.sqlite-wal"]);
    let committed = find(&calls, &log, &["mark-committed"]);

    let is_log = |call: &&Call| call.text.contains("dispatches.sqlite-wal");
    let between = calls.iter().filter(|call| call.began > begin.ended && call.ended < staged.began);
    assert_eq!(between.filter(is_log).count(), 0, "the log was synced before the content was");
    assert!(log.ended < committed.began);
}
