//! The recorded exchanges of the unmodified SDK with Covalent's own server, replayed: every
//! request in its order, every answer compared with the recorded one. Status, members, JSON types
//! and fixed texts must agree, or stand in the table of deviations with their reason.
//!
//! Tasks run for real, in the local pool. What recorded tasks said over HTTP is said again when
//! their nodes have ended: it must be answered, and change nothing. A cancel is said while a task runs.

mod compare;
mod deviations;
mod recording;
mod replay;

use crate::server::{TestServer, python};

async fn replayed(folder: &str) {
    let server = TestServer::with_python(python()).await;
    let differences = replay::replay(&server, folder).await;
    server.stop().await;
    deviations::judge(folder, &differences);
}

macro_rules! recordings {
    ($($name:ident: $folder:literal,)*) => {
        /// Every folder that is replayed.
        const REPLAYED: &[&str] = &[$($folder,)*];

        $(#[tokio::test]
        async fn $name() {
            replayed($folder).await;
        })*
    };
}

recordings! {
    single: "01_single",
    chain: "02_chain",
    kwargs: "03_kwargs",
    fanout: "04_fanout",
    collections: "05_collections",
    derived_nodes: "06_derived_nodes",
    sublattice: "07_sublattice",
    sublattice_tarball: "08_sublattice_tarball",
    failing: "09_failing",
    hooks: "10_hooks",
    files: "11_files",
    wait_for: "12_wait_for",
    redispatch_same: "13_redispatch_same",
    redispatch_replace: "14_redispatch_replace",
    redispatch_new_args: "15_redispatch_new_args",
    cancel_all: "16_cancel_all",
    cancel_selected: "17_cancel_selected",
    disable_run: "18_disable_run",
    trigger_time: "19_trigger_time",
    trigger_dir: "20_trigger_dir",
    trigger_sqlite: "21_trigger_sqlite",
    trigger_database: "22_trigger_database",
    task_packing: "23_task_packing",
    sublattice_failing: "25_sublattice_failing",
    sublattice_cancel: "26_sublattice_cancel",
    errors: "27_errors",
    cancel_dask: "28_cancel_dask",
}

/// The executor plugin that the workflow of this one names lies beside it.
const WITH_PLUGIN: &str = "24_custom_executor";

#[tokio::test]
async fn custom_executor() {
    let plugins = tempfile::tempdir().unwrap();
    let plugin = recording::golden().join(WITH_PLUGIN).join("toy.py");
    std::fs::copy(plugin, plugins.path().join("toy.py")).unwrap();
    let server = TestServer::with_plugins(python(), plugins.path()).await;
    let differences = replay::replay(&server, WITH_PLUGIN).await;
    server.stop().await;
    deviations::judge(WITH_PLUGIN, &differences);
}

#[test]
fn every_recording_is_replayed() {
    let mut known: Vec<&str> = REPLAYED.to_vec();
    known.push(WITH_PLUGIN);
    known.sort_unstable();
    let mut found: Vec<String> = std::fs::read_dir(recording::golden())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(known, found);
}
