//! What programs read: the tables of the book, held against what the commands print, and the exit
//! codes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::place::Place;

const BOOK: &str = include_str!("../../../../docs/cli.md");

/// Nothing here makes these: they need a database of Covalent, and a test of their own.
const ELSEWHERE: [&str; 2] = ["imported", "imported.skipped"];

const GOOD: &str = r#"
name = "good"
[tasks.load]
run = "echo rows"
[tasks.join]
run = ["echo", "${{ tasks.load }}"]
[[triggers]]
cron = "30 2 * * *"
"#;

const BAD: &str = "name = \"bad\"\n[tasks.load]\nrun = \"echo 1\"\n[tasks.parse]\nrun = \"exit 3\"\nneeds = [\"load\"]\n";

/// Members by their names, and whether they are always there.
type Members = BTreeMap<String, bool>;

/// Texts between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The tables: members by event, or by event and member that holds objects.
fn tables() -> BTreeMap<String, Members> {
    let rows = BOOK.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows: Vec<Vec<&str>> = rows.filter(|row| row[1] != "`event`").collect();
    let mut tables = BTreeMap::new();
    // Rows name others that stand below them.
    for _ in 0..3 {
        for row in &rows {
            let [_, first, .., cells, _] = row.as_slice() else { panic!("{row:?}") };
            let mut members = Members::new();
            for part in cells.split(", ").filter(|part| !part.is_empty()) {
                let name = quoted(part)[0];
                match part.starts_with("those of") {
                    true => members.extend(tables.get(name).cloned().unwrap_or_default()),
                    false => {
                        let always = !name.ends_with('?');
                        members.insert(name.trim_end_matches('?').to_owned(), always);
                    }
                }
            }
            tables.insert(quoted(first)[0].to_owned(), members);
        }
    }
    assert!(tables.len() > 50, "the tables are read: {tables:?}");
    tables
}

/// What was printed, held against the tables.
struct Held {
    tables: BTreeMap<String, Members>,
    seen: BTreeSet<String>,
}

impl Held {
    fn check(&mut self, name: &str, object: &Value) {
        let members = self.tables.get(name).unwrap_or_else(|| panic!("`{name}` is in no table"));
        let object = object.as_object().unwrap();
        let found: BTreeSet<&str> =
            object.keys().map(String::as_str).filter(|key| *key != "event").collect();
        let known: BTreeSet<&str> = members.keys().map(String::as_str).collect();
        let always: BTreeSet<&str> =
            members.iter().filter(|(_, always)| **always).map(|(key, _)| key.as_str()).collect();
        assert!(found.is_subset(&known), "{name}: not told: {:?}", found.difference(&known));
        assert!(always.is_subset(&found), "{name}: not there: {:?}", always.difference(&found));
        self.seen.insert(name.to_owned());
        for (key, value) in object {
            let inner = format!("{name}.{key}");
            if !self.tables.contains_key(&inner) {
                continue;
            }
            let items = match value {
                Value::Array(items) => items.as_slice(),
                single => std::slice::from_ref(single),
            };
            for item in items {
                self.check(&inner, item);
            }
        }
    }

    /// Runs a command; returns the first object that it prints.
    fn run(&mut self, place: &Place, line: &str, code: i32) -> Value {
        let output = place.command(&format!("--json {line}")).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap() + &errors;
        let mut first = None;
        for line_of in text.lines() {
            let object: Value = serde_json::from_str(line_of)
                .unwrap_or_else(|error| panic!("{line}: {line_of}: {error}"));
            let event = object["event"].as_str().unwrap_or_else(|| panic!("{line}: {line_of}"));
            self.check(event, &object);
            first.get_or_insert(object);
        }
        first.unwrap_or_else(|| panic!("{line} prints nothing"))
    }
}

#[test]
fn what_programs_read_is_what_the_book_says() {
    let mut held = Held { tables: tables(), seen: BTreeSet::new() };
    let place = Place::new();
    fs::write(place.path("good.toml"), GOOD).unwrap();
    fs::write(place.path("bad.toml"), BAD).unwrap();
    let mut run = |line: &str, code| held.run(&place, line, code);
    run("status", 3);
    run("stop", 0);
    run("run good.toml", 0);
    run("run good.toml --check", 0);
    run("run bad.toml", 1);
    run("start", 0);
    run("start", 0);
    run("start --workers 7", 4);
    run("version", 0);
    run("status", 0);
    let trigger = run("dispatch good.toml", 0)["triggers"][0].as_str().unwrap().to_owned();
    run("dispatch good.toml --once --wait", 0);
    run("dispatch bad.toml --once", 0);
    run("watch @", 1);
    for (line, code) in [
        ("ls", 0),
        ("show", 0),
        ("show nobody", 5),
        ("show @ --status no", 2),
        ("result", 1),
        ("result @ --node 0", 0),
        ("result @ --node 0 --output value", 0),
        ("logs @", 0),
        ("explain", 0),
        ("cancel @", 0),
        ("redispatch @ --plan", 0),
        ("redispatch @ --watch", 1),
        ("executors", 0),
        ("config", 0),
        ("purge --older-than 30d --dry-run", 0),
        ("backup all.tar", 0),
        ("token create a", 0),
        ("token ls", 0),
        ("token rotate a", 0),
        ("token revoke a", 0),
        ("audit", 0),
        ("audit --purge-older-than 90d", 0),
        ("triggers ls", 0),
        ("ls --server http://127.0.0.1:1", 3),
    ] {
        run(line, code);
    }
    for what in ["show", "next", "fire", "history", "test", "pause", "resume", "rm"] {
        run(&format!("triggers {what} {trigger}"), 0);
    }
    run("restart", 0);
    // There is no Python here, and it says so.
    run("doctor", 1);
    run("stop", 0);
    run("db check", 0);
    run("db migrate", 0);
    run("restore all.tar --data-dir other", 0);
    sub_dispatches(&mut held);
    let told: BTreeSet<String> = held.tables.keys().cloned().collect();
    let missed: Vec<&String> = told.difference(&held.seen).collect();
    assert_eq!(missed, ELSEWHERE, "in the tables, and printed by nothing here");
}

/// A dispatch with a sub-dispatch, and the changes of its nodes.
fn sub_dispatches(held: &mut Held) {
    let place = crate::replay::rust();
    held.run(&place, "show", 0);
    held.run(&place, "redispatch @ --watch", 0);
}

#[test]
fn every_event_of_the_program_is_in_the_book() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut folders = vec![std::path::PathBuf::from(sources)];
    let mut events = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let found = text.split("const EVENT: &'static str = \"").skip(1);
                events.extend(found.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let tables = tables();
    let missing: Vec<&String> =
        events.iter().filter(|event| !tables.contains_key(*event)).collect();
    assert!(events.len() > 30 && missing.is_empty(), "{missing:?}");
}

#[test]
fn exit_codes_are_those_of_the_book_and_of_the_help() {
    let rows = BOOK.lines().skip_while(|line| *line != "| Code | Meaning |").skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let codes: Vec<String> =
        rows.map(|line| line.split('|').nth(1).unwrap().trim().to_owned()).collect();
    let help = Place::new().cov("--help").out;
    let told = help.split("Exit codes:").nth(1).unwrap();
    for code in &codes {
        assert!(
            told.split(|letter: char| !letter.is_ascii_digit()).any(|one| one == code),
            "{code}"
        );
    }
    // Each of them is an outcome in a test: 4 of a start, 130 in a terminal, the others above.
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "130"]);
}
