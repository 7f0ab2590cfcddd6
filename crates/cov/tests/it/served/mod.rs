//! Electrons on a real server: run, fail, are cancelled, and survive its end.

#[path = "../../../examples/served/electrons.rs"]
mod electrons;
mod examples;
mod server;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cov::core::asset::AssetKey;
use cov::core::error::Fault;
use cov::core::ids::DispatchId;
use cov::core::status::Status;
use cov_client::{Dispatch, Redispatch, Workflow};
use electrons::{
    aborts, add, allocates, doubles, exits, flaky, notes, panics, process, refuses, spins, total,
    waits,
};
use server::{PATIENCE, PROGRAM, Server, node, workflow};

use crate::program::example;

#[tokio::test]
async fn a_program_dispatches_itself_with_a_graph_that_grows_while_it_runs() {
    let server = Server::start();
    let output = Command::new(example(PROGRAM)).arg(&server.address).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "145\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn electrons_run_in_order_and_side_by_side() {
    let server = Server::start();
    let lattice = cov::graph::build("fan", || {
        let first = add::node(1, 2);
        total::node(add::map(0..40, first))
    });
    assert_eq!(server.run(lattice.unwrap()).await, 40 * 39 / 2 + 40 * 3);
}

#[tokio::test]
async fn a_graph_of_a_task_has_the_program_of_the_task() {
    let server = Server::start();
    let lattice = cov::graph::build("grows", || {
        (doubles::node(add::node(2, 1)), add::each(vec![1, 2, 3], 10))
    });
    let (doubled, each): (Vec<i64>, Vec<i64>) = server.run(lattice.unwrap()).await;
    assert_eq!((doubled, each), (vec![3, 4, 5], vec![11, 12, 13]));
}

async fn failed(server: &Server, id: &DispatchId, name: &str, fault: Fault) -> (Dispatch, String) {
    let ended = server.ended(id).await;
    assert_eq!(ended.summary.status, Status::Failed);
    let failed = node(&ended, name);
    assert_eq!((failed.status, failed.fault), (Status::Failed, Some(fault)), "{name}");
    let text = server.asset(id, failed.node_id, AssetKey::Error).await;
    (ended, text)
}

#[tokio::test]
async fn each_way_to_fail_fails_its_own_task() {
    let server = Server::start();
    let lattice = cov::graph::build("fails", || {
        let fine = add::map(0..4, 1);
        (panics::node(), refuses::node(), aborts::node(), exits::node(), allocates::node(), fine)
    });
    let id = server.dispatch(lattice.unwrap()).await;
    let (ended, text) = failed(&server, &id, "panics", Fault::Task).await;
    assert!(text.contains("panicked at") && text.contains("no way on"), "{text}");
    assert!(text.contains("backtrace:") && text.contains("electrons.rs"), "{text}");
    let (_, text) = failed(&server, &id, "refuses", Fault::Task).await;
    assert_eq!(text, "not today");
    let (_, text) = failed(&server, &id, "exits", Fault::Runner).await;
    assert!(text.contains("exited with code 3"), "{text}");
    let (_, text) = failed(&server, &id, "allocates", Fault::Runner).await;
    assert!(text.contains("SIGABRT") && text.contains("limited to 512 MB"), "{text}");
    let (_, text) = failed(&server, &id, "aborts", Fault::Runner).await;
    assert!(text.contains("ended by SIGABRT (signal 6)"), "{text}");
    let aborts = node(&ended, "aborts").node_id;
    assert_eq!(server.asset(&id, aborts, AssetKey::Stdout).await, "last words\n");
    let allocates = node(&ended, "allocates").node_id;
    let said = server.asset(&id, allocates, AssetKey::Stderr).await;
    assert!(said.contains("memory allocation of 1073741824 bytes failed"), "{said}");
    for other in ended.nodes.iter().filter(|node| node.name == "add") {
        assert_eq!(other.status, Status::Completed);
    }
}

fn lives(pid: &str) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn what_is_cancelled_is_dead_with_all_it_started_when_that_is_shown() {
    let server = Server::start();
    let place = server.text_path("spins");
    let lattice = cov::graph::build("cancelled", || (spins::node(place), add::node(1, 1)));
    let id = server.dispatch(lattice.unwrap()).await;
    let pids = server.lines("spins", 1).await.remove(0);
    let (own, child) = pids.split_once(' ').unwrap();
    assert!(lives(own) && lives(child));
    server.client.cancel(&id, &[]).await.unwrap();
    let ended = server.ended(&id).await;
    assert_eq!(ended.summary.status, Status::Cancelled);
    assert_eq!(node(&ended, "spins").status, Status::Cancelled);
    assert!(!lives(own) && !lives(child));
}

#[tokio::test]
async fn a_time_limit_ends_an_electron_with_all_it_started() {
    let server = Server::start();
    let place = server.text_path("spins");
    let lattice =
        cov::graph::build("limited", || spins::node(place).time_limit(Duration::from_millis(300)));
    let id = server.dispatch(lattice.unwrap()).await;
    let (_, text) = failed(&server, &id, "spins", Fault::Timeout).await;
    assert!(text.contains("time limit of 0.3 s"), "{text}");
    let pids = server.lines("spins", 1).await.remove(0);
    assert!(pids.split(' ').all(|pid| !lives(pid)));
}

#[tokio::test]
async fn what_fails_is_tried_again_as_often_as_it_says() {
    let server = Server::start();
    let place = server.text_path("calls");
    let lattice = cov::graph::build("retried", || flaky::node(place, 3));
    assert_eq!(server.run(lattice.unwrap()).await, 3);
    assert_eq!(server.lines("calls", 3).await.len(), 3);
}

#[tokio::test]
async fn dispatches_of_one_program_share_its_runners() {
    let server = Server::start();
    let run = || server.run(cov::graph::build("shared", || process::node(0)).unwrap());
    let first = run().await;
    assert_eq!(run().await, first);
    let lattice = cov::graph::build("two", || process::map(0..20)).unwrap();
    let mut processes: Vec<u32> = server.run(lattice).await;
    processes.sort_unstable();
    processes.dedup();
    assert!(processes.len() <= 2 && processes.contains(&first), "{processes:?}");
}

/// Opens a gate: whoever waits for it goes on.
fn open(gate: &str) {
    std::fs::OpenOptions::new().write(true).open(gate).unwrap();
}

#[tokio::test]
async fn a_dispatch_survives_the_kill_of_its_server() {
    let mut server = Server::start();
    let (done, waiting) = (server.text_path("done"), server.text_path("waiting"));
    let gate = server.text_path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let lattice = cov::graph::build("killed", || {
        let first = notes::node(done, 20);
        add::node(waits::node(waiting, gate.clone(), first), 2)
    });
    let id = server.dispatch(lattice.unwrap()).await;
    server.lines("waiting", 1).await;
    // A task may start ahead of the commit of its inputs; what is shown is durable.
    server.completed(&id, "notes").await;
    server.crash();
    // The one that was under way runs again, and the one before it does not.
    server.lines("waiting", 2).await;
    open(&gate);
    assert_eq!(server.result::<i64>(&id).await, 22);
    assert_eq!(server.lines("done", 1).await, ["20"]);
}

#[tokio::test]
async fn a_redispatch_takes_over_what_was_complete() {
    let server = Server::start();
    let place = server.text_path("notes");
    let build = |value| {
        let place = place.clone();
        let built = cov::graph::build("again", || {
            let kept = notes::node(place.clone(), 1);
            add::node(kept, notes::node(place, value))
        });
        built.unwrap()
    };
    let id = server.dispatch(build(5)).await;
    assert_eq!(server.result::<i64>(&id).await, 6);
    let how = Redispatch { reuse: true, ..Redispatch::default() };
    let same = server.client.redispatch(&id, &how).await.unwrap().dispatch_id;
    assert_eq!(server.result::<i64>(&same).await, 6);
    assert_eq!(server.lines("notes", 2).await.len(), 2);
    let other = server.client.redispatch_as(&id, &workflow(build(7)), true).await.unwrap();
    assert_eq!(server.result::<i64>(&other.dispatch_id).await, 8);
    assert_eq!(server.lines("notes", 3).await[2], "7");
}

#[tokio::test]
async fn a_program_that_cannot_run_here_is_refused_at_dispatch() {
    use cov::core::platform;
    let server = Server::start();
    let lattice = || cov::graph::build("refused", || add::node(1, 1)).unwrap();
    let name = |platform: &str| cov::program::ProgramName {
        digest: "ab".repeat(32),
        platform: platform.to_owned(),
    };
    let refused = async |name| {
        let workflow = Workflow::new(lattice().into_bundle(&name));
        server.client.dispatch(&workflow).await.unwrap_err().to_string()
    };
    let said = refused(name("riscv64gc-unknown-linux-gnu")).await;
    assert!(said.contains("COV1013") && said.contains("built for riscv64gc"), "{said}");
    let said = refused(name(&platform::current())).await;
    assert!(said.contains("does not bring the program of its electrons"), "{said}");
    // Nothing was kept of either.
    assert_eq!(server.client.list(&cov_client::Filter::default()).await.unwrap().total, 0);
}

#[tokio::test]
async fn a_server_that_stops_leaves_no_program_behind() {
    let mut server = Server::start();
    let place = server.text_path("spins");
    let lattice = cov::graph::build("left", || spins::node(place));
    server.dispatch(lattice.unwrap()).await;
    let pids = server.lines("spins", 1).await.remove(0);
    server.crash();
    let gone = async {
        while pids.split(' ').any(lives) {
            server.client.health().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("something of it is left");
    // The next server runs it again.
    assert_ne!(server.lines("spins", 2).await[1], pids);
}
