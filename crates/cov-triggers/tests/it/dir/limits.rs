//! A machine that allows few watches: the directory is polled, and says so. The test runs itself
//! again in a user namespace of its own, where it may set the limits.

use std::process::Command;
use std::sync::Arc;

use cov_triggers::Trigger;
use cov_triggers::dir::{DirTrigger, Kind};
use cov_triggers::observer::Marks;

use crate::observing::Observing;

/// Set in the second run.
const INSIDE: &str = "COV_TEST_FEW_WATCHES";

fn namespaces_are_allowed() -> bool {
    Command::new("unshare").args(["-Ur", "true"]).status().is_ok_and(|status| status.success())
}

/// Runs a test of this file again where `limit` is `value`.
fn again(test: &str, limit: &str, value: u32) {
    if !namespaces_are_allowed() {
        println!("skipped: this machine allows no user namespaces");
        return;
    }
    let script = format!("echo {value} > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
    let output = Command::new("unshare")
        .args(["-Ur", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

async fn is_polled(reason: &str) {
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    std::fs::create_dir_all(d.join("a/b/c")).unwrap();
    let trigger = DirTrigger::new(d.to_str().unwrap(), [Kind::Created]).with_recursive(true);
    let trigger: Arc<dyn Trigger> = Arc::new(trigger);
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    let preview = trigger.preview().await.unwrap().join("\n");
    assert!(preview.contains("looked at every 1 s"), "{preview}");
    assert!(preview.contains(reason), "{preview}");
    std::fs::write(d.join("a/b/c/f"), "1").unwrap();
    assert_eq!(observing.next_detail().await, format!("created {}/a/b/c/f", d.display()));
    observing.stop().await;
}

#[tokio::test]
async fn where_no_further_watch_is_allowed_it_polls() {
    if std::env::var_os(INSIDE).is_some() {
        return is_polled("allows no further watch").await;
    }
    let name = "dir::limits::where_no_further_watch_is_allowed_it_polls";
    tokio::task::spawn_blocking(|| again(name, "max_inotify_watches", 2)).await.unwrap();
}

#[tokio::test]
async fn where_no_further_watcher_is_allowed_it_polls() {
    if std::env::var_os(INSIDE).is_some() {
        return is_polled("allows no further watcher").await;
    }
    let name = "dir::limits::where_no_further_watcher_is_allowed_it_polls";
    tokio::task::spawn_blocking(|| again(name, "max_inotify_instances", 0)).await.unwrap();
}

#[tokio::test]
async fn a_limit_that_is_met_later_loses_nothing() {
    if std::env::var_os(INSIDE).is_none() {
        let name = "dir::limits::a_limit_that_is_met_later_loses_nothing";
        let run = tokio::task::spawn_blocking(|| again(name, "max_inotify_watches", 3));
        return run.await.unwrap();
    }
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    let trigger = DirTrigger::new(d.to_str().unwrap(), [Kind::Created]).with_recursive(true);
    let trigger: Arc<dyn Trigger> = Arc::new(trigger);
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    let mut expected = std::collections::BTreeSet::new();
    for number in 0..6 {
        std::fs::create_dir(d.join(format!("{number}"))).unwrap();
        std::fs::write(d.join(format!("{number}/f")), "1").unwrap();
        expected.insert(format!("created {}/{number}", d.display()));
        expected.insert(format!("created {}/{number}/f", d.display()));
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < expected.len() {
        assert!(seen.insert(observing.next_detail().await), "told twice");
    }
    assert_eq!(seen, expected);
    observing.stop().await;
}
