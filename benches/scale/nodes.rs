//! Large workflows: half of the nodes are values, half are electrons in Rust that do nothing.

use std::time::{Duration, Instant};

use cov::blocking::Client;
use cov::electron;
use tempfile::TempDir;

use crate::server::Server;

/// How often the state is asked for while it runs.
const LOOK: Duration = Duration::from_millis(5);

#[electron]
fn nothing(number: u32) -> u32 {
    number
}

pub(crate) fn measure(sizes: Vec<u32>) {
    println!(
        "nodes | build s | register s (CPU) | RSS, peak MiB | plan s (CPU) | RSS, peak MiB | \
              run s (CPU) | RSS, peak MiB | database MB | register, plan, run: us of CPU a node"
    );
    sizes.into_iter().for_each(measure_one);
}

/// Time and processor time of a phase of the server.
fn phase<T>(server: &Server, work: impl FnOnce() -> T) -> (Duration, Duration, T) {
    server.reset_peak();
    let (cpu, begin) = (server.cpu(), Instant::now());
    let done = work();
    (begin.elapsed(), server.cpu().saturating_sub(cpu), done)
}

fn measure_one(nodes: u32) {
    let begin = Instant::now();
    let lattice = cov::graph::build("fan", || nothing::map(0..nodes / 2)).unwrap();
    let workflow = lattice.into_workflow().unwrap();
    let built = begin.elapsed();
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = Client::new(cov::Client::builder(&server.url)).unwrap();
    let memory = |server: &Server| format!("{}, {}", server.resident(), server.peak());

    let (registered, register_cpu, accepted) =
        phase(&server, || client.register(&workflow).unwrap());
    let register_memory = memory(&server);
    let id = accepted.dispatch_id;
    drop(workflow);

    let (planned, plan_cpu, _) = phase(&server, || client.start(&id).unwrap());
    let plan_memory = memory(&server);

    let (ran, run_cpu, status) = phase(&server, || {
        loop {
            let summary = client.summary(&id, false).unwrap();
            if summary.status.is_terminal() {
                break summary.status;
            }
            std::thread::sleep(LOOK);
        }
    });
    assert_eq!(status.to_string(), "COMPLETED");
    let run_memory = memory(&server);
    drop(server);
    let database: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().metadata().ok())
        .map(|found| found.len())
        .sum();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(nodes);
    println!(
        "{nodes} | {:.2} | {:.2} ({:.2}) | {register_memory} | {:.2} ({:.2}) | {plan_memory} | \
         {:.2} ({:.2}) | {run_memory} | {} | {:.1}, {:.1}, {:.1}",
        built.as_secs_f64(),
        registered.as_secs_f64(),
        register_cpu.as_secs_f64(),
        planned.as_secs_f64(),
        plan_cpu.as_secs_f64(),
        ran.as_secs_f64(),
        run_cpu.as_secs_f64(),
        database / 1_000_000,
        each(register_cpu),
        each(plan_cpu),
        each(run_cpu),
    );
}
