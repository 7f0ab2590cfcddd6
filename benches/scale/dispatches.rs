//! Many stored dispatches: every way to list them, one by id, their numbers, and removing them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cov_core::time::Timestamp;
use tempfile::TempDir;

use crate::fill::{self, EPOCH, STEP};
use crate::server::{Connection, Server};

/// Questions of each kind.
const ROUNDS: u32 = 100;

pub(crate) fn measure(dispatches: u32) {
    // A folder that stays, so that it need not be filled for every look.
    let kept = std::env::var_os("SCALE_FOLDER").map(PathBuf::from);
    let temporary = TempDir::new().unwrap();
    let folder = kept.unwrap_or_else(|| temporary.path().join("data"));
    if !folder.join(cov_store::DATABASE).exists() {
        let begin = Instant::now();
        fill::fill(&folder, dispatches);
        println!("filled with {dispatches} dispatches in {:.0} s", begin.elapsed().as_secs_f64());
    }
    for start in 1..=3 {
        let server = Server::start(&folder);
        println!("start {start}: first answer after {:?}", server.answered_after);
    }
    let server = Server::start(&folder);
    let mut connection = server.connect();
    println!("question | p50 ms | p99 ms | most ms | CPU ms each | bytes");
    for (what, path) in lists(dispatches) {
        ask(&server, &mut connection, what, |_| path.clone());
    }
    let some = |round: u32| fill::id(round.wrapping_mul(2_654_435_761) % dispatches);
    let v3 = "/api/v3/dispatches";
    ask(&server, &mut connection, "next page, anywhere", |round| {
        format!("{v3}?limit=100&cursor={}", some(round))
    });
    ask(&server, &mut connection, "show", |round| format!("{v3}/{}", some(round)));
    ask(&server, &mut connection, "summary", |round| format!("{v3}/{}/summary", some(round)));
    ask(&server, &mut connection, "result for the SDK", |round| {
        format!("/api/v2/dispatches/{}", some(round))
    });
    ask(&server, &mut connection, "status for the SDK", |round| {
        format!("/api/v2/dispatches?dispatch_id={}&status_only=true", some(round))
    });
    println!("RSS {} MiB, peak {} MiB", server.resident(), server.peak());
    if std::env::var_os("SCALE_FOLDER").is_none() {
        purge(&server, &mut connection);
    }
}

/// Asks [`ROUNDS`] times and prints a line.
fn ask(server: &Server, connection: &mut Connection, what: &str, path: impl Fn(u32) -> String) {
    let cpu = server.cpu();
    let mut bytes = 0;
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|round| {
            let path = path(round);
            let begin = Instant::now();
            bytes = connection.get(&path).len();
            begin.elapsed()
        })
        .collect();
    let cpu = server.cpu().saturating_sub(cpu) / ROUNDS;
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100 - 1].as_secs_f64() * 1e3;
    println!(
        "{what} | {:.2} | {:.2} | {:.2} | {:.2} | {bytes}",
        at(50),
        at(99),
        at(100),
        cpu.as_secs_f64() * 1e3
    );
}

fn lists(dispatches: u32) -> Vec<(&'static str, String)> {
    let at = |part: u32| {
        let number = i64::from(dispatches) * i64::from(part) / 100;
        Timestamp::from_micros(EPOCH + number * STEP).to_string().replace('+', "%2B")
    };
    let late = dispatches - dispatches / 10;
    let v3 = |rest: &str| format!("/api/v3/dispatches?limit=100{rest}");
    vec![
        ("first page", v3("")),
        ("page of 1,000", "/api/v3/dispatches?limit=1000".to_owned()),
        ("offset of 90 %", v3(&format!("&offset={late}"))),
        ("completed", v3("&status=COMPLETED")),
        ("failed", v3("&status=FAILED")),
        ("failed, offset of 5 %", v3(&format!("&status=FAILED&offset={}", dispatches / 20))),
        ("running: none", v3("&status=RUNNING")),
        ("failed or cancelled", v3("&status=FAILED&status=CANCELLED")),
        ("any of three", v3("&status=FAILED&status=CANCELLED&status=COMPLETED")),
        ("one name", v3("&name=lattice%207")),
        ("one name, failed: all", v3("&name=lattice%207&status=FAILED")),
        ("one name, cancelled: none", v3("&name=lattice%207&status=CANCELLED")),
        ("no such name", v3("&name=none")),
        ("prefix of 1", v3("&prefix=a")),
        ("prefix of 3", v3("&prefix=abc")),
        ("roots", v3("&roots=true")),
        ("roots, offset of 90 %", v3(&format!("&roots=true&offset={}", late - dispatches / 10))),
        ("roots, completed", v3("&roots=true&status=COMPLETED")),
        ("since the last 1 %", v3(&format!("&since={}", at(99)))),
        ("since the first 1 %", v3(&format!("&since={}", at(1)))),
        ("until the first 1 %", v3(&format!("&until={}", at(1)))),
        ("a middle 1 %", v3(&format!("&since={}&until={}", at(50), at(51)))),
        ("a middle 1 %, failed", v3(&format!("&since={}&until={}&status=FAILED", at(50), at(51)))),
        ("first half, one name", v3(&format!("&until={}&name=lattice%207", at(50)))),
        ("SDK overview", "/api/v1/dispatches/list?count=20&status_filter=ALL".to_owned()),
        ("SDK, running", "/api/v1/dispatches/list?count=20&status_filter=RUNNING".to_owned()),
        ("SDK, v2 list", "/api/v2/dispatches?count=20&latest=true&status_only=true".to_owned()),
    ]
}

fn purge(server: &Server, connection: &mut Connection) {
    for (what, dry_run) in
        [("what a purge of failed ones would remove", true), ("purge of failed ones", false)]
    {
        let asked =
            format!(r#"{{"older_than_seconds":0,"statuses":["FAILED"],"dry_run":{dry_run}}}"#);
        server.reset_peak();
        let (cpu, begin) = (server.cpu(), Instant::now());
        let said = connection.call("POST", "/api/v3/purge", &asked);
        println!(
            "{what}: {:.1} s, CPU {:.1} s, peak {} MiB: {}",
            begin.elapsed().as_secs_f64(),
            server.cpu().saturating_sub(cpu).as_secs_f64(),
            server.peak(),
            String::from_utf8_lossy(&said)
        );
    }
}
