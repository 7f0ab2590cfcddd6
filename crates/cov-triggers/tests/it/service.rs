//! Files and rows through the whole service, over a host in memory: each makes its dispatch once,
//! also when the service goes and comes back in the middle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cov_core::trigger::{Outcome, TriggerId};
use cov_triggers::memory::{MemoryHost, Run};
use cov_triggers::{Registry, Service, TriggerHost, Triggers};
use serde_json::{Value, json};

use crate::db::place::Place;

struct World {
    host: Arc<MemoryHost>,
    triggers: Triggers,
    service: Service,
}

impl World {
    async fn new() -> Self {
        let host = Arc::new(MemoryHost::new());
        host.add_dispatch("original", Run::Ended);
        host.set_dispatches_end_at_once(true);
        Self::over(host).await
    }

    async fn over(host: Arc<MemoryHost>) -> Self {
        let shared: Arc<dyn TriggerHost> = Arc::<MemoryHost>::clone(&host);
        let (triggers, service) = Service::start(shared, Registry::builtin()).await.unwrap();
        Self { host, triggers, service }
    }

    async fn register(&self, value: Value) -> TriggerId {
        let mut dictionary = value.as_object().unwrap().clone();
        dictionary.insert("lattice_dispatch_id".to_owned(), "original".into());
        self.triggers.register(dictionary).await.unwrap().id
    }

    /// Waits until the trigger has been seen to observe.
    async fn observes(&self, id: &TriggerId) {
        self.host.until(|host| host.has_observed(id)).await;
    }

    async fn fired(&self, id: &TriggerId, count: usize) {
        self.host.until(|host| host.count(id, Outcome::Fired) >= count).await;
    }

    async fn restart(self) -> Self {
        self.down().await.up().await
    }

    async fn down(self) -> Down {
        self.service.stop().await;
        Down(self.host)
    }
}

/// The service is down.
struct Down(Arc<MemoryHost>);

impl Down {
    async fn up(self) -> World {
        World::over(self.0).await
    }
}

fn write(d: &Path, name: &str) {
    std::fs::write(d.join(name), "x").unwrap();
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let d = std::fs::canonicalize(home.path()).unwrap().join("d");
    std::fs::create_dir(&d).unwrap();
    (home, d)
}

/// How often each file or row fired.
fn counts(host: &MemoryHost, id: &TriggerId) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for firing in host.firings(id) {
        assert_eq!(firing.outcome, Outcome::Fired, "{firing:?}");
        *counts.entry(firing.reason).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn files_fire_in_batches_also_those_that_came_while_it_was_down() {
    let (_home, d) = directory();
    let world = World::new().await;
    let id = world
        .register(json!({
            "name": "DirTrigger", "dir_path": d, "event_names": ["created"], "batch_size": 5,
        }))
        .await;
    world.observes(&id).await;
    for number in 0..12 {
        write(&d, &format!("a{number}"));
    }
    world.fired(&id, 2).await;
    let down = world.down().await;
    for number in 0..3 {
        write(&d, &format!("b{number}"));
    }
    let world = down.up().await;
    // Two of the first twelve were left, and three came: a batch.
    world.fired(&id, 3).await;
    write(&d, "c");
    let world = world.restart().await;
    for number in 0..4 {
        write(&d, &format!("d{number}"));
    }
    world.fired(&id, 4).await;
    assert_eq!(world.host.count(&id, Outcome::Fired), 4);
    world.service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_created_while_the_service_goes_and_comes_fire_once_each() {
    let (_home, d) = directory();
    let mut world = World::new().await;
    let id = world
        .register(json!({"name": "DirTrigger", "dir_path": d, "event_names": "created"}))
        .await;
    world.observes(&id).await;
    let files = 1_500;
    let (into, total) = (d.clone(), files);
    let writer = tokio::task::spawn_blocking(move || {
        (0..total).for_each(|number| write(&into, &format!("f{number}")));
    });
    for seen in [50, 200, 500, 900] {
        world.fired(&id, seen).await;
        world = world.restart().await;
    }
    writer.await.unwrap();
    world.fired(&id, files).await;
    world.service.stop().await;
    let counts = counts(&world.host, &id);
    assert_eq!(counts.len(), files);
    assert!(counts.values().all(|count| *count == 1));
}

#[tokio::test]
async fn a_directory_that_is_away_is_a_visible_trouble_until_it_is_back() {
    let (_home, d) = directory();
    let world = World::new().await;
    let id = world
        .register(json!({"name": "DirTrigger", "dir_path": d, "event_names": "created"}))
        .await;
    world.observes(&id).await;
    std::fs::remove_dir(&d).unwrap();
    let trouble = |host: &MemoryHost| host.kept_record(&id).unwrap().trouble;
    world.host.until(|host| trouble(host).is_some()).await;
    let text = trouble(&world.host).unwrap().error;
    assert!(text.contains("cannot be watched"), "{text}");
    std::fs::create_dir(&d).unwrap();
    write(&d, "first");
    world.fired(&id, 1).await;
    world.host.until(|host| trouble(host).is_none()).await;
    write(&d, "second");
    world.fired(&id, 2).await;
    world.service.stop().await;
}

#[tokio::test]
async fn rows_that_come_while_the_service_goes_and_comes_fire_once_each() {
    let place = Place::sqlite().await;
    place.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT)").await;
    let mut world = World::new().await;
    let id = world
        .register(json!({
            "name": "DatabaseTrigger", "db_path": place.sqlalchemy(), "table_name": "orders",
            "poll_interval": 0.02, "cursor_column": "id", "where_clauses": ["status = 'new'"],
        }))
        .await;
    world.observes(&id).await;
    let mut rows = 0;
    for round in 1..=5 {
        let values: Vec<String> = (0..40).map(|n| format!("({}, 'new')", rows + n)).collect();
        rows += 40;
        place.run(&format!("INSERT INTO orders VALUES {}", values.join(", "))).await;
        world.fired(&id, if round % 2 == 0 { rows } else { rows - 20 }).await;
        world = world.restart().await;
    }
    world.fired(&id, rows).await;
    world.service.stop().await;
    let counts = counts(&world.host, &id);
    assert_eq!(counts.len(), rows);
    assert!(counts.values().all(|count| *count == 1));
}

#[tokio::test]
async fn a_table_that_is_missing_is_a_visible_trouble_and_rows_count_as_long_as_they_stay() {
    let place = Place::sqlite().await;
    let world = World::new().await;
    let id = world
        .register(json!({
            "name": "SQLiteTrigger", "db_path": place.path(), "table_name": "orders",
            "poll_interval": 0.02, "trigger_after_n": 3,
        }))
        .await;
    let trouble = |host: &MemoryHost| host.kept_record(&id).unwrap().trouble;
    world.host.until(|host| trouble(host).is_some()).await;
    let text = trouble(&world.host).unwrap().error;
    assert!(text.contains("no such table: orders"), "{text}");
    place.run("CREATE TABLE orders (id INTEGER)").await;
    place.run("INSERT INTO orders VALUES (1)").await;
    world.fired(&id, 2).await;
    assert!(trouble(&world.host).is_none());
    world.service.stop().await;
}
