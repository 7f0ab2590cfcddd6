//! Triggers from the outside, from the first registration to the removal.

use std::io::Write as _;
use std::process::Stdio;

use crate::dispatches::{json, run, served};

const HELLO: &str = "name = \"hello\"\n[tasks.hello]\nrun = \"echo hello\"\n";

#[test]
fn a_trigger_lives_and_goes() {
    let place = served();
    assert_eq!(json(&place, "triggers ls")["triggers"], serde_json::json!([]));
    let (dispatch, _) = run(&place, HELLO);
    let cron = [
        "triggers",
        "add",
        "@",
        "--cron",
        "30 2 * * MON-FRI",
        "--zone",
        "Europe/Berlin",
        "--set",
        "overlap=skip",
    ];
    let output = place.command("--json").args(cron).output().unwrap();
    let added: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((&added["event"], &added["action"]), (&"trigger".into(), &"added".into()));
    let id = added["trigger"]["id"].as_str().unwrap().to_owned();
    assert_eq!(added["trigger"]["lattice_dispatch_id"], dispatch.as_str());

    let listed = place.cov("triggers ls --state active --dispatch @").out;
    assert!(listed.contains("cron") && listed.contains("Europe/Berlin"), "{listed}");
    let begin = &id[..8];
    let shown = place.cov(&format!("triggers show {begin}")).out;
    assert!(shown.contains("overlap") && shown.contains("CronTrigger"), "{shown}");
    let next = json(&place, &format!("triggers next {begin} -n 3"));
    assert_eq!(next["next"].as_array().unwrap().len(), 3);

    let paused = place
        .command("--json")
        .args(["triggers", "pause", begin, "--note", "holidays"])
        .output()
        .unwrap();
    let paused: serde_json::Value = serde_json::from_slice(&paused.stdout).unwrap();
    assert_eq!(
        (&paused["trigger"]["state"], &paused["trigger"]["note"]),
        (&"paused".into(), &"holidays".into())
    );
    assert_eq!(json(&place, &format!("triggers resume {begin}"))["trigger"]["state"], "active");

    let fired = json(&place, &format!("triggers fire {begin} --key by-hand"));
    assert_eq!(fired["outcome"], "fired", "{fired}");
    let made = fired["dispatch_id"].as_str().unwrap();
    assert_eq!(place.cov(&format!("watch {made}")).code, 0);
    let history = place.cov(&format!("triggers history {begin}")).out;
    assert!(history.contains("fired"), "{history}");
    let told = json(&place, &format!("triggers history {begin}"));
    assert_eq!(told["firings"][0]["event_key"].as_str().unwrap(), "manual:by-hand");
    assert_eq!(json(&place, &format!("triggers rm {begin}"))["id"], id.as_str());
    assert_eq!(place.cov(&format!("triggers show {begin}")).code, 5);
}

#[test]
fn triggers_of_every_kind_are_added() {
    let place = served();
    run(&place, HELLO);
    std::fs::create_dir(place.path("inbox")).unwrap();
    for (line, name) in [
        ("--every 12h", "TimeTrigger"),
        ("--dir inbox --events created,moved", "DirTrigger"),
        ("--webhook --set secret=\"a-rather-long-secret-of-mine\"", "WebhookTrigger"),
    ] {
        let added = json(&place, &format!("triggers add @ {line}"));
        assert_eq!(added["trigger"]["name"], name, "{added}");
    }
    let mut add = place.command("--json triggers add @ --file -");
    let mut add = add.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text = br#"{"name": "TimeTrigger", "time_gap": 86400}"#;
    add.stdin.take().unwrap().write_all(text).unwrap();
    let output = add.wait_with_output().unwrap();
    let added: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(added["trigger"]["settings"]["time_gap"], 86400, "{added}");
    let dir = place.cov("triggers ls").out;
    assert!(dir.contains("every 12 h 0 min") && dir.contains("(created,moved)"), "{dir}");
    let watches = json(&place, "triggers ls")["triggers"].clone();
    let inbox = watches.as_array().unwrap().iter().find(|one| one["name"] == "DirTrigger").unwrap();
    let tested = json(&place, &format!("triggers test {}", inbox["id"].as_str().unwrap()));
    let seen = tested["would_fire"][0].as_str().unwrap();
    assert!(seen.contains("inbox holds 0 files"), "{tested}");
}

#[test]
fn a_trigger_that_makes_no_sense_is_refused() {
    let place = served();
    run(&place, HELLO);
    assert_eq!(place.cov("triggers add @").code, 2);
    let refused = place.command("triggers add @ --cron").arg("61 * * * *").output().unwrap();
    let refused = place.said(&refused);
    assert_eq!(refused.code, 1, "{}", refused.errors);
    assert!(refused.errors.contains("cron"), "{}", refused.errors);
    assert_eq!(place.cov("triggers rm nobody").code, 5);
}
