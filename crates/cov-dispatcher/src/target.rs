//! Which executor a manifest's name means here, and where its tasks run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::command;
use cov_core::executor::ExecutorSpec;
use cov_core::ids::{ContentId, NodeId};
use cov_core::manifest::Manifest;
use cov_core::platform;
use cov_exec::{Lane, WorkDir};

use crate::Error;
use crate::executors::{Executors, Pool, Slot};

/// What an untouched SDK sends. It means the local pool where nobody says which scheduler.
pub(crate) const DASK_NAME: &str = "dask";

/// Names that mean the local pool of Python runners.
const PYTHON_NAMES: [&str; 2] = ["local", DASK_NAME];

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
pub struct Target {
    /// What runs them.
    pub runtime: TargetRuntime,
    /// On whose slots, if not on the server's own.
    pub engine: Option<Engine>,
}

/// What runs the tasks of one executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetRuntime {
    /// Python.
    Python {
        /// Their working directory, if the user chose one.
        work_dir: Option<WorkDir>,
    },
    /// The program that comes with the dispatch.
    Program {
        /// The digest that the program must have.
        digest: ContentId,
        /// Their working directory, if the user chose one.
        work_dir: Option<WorkDir>,
        /// How large the address space of a process may become. Bytes.
        memory_bytes_max: Option<u64>,
    },
    /// Processes of their own: commands.
    Command,
    /// Nothing; this says why and what to do.
    Unknown(String),
}

/// An executor that is not the server's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Its slots.
    pub pool: Pool,
    /// What the client says to it.
    pub spec: Arc<ExecutorSpec>,
}

impl Target {
    /// What `spec` means here.
    #[must_use]
    pub fn of(spec: &ExecutorSpec, executors: &Executors) -> Self {
        Self::found(spec, executors)
            .unwrap_or_else(|reason| Self { runtime: TargetRuntime::Unknown(reason), engine: None })
    }

    /// The executor that its tasks wait for.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.engine.as_ref().map_or(Pool::BUILTIN, |engine| engine.pool)
    }

    /// The slots that its tasks wait for.
    #[must_use]
    pub fn slot(&self) -> Slot {
        let lane = match &self.runtime {
            TargetRuntime::Python { .. } => Lane::Python,
            TargetRuntime::Program { digest, memory_bytes_max, .. } => {
                Lane::Program(*digest, *memory_bytes_max)
            }
            TargetRuntime::Command | TargetRuntime::Unknown(_) => Lane::Other,
        };
        Slot { pool: self.pool(), lane }
    }

    fn found(spec: &ExecutorSpec, executors: &Executors) -> Result<Self, String> {
        let is_added = executors.is_added(&spec.name);
        match spec.name.as_str() {
            RUST_NAME if !is_added => {
                let engine = engine_below(spec, executors)?;
                let runtime = program(spec, engine.is_some())?;
                Ok(Self { runtime, engine })
            }
            command::EXECUTOR if !is_added => {
                let engine = engine_below(spec, executors)?;
                Ok(Self { runtime: TargetRuntime::Command, engine })
            }
            _ => {
                let engine = engine_of(spec, executors)?;
                let work_dir = if engine.is_none() { work_dir(spec) } else { None };
                Ok(Self { runtime: TargetRuntime::Python { work_dir }, engine })
            }
        }
    }
}

/// The engine that a program or a command asks for by the attribute `on`: an executor's
/// specification, or only its name.
fn engine_below(spec: &ExecutorSpec, executors: &Executors) -> Result<Option<Engine>, String> {
    let Some(on) = spec.attribute("on").filter(|on| !on.is_null()) else { return Ok(None) };
    let below = match on {
        serde_json::Value::String(name) => {
            ExecutorSpec { name: name.clone(), ..Default::default() }
        }
        on => serde_json::from_value(on.clone()).map_err(|error| {
            format!("What the executor `{}` says of `on` is no executor: {error}.", spec.name)
        })?,
    };
    engine_of(&below, executors)
}

/// The engine that `spec` names. `None` when it is the server's own pool.
fn engine_of(spec: &ExecutorSpec, executors: &Executors) -> Result<Option<Engine>, String> {
    let name = spec.name.as_str();
    if executors.is_added(name) {
        return Ok(executors
            .taken_pool(name)
            .map(|pool| Engine { pool, spec: Arc::new(spec.clone()) }));
    }
    if name == PYTHON_NAMES[0] || names_own_dask(spec, executors) {
        return Ok(None);
    }
    let mut spec = spec.clone();
    if spec.name == DASK_NAME && scheduler_address(&spec).is_none() {
        executors.dask_address().into_iter().for_each(|address| set_address(&mut spec, address));
    }
    // The server's own runtimes are no engines, and take up no pool among those.
    let may_be_one = !NAMES.contains(&name) || name == DASK_NAME;
    match may_be_one.then(|| executors.taken_pool(name)).flatten() {
        Some(pool) => Ok(Some(Engine { pool, spec: Arc::new(spec) })),
        None if name == DASK_NAME => Err(format!(
            "The Dask scheduler at {} cannot be used: this server hosts no executors but its own. \
             Leave the scheduler address empty to use its local pool.",
            scheduler_address(&spec).unwrap_or_default()
        )),
        None => {
            let known: Vec<&str> = executors.shown().map(|(name, _)| name).collect();
            let known = known.join(", ");
            Err(format!("No executor found by name: {name}. This server has: {known}."))
        }
    }
}

/// Whether `spec` says `dask` and neither it nor the server says where one is.
fn names_own_dask(spec: &ExecutorSpec, executors: &Executors) -> bool {
    let has_address = scheduler_address(spec).is_some() || executors.dask_address().is_some();
    spec.name == DASK_NAME && !has_address
}

fn scheduler_address(spec: &ExecutorSpec) -> Option<&str> {
    let address = spec.attribute("scheduler_address").and_then(serde_json::Value::as_str);
    address.filter(|address| !address.is_empty())
}

fn set_address(spec: &mut ExecutorSpec, address: &str) {
    if !spec.data.is_object() {
        spec.data = serde_json::json!({});
    }
    let Some(data) = spec.data.as_object_mut() else { return };
    let attributes = data.entry("attributes").or_insert_with(|| serde_json::json!({}));
    if let Some(attributes) = attributes.as_object_mut() {
        attributes.insert("scheduler_address".to_owned(), address.into());
    }
}

/// The program that `spec` names, or why it cannot run: here, unless it runs `elsewhere`.
fn program(spec: &ExecutorSpec, elsewhere: bool) -> Result<TargetRuntime, String> {
    let text = |name| spec.attribute(name).and_then(serde_json::Value::as_str);
    let digest = text("program").ok_or("The executor `rust` names no program.")?;
    let digest = digest.parse().map_err(|_no_digest| {
        format!("The executor `rust` names the program {digest:?}, which is no BLAKE3 digest.")
    })?;
    let own = platform::current();
    let foreign = text("platform").filter(|theirs| !elsewhere && !is_compatible(theirs, &own));
    if let Some(theirs) = foreign {
        return Err(format!(
            "The program {digest} is built for {theirs}; this server runs on {own}. Build it for \
             that platform, or dispatch to a server on {theirs}."
        ));
    }
    let memory_bytes_max =
        spec.memory_limit_mb().map(|megabytes| megabytes.saturating_mul(1 << 20));
    Ok(TargetRuntime::Program { digest, work_dir: work_dir(spec), memory_bytes_max })
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
        if !node.kind.runs() {
            continue;
        }
        let elsewhere = spec.attribute("on").is_some_and(|on| !on.is_null());
        let fault = known.get_or_insert_with(|| match program(spec, elsewhere) {
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
    manifest.nodes.iter().any(|node| node.kind.runs() && is_rust(node.executor))
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

    /// Has every executor.
    #[derive(Debug)]
    struct Everything;

    #[async_trait::async_trait]
    impl cov_exec::Finder for Everything {
        fn executor(&self, _name: &str) -> Arc<dyn cov_exec::Executor> {
            Arc::new(Idle)
        }

        async fn found(&self) -> Result<Vec<cov_exec::Found>, cov_exec::Error> {
            Ok(Vec::new())
        }

        async fn stop(&self) {}
    }

    #[test]
    fn a_runtime_of_the_server_is_no_engine_and_takes_no_pool() {
        let executors = Executors::new(Arc::new(Idle)).with_finder(Arc::new(Everything));
        let on = |name: &str| {
            let data = json!({ "attributes": { "on": name } });
            Target::of(&ExecutorSpec { name: "command".into(), data }, &executors)
        };
        assert!(why_not(on("rust")).contains("No executor found by name: rust"));
        assert_eq!(executors.all().len(), 1);
        assert_ne!(on("slurm").pool(), Pool::BUILTIN);
        assert_eq!(executors.all().len(), 2);
    }

    fn local(work_dir: Option<WorkDir>) -> Target {
        Target { runtime: TargetRuntime::Python { work_dir }, engine: None }
    }

    fn why_not(target: Target) -> String {
        match target.runtime {
            TargetRuntime::Unknown(why) => why,
            other => panic!("this can run: {other:?}"),
        }
    }

    #[test]
    fn added_executors_are_known_by_their_names() {
        let engine = target("gpu", json!({ "cards": 2 })).engine.unwrap();
        assert_ne!(engine.pool, Pool::BUILTIN);
        assert_eq!(engine.spec.attribute("cards"), Some(&json!(2)));
        let why = why_not(target("tpu", json!({})));
        assert!(why.contains("rust, command, gpu"), "{why}");
    }

    #[test]
    fn commands_and_programs_run_on_the_engine_that_they_name() {
        let on = json!({ "name": "gpu", "data": { "attributes": { "cards": 2 } } });
        let found = target("command", json!({ "on": on }));
        assert_eq!(found.runtime, TargetRuntime::Command);
        assert_eq!(found.engine.unwrap().spec.attribute("cards"), Some(&json!(2)));
        let program = json!({ "program": "ab".repeat(32), "platform": "riscv64gc-unknown-linux-gnu",
            "on": "gpu" });
        let found = target("rust", program);
        assert!(matches!(found.runtime, TargetRuntime::Program { .. }), "{found:?}");
        assert_ne!(found.pool(), Pool::BUILTIN);
        assert_eq!(target("command", json!({ "on": "local" })).pool(), Pool::BUILTIN);
        let why = why_not(target("command", json!({ "on": "tpu" })));
        assert!(why.contains("No executor found by name: tpu"), "{why}");
        assert!(why_not(target("command", json!({ "on": 7 }))).contains("no executor"));
    }

    #[test]
    fn dask_without_an_address_is_the_local_pool() {
        assert_eq!(target("dask", json!({})), local(None));
        let empty = json!({ "scheduler_address": "" });
        assert_eq!(target("dask", empty), local(None));
        let given = json!({ "scheduler_address": "tcp://10.0.0.1:8786" });
        assert!(why_not(target("dask", given)).contains("10.0.0.1"));
    }

    #[test]
    fn a_program_is_named_by_digest_and_platform() {
        let digest = "ab".repeat(32);
        let given =
            json!({ "program": digest, "platform": platform::current(), "memory_limit_mb": 64 });
        let expected = TargetRuntime::Program {
            digest: digest.parse().unwrap(),
            work_dir: None,
            memory_bytes_max: Some(64 << 20),
        };
        assert_eq!(target("rust", given).runtime, expected);
        let other = json!({ "program": digest, "platform": "riscv64gc-unknown-linux-gnu" });
        let why = why_not(target("rust", other));
        assert!(why.contains("built for riscv64gc-unknown-linux-gnu"), "{why}");
        for none in [json!({}), json!({ "program": "ab" })] {
            why_not(target("rust", none));
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
        let why = why_not(target("slurm", json!({})));
        assert!(why.contains("No executor found by name: slurm") && why.contains("local"));
    }

    #[test]
    fn the_default_working_directory_is_left_alone() {
        let default = "/home/ada/.cache/covalent/workdir";
        let of = |path: &str, unique: bool| {
            target("local", json!({ "workdir": path, "create_unique_workdir": unique }))
        };
        assert_eq!(of(default, false), local(None));
        let expected = WorkDir { path: default.into(), unique: true };
        assert_eq!(of(default, true), local(Some(expected)));
        let expected = WorkDir { path: "/data".into(), unique: false };
        assert_eq!(of("/data", false), local(Some(expected)));
    }
}
