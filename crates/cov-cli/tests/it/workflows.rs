//! Workflow files from the outside: run on a server that comes and goes with them, or sent to one.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::place::{Place, Said};

/// Longer than anything here may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

fn write(place: &Place, name: &str, text: &str) {
    fs::write(place.path(name), text).unwrap();
}

/// Copies an example into the home.
fn example(place: &Place, name: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/workflows").join(name);
    copy(&from, &place.path(name));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The lines without the times, which differ, in an order that does not.
fn progress(said: &Said) -> String {
    let line = |line: &str| match line.split_once("  ") {
        Some((count, rest)) if count.contains('/') => {
            let (rest, _took) = rest.rsplit_once("  ").unwrap_or((rest, ""));
            format!("…/{}  {rest}", count.rsplit('/').next().unwrap_or_default())
        }
        _ => line.to_owned(),
    };
    let mut lines: Vec<String> = said.errors.lines().map(line).collect();
    lines.sort();
    lines.join("\n")
}

fn runs(place: &Place) -> Vec<PathBuf> {
    let folder = place.path(".local/state/cov/runs");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What `cov --json` says last.
fn last(said: &std::process::Output) -> Value {
    let text = String::from_utf8_lossy(&said.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default()
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One that has ended, and is waited for by nobody yet, does not run.
    !stat.is_empty() && !stat.contains(") Z ")
}

#[expect(clippy::disallowed_methods, reason = "a test's patience is measured in real time")]
fn now() -> Instant {
    Instant::now()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

const HELLO: &str = r#"
[params]
name = "world"

[tasks.greet]
run = ["echo", "hello, ${{ params.name }}"]

[tasks.shout]
run = "tr a-z A-Z"
stdin = "${{ tasks.greet }}"
"#;

#[test]
fn a_file_runs_without_a_server_and_leaves_nothing() {
    let place = Place::new();
    write(&place, "hello.toml", HELLO);
    let said = place.cov("run hello.toml --set name=Ada");
    assert_eq!((said.code, said.out.as_str()), (0, "HELLO, ADA\n"), "{}", said.errors);
    assert_snapshot!(progress(&said));
    assert_eq!(runs(&place), Vec::<PathBuf>::new());
    let said = place.cov("run hello.toml --quiet");
    assert_eq!((said.code, said.out.as_str(), said.errors.as_str()), (0, "HELLO, WORLD\n", ""));
    let said = place.command("--json run hello.toml --quiet").output().unwrap();
    let told = last(&said);
    assert_eq!(told["result"], json!("HELLO, WORLD\n"));
    assert_eq!((&told["event"], &told["status"]), (&json!("run"), &json!("COMPLETED")));
}

#[test]
fn a_wrong_file_is_refused_before_anything_starts() {
    let place = Place::new();
    write(&place, "wrong.toml", "[tasks.a]\nrun = \"x\"\nneds = [\"b\"]\n");
    let said = place.cov("run wrong.toml");
    assert_eq!(said.code, 2);
    assert_snapshot!(said.errors);
    assert_eq!(place.cov("run none.toml").code, 1);
    assert_eq!(place.cov("run").code, 2);
    let said = place.cov("run wrong.toml --set x");
    assert!(said.code == 2 && said.errors.contains("NAME=VALUE"), "{}", said.errors);
    write(&place, "hello.toml", HELLO);
    let said = place.cov("run hello.toml --set nam=x");
    assert_eq!(said.code, 2);
    assert!(said.errors.contains("did you mean `name`?"), "{}", said.errors);
    assert_eq!(runs(&place), Vec::<PathBuf>::new());
}

#[test]
fn a_file_can_be_checked_and_its_schema_had() {
    let place = Place::new();
    example(&place, "nightly");
    assert_eq!(place.cov("run nightly/nightly.toml --check").out, "nightly: 3 tasks, 1 trigger\n");
    let said = place.command("run --schema").output().unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/workflow.schema.json");
    assert_eq!(said.stdout, fs::read(committed).unwrap());
}

#[test]
fn a_failure_is_told_and_what_had_succeeded_is_kept() {
    let place = Place::new();
    let log = place.path("log");
    let text = format!(
        "[tasks.first]\nrun = \"echo first >> {0}; echo one\"\n\
         [tasks.second]\nrun = \"echo second >> {0}; test -e {1} || {{ echo not yet >&2; exit 3; }}; cat ${{{{ tasks.first.file }}}}\"\n\
         [tasks.third]\nrun = \"cat ${{{{ tasks.second.file }}}}\"\n",
        log.display(),
        place.path("ready").display(),
    );
    write(&place, "twice.toml", &text);
    let said = place.cov("run twice.toml");
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert_snapshot!(progress(&said));
    let [folder] = runs(&place).try_into().unwrap();
    write(&place, "ready", "");
    let said = place.cov(&format!("run --resume {}", folder.display()));
    assert_eq!((said.code, said.out.as_str()), (0, "one\n"), "{}", said.errors);
    assert_eq!(fs::read_to_string(&log).unwrap(), "first\nsecond\nsecond\n");

    // With the file as it is now: what is the same is not run again.
    write(
        &place,
        "twice.toml",
        &text.replace("[tasks.third]\nrun = \"cat", "[tasks.third]\nrun = \"rev"),
    );
    let said = place.cov(&format!("run twice.toml --resume {}", folder.display()));
    assert_eq!((said.code, said.out.as_str()), (0, "eno\n"), "{}", said.errors);
    assert_eq!(fs::read_to_string(&log).unwrap(), "first\nsecond\nsecond\n");
    let said = place.cov("run --resume nowhere");
    assert_eq!(said.code, 2);
    assert!(said.errors.contains("is not the folder of a run"), "{}", said.errors);
}

/// Starts a run whose task says its process and then waits.
fn waiting(place: &Place, script: &str) -> (Child, i32, BufReader<impl std::io::Read + use<>>) {
    let fifo = place.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let text = format!("[tasks.wait]\nrun = '''\necho $$ > {}\n{script}\n'''\n", fifo.display());
    write(place, "wait.toml", &text);
    let mut child = place
        .command("run wait.toml")
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    fs::File::open(&fifo).unwrap().read_to_string(&mut pid).unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    (child, pid.trim().parse().unwrap(), errors)
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn an_interrupt_cancels_and_nothing_runs_on() {
    let place = Place::new();
    let (mut child, pid, errors) = waiting(&place, "trap '' TERM; sleep 3600 & wait");
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!lives(pid));
    let said: Vec<String> = errors.lines().map(Result::unwrap).collect();
    assert!(said.iter().any(|line| line == "CANCELLED"), "{said:?}");
    let go_on = said.last().unwrap().strip_prefix("go on with it: cov ").unwrap().to_owned();
    // What runs next does not wait.
    write(&place, "wait.toml", "[tasks.wait]\nrun = \"echo done\"\n");
    let said = place.cov(&go_on.replace("run --resume", "run wait.toml --resume"));
    assert_eq!((said.code, said.out.as_str()), (0, "done\n"), "{}", said.errors);
}

#[test]
fn a_run_that_is_killed_takes_its_server_along_and_can_go_on() {
    let place = Place::new();
    let marker = place.path("marker");
    let script = format!("test -e {0} && exit 0; touch {0}; sleep 3600", marker.display());
    let (mut child, pid, _errors) = waiting(&place, &script);
    until("the task does not come that far", || marker.exists());
    send(&child, Signal::KILL);
    child.wait().unwrap();
    until("the task outlives the run", || !lives(pid));
    let [folder] = runs(&place).try_into().unwrap();
    // The task tells its process again: somebody has to listen.
    let fifo = place.path("fifo");
    let heard = std::thread::spawn(move || fs::read_to_string(fifo).unwrap());
    let again = || place.cov(&format!("run --resume {}", folder.display()));
    let mut said = again();
    let begin = now();
    // Until the server of the killed run has let go of the folder.
    while said.code != 0 && said.errors.contains("server") {
        assert!(begin.elapsed() < PATIENCE, "{}", said.errors);
        said = again();
    }
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.errors);
    assert_ne!(heard.join().unwrap().trim(), pid.to_string());
}

#[test]
fn a_server_that_is_killed_under_a_run_is_told_and_the_run_can_go_on() {
    let place = Place::new();
    let marker = place.path("marker");
    let script = format!("test -e {0} && exit 0; touch {0}; sleep 3600", marker.display());
    let (mut child, pid, errors) = waiting(&place, &script);
    until("the task does not come that far", || marker.exists());
    let server = server_below(child.id());
    kill_process(Pid::from_raw(server).unwrap(), Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    until("the task outlives the server", || !lives(pid));
    let said: Vec<String> = errors.lines().map(Result::unwrap).collect();
    let told = said.iter().any(|line| line.contains("the server of this run has ended"));
    assert!(told, "{said:?}");
    let [folder] = runs(&place).try_into().unwrap();
    let fifo = place.path("fifo");
    let heard = std::thread::spawn(move || fs::read_to_string(fifo).unwrap());
    let said = place.cov(&format!("run --resume {}", folder.display()));
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.errors);
    assert_ne!(heard.join().unwrap().trim(), pid.to_string());
}

/// The server that a run has started.
fn server_below(run: u32) -> i32 {
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let mut pids = entries.filter_map(|name| name.to_str()?.parse::<i32>().ok());
    let parent = format!(" {run} ");
    let is_below = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind = stat.rsplit(')').next().unwrap_or_default();
        behind.get(2..).is_some_and(|rest| rest.starts_with(&parent))
    };
    pids.find(is_below).expect("the run has a server")
}

#[test]
fn the_example_of_an_etl_reports_on_its_tables() {
    let place = Place::new();
    example(&place, "etl");
    let said = place.cov("run etl/etl.toml --quiet");
    assert_eq!((said.code, said.errors.as_str()), (0, ""));
    assert_snapshot!(said.out);
    fs::remove_file(place.path("etl/data/hill.csv")).unwrap();
    let said = place.cov("run etl/etl.toml --quiet --set lowest=4");
    assert_eq!(said.code, 0, "{}", said.errors);
    assert_eq!(said.out.lines().count(), 3);
}

#[test]
fn the_example_of_a_sweep_finds_the_best() {
    let place = Place::new();
    example(&place, "sweep");
    let output = place.command("--json run sweep/sweep.yaml --quiet").output().unwrap();
    let result = last(&output)["result"].clone();
    let best = result["best"].as_str().unwrap();
    assert!(best.ends_with(" simpson 1000\n"), "{result}");
    assert_eq!(result["table"].as_str().unwrap().lines().count(), 10);
    let line = "--json run sweep/sweep.yaml --quiet --set points=8,64";
    let result = last(&place.command(line).output().unwrap())["result"].clone();
    assert_eq!(result["table"].as_str().unwrap().lines().count(), 7);
}

#[test]
fn the_example_of_a_nightly_job_runs_now_and_by_its_trigger() {
    let place = Place::new();
    example(&place, "nightly");
    let said = place.cov("run nightly/nightly.toml --quiet");
    assert_eq!(said.code, 0, "{}", said.errors);
    let archives = || fs::read_dir(place.path("nightly/archives")).unwrap().count();
    assert_eq!(archives(), 1);
    fs::remove_dir_all(place.path("nightly/archives")).unwrap();

    assert_eq!(place.cov("start").code, 0);
    let output = place.command("--json dispatch nightly/nightly.toml").output().unwrap();
    let told = last(&output);
    assert_eq!((&told["status"], &told["tasks"]), (&json!("NEW_OBJECT"), &json!(3)));
    let [trigger] = told["triggers"].as_array().unwrap().as_slice() else { panic!("{told}") };
    let trigger = trigger.as_str().unwrap();
    assert_eq!(place.cov(&format!("triggers fire {trigger}")).code, 0);
    let dispatch = told["dispatch_id"].as_str().unwrap();
    let said = place.cov(&format!("watch {dispatch}"));
    assert_eq!(said.code, 0, "{}{}", said.out, said.errors);
    assert_eq!(archives(), 1);
    let said = place.cov("dispatch nightly/nightly.toml --once --wait --quiet");
    assert_eq!(said.code, 0, "{}", said.errors);
    assert_eq!(place.cov("dispatch nightly/nightly.toml --wait").code, 2);
}

#[test]
fn a_file_is_sent_to_a_server() {
    let place = Place::new();
    write(&place, "hello.toml", HELLO);
    assert_eq!(place.cov("dispatch hello.toml").code, 3);
    assert_eq!(place.cov("start").code, 0);
    let output = place.command("dispatch hello.toml").output().unwrap();
    let id = String::from_utf8(output.stdout).unwrap();
    let said = place.cov(&format!("watch {}", id.trim()));
    assert_eq!(said.code, 0, "{}{}", said.out, said.errors);
    let said = place.cov("dispatch hello.toml --wait --quiet --set name=Bob");
    assert_eq!((said.code, said.out.as_str()), (0, "HELLO, BOB\n"), "{}", said.errors);
    write(&place, "fail.toml", "[tasks.a]\nrun = \"exit 4\"\n");
    let said = place.cov("dispatch fail.toml --wait --quiet");
    assert_eq!(said.code, 1);
    assert!(said.errors.contains("a failed: "), "{}", said.errors);
    assert!(said.errors.contains("exited with code 4"), "{}", said.errors);
}

#[test]
fn tasks_are_tried_again_and_ended_in_time() {
    let place = Place::new();
    let text = r#"
        [tasks.flaky]
        workdir = "."
        retries = 3
        run = "echo try >> tries; test $(wc -l < tries) -ge 3; wc -l < tries"
        [tasks.slow]
        needs = ["flaky"]
        time_limit = "200ms"
        run = "sleep 3600"
        [tasks.never]
        needs = ["slow"]
        run = "true"
    "#;
    write(&place, "policy.toml", text);
    let output = place.command("--json run policy.toml --quiet").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = last(&output);
    let [failure] = told["failures"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!(failure["task"], json!("slow"));
    let why = failure["error"].as_str().unwrap();
    assert!(why.contains("time limit") || why.contains("time_limit"), "{why}");
    assert_eq!(fs::read_to_string(place.path("tries")).unwrap().lines().count(), 3);
}

#[test]
fn functions_stand_beside_commands() {
    let place = Place::new();
    let module = "def total(texts, scale, *, name):\n\
                  \x20   return {name: sum(int(text) for text in texts) * scale}\n";
    write(&place, "sums.py", module);
    let text = r#"
        params.scale = 10
        [tasks.part]
        foreach = [1, 2, 3]
        run = ["echo", "${{ item }}"]
        [tasks.total]
        python = "sums:total"
        args = ["${{ tasks.part }}", "${{ params.scale }}"]
        kwargs = { name = "sum" }
        [tasks.shown]
        run = "cat ${{ tasks.total.file }}; echo; echo ${{ tasks.total }}"
    "#;
    write(&place, "both.toml", text);
    let python = std::env::var("COV_TEST_PYTHON").unwrap_or_else(|_none| {
        assert!(std::env::var_os("CI").is_none(), "COV_TEST_PYTHON is not set");
        "python3".to_owned()
    });
    let mut command = place.command("run both.toml --quiet --python");
    command.arg(python).env("PATH", std::env::var_os("PATH").unwrap());
    let said = place.said(&command.output().unwrap());
    let expected = "{\"sum\":60}\n{\"sum\":60}\n".to_owned();
    assert_eq!((said.code, said.out), (0, expected), "{}", said.errors);
}
