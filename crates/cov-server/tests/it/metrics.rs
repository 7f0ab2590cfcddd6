//! What a scrape of a running server shows.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use rustix::process::Signal;

use crate::program::{Program, get};

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// The value of one series.
fn value(address: SocketAddr, series: &str) -> Option<f64> {
    let answer = get(address, "/metrics");
    let line = body(&answer)
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn requests_are_counted_by_route_and_not_by_path() {
    let data = tempfile::tempdir().unwrap();
    let (server, address) = Program::serve(data.path(), &[]);
    for number in 0..50 {
        get(address, &format!("/api/v3/dispatches/not-there-{number}"));
        get(address, &format!("/no/such/path/{number}"));
    }
    let answer = get(address, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(body(&answer).ends_with("# EOF\n"), "{answer}");
    assert!(!answer.contains("not-there"), "an id is a label");
    let of = |route: &str, status: u16| {
        format!(r#"cov_http_requests_total{{method="GET",route="{route}",status="{status}"}}"#)
    };
    assert_eq!(value(address, &of("/api/v3/dispatches/{dispatch}", 404)), Some(50.0));
    assert_eq!(value(address, &of("none", 404)), Some(50.0));
    assert!(value(address, &of("/metrics", 200)).is_some_and(|scrapes| scrapes >= 2.0));
    server.send(Signal::TERM);
    server.end();
}

#[test]
fn a_server_without_work_shows_what_it_has() {
    let data = tempfile::tempdir().unwrap();
    let (server, address) = Program::serve(data.path(), &["--workers", "3"]);
    for (series, expected) in [
        ("cov_slots", 3.0),
        ("cov_queue_length", 0.0),
        ("cov_tasks_running", 0.0),
        (r#"cov_tasks_ended_total{status="failed",fault="runner"}"#, 0.0),
        (r#"cov_trigger_events_total{outcome="fired"}"#, 0.0),
    ] {
        assert_eq!(value(address, series), Some(expected), "{series}");
    }
    let build = format!(r#"cov_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"));
    assert_eq!(value(address, &build), Some(1.0));
    for series in
        ["cov_store_database_bytes", "cov_store_free_bytes", "process_resident_memory_bytes"]
    {
        assert!(value(address, series).is_some_and(|bytes| bytes > 10_000.0), "{series}");
    }
    // At least the one that asks.
    assert!(value(address, "cov_http_connections").is_some_and(|open| open >= 1.0));
    server.send(Signal::TERM);
    server.end();
}

/// Neither a panel nor an alert waits for a number that never comes.
#[test]
fn every_metric_of_the_dashboard_and_the_rules_is_there() {
    let data = tempfile::tempdir().unwrap();
    let (server, address) = Program::serve(data.path(), &[]);
    get(address, "/healthz");
    let answer = get(address, "/metrics");
    let shown: BTreeSet<&str> =
        body(&answer).lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for named in [
        include_str!("../../../../ops/grafana/dispatches.json"),
        include_str!("../../../../ops/prometheus/rules.yml"),
    ] {
        let names: BTreeSet<&str> = named
            .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
            .filter(|word| word.starts_with("cov_") || word.starts_with("process_"))
            .collect();
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            assert!(shown.contains(name), "{name} is not in a scrape");
        }
    }
    server.send(Signal::TERM);
    server.end();
}
