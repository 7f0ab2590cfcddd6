//! Commands: what they are given, what they give, and that nothing of them outlives its task.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use cov_core::array::Array;
use cov_core::command::{Collect, Command, Form, Input, Output, Part, Quote, Template, Work};
use cov_core::error::Fault;
use cov_core::transportable::{Encoding, TransportableObject};
use cov_exec::local::LocalOptions;
use cov_exec::{Ending, Executor as _, Metrics, Outcome, Payload, Runtime, Task};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::*;

fn bench() -> Bench {
    bench_with(|_| {})
}

fn bench_with(change: impl FnOnce(&mut LocalOptions)) -> Bench {
    Bench::with(|options| {
        // Commands need no Python.
        options.python = Some("/no/python/here".into());
        options.keeper = Some(keeper_program());
        options.kill_grace = Duration::from_millis(20);
        change(options);
    })
}

fn json(value: &Value) -> Payload {
    Payload::Bytes(TransportableObject::from_json(value).unwrap().to_archive().into())
}

fn with(work: &Work, args: Vec<Payload>) -> Task {
    let function = json(&serde_json::to_value(work).unwrap());
    let args = args.into_iter().zip(1..).map(|(value, node)| (cov_core::ids::NodeId(node), value));
    Task { runtime: Runtime::Command, function, args: args.collect(), ..task("") }
}

fn run(command: Command, args: Vec<Payload>) -> Task {
    with(&Work::Command(command), args)
}

fn shell(script: &str) -> Command {
    let argv = ["sh", "-e", "-c", script].map(Template::from).to_vec();
    Command { argv, ..Command::default() }
}

fn input(input: u32, count: u32, form: Form) -> Input {
    Input { count, form, ..Input::line(input) }
}

fn value_of(ending: Ending) -> Value {
    completed(ending).to_json().unwrap()
}

fn text_of(ending: Ending) -> String {
    completed(ending).to_json().unwrap()
}

/// What a task has printed, when it has printed something.
async fn printed(bench: &Bench, task: cov_core::ids::AttemptId) -> String {
    let begin = Instant::now();
    loop {
        if let Some((out, _)) = bench.executor.live_output(task).await
            && out.ends_with(b"\n")
        {
            return String::from_utf8(out.to_vec()).unwrap();
        }
        assert!(begin.elapsed() < PATIENCE, "nothing was printed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_command_prints_is_its_output() {
    let mut bench = bench();
    let ending = bench.run(run(shell("printf 'a\\nb\\303\\244\\n'; echo no >&2"), vec![])).await;
    assert_eq!((text(&ending.stdout), text(&ending.stderr)), ("a\nbä\n".into(), "no\n".into()));
    let output = completed(ending);
    assert_eq!(
        (output.to_json::<String>().unwrap(), output.object_string),
        ("a\nbä\n".into(), "a\nbä".into())
    );
    assert_eq!(text_of(bench.run(run(shell(":"), vec![])).await), "");
    let output = completed(bench.run(run(shell("printf '\\377\\000x'"), vec![])).await);
    assert_eq!(output.header.encoding, Encoding::Array);
    assert_eq!(Array::from_npy(&output.data).unwrap().read::<Vec<u8>>().unwrap(), b"\xff\0x");
}

#[tokio::test]
async fn every_form_of_an_input_is_put_in() {
    let mut bench = bench();
    let args =
        || vec![json(&json!("one 'two'\n\n")), json(&json!({"a": [1, 2.5]})), json(&json!("x"))];
    let part = |form, quote| Part::Input(Input { quote, ..input(0, 1, form) });
    let parts = vec![
        Part::Text("printf '%s|' ".into()),
        part(Form::Line, Some(Quote::Bare)),
        Part::Text(" '".into()),
        part(Form::Line, Some(Quote::Single)),
        Part::Text("' \"".into()),
        part(Form::Text, Some(Quote::Double)),
        Part::Text("\"; cat ".into()),
        Part::Input(Input { quote: Some(Quote::Bare), ..input(0, 3, Form::Files) }),
        Part::Text("; cat ".into()),
        Part::Input(Input { quote: Some(Quote::Bare), ..input(1, 2, Form::File) }),
    ];
    let mut command = shell("");
    command.argv.pop();
    command.argv.push(Template::Parts(parts));
    let said = text_of(bench.run(run(command, args())).await);
    let line = "one 'two'";
    let all =
        format!("{line}|{line}|{line}\n\n|{line}\n\n{{\"a\":[1,2.5]}}x{{\"a\":[1,2.5]}}\nx\n");
    assert_eq!(said, all);

    let words = Template::Parts(vec![Part::Input(input(0, 3, Form::Files))]);
    let argv = vec![Template::from("ls"), words];
    let said = text_of(bench.run(run(Command { argv, ..Command::default() }, args())).await);
    assert_eq!(said.lines().count(), 3);

    let stdin = Template::Parts(vec![Part::Text(">".into()), Part::Input(input(0, 3, Form::Text))]);
    let env = [("WORD".to_owned(), Template::Parts(vec![part(Form::Line, None)]))].into();
    let command = Command { stdin: Some(stdin), env, ..shell("cat; printf %s \"$WORD\"") };
    let said = text_of(bench.run(run(command, args())).await);
    assert_eq!(said, format!(">{line}\n\n{{\"a\":[1,2.5]}}\nx\n{line}"));
}

#[tokio::test]
async fn bytes_that_are_no_text_go_from_one_to_the_other() {
    let mut bench = bench();
    let ending = bench.run(run(shell("printf '\\377\\000\\001'"), vec![])).await;
    let Outcome::Completed(bytes) = ending.outcome else { panic!("{ending:?}") };
    let stdin = Some(Template::Parts(vec![Part::Input(input(0, 1, Form::Text))]));
    let command = Command { stdin, ..shell("od -An -tx1 | tr -d ' \\n'") };
    assert_eq!(text_of(bench.run(run(command, vec![bytes.clone()])).await), "ff0001");
    let argv = vec![Template::from("echo"), Template::Parts(vec![Part::Input(Input::line(0))])];
    let ending = bench.run(run(Command { argv, ..Command::default() }, vec![bytes])).await;
    assert!(failed(&ending).1.contains("is no text: hand it over as a file"), "{ending:?}");
}

#[tokio::test]
async fn a_command_runs_in_a_folder_of_its_own_that_goes_with_it() {
    let mut bench = bench();
    let named = Input { name: Some("data.csv".into()), ..input(0, 1, Form::File) };
    let evil = Input { name: Some("../../evil".into()), ..input(1, 1, Form::File) };
    let mut command = shell("");
    command.argv.pop();
    command.argv.push(Template::Parts(vec![
        Part::Text("ls -A; touch left; pwd; echo $TMPDIR; mktemp; echo $COV_NODE_ID; ls ".into()),
        Part::Input(named),
        Part::Text(" ".into()),
        Part::Input(evil),
    ]));
    let said = text_of(bench.run(run(command, vec![json(&json!("x")), json(&json!("y"))])).await);
    let lines: Vec<&str> = said.lines().collect();
    let [folder, tmp, made, node, data, other] = lines.as_slice() else { panic!("{said}") };
    assert!(folder.ends_with("/work") && tmp.ends_with("/tmp") && made.starts_with(tmp), "{said}");
    assert_eq!(*node, "0");
    assert!(data.ends_with("/inputs/0/data.csv") && other.ends_with("/inputs/1/input"), "{said}");
    let scratch = Path::new(folder).parent().unwrap();
    let begin = Instant::now();
    while scratch.exists() {
        assert!(begin.elapsed() < PATIENCE, "the scratch folder stays");
        tokio::task::yield_now().await;
    }
    let workdir = bench.path("chosen/deep").to_str().unwrap().to_owned();
    let command = Command { workdir: Some(workdir.clone()), ..shell("pwd") };
    assert_eq!(text_of(bench.run(run(command, vec![])).await), format!("{workdir}\n"));
}

#[tokio::test]
async fn a_file_can_be_the_output() {
    let mut bench = bench();
    let file = |script: &str| Command { output: Output::File("out/x.txt".into()), ..shell(script) };
    let ending = bench.run(run(file("mkdir out; echo in > out/x.txt; echo said"), vec![])).await;
    assert_eq!(text(&ending.stdout), "said\n");
    assert_eq!(text_of(ending), "in\n");
    let ending = bench.run(run(file("true"), vec![])).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Task);
    assert!(message.contains("its output `out/x.txt` cannot be read in"), "{message}");
}

#[tokio::test]
async fn a_failure_says_what_the_command_said() {
    let mut bench = bench();
    let ending = bench.run(run(shell("echo out; echo wrong >&2; exit 3"), vec![])).await;
    let expected = "The command exited with code 3. The end of its error stream:\nwrong";
    assert_eq!(failed(&ending), (Fault::Task, expected));
    let ending = bench.run(run(shell("echo only out; exit 1"), vec![])).await;
    assert!(failed(&ending).1.ends_with("The end of its output:\nonly out"), "{ending:?}");
    let ending = bench.run(run(shell("exit 1"), vec![])).await;
    assert_eq!(failed(&ending).1, "The command exited with code 1. It printed nothing.");
    let ending = bench.run(run(shell("kill -SEGV $$"), vec![])).await;
    assert!(failed(&ending).1.contains("ended by SIGSEGV (signal 11)"), "{ending:?}");
    let argv = vec![Template::from("/no/such/program")];
    let ending = bench.run(run(Command { argv, ..Command::default() }, vec![])).await;
    assert!(failed(&ending).1.contains("/no/such/program"), "{ending:?}");
    let allowed = Command { success: vec![0, 3], ..shell("echo three; exit 3") };
    assert_eq!(text_of(bench.run(run(allowed, vec![])).await), "three\n");
    let only = Command { success: vec![3], ..shell("true") };
    assert!(failed(&bench.run(run(only, vec![])).await).1.contains("code 0"));
}

#[tokio::test]
async fn what_is_no_command_is_refused() {
    let mut bench = bench();
    let documents =
        [json!({}), json!({"command": {"argv": "x"}}), json!({"command": {"argv": []}}), json!(3)];
    for document in documents {
        let ending = bench.run(Task { function: json(&document), ..run(shell(""), vec![]) }).await;
        assert_eq!(failed(&ending).0, Fault::Task, "{document}");
    }
    let task = Task { function: Payload::Bytes("rubbish".into()), ..run(shell(""), vec![]) };
    assert!(failed(&bench.run(task).await).1.contains("describes no command"));
    let argv = vec![Template::Parts(vec![Part::Input(Input::line(7))])];
    let ending = bench.run(run(Command { argv, ..Command::default() }, vec![])).await;
    assert!(failed(&ending).1.contains("input 7 of 0 is not there"), "{ending:?}");
    let argv = vec![Template::from("echo"), Template::Parts(vec![Part::Input(Input::line(0))])];
    let long = vec![json(&json!("x".repeat(200_000)))];
    let ending = bench.run(run(Command { argv, ..Command::default() }, long)).await;
    assert!(failed(&ending).1.contains("use it as a file"), "{ending:?}");
}

#[tokio::test]
async fn much_goes_through_files_and_not_through_memory() {
    let mut bench = bench();
    // With a character at every border that pieces have.
    let script =
        "head -c 30000000 /dev/zero | tr '\\0' 'a' | sed 's/aaaaaaa/aa\\xc3\\xa4\\n\"\\\\/g'";
    let ending = bench.run(run(shell(script), vec![])).await;
    let Outcome::Completed(Payload::File(path)) = &ending.outcome else { panic!("{ending:?}") };
    assert!(matches!(&ending.stdout, Payload::File(_)));
    let copy = Payload::File(path.clone());
    let stdin = Some(Template::Parts(vec![Part::Input(input(0, 1, Form::Text))]));
    let command = Command { stdin, ..shell("cksum") };
    let said = text_of(bench.run(run(command, vec![copy])).await);
    let expected = std::process::Command::new("sh")
        .args(["-c", &format!("({script}) | cksum")])
        .output()
        .unwrap();
    assert_eq!(said.as_bytes(), expected.stdout);
    let output: String = completed(ending).to_json().unwrap();
    assert!(output.starts_with("aaä\n\"\\aaä"));
}

#[tokio::test]
async fn a_killed_command_is_gone_with_all_that_it_started() {
    let mut bench = bench();
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >&2; sleep 3600' & \
                  echo $$; wait";
    let task = run(shell(script), vec![]);
    let attempt = task.attempt;
    bench.executor.submit(task).await.unwrap();
    begin_of(&mut bench.reports, attempt).await;
    let leader = printed(&bench, attempt).await.trim().to_owned();
    bench.executor.kill(attempt).await;
    let report = bench.next().await;
    let cov_exec::Event::Ended(ending) = report.event else { panic!("{report:?}") };
    assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
    let mut pids = vec![leader];
    pids.extend(text(&ending.stderr).lines().map(str::to_owned));
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} lives");
    }
    assert!(bench.executor.live_output(attempt).await.is_none());
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_with_it() {
    let mut bench = bench();
    let said = text_of(bench.run(run(shell("sleep 3600 >/dev/null 2>&1 & echo $!"), vec![])).await);
    assert!(!Path::new(&format!("/proc/{}", said.trim())).exists(), "{said}");
}

#[tokio::test]
async fn commands_run_beside_each_other_and_end_with_the_executor() {
    let bench = bench();
    let tasks: Vec<Task> = (0..4).map(|_| run(shell("echo $$; sleep 3600"), vec![])).collect();
    let attempts: Vec<_> = tasks.iter().map(|task| task.attempt).collect();
    for task in tasks {
        bench.executor.submit(task).await.unwrap();
    }
    let mut pids = String::new();
    for attempt in attempts {
        write!(pids, "{}", printed(&bench, attempt).await).unwrap();
    }
    tokio::time::timeout(PATIENCE, bench.executor.stop()).await.unwrap();
    for pid in pids.lines() {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} lives");
    }
    assert!(bench.executor.submit(run(shell(""), vec![])).await.is_err());
}

#[tokio::test]
async fn values_are_put_together_without_a_process() {
    let mut bench = bench();
    let text = || json(&json!("x\n"));
    let bytes = completed(bench.run(run(shell("printf '\\377'"), vec![])).await);
    let bytes = Payload::Bytes(bytes.to_archive().into());
    let collect = |collect| Work::Collect(collect);
    let ending = bench.run(with(&collect(Collect::List), vec![text(), json(&json!([1]))])).await;
    assert_eq!(value_of(ending), json!(["x\n", [1]]));
    let members =
        vec![("a".to_owned(), None), ("b".to_owned(), Some(2)), ("c".to_owned(), Some(0))];
    let values = vec![text(), json(&json!(1)), bytes];
    let ending = bench.run(with(&collect(Collect::Map(members.clone())), values)).await;
    assert_eq!(value_of(ending), json!({"a": "x\n", "b": [1, {"base64": "/w=="}], "c": []}));
    let ending = bench.run(with(&collect(Collect::Map(members)), vec![text()])).await;
    assert!(failed(&ending).1.contains("`b` has too few values"), "{ending:?}");
}

#[tokio::test]
async fn processes_are_counted_with_how_they_ended() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let mut bench = bench_with(|options| options.metrics = metrics);
    bench.run(run(shell(":"), vec![])).await;
    bench.run(run(shell("exit 3"), vec![])).await;
    bench.run(run(shell("kill -SEGV $$"), vec![])).await;
    bench.run(with(&Work::Collect(Collect::List), vec![json(&json!(1))])).await;
    let killed = run(shell("echo; sleep 3600"), vec![]);
    let attempt = killed.attempt;
    bench.executor.submit(killed).await.unwrap();
    printed(&bench, attempt).await;
    bench.executor.kill(attempt).await;
    end_of(&mut bench.reports, attempt).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "cov_runner_starts_total{kind=\"command\"} 4",
        "cov_runner_ends_total{kind=\"command\",cause=\"done\"} 2",
        "cov_runner_ends_total{kind=\"command\",cause=\"died\"} 1",
        "cov_runner_ends_total{kind=\"command\",cause=\"killed\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn what_an_earlier_life_left_is_removed() {
    let mut bench = bench();
    let left = bench.path("run/commands/00000000000000ff/work");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("locked"), "x").unwrap();
    std::fs::set_permissions(left.join("locked"), std::fs::Permissions::from_mode(0o400)).unwrap();
    bench.run(run(shell(":"), vec![])).await;
    assert!(!left.exists());
}
