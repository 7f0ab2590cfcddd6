//! The behaviours that every trigger type has, tried with this one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use branch_trigger::BranchTrigger;
use cov_core::trigger::{Dictionary, TriggerId};
use cov_triggers::conformance::Fixture;
use cov_triggers::{Registry, Triggers, trigger_conformance};
use serde_json::{Value, json};

/// A repository as Git lays it out, with a branch that moves when it is told to.
struct Repository {
    folder: tempfile::TempDir,
    commits: AtomicU64,
}

impl Repository {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(".git/refs/heads")).unwrap();
        let repository = Self { folder, commits: AtomicU64::new(0) };
        repository.commit();
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Written beside and renamed, as Git does it.
    fn commit(&self) {
        let commit = self.commits.fetch_add(1, Ordering::Relaxed);
        let heads = self.path().join(".git/refs/heads");
        std::fs::write(heads.join("main.lock"), format!("{commit:040x}\n")).unwrap();
        std::fs::rename(heads.join("main.lock"), heads.join("main")).unwrap();
    }
}

#[async_trait]
impl Fixture for Repository {
    fn registry(&self) -> Registry {
        let mut registry = Registry::builtin();
        registry.register(BranchTrigger::NAME, BranchTrigger::from_fields);
        registry
    }

    fn dictionary(&self) -> Dictionary {
        let fields = json!({
            "name": BranchTrigger::NAME,
            "repository": self.path().to_str(),
            "branch": "main",
        });
        fields.as_object().cloned().unwrap()
    }

    fn wrong(&self) -> (&'static str, Value) {
        ("branch", json!("../../etc"))
    }

    async fn cause(&self, _triggers: &Triggers, _trigger: &TriggerId) {
        self.commit();
    }

    fn remembers(&self) -> bool {
        true
    }
}

trigger_conformance!(a_branch, #[tokio::test], Repository::new());

#[tokio::test]
async fn a_folder_without_a_repository_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fields = json!({ "name": BranchTrigger::NAME, "repository": folder.path().to_str() });
    let mut registry = Registry::builtin();
    registry.register(BranchTrigger::NAME, BranchTrigger::from_fields);
    let trigger = registry.build(fields.as_object().cloned().unwrap()).unwrap();
    let refused = trigger.check().await.unwrap_err().to_string();
    assert!(refused.contains("is no Git repository"), "{refused}");
}
