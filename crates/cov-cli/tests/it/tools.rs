//! What keeps a server in order, from the outside: settings, the database, a doctor, executors,
//! completions, the manual.

use std::fs;

use crate::dispatches::{json, run, served};
use crate::place::Place;

const HELLO: &str = "name = \"hello\"\n[tasks.hello]\nrun = \"echo hello\"\n";

#[test]
fn settings_are_shown_with_their_source() {
    let place = Place::new();
    let config = json(&place, "config --workers 3");
    assert_eq!((&config["event"], &config["of_running"]), (&"config".into(), &false.into()));
    let found = config["settings"].as_array().unwrap().iter();
    let workers = found.clone().find(|one| one["key"] == "workers").unwrap();
    assert_eq!((&workers["value"], &workers["source"]), (&"3".into(), &"option --workers".into()));
    let listen = found.clone().find(|one| one["key"] == "listen").unwrap();
    assert!(listen["source"].as_str().unwrap().contains("COV_LISTEN"), "{listen}");
    place.cov("start --workers 2");
    let text = place.cov("config").out;
    assert!(text.contains("of the server that runs"), "{text}");
    let wrong = place.cov("config --workers none");
    assert_eq!(
        (wrong.code, wrong.errors.contains("a number from 1 to")),
        (1, true),
        "{}",
        wrong.errors
    );
}

#[test]
fn a_database_is_checked_and_migrated_while_no_server_uses_it() {
    let place = served();
    run(&place, HELLO);
    let used = place.cov("db check");
    assert_eq!(
        (used.code, used.errors.contains("in use by another server")),
        (1, true),
        "{}",
        used.errors
    );
    place.cov("stop");
    let checked = json(&place, "db check");
    assert_eq!((&checked["action"], &checked["dispatches"]), (&"checked".into(), &1.into()));
    assert_eq!(checked["problems"], serde_json::json!([]));
    assert!(checked["contents"].as_u64().unwrap() > 0);
    let migrated = place.cov("db migrate");
    assert!(migrated.out.contains("already"), "{}{}", migrated.out, migrated.errors);
    let none = place.cov("db check --data-dir nothing");
    assert_eq!(
        (none.code, none.errors.contains("there is no database")),
        (1, true),
        "{}",
        none.errors
    );
    assert!(json(&place, "db migrate --data-dir new")["schema"].as_u64().unwrap() >= 3);
}

#[test]
fn a_doctor_finds_what_is_amiss_and_says_what_to_do() {
    let place = served();
    let said = place.cov("doctor");
    assert_eq!(said.code, 1);
    assert!(said.out.contains("/no/python cannot be run"), "{}", said.out);
    assert!(said.out.contains("→ "), "{}", said.out);
    let diagnosis = json(&place, "doctor");
    let of = |name: &str| {
        let checks = diagnosis["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["verdict"].clone()
    };
    let seen = ["programs", "server", "python", "data", "state"].map(of);
    assert_eq!(seen, ["good", "good", "bad", "good", "good"].map(serde_json::Value::from));
    // A port that somebody else has.
    place.cov("stop");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut doctor = place.command("doctor");
    let said = place.said(&doctor.env("COV_LISTEN", address).output().unwrap());
    assert!(said.out.contains("another program listens on"), "{}", said.out);
}

#[test]
fn executors_are_listed() {
    let place = served();
    let listed = json(&place, "executors");
    let names = listed["executors"].as_array().unwrap().iter().map(|one| one["name"].clone());
    assert!(names.collect::<Vec<_>>().contains(&"local".into()), "{listed}");
    assert!(place.cov("executors").out.starts_with("NAME"));
}

#[test]
fn shells_and_manuals_know_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.cov(&format!("completions {shell}"));
        assert_eq!(script.code, 0);
        for command in ["redispatch", "explain", "doctor"] {
            assert!(script.out.contains(command), "{shell} does not know {command}");
        }
    }
    let first = place.cov("man").out;
    assert!(first.contains(".TH cov 1") && first.contains("explain"), "{first}");
    assert_eq!(place.cov("man --output pages").code, 0);
    let pages = fs::read_dir(place.path("pages")).unwrap().count();
    assert!(pages > 25, "{pages} pages");
    assert!(place.path("pages/cov-triggers-history.1").exists());
}

#[test]
fn every_command_has_a_help_text_and_the_codes_are_in_it() {
    let place = Place::new();
    let help = place.cov("--help").out;
    for line in ["0  done", "5  there is no such dispatch", "130  interrupted"] {
        assert!(help.contains(line), "{help}");
    }
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<_> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        assert_eq!(place.cov(&format!("help {name}")).code, 0, "{name}");
    }
}
