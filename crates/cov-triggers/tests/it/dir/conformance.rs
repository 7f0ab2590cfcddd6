//! `DirTrigger` passes the suite of all trigger types, listening and looking.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use cov_core::trigger::{Dictionary, TriggerId};
use cov_triggers::conformance::Fixture;
use cov_triggers::{Triggers, trigger_conformance};
use serde_json::{Value, json};

struct Files {
    home: tempfile::TempDir,
    kinds: &'static str,
    poll_interval: Option<f64>,
    number: AtomicU32,
}

impl Files {
    fn new(kinds: &'static str, poll_interval: Option<f64>) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { home, kinds, poll_interval, number: AtomicU32::new(0) }
    }

    fn next(&self) -> PathBuf {
        self.home.path().join(format!("f{}", self.number.fetch_add(1, Ordering::Relaxed)))
    }
}

#[async_trait]
impl Fixture for Files {
    fn dictionary(&self) -> Dictionary {
        let mut fields = json!({
            "name": "DirTrigger", "dir_path": self.home.path(), "event_names": self.kinds,
            "batch_size": 1, "recursive": true, "event_handler": null, "observe_blocks": false,
        });
        let fields = fields.as_object_mut().unwrap();
        if let Some(interval) = self.poll_interval {
            fields.insert("poll_interval".to_owned(), interval.into());
        }
        fields.clone()
    }

    fn wrong(&self) -> (&'static str, Value) {
        ("event_names", json!(["created", "opened"]))
    }

    async fn cause(&self, _triggers: &Triggers, _trigger: &TriggerId) {
        std::fs::write(self.next(), "x").unwrap();
    }

    fn remembers(&self) -> bool {
        true
    }
}

trigger_conformance!(created, #[tokio::test], Files::new("created", None));
trigger_conformance!(closed, #[tokio::test], Files::new("closed", None));
trigger_conformance!(looking, #[tokio::test], Files::new("created", Some(0.02)));
