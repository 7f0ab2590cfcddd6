//! Looking instead of listening: on file systems where the kernel says nothing, and where asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cov_triggers::Trigger;
use cov_triggers::dir::{DirTrigger, Kind};
use cov_triggers::observer::Marks;

use crate::observing::Observing;

fn nfs(_path: &Path) -> std::io::Result<u64> {
    Ok(0x6969)
}

#[tokio::test]
async fn a_network_file_system_is_polled() {
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    let trigger = DirTrigger::new(d.to_str().unwrap(), [Kind::Created]).with_file_system(nfs);
    let trigger: Arc<dyn Trigger> = Arc::new(trigger);
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    let preview = trigger.preview().await.unwrap().join("\n");
    assert!(preview.contains("looked at every 1 s"), "{preview}");
    assert!(preview.contains("on NFS"), "{preview}");
    std::fs::write(d.join("f"), "1").unwrap();
    assert_eq!(observing.next_detail().await, format!("created {}/f", d.display()));
    observing.stop().await;
}

#[tokio::test]
async fn polling_finds_every_kind_of_change() {
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    std::fs::write(d.join("goes"), "1").unwrap();
    std::fs::write(d.join("moves"), "1").unwrap();
    let kinds = [Kind::Created, Kind::Deleted, Kind::Moved, Kind::Closed];
    let trigger = DirTrigger::new(d.to_str().unwrap(), kinds).with_recursive(true);
    let trigger = trigger.with_poll_interval(Duration::from_millis(20));
    let trigger: Arc<dyn Trigger> = Arc::new(trigger);
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    std::fs::create_dir(d.join("s")).unwrap();
    assert_eq!(observing.next_detail().await, format!("created {}/s", d.display()));
    std::fs::write(d.join("s/f"), "1").unwrap();
    assert_eq!(observing.next_detail().await, format!("created {}/s/f", d.display()));
    assert_eq!(observing.next_detail().await, format!("closed {}/s/f", d.display()));
    std::fs::remove_file(d.join("goes")).unwrap();
    assert_eq!(observing.next_detail().await, format!("deleted {}/goes", d.display()));
    std::fs::rename(d.join("moves"), d.join("s/moved")).unwrap();
    let moved = format!("moved {0}/s/moved from {0}/moves", d.display());
    assert_eq!(observing.next_detail().await, moved);
    std::fs::write(d.join("s/f"), "1 and more").unwrap();
    assert_eq!(observing.next_detail().await, format!("closed {}/s/f", d.display()));
    std::fs::remove_dir_all(&d).unwrap();
    let (error, _marks) = observing.end().await;
    assert!(error.to_string().contains("cannot be watched"), "{error}");
}

#[tokio::test]
async fn a_polled_file_that_is_still_written_to_is_not_closed() {
    use std::io::Write as _;
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap();
    let trigger = DirTrigger::new(d.to_str().unwrap(), [Kind::Closed, Kind::Modified]);
    let trigger = trigger.with_poll_interval(Duration::from_millis(500));
    let mut observing = Observing::healthy(&(Arc::new(trigger) as _), Marks::new()).await;
    let mut file = std::fs::File::create(d.join("f")).unwrap();
    assert_eq!(observing.next_detail().await, format!("modified {}", d.display()));
    for _ in 0..3 {
        file.write_all(b"more").unwrap();
        file.flush().unwrap();
        assert_eq!(observing.next_detail().await, format!("modified {}/f", d.display()));
    }
    assert_eq!(observing.next_detail().await, format!("closed {}/f", d.display()));
    observing.stop().await;
}
