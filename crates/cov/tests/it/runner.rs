//! Runners: real programs, a real socket pair, real frames.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

use cov::core::bundle::Bundle;
use cov::core::frames::{
    Blob, FromRunner, KeywordArgument, Message as _, Outcome, ToRunner, WorkDir,
};
use cov::core::graph::NodeKind;
use cov::core::transportable::{Encoding, TransportableObject};
use serde_json::json;

use crate::program::{Program, bincode, example, json_object, path_of, pickled, task, task_of};

const TASKS: &str = "runner_tasks";

#[test]
fn a_runner_greets_runs_and_ends_with_its_connection() {
    let mut program = Program::greeted(TASKS);
    let ended = program.run(task(7, "add", vec![bincode(40i64), bincode(2i64)]));
    assert_eq!(ended.object().to_bincode::<i64>().unwrap(), 42);
    assert_eq!(ended.object().object_string, "42");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    assert!(program.close().success());
}

#[test]
fn a_program_that_nobody_made_a_runner_goes_on() {
    let output = Command::new(example(TASKS)).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.lines().any(|line| line == "shift"), "{text}");
}

#[test]
fn tasks_of_one_frame_run_one_after_the_other() {
    let mut program = Program::greeted(TASKS);
    let tasks = (0i64..20).zip(0u64..);
    let tasks = tasks.map(|(n, attempt)| task(attempt, "add", vec![bincode(n), bincode(1i64)]));
    program.send(tasks.collect());
    for n in 0..20 {
        let sum = program.ended(n).object().to_bincode::<i64>().unwrap();
        assert_eq!(sum, i64::try_from(n).unwrap() + 1);
    }
}

#[test]
fn arguments_come_in_any_encoding_and_the_output_in_the_one_asked_for() {
    let mut program = Program::greeted(TASKS);
    let function = json!({
        "electron": "shift",
        "output": "json",
        "args": [{"values": 2}, {"present": "value"}],
    });
    // {'x': 1.0, 'y': 2.0}
    let python = pickled(b"\x80\x05\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x7d\x94\x28\x8c\x01\x78\x94\x47\x3f\xf0\x00\x00\x00\x00\x00\x00\x8c\x01\x79\x94\x47\x40\x00\x00\x00\x00\x00\x00\x00\x75\x2e");
    let args = vec![python, json_object(json!({"x": 5, "y": 6})), bincode(0.5)];
    let ended = program.run(task_of(1, &function, args));
    let expected = json!([{"x": 1.5, "y": 2.0}, {"x": 5.5, "y": 6.0}]);
    assert_eq!(ended.object().to_json::<serde_json::Value>().unwrap(), expected);
    // Without an output there is still an answer.
    let ended = program.run(task(2, "prints", vec![bincode(0u32)]));
    assert_eq!(ended.object().object_string, "null");
    ended.object().to_bincode::<()>().unwrap();
}

#[test]
fn a_panic_fails_its_task_and_no_other() {
    let mut program = Program::greeted(TASKS);
    let ended = program.run(task(1, "panics", vec![bincode("this")]));
    let failure = ended.failure();
    assert!(failure.starts_with("panicked at crates/cov/examples/runner_tasks.rs:"), "{failure}");
    assert!(failure.contains("no way on with this"), "{failure}");
    // With line tables only, the names of functions come without their modules.
    assert!(failure.contains("backtrace:") && failure.contains("panics"), "{failure}");
    assert!(failure.matches("runner_tasks.rs:").count() > 1, "{failure}");
    assert!(!failure.contains("cov::runner::"), "{failure}");
    assert_eq!(ended.stdout, "about to panic\n");
    assert!(ended.stderr.contains("no way on with this"), "{}", ended.stderr);
    let ended = program.run(task(2, "add", vec![bincode(1i64), bincode(1i64)]));
    assert_eq!(ended.object().to_bincode::<i64>().unwrap(), 2);
}

#[test]
fn an_error_fails_its_task_with_what_led_to_it() {
    let mut program = Program::greeted(TASKS);
    let ended = program.run(task(1, "parse", vec![bincode("12x")]));
    let expected = "the text was refused\n  caused by: invalid digit found in string";
    assert_eq!(ended.failure(), expected);
    assert_eq!(ended.stderr, format!("{expected}\n"));
    let ended = program.run(task(2, "parse", vec![bincode("12")]));
    assert_eq!(ended.object().to_bincode::<i64>().unwrap(), 12);
    let ended = program.run(task(3, "complain", vec![bincode("not today")]));
    assert_eq!(ended.failure(), "not today");
}

#[test]
fn an_abort_ends_the_program_and_leaves_what_was_printed() {
    let mut program = Program::greeted(TASKS);
    program.send(vec![task(1, "aborts", vec![])]);
    assert_eq!(program.receive(), Some(FromRunner::Begun { attempt: 1 }));
    assert_eq!(program.receive(), None);
    assert_eq!(program.exit().signal(), Some(6));
    assert_eq!(program.printed("out"), "last words\n");
}

#[test]
fn wrong_calls_are_told_by_name() {
    let mut program = Program::greeted(TASKS);
    let failed = |program: &mut Program, task| program.run(task).failure().to_owned();
    let said = failed(&mut program, task(1, "subtract", vec![]));
    assert!(
        said.starts_with("this program has no electron `subtract`; it has: aborts, add, "),
        "{said}"
    );
    let said = failed(&mut program, task(2, "add", vec![bincode(1i64)]));
    assert_eq!(said, "`add` takes 2 arguments and was given 1");
    let said = failed(&mut program, task(3, "add", vec![json_object("one"), bincode(1i64)]));
    let expected = "argument `a` of `add`: the output of node 0, encoded as json, is no `i64`: ";
    assert!(said.starts_with(expected), "{said}");
    // decimal.Decimal(1)
    let decimal = pickled(b"\x80\x05\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x07\x64\x65\x63\x69\x6d\x61\x6c\x94\x8c\x07\x44\x65\x63\x69\x6d\x61\x6c\x94\x93\x94\x8c\x01\x31\x94\x85\x94\x52\x94\x2e");
    let said = failed(&mut program, task(4, "add", vec![bincode(1i64), decimal]));
    let expected =
        "argument `b` of `add`: the output of node 1, encoded as cloudpickle, is no `i64`";
    assert!(said.starts_with(expected), "{said}");
    let mut keyword = task(5, "add", vec![bincode(1i64)]);
    let value = Blob::Inline(bincode(1i64).to_archive());
    keyword.kwargs.push(KeywordArgument { name: "b".into(), node: 3, value });
    let said = failed(&mut program, keyword);
    assert_eq!(said, "`add` is a Rust electron and takes no keyword arguments");
    let mut python = task(6, "add", vec![]);
    python.function = Blob::Inline(pickled(b"\x80\x05N.").to_archive());
    let said = failed(&mut program, python);
    assert_eq!(said, "this is a Python function, but its executor is one for Rust");
    let mut garbage = task(7, "add", vec![]);
    garbage.function = Blob::File(b"/nowhere/at/all".to_vec());
    let said = failed(&mut program, garbage);
    assert!(said.starts_with("the function: /nowhere/at/all cannot be read: "), "{said}");
}

#[test]
fn prints_are_caught_per_task_and_large_ones_go_by_file() {
    let mut program = Program::greeted(TASKS);
    let ended = program.run(task(1, "prints", vec![bincode(3u32)]));
    assert_eq!(ended.stdout, "line 0\nline 1\nline 2\n");
    assert_eq!(ended.stderr, "no newline at the end");
    let ended = program.run(task(2, "child_prints", vec![]));
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("from a child\n", ""));
    program.send(vec![task(3, "prints", vec![bincode(50_000u32)])]);
    assert_eq!(program.receive(), Some(FromRunner::Begun { attempt: 3 }));
    let Some(FromRunner::Ended { stdout: Blob::File(path), .. }) = program.receive() else {
        panic!("half a megabyte goes by file")
    };
    assert_eq!(path_of(&path), program.folder.path().join("attempt-0000000000000003.stdout"));
    let text = std::fs::read_to_string(path_of(&path)).unwrap();
    assert!(text.ends_with("line 49999\n") && text.starts_with("line 0\n"));
    // The next task begins a new file.
    let ended = program.run(task(4, "prints", vec![bincode(1u32)]));
    assert_eq!(ended.stdout, "line 0\n");
}

#[test]
fn large_outputs_and_inputs_go_by_file() {
    let mut program = Program::greeted(TASKS);
    let ended = program.run(task(5, "large", vec![bincode(1_000_000usize)]));
    let Outcome::Completed(Blob::File(path)) = &ended.outcome else { panic!("{ended:?}") };
    assert_eq!(path_of(path), program.folder.path().join("attempt-0000000000000005.output"));
    let text = ended.object().to_bincode::<String>().unwrap();
    assert_eq!(text.len(), 1_000_000);
    let mut next = task(6, "parse", vec![]);
    let value = Blob::File(path.clone());
    next.args.push(cov::core::frames::Argument { node: 9, value });
    assert_eq!(program.run(next).failure().lines().next(), Some("the text was refused"));
}

#[test]
fn an_output_that_cannot_be_written_is_not_the_tasks_fault() {
    let mut program = Program::greeted(TASKS);
    let folder = program.folder.path().join("attempt-0000000000000005.output");
    std::fs::create_dir(&folder).unwrap();
    let ended = program.run(task(5, "large", vec![bincode(1_000_000usize)]));
    let Outcome::NotStored(reason) = &ended.outcome else { panic!("{ended:?}") };
    assert!(reason.contains("could not be written to the server's disk"), "{reason}");
}

#[test]
fn async_electrons_run_to_their_end() {
    let mut program = Program::greeted(TASKS);
    let ended = program.run(task(1, "later", vec![bincode(5u64)]));
    assert_eq!(ended.object().to_bincode::<String>().unwrap(), "later");
}

#[test]
fn a_task_has_a_place_a_context_and_no_input() {
    let mut program = Program::greeted(TASKS);
    let folder = program.folder.path().join("work");
    let mut unique = task(1, "place", vec![]);
    let path = folder.to_str().unwrap().as_bytes().to_vec();
    unique.work_dir = Some(WorkDir { path, unique: true });
    type Place = (String, String, u32, usize);
    let place: Place = program.run(unique).object().to_bincode().unwrap();
    let own = folder.join("some-dispatch/node_40").display().to_string();
    assert_eq!(place, (own, "some-dispatch".to_owned(), 40, 0));
    let place: Place = program.run(task(2, "place", vec![])).object().to_bincode().unwrap();
    assert_eq!(place.0, std::env::current_dir().unwrap().display().to_string());
}

#[test]
fn values_are_collected_as_the_last_node_of_a_lattice_does() {
    let mut program = Program::greeted(TASKS);
    let function = json!({
        "electron": "cov::collect",
        "output": "bincode",
        "args": [{"tuple": ["value", {"values": 2}]}],
    });
    let args = vec![bincode("sum"), bincode(1u8), bincode(2u8)];
    let object = program.run(task_of(1, &function, args)).object();
    let expected = ("sum".to_owned(), vec![1, 2]);
    assert_eq!(object.to_bincode::<(String, Vec<u8>)>().unwrap(), expected);
    let single = json!({"electron": "cov::collect", "output": "bincode"});
    let object = program.run(task_of(2, &single, vec![bincode(1.5)])).object();
    assert_eq!(object.to_bincode::<f64>().unwrap(), 1.5);
    let said = program.run(task_of(3, &single, vec![json_object(1)]));
    let expected = "the output of node 0, encoded as json, cannot be brought into bincode";
    assert!(said.failure().starts_with(expected), "{said:?}");
}

#[test]
fn graphs_are_built_by_electrons_lattices_and_for_each_item() {
    let mut program = Program::greeted(TASKS);
    let built = |program: &mut Program, task| {
        let ended = program.run(task);
        let object = ended.object();
        assert_eq!(object.header.encoding, Encoding::Json);
        Bundle::from_json(&object.data).unwrap()
    };
    let tasks = |bundle: &Bundle| {
        let nodes = bundle.manifest.nodes.iter();
        nodes.filter(|node| node.kind == NodeKind::Task).count()
    };
    let bundle = built(&mut program, task(1, "squares", vec![bincode(3i64)]));
    assert_eq!((bundle.manifest.lattice.name.as_str(), tasks(&bundle)), ("squares", 3));
    assert!(bundle.manifest.graph(100).is_ok());
    let bundle = built(&mut program, task(2, "runner_tasks::doubled", vec![bincode(3i64)]));
    assert_eq!((bundle.manifest.lattice.name.as_str(), tasks(&bundle)), ("doubled", 1));
    let args = vec![bincode(vec![1i64, 2, 3, 4]), bincode(10i64)];
    let function = json!({"electron": "add#each", "output": "json"});
    let bundle = built(&mut program, task_of(3, &function, args));
    assert_eq!(tasks(&bundle), 4);
    let last = bundle.manifest.nodes.len() - 1;
    let assets = bundle.manifest.assets.iter();
    let of_last = assets
        .enumerate()
        .find(|(_, asset)| asset.address.node.is_some_and(|node| node.index() == last));
    let function = bundle.bytes_of(of_last.unwrap().0).unwrap();
    let function = TransportableObject::from_archive(function).unwrap();
    assert_eq!(function.to_json::<serde_json::Value>().unwrap()["output"], "json");
}

#[test]
fn two_electrons_of_one_name_are_refused_at_the_start() {
    let output = Command::new(example("same_name")).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("two electrons are named `twin`") && !output.status.success(), "{text}");
    let places = text.matches("crates/cov/examples/same_name.rs:").count();
    assert!(places >= 2, "{text}");
    let mut program = Program::start("same_name");
    assert_eq!(program.receive(), None);
    assert_eq!(program.exit().code(), Some(cov::runner::EXIT_UNUSABLE));
}

#[test]
fn garbage_on_the_connection_ends_the_runner() {
    use std::io::Write as _;
    let mut program = Program::greeted(TASKS);
    program.raw().write_all(&[0xff; 16]).unwrap();
    assert_eq!(program.receive(), None);
    assert_eq!(program.exit().code(), Some(cov::runner::EXIT_DISCONNECTED));
    let said = program.printed("err");
    assert!(said.contains("the runner lost its connection"), "{said}");
}

/// One task from a file, in the foreground.
fn in_the_foreground(task: cov::core::frames::Task, folder: &std::path::Path) -> Output {
    let frame = ToRunner::Run(vec![task]).to_frame().unwrap();
    std::fs::write(folder.join("task"), frame).unwrap();
    Command::new(example(TASKS))
        .env("COV_RUNNER", "1")
        .env("COV_RUNNER_TASK", folder.join("task"))
        .env("COV_RUNNER_SPOOL", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn one_task_runs_in_the_foreground() {
    let folder = tempfile::tempdir().unwrap();
    let added =
        in_the_foreground(task(0, "add", vec![bincode(40i64), bincode(2i64)]), folder.path());
    assert!(added.status.success(), "{added:?}");
    let output = std::fs::read(folder.path().join("attempt-0000000000000000.output")).unwrap();
    let output = TransportableObject::from_archive(&output).unwrap();
    assert_eq!(output.to_bincode::<i64>().unwrap(), 42);
    let printed = in_the_foreground(task(0, "prints", vec![bincode(1u32)]), folder.path());
    assert!(!printed.stdout.is_empty() && printed.status.success(), "{printed:?}");
    let panicked = in_the_foreground(task(0, "panics", vec![bincode("this")]), folder.path());
    let said = String::from_utf8(panicked.stderr).unwrap();
    assert_eq!(panicked.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("panicked at").count(), 1, "told once: {said}");
    assert!(said.contains("runner_tasks.rs:") && said.contains("backtrace:"), "{said}");
}

#[test]
fn a_file_without_a_task_and_a_name_without_an_electron_are_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("task"), b"no frame").unwrap();
    let mut program = Command::new(example(TASKS));
    program.env("COV_RUNNER", "1").env("COV_RUNNER_TASK", folder.path().join("task"));
    let output = program.output().unwrap();
    assert_eq!(output.status.code(), Some(cov::runner::EXIT_DISCONNECTED), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no task"), "{output:?}");
    let place = |name: &str| {
        let mut program = Command::new(example(TASKS));
        program.env("COV_RUNNER", "1").env("COV_RUNNER_PLACE", name).output().unwrap()
    };
    assert_eq!(place("nobody").status.code(), Some(cov::runner::EXIT_UNUSABLE));
    let said = String::from_utf8(place("add").stdout).unwrap();
    let (file, line) = said.trim().rsplit_once(':').unwrap();
    assert!(file.ends_with("runner_tasks.rs") && line.parse::<u32>().unwrap() > 1, "{said}");
}
