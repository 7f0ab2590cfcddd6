//! What happens while nobody watches is found afterwards; what is away is waited for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cov_triggers::Trigger;
use cov_triggers::dir::{DirTrigger, Kind};
use cov_triggers::observer::Marks;

use crate::observing::Observing;

struct Place {
    _home: tempfile::TempDir,
    d: PathBuf,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let d = std::fs::canonicalize(home.path()).unwrap().join("d");
        std::fs::create_dir(&d).unwrap();
        Self { _home: home, d }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.d.join(name), text).unwrap();
    }

    fn watch(&self, kinds: impl IntoIterator<Item = Kind>) -> Arc<dyn Trigger> {
        Arc::new(DirTrigger::new(self.d.to_str().unwrap(), kinds).with_recursive(true))
    }
}

async fn details(observing: &mut Observing, count: usize, d: &Path) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..count {
        let detail = observing.next_detail().await;
        seen.insert(detail.replace(&format!("{}/", d.display()), ""));
    }
    seen
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn what_was_there_before_the_first_look_is_no_news() {
    let place = Place::new();
    place.write("old", "1");
    let trigger = place.watch(Kind::ALL);
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    place.write("new", "");
    assert_eq!(observing.next_detail().await, format!("created {}/new", place.d.display()));
    let marks = observing.stop().await;
    assert!(marks.contains_key("f:old"), "{marks:?}");
}

#[tokio::test]
async fn each_difference_since_the_last_run_is_one_event() {
    let place = Place::new();
    for name in ["stays", "goes", "moves", "grows"] {
        place.write(name, "1");
    }
    let kinds = [Kind::Created, Kind::Deleted, Kind::Moved, Kind::Closed];
    let trigger = place.watch(kinds);
    let marks = Observing::healthy(&trigger, Marks::new()).await.stop().await;
    std::fs::remove_file(place.d.join("goes")).unwrap();
    std::fs::rename(place.d.join("moves"), place.d.join("moved")).unwrap();
    place.write("grows", "1 and more");
    std::fs::create_dir(place.d.join("s")).unwrap();
    place.write("s/new", "1");
    let mut observing = Observing::healthy(&trigger, marks).await;
    let expected = set(&[
        "deleted goes",
        &format!("moved moved from {}/moves", place.d.display())
            .replace(&format!("{}/", place.d.display()), ""),
        "created s",
        "created s/new",
        "closed s/new",
        "closed grows",
    ]);
    assert_eq!(details(&mut observing, 6, &place.d).await, expected);
    let marks = observing.stop().await;
    let mut again = Observing::healthy(&trigger, marks).await;
    place.write("last", "");
    assert!(again.next_detail().await.starts_with("created"), "nothing is told twice");
    again.stop().await;
}

#[tokio::test]
async fn what_is_not_to_be_caught_up_with_is_no_news_later_either() {
    let place = Place::new();
    place.write("goes", "1");
    let trigger = place.watch([Kind::Created, Kind::Deleted]);
    let marks = Observing::healthy(&trigger, Marks::new()).await.stop().await;
    std::fs::remove_file(place.d.join("goes")).unwrap();
    place.write("missed", "1");
    let marks = Observing::anew(&trigger, marks).await.stop().await;
    assert!(!marks.contains_key("f:goes"), "{marks:?}");
    let mut observing = Observing::healthy(&trigger, marks).await;
    place.write("new", "1");
    assert_eq!(observing.next_detail().await, format!("created {}/new", place.d.display()));
    observing.stop().await;
}

#[tokio::test]
async fn a_directory_with_changes_is_modified_once() {
    let place = Place::new();
    let trigger = place.watch([Kind::Modified]);
    let marks = Observing::healthy(&trigger, Marks::new()).await.stop().await;
    for number in 0..50 {
        place.write(&format!("f{number}"), "1");
    }
    let mut observing = Observing::healthy(&trigger, marks).await;
    assert_eq!(observing.next_detail().await, format!("modified {}", place.d.display()));
    place.write("f1", "2");
    assert_eq!(observing.next_detail().await, format!("modified {}/f1", place.d.display()));
    observing.stop().await;
}

#[tokio::test]
async fn a_file_whose_events_were_not_decided_is_told_again() {
    let place = Place::new();
    let trigger = place.watch([Kind::Created]);
    let marks = Observing::healthy(&trigger, Marks::new()).await.stop().await;
    let mut first = Observing::healthy(&trigger, marks.clone()).await;
    place.write("new", "1");
    let told = first.next_detail().await;
    first.stop().await;
    // As if the server had been killed before the decision was durable.
    let mut second = Observing::healthy(&trigger, marks).await;
    assert_eq!(second.next_detail().await, told);
    second.stop().await;
}

#[tokio::test]
async fn a_directory_that_goes_away_and_comes_back_is_watched_again() {
    let place = Place::new();
    let trigger = place.watch([Kind::Created, Kind::Deleted]);
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    place.write("first", "1");
    observing.next().await;
    std::fs::remove_dir_all(&place.d).unwrap();
    assert_eq!(observing.next_detail().await, format!("deleted {}/first", place.d.display()));
    assert_eq!(observing.next_detail().await, format!("deleted {}", place.d.display()));
    let (error, marks) = observing.end().await;
    assert!(error.to_string().contains("cannot be watched"), "{error}");
    let (error, marks) = Observing::start(&trigger, marks).end().await;
    assert!(error.to_string().contains("cannot be watched"), "{error}");
    std::fs::create_dir(&place.d).unwrap();
    place.write("second", "1");
    let mut observing = Observing::healthy(&trigger, marks).await;
    assert_eq!(observing.next_detail().await, format!("created {}/second", place.d.display()));
    place.write("third", "1");
    assert_eq!(observing.next_detail().await, format!("created {}/third", place.d.display()));
    observing.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_watched_without_an_error() {
    let place = Place::new();
    let trigger = place.watch([Kind::Created]);
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    let next = place.d.with_file_name("next");
    std::fs::create_dir(&next).unwrap();
    std::fs::write(next.join("new"), "1").unwrap();
    std::fs::rename(&place.d, place.d.with_file_name("previous")).unwrap();
    std::fs::rename(&next, &place.d).unwrap();
    assert_eq!(observing.next_detail().await, format!("created {}/new", place.d.display()));
    place.write("newer", "1");
    assert_eq!(observing.next_detail().await, format!("created {}/newer", place.d.display()));
    observing.stop().await;
}

#[tokio::test]
async fn a_single_file_is_watched_also_when_it_is_replaced() {
    let place = Place::new();
    place.write("f", "1");
    let file = place.d.join("f");
    let trigger: Arc<dyn Trigger> =
        Arc::new(DirTrigger::new(file.to_str().unwrap(), [Kind::Closed, Kind::Created]));
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    place.write("f", "22");
    assert_eq!(observing.next_detail().await, format!("closed {}", file.display()));
    place.write("g", "333");
    std::fs::rename(place.d.join("g"), &file).unwrap();
    assert_eq!(observing.next_detail().await, format!("created {}", file.display()));
    assert_eq!(observing.next_detail().await, format!("closed {}", file.display()));
    observing.stop().await;
}

#[tokio::test]
async fn files_in_a_directory_that_has_just_been_made_are_closed_once() {
    let place = Place::new();
    let trigger = place.watch([Kind::Closed]);
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    let mut expected = BTreeSet::new();
    for number in 0..40 {
        std::fs::create_dir_all(place.d.join(format!("{number}/s"))).unwrap();
        place.write(&format!("{number}/s/f"), "content");
        expected.insert(format!("closed {number}/s/f"));
    }
    assert_eq!(details(&mut observing, 40, &place.d).await, expected);
    place.write("end", "");
    assert_eq!(observing.next_detail().await, format!("closed {}/end", place.d.display()));
    observing.stop().await;
}
