//! Which executor a manifest's name means here, and where its tasks run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::command;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::NodeKind;
use cov_core::ids::{ContentId, NodeId};
use cov_core::manifest::Manifest;
use cov_core::platform;
use cov_exec::WorkDir;

use crate::Error;
use crate::executors::{Executors, Pool};

/// Names that mean the local pool of Python runners. `dask` does when no scheduler address comes
/// with it: it is what an untouched SDK sends.
const PYTHON_NAMES: [&str; 2] = ["local", "dask"];

/// The name that means the program that comes with the dispatch.
const RUST_NAME: &str = "rust";

const NAMES: [&str; 4] = [PYTHON_NAMES[0], PYTHON_NAMES[1], RUST_NAME, command::EXECUTOR];

/// The names by which electrons can ask for an executor of this server.
#[must_use]
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// The end of the working directory that the SDK fills in when its user sets none.
const DEFAULT_WORK_DIR: &str = "covalent/workdir";

/// Where the tasks of one executor go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To the local pool of Python runners.
    Local {
        /// Their working directory, if the user chose one.
        work_dir: Option<WorkDir>,
    },
    /// To runners of the program that comes with the dispatch.
    Program {
        /// The digest that the program must have.
        digest: ContentId,
        /// Their working directory, if the user chose one.
        work_dir: Option<WorkDir>,
        /// How large the address space of a runner may become. Bytes.
        memory_bytes_max: Option<u64>,
    },
    /// To processes of their own: commands.
    Command,
    /// To an executor that was added to the server.
    Added {
        /// Which one.
        pool: Pool,
        /// What the client says to it.
        spec: Arc<ExecutorSpec>,
    },
    /// Nowhere; this says why and what to do.
    Unknown(String),
}

impl Target {
    /// What `spec` means here.
    #[must_use]
    pub fn of(spec: &ExecutorSpec, executors: &Executors) -> Self {
        if let Some(pool) = executors.named(&spec.name) {
            return Self::Added { pool, spec: Arc::new(spec.clone()) };
        }
        match spec.name.as_str() {
            RUST_NAME => program(spec).unwrap_or_else(Self::Unknown),
            command::EXECUTOR => Self::Command,
            name if PYTHON_NAMES.contains(&name) => python(spec),
            name => {
                let known: Vec<&str> = executors.shown().map(|(name, _)| name).collect();
                let known = known.join(", ");
                Self::Unknown(format!(
                    "No executor found by name: {name}. This server has: {known}."
                ))
            }
        }
    }
}

fn python(spec: &ExecutorSpec) -> Target {
    let address = spec.attribute("scheduler_address").and_then(serde_json::Value::as_str);
    match address.filter(|address| !address.is_empty()) {
        Some(address) => Target::Unknown(format!(
            "The Dask scheduler at {address} cannot be used: this server runs `dask` tasks \
             on its local pool. Leave the scheduler address empty to use it."
        )),
        None => Target::Local { work_dir: work_dir(spec) },
    }
}

/// The program that `spec` names, or why it cannot run here.
fn program(spec: &ExecutorSpec) -> Result<Target, String> {
    let text = |name| spec.attribute(name).and_then(serde_json::Value::as_str);
    let digest = text("program").ok_or("The executor `rust` names no program.")?;
    let digest = digest.parse().map_err(|_no_digest| {
        format!("The executor `rust` names the program {digest:?}, which is no BLAKE3 digest.")
    })?;
    let own = platform::current();
    if let Some(theirs) = text("platform").filter(|theirs| !is_compatible(theirs, &own)) {
        return Err(format!(
            "The program {digest} is built for {theirs}; this server runs on {own}. Build it for \
             that platform, or dispatch to a server on {theirs}."
        ));
    }
    let memory_bytes_max =
        spec.memory_limit_mb().map(|megabytes| megabytes.saturating_mul(1 << 20));
    Ok(Target::Program { digest, work_dir: work_dir(spec), memory_bytes_max })
}

/// Whether processor and system are the same. Which C library a program needs shows when it is
/// started: one without any runs wherever these two fit.
fn is_compatible(theirs: &str, own: &str) -> bool {
    let parts = |platform: &str| {
        let mut parts = platform.split('-').map(str::to_owned);
        (parts.next(), parts.nth(1))
    };
    parts(theirs) == parts(own)
}

/// Checks that what the tasks of a manifest need of a program can be run here, and comes with it.
/// Other executors are judged when a task asks for them.
///
/// # Errors
/// `Program`: it is missing, or is for another platform.
pub(crate) fn check(manifest: &Manifest) -> Result<(), Error> {
    let brought = AssetAddress::of_dispatch(AssetKey::Program);
    let is_brought = manifest.assets.iter().any(|asset| asset.address == brought);
    let mut faults: Vec<Option<Option<String>>> = vec![None; manifest.executors.len()];
    for (node, index) in manifest.nodes.iter().zip(0..) {
        let executor = manifest.executors.get(node.executor as usize);
        let Some(spec) = executor.filter(|spec| spec.name == RUST_NAME) else { continue };
        let Some(known) = faults.get_mut(node.executor as usize) else { continue };
        if node.kind == NodeKind::Parameter {
            continue;
        }
        let fault = known.get_or_insert_with(|| match program(spec) {
            Err(reason) => Some(reason),
            Ok(_) if is_brought => None,
            Ok(_) => Some("The workflow does not bring the program of its electrons.".to_owned()),
        });
        if let Some(reason) = fault {
            return Err(Error::Program { node: NodeId(index), reason: reason.clone() });
        }
    }
    Ok(())
}

/// Whether a task of the manifest runs in a program that comes with the dispatch.
pub(crate) fn needs_program(manifest: &Manifest) -> bool {
    let is_rust = |index: u32| {
        manifest.executors.get(index as usize).is_some_and(|spec| spec.name == RUST_NAME)
    };
    manifest.nodes.iter().any(|node| node.kind != NodeKind::Parameter && is_rust(node.executor))
}

/// Has executors of Rust electrons that name no program name that of `other`.
pub(crate) fn name_program(manifest: &mut Manifest, other: Option<&ExecutorSpec>) {
    let Some(other) = other.filter(|other| other.name == RUST_NAME) else { return };
    let named = ["program", "platform"].map(|name| (name, other.attribute(name).cloned()));
    for spec in manifest.executors.iter_mut().filter(|spec| spec.name == RUST_NAME) {
        if spec.attribute("program").is_some() {
            continue;
        }
        let Some(data) = spec.data.as_object_mut() else { continue };
        let attributes = data.entry("attributes").or_insert_with(|| serde_json::json!({}));
        let Some(attributes) = attributes.as_object_mut() else { continue };
        for (name, value) in &named {
            if let Some(value) = value {
                attributes.insert((*name).to_owned(), value.clone());
            }
        }
    }
}

/// The working directory that the user chose. The SDK's own default means: leave it alone.
fn work_dir(spec: &ExecutorSpec) -> Option<WorkDir> {
    let unique = spec
        .attribute("create_unique_workdir")
        .and_then(serde_json::Value::as_bool)
        .unwrap_or(false);
    let text = spec.attribute("workdir")?.as_str()?;
    let chosen = !text.is_empty() && !Path::new(text).ends_with(DEFAULT_WORK_DIR);
    (unique || chosen).then(|| WorkDir { path: expand_home(text), unique })
}

fn expand_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Runs nothing.
    #[derive(Debug)]
    struct Idle;

    #[async_trait::async_trait]
    impl cov_exec::Executor for Idle {
        fn slots(&self) -> usize {
            1
        }

        async fn submit(&self, _task: cov_exec::Task) -> Result<(), cov_exec::Error> {
            Err(cov_exec::Error::Stopping)
        }

        async fn kill(&self, _attempt: cov_core::ids::AttemptId) {}

        async fn live_output(
            &self,
            _attempt: cov_core::ids::AttemptId,
        ) -> Option<(bytes::Bytes, bytes::Bytes)> {
            None
        }

        async fn stop(&self) {}
    }

    fn target(name: &str, attributes: serde_json::Value) -> Target {
        let spec = ExecutorSpec { name: name.into(), data: json!({ "attributes": attributes }) };
        let executors = Executors::new(Arc::new(Idle)).with("gpu", Arc::new(Idle));
        Target::of(&spec, &executors)
    }

    #[test]
    fn added_executors_are_known_by_their_names() {
        let Target::Added { pool, spec } = target("gpu", json!({ "cards": 2 })) else {
            panic!("it was added")
        };
        assert_ne!(pool, Pool::BUILTIN);
        assert_eq!(spec.attribute("cards"), Some(&json!(2)));
        let Target::Unknown(why) = target("tpu", json!({})) else { panic!("it was not added") };
        assert!(why.contains("rust, command, gpu"), "{why}");
    }

    #[test]
    fn dask_without_an_address_is_the_local_pool() {
        assert_eq!(target("dask", json!({})), Target::Local { work_dir: None });
        let empty = json!({ "scheduler_address": "" });
        assert_eq!(target("dask", empty), Target::Local { work_dir: None });
        let given = json!({ "scheduler_address": "tcp://10.0.0.1:8786" });
        assert!(matches!(target("dask", given), Target::Unknown(why) if why.contains("10.0.0.1")));
    }

    #[test]
    fn a_program_is_named_by_digest_and_platform() {
        let digest = "ab".repeat(32);
        let given =
            json!({ "program": digest, "platform": platform::current(), "memory_limit_mb": 64 });
        let expected = Target::Program {
            digest: digest.parse().unwrap(),
            work_dir: None,
            memory_bytes_max: Some(64 << 20),
        };
        assert_eq!(target("rust", given), expected);
        let other = json!({ "program": digest, "platform": "riscv64gc-unknown-linux-gnu" });
        let Target::Unknown(why) = target("rust", other) else { panic!("it is another platform") };
        assert!(why.contains("built for riscv64gc-unknown-linux-gnu"), "{why}");
        for none in [json!({}), json!({ "program": "ab" })] {
            assert!(matches!(target("rust", none), Target::Unknown(_)));
        }
    }

    #[test]
    fn the_c_library_is_not_judged_by_its_name() {
        let own = "x86_64-unknown-linux-gnu";
        assert!(is_compatible(own, own) && is_compatible("x86_64-unknown-linux-musl", own));
        for other in ["aarch64-unknown-linux-gnu", "x86_64-apple-darwin", "x86_64", ""] {
            assert!(!is_compatible(other, own), "{other}");
        }
    }

    #[test]
    fn unknown_names_say_which_are_known() {
        let Target::Unknown(why) = target("slurm", json!({})) else { panic!("slurm is unknown") };
        assert!(why.contains("No executor found by name: slurm") && why.contains("local"));
    }

    #[test]
    fn the_default_working_directory_is_left_alone() {
        let default = "/home/ada/.cache/covalent/workdir";
        let of = |path: &str, unique: bool| {
            target("local", json!({ "workdir": path, "create_unique_workdir": unique }))
        };
        assert_eq!(of(default, false), Target::Local { work_dir: None });
        let expected = WorkDir { path: default.into(), unique: true };
        assert_eq!(of(default, true), Target::Local { work_dir: Some(expected) });
        let expected = WorkDir { path: "/data".into(), unique: false };
        assert_eq!(of("/data", false), Target::Local { work_dir: Some(expected) });
    }
}
