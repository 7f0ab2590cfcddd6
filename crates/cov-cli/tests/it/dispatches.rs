//! Dispatches from the outside: listed, shown, read, cancelled, run again, explained.

use std::fs;

use serde_json::Value;

use crate::place::{Place, Said};

/// Two tasks side by side, and one behind both.
const GOOD: &str = r#"
name = "etl"
[tasks.load]
run = "echo rows; echo warning >&2"
[tasks.left]
run = "tr a-z A-Z"
stdin = "${{ tasks.load }}"
[tasks.right]
run = "cat"
stdin = "${{ tasks.load }}"
[tasks.join]
run = ["echo", "${{ tasks.left }}", "${{ tasks.right }}"]
"#;

/// The second of three fails.
const BAD: &str = r#"
name = "bad"
[tasks.load]
run = "echo 1"
[tasks.parse]
run = "echo row 17 is no number >&2; exit 3"
needs = ["load"]
[tasks.train]
run = "true"
needs = ["parse"]
"#;

/// Says that it has begun, and never ends by itself.
const ENDLESS: &str = r#"
name = "endless"
[tasks.wait]
run = "echo begun; exec sleep 3600"
"#;

/// A place with a server.
pub(crate) fn served() -> Place {
    let place = Place::new();
    let start = place.cov("start");
    assert_eq!(start.code, 0, "{}", start.errors);
    place
}

/// Sends a workflow; its id.
pub(crate) fn send(place: &Place, text: &str) -> String {
    fs::write(place.path("flow.toml"), text).unwrap();
    let sent = place.command("dispatch flow.toml").output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    String::from_utf8(sent.stdout).unwrap().trim().to_owned()
}

/// Sends a workflow and waits for its end; its id and the exit code of that.
pub(crate) fn run(place: &Place, text: &str) -> (String, i32) {
    let id = send(place, text);
    let code = place.cov(&format!("watch {id}")).code;
    (id, code)
}

/// The first line that a command prints as JSON.
pub(crate) fn json(place: &Place, line: &str) -> Value {
    let output = place.command(&format!("--json {line}")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = text.lines().next().unwrap_or_else(|| panic!("{line}: {said}"));
    serde_json::from_str(first).unwrap()
}

/// The error that a command prints as JSON.
fn error(place: &Place, line: &str) -> Value {
    let output = place.command(&format!("--json {line}")).output().unwrap();
    assert_eq!(output.stdout, b"", "{line}");
    serde_json::from_slice(&output.stderr).unwrap()
}

fn good(said: Said) -> String {
    assert_eq!(said.code, 0, "{}", said.errors);
    said.out
}

#[test]
fn a_dispatch_that_went_well_can_be_looked_at_from_all_sides() {
    let place = served();
    assert_eq!(place.cov("watch @").code, 5, "there is none yet");
    let (id, code) = run(&place, GOOD);
    assert_eq!(code, 0);

    let listed = good(place.cov("ls"));
    assert!(listed.starts_with("ID ") && listed.contains("etl"), "{listed}");
    assert_eq!(
        String::from_utf8(place.command("ls -q").output().unwrap().stdout).unwrap().trim(),
        id
    );
    let page = json(&place, "ls --status completed --name etl --since 1h");
    assert_eq!((&page["event"], &page["total"]), (&"dispatches".into(), &1.into()));
    assert_eq!(page["dispatches"][0]["dispatch_id"], id.as_str());
    assert_eq!(json(&place, "ls --until 1h")["total"], 0);

    let shown = good(place.cov("show"));
    for line in ["0 load", "├─ 1 left", "├─ 2 right", "└─ 3 join"] {
        assert!(shown.contains(line), "{shown}");
    }
    let shown = json(&place, &format!("show {}", &id[..8]));
    assert_eq!((&shown["event"], &shown["name"]), (&"dispatch".into(), &"etl".into()));
    assert!(shown["edges"].as_array().unwrap().len() >= 4, "{shown}");

    assert_eq!(good(place.cov("result")), "\"ROWS rows\\n\"\n");
    assert_eq!(good(place.cov("result @ --raw --node 1")), "ROWS\n");
    let result = json(&place, "result last --node 1");
    assert_eq!((&result["value"], &result["node_id"]), (&"ROWS\n".into(), &1.into()));
    let explained = json(&place, "explain");
    assert_eq!(explained["critical_path"][0]["name"], "load");
    assert!(good(place.cov("explain")).contains("Critical path: "));
}

#[test]
fn a_result_is_written_to_a_file_that_nobody_else_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = served();
    run(&place, GOOD);
    let saved = good(place.cov("result --output value.json"));
    assert!(saved.starts_with("Wrote JSON, "), "{saved}");
    let file = place.path("value.json");
    assert_eq!(fs::read(&file).unwrap(), b"\"ROWS rows\\n\"");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = place.cov("result --output value.json");
    assert_eq!(again.code, 1);
    assert!(again.errors.contains("--force"), "{}", again.errors);
    assert_eq!(json(&place, "result --output value.json --force")["encoding"], "json");
}

#[test]
fn what_tasks_printed_is_shown_by_node() {
    let place = served();
    run(&place, GOOD);
    let all = good(place.cov("logs @"));
    assert!(all.contains("0 load │ rows\n0 load │ warning\n"), "{all}");
    assert_eq!(good(place.cov("logs @ 0 --stdout")), "rows\n");
    assert_eq!(good(place.cov("logs @ 0 --stderr")), "warning\n");
    assert_eq!(good(place.cov("logs @ 0 --follow --stdout")), "rows\n");
    assert_eq!(json(&place, "logs @ 0")["stream"], "stdout");
    let followed = good(place.cov("logs @ --follow"));
    assert!(followed.contains("0 load │ rows"), "{followed}");
    let missing = place.cov("logs @ 99");
    assert_eq!((missing.code, missing.errors.contains("its nodes are 0 to")), (5, true));
}

#[test]
fn a_dispatch_that_failed_is_explained() {
    let place = served();
    let (id, code) = run(&place, BAD);
    assert_eq!(code, 1);
    let explained = good(place.cov("explain"));
    assert!(explained.contains("row 17 is no number"), "{explained}");
    let facts = json(&place, "explain");
    assert_eq!(
        (&facts["failures"][0]["fault"], &facts["failures"][0]["name"]),
        (&"task".into(), &"parse".into())
    );
    assert!(facts["not_run"].as_u64().unwrap() >= 1);
    let result = place.cov("result");
    assert_eq!(result.code, 1);
    assert!(result.errors.contains("failed and returned nothing"), "{}", result.errors);
    assert!(good(place.cov("show --status failed")).contains("1 parse"));
    let told = error(&place, "result");
    assert_eq!((&told["event"], &told["exit_code"]), (&"error".into(), &1.into()));
    assert!(told["hint"].as_str().unwrap().contains("cov explain"), "{told}");

    let plan = json(&place, &format!("redispatch {id} --reuse --plan"));
    let verdict = |node: usize| plan["nodes"][node]["verdict"].clone();
    assert_eq!((verdict(0), verdict(1)), ("reused".into(), "run_again".into()));
    assert!(good(place.cov("redispatch @ --reuse --plan")).contains("it was not complete"));
    let again = json(&place, "redispatch @ --reuse");
    assert_eq!(again["earlier"], id.as_str());
    assert_eq!(place.cov(&format!("watch {}", again["dispatch_id"].as_str().unwrap())).code, 1);
    assert_eq!(place.cov("redispatch @ --watch").code, 1);
    assert_eq!(json(&place, "ls")["total"], 3);
}

#[test]
fn a_dispatch_is_followed_cancelled_and_told_so() {
    use std::io::{BufRead as _, BufReader};
    let place = served();
    let id = send(&place, ENDLESS);
    let mut logs = place.command(&format!("logs {id} 0 --follow"));
    let mut logs = logs.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");

    let early = place.cov("result");
    assert!(early.errors.contains("--wait"), "{}", early.errors);
    let running = json(&place, "explain");
    assert_eq!(running["running"][0]["name"], "wait");
    assert_eq!(json(&place, "ls --status run")["total"], 1);

    let cancelled = json(&place, &format!("cancel {id} --wait"));
    assert_eq!(
        (&cancelled["status"], &cancelled["had_ended"]),
        (&"CANCELLED".into(), &false.into())
    );
    assert!(lines.next().is_none(), "the log ends with its task");
    assert!(logs.wait().unwrap().success());
    assert_eq!(place.cov("watch").code, 1);
    assert!(good(place.cov("cancel @")).contains("had ended before: CANCELLED"));
    assert_eq!(place.cov("cancel @ @ --node 0").code, 2);
}

#[test]
fn some_nodes_of_a_dispatch_are_cancelled() {
    let place = served();
    send(&place, ENDLESS);
    let cancelled = json(&place, "cancel @ --node 0");
    assert_eq!(cancelled["nodes"], serde_json::json!([0]));
    assert_eq!(place.cov("watch").code, 1);
    assert_eq!(place.cov("cancel @ --node 77").code, 5);
}

#[test]
fn ids_may_be_short_and_wrong_ones_get_advice() {
    let place = served();
    let unknown = place.cov("show 3f2a");
    assert_eq!(unknown.code, 5);
    assert!(
        unknown.errors.contains("no dispatch has an id that begins with `3f2a`"),
        "{}",
        unknown.errors
    );
    let (id, _) = run(&place, GOOD);
    for text in ["@", "last", &id[..4], &id] {
        assert_eq!(json(&place, &format!("show {text}"))["dispatch_id"], id.as_str(), "{text}");
    }
    let named = place.cov("show etl");
    assert!(named.errors.contains("is the name of a lattice"), "{}", named.errors);
    let mut typo: Vec<char> = id.chars().collect();
    typo.swap(6, 7);
    if typo[6] != typo[7] {
        let typo: String = typo.into_iter().take(8).collect();
        let said = place.command(&format!("show {typo}")).output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains(&format!("did you mean {}?", &id[..8])), "{said}");
    }
    // Sixteen more: some two of them begin with the same digit.
    for _ in 0..16 {
        assert_eq!(place.cov(&format!("redispatch {id}")).code, 0);
    }
    let ids = String::from_utf8(place.command("ls -q").output().unwrap().stdout).unwrap();
    let mut begins: Vec<char> = ids.lines().map(|id| id.chars().next().unwrap()).collect();
    begins.sort_unstable();
    let twice = begins.windows(2).find(|two| two[0] == two[1]).unwrap()[0];
    let ambiguous = place.cov(&format!("show {twice}"));
    assert_eq!(ambiguous.code, 5);
    assert!(ambiguous.errors.contains("more than one id"), "{}", ambiguous.errors);
}

#[test]
fn words_that_are_nearly_right_get_advice() {
    let place = Place::new();
    for (line, advice) in [
        ("shwo", "'show'"),
        ("ls --status faild", "did you mean FAILED?"),
        ("ls --stauts failed", "'--status'"),
        ("result @ --node first", "a node is named by its number"),
    ] {
        let said = place.cov(line);
        assert_eq!(said.code, 2, "{line}");
        assert!(said.errors.contains(advice), "{line}: {}", said.errors);
    }
}

#[test]
fn a_server_that_is_not_there_has_an_exit_code_of_its_own() {
    let place = Place::new();
    for line in ["ls", "show", "executors", "triggers ls", "watch", "cancel @"] {
        let said = place.cov(&format!("{line} --server http://127.0.0.1:1"));
        assert_eq!(said.code, 3, "{line}: {}", said.errors);
    }
    let told = error(&place, "ls --server http://127.0.0.1:1");
    assert_eq!(told["exit_code"], 3);
    assert_eq!(place.cov("ls --server nowhere").code, 2);
}
