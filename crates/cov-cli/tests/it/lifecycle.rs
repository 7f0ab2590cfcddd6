//! From the first start to the last stop.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, getsid, kill_process};

use crate::place::Place;

#[test]
fn a_server_is_started_shown_and_stopped() {
    let place = Place::new();
    let status = place.cov("status");
    assert_eq!(status.code, 3);
    assert_snapshot!(status.out, @"No server runs in the background.");

    let start = place.cov("start");
    assert_eq!(start.code, 0, "{}", start.errors);
    assert_snapshot!(start.out, @"The server is ready at http://127.0.0.1:[N] (process [N]). Its log: [HOME]/.local/state/cov/server.log");

    let status = place.cov("status");
    assert_eq!(status.code, 0, "{}", status.errors);
    let lines: Vec<_> = status.out.lines().filter(|line| !line.starts_with("up for")).collect();
    assert_snapshot!(lines.join("\n"), @"
    state                 ready
    address               http://127.0.0.1:[N]
    process               [N]
    version               0.1.0
    dispatches under way  0
    ");

    assert_snapshot!(place.cov("version").out, @"
    cov                 0.1.0
    cov-server          0.1.0
    server that runs    0.1.0
    ");

    let stop = place.cov("stop");
    assert_eq!(stop.code, 0, "{}", stop.errors);
    assert_snapshot!(stop.out, @"The server has stopped. No dispatch was under way.");
    assert_eq!(place.cov("status").code, 3);
    let stop = place.cov("stop");
    assert_eq!(stop.code, 0);
    assert_snapshot!(stop.out, @"No server runs in the background.");
}

#[test]
fn data_can_be_had_as_json() {
    let place = Place::new();
    assert_snapshot!(place.cov("--json status").out, @r#"{"event":"not_running"}"#);
    assert_snapshot!(place.cov("start --json").out, @r#"{"event":"started","address":"http://127.0.0.1:[N]","pid":[N],"log":"[HOME]/.local/state/cov/server.log"}"#);
    let status = place.status();
    let keys: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["address", "dispatches_under_way", "event", "pid", "ready", "uptime_seconds", "version"];
    assert_eq!(keys, expected);
    assert_eq!(status["ready"], true);
    assert_snapshot!(place.cov("stop --json").out, @r#"{"event":"stopped","pid":[N],"under_way":0}"#);
}

#[test]
fn a_running_server_is_reported_and_not_started_twice() {
    let place = Place::new();
    place.cov("start --workers 1");
    let pid = place.pid();

    for line in ["start", "start --workers 1"] {
        let again = place.cov(line);
        assert_eq!(again.code, 0, "{}", again.errors);
        assert_eq!(again.out, "A server runs already at http://127.0.0.1:[N] (process [N]).\n");
    }
    let other = place.cov("start --workers 2");
    assert_eq!(other.code, 4);
    assert!(other.errors.contains("`cov restart` with these options"), "{}", other.errors);
    assert_eq!(place.pid(), pid);
}

#[test]
fn two_starts_at_once_make_one_server() {
    let place = Place::new();
    let start = || place.command("--json start").stdout(Stdio::piped()).spawn().unwrap();
    let both = [start(), start()].map(|child| place.said(&child.wait_with_output().unwrap()));
    let mut events = both.map(|said| said.out.split(',').next().unwrap().to_owned());
    events.sort();
    assert_eq!(events, [r#"{"event":"already_running""#, r#"{"event":"started""#]);
}

#[test]
fn a_restart_keeps_the_options_unless_others_are_given() {
    let place = Place::new();
    place.cov("start --data-dir kept --workers 1");
    let first = place.pid();

    // From another folder, so that a relative path would be noticed.
    let restart = place.command("restart").current_dir("/").output().unwrap();
    assert_eq!(place.said(&restart).code, 0);
    assert_ne!(place.pid(), first);
    assert!(place.path("kept/dispatches.sqlite").exists());
    assert_eq!(place.cov("start --data-dir kept --workers 1").code, 0, "the options are the same");

    assert_eq!(place.cov("restart --data-dir other").code, 0);
    assert!(place.path("other/dispatches.sqlite").exists());
    assert_eq!(place.cov("start --data-dir kept --workers 1").code, 4);

    // It also starts a server that was stopped.
    place.cov("stop");
    assert_eq!(place.cov("restart").code, 0);
    assert_eq!(place.cov("start --data-dir other").code, 0);
}

#[test]
fn the_server_has_a_session_of_its_own() {
    let place = Place::new();
    place.cov("start");
    let pid = Pid::from_raw(place.pid()).unwrap();
    assert_eq!(getsid(Some(pid)).unwrap(), pid);
}

#[test]
fn a_server_that_was_killed_is_not_running_and_can_be_started_again() {
    let place = Place::new();
    place.cov("start");
    kill_process(Pid::from_raw(place.pid()).unwrap(), Signal::KILL).unwrap();
    let restart = place.cov("restart");
    assert_eq!(restart.code, 0, "{}", restart.errors);
    assert_eq!(place.status()["ready"], true);
}

#[test]
fn a_server_that_is_about_to_end_is_waited_for_and_followed_by_another() {
    let place = Place::new();
    place.cov("start");
    let record = place.path(".local/state/cov/server.json");
    let mut server =
        serde_json::from_slice::<serde_json::Value>(&fs::read(&record).unwrap()).unwrap();
    place.cov("stop");

    // What a killed server looks like until the system has cleared it away: a process that lives,
    // and nobody listens.
    let mut dying = Command::new("sleep").arg("1").spawn().unwrap();
    server["pid"] = dying.id().into();
    server["started_ticks"] = serde_json::Value::Null;
    fs::write(&record, server.to_string()).unwrap();
    let end = std::thread::spawn(move || dying.wait().unwrap());

    let start = place.cov("start");
    assert_eq!(start.code, 0, "{}", start.errors);
    assert!(start.out.starts_with("The server is ready"), "{}", start.out);
    assert!(end.is_finished());
    assert_eq!(place.status()["ready"], true);
}

#[test]
fn the_log_is_shown_and_followed() {
    let place = Place::new();
    place.cov("start");
    let last = place.cov("logs -n 1");
    assert_eq!((last.code, last.out.lines().count()), (0, 1));
    assert!(place.cov("logs").out.contains("server started"));

    let mut following = place.command("logs --follow -n 0").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(following.stdout.take().unwrap()).lines();
    place.cov("stop");
    let stopped = lines.map_while(Result::ok).find(|line| line.contains("server stopped"));
    following.kill().unwrap();
    following.wait().unwrap();
    assert!(stopped.is_some());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    place.cov("start");
    let mut logs = place.command("logs").stdout(Stdio::piped()).spawn().unwrap();
    drop(logs.stdout.take());
    assert!(logs.wait().unwrap().success());
}
