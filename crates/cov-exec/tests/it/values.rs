//! Values on their way in and out: byte-for-byte layout, large ones, other encodings.

use bytes::Bytes;
use cov_core::error::Fault;
use cov_core::ids::NodeId;
use cov_core::transportable::{Header, TransportableObject};
use cov_exec::{Outcome, Payload};

use crate::support::*;

#[tokio::test]
async fn outputs_are_archives_as_the_sdk_writes_them() {
    if !has_module("covalent") {
        assert!(std::env::var_os("CI").is_none(), "COV_TEST_PYTHON lacks covalent");
        return;
    }
    let mut bench = Bench::new(1);
    for value in [
        "None",
        "41",
        "'äöü \\U0001f600'",
        "b'\\x00\\xff'",
        "[1, {'a': (2.5, None)}]",
        "print",
        "type('C', (), {'__doc__': 'says \"so\"\\n'})",
    ] {
        let ours = bench.run(task(&format!("result = {value}"))).await;
        let Outcome::Completed(ours) = ours.outcome else { panic!("{value}") };
        let object = TransportableObject::from_archive(&bytes(&ours)).unwrap();
        assert_eq!(object.to_archive(), bytes(&ours), "{value}");
        let source = format!(
            "from covalent._workflow.transportable_object import TransportableObject\n\
             result = TransportableObject({value}).serialize().hex()"
        );
        let theirs = bench.eval(&source).await;
        let hex: String = bytes(&ours).iter().map(|byte| format!("{byte:02x}")).collect();
        if value.starts_with("type") {
            // cloudpickle gives each class that it sees a fresh id.
            let header = hex[..hex.len() / 3].len() - 32;
            assert_eq!(hex[32..header], theirs[32..header], "{value}");
        } else {
            assert_eq!(hex, theirs, "{value}");
        }
    }
}

#[tokio::test]
async fn values_that_cannot_be_printed_are_still_results() {
    let mut bench = Bench::new(1);
    let source = "class Mute:\n    def __str__(self): raise ValueError('no')\n    __name__ = 5\n    __doc__ = 7\nresult = Mute()";
    let object = completed(bench.run(task(source)).await);
    assert_eq!(object.object_string, "<Mute: str() raised ValueError>");
    assert_eq!(bench.eval("result = 'a\\ud800'").await, "a\\ud800");
}

#[tokio::test]
async fn large_outputs_and_prints_come_by_file() {
    let mut bench = Bench::new(1);
    let source = "import sys\nprint('o' * 300_000)\nprint('e' * 300_000, file=sys.stderr)\nresult = b'x' * 3_000_000";
    for _ in 0..2 {
        let ending = bench.run(task(source)).await;
        for payload in [&ending.stdout, &ending.stderr] {
            let Payload::File(path) = payload else { panic!("{payload:?}") };
            assert_eq!(path.parent().unwrap(), bench.path("spool"));
        }
        assert_eq!(text(&ending.stdout), format!("{}\n", "o".repeat(300_000)));
        assert_eq!(text(&ending.stderr), format!("{}\n", "e".repeat(300_000)));
        let Outcome::Completed(Payload::File(_)) = &ending.outcome else { panic!("not by file") };
        let object = completed(ending);
        assert!(object.data.windows(9).any(|window| window == b"xxxxxxxxx"));
        assert!(object.data.len() > 3_000_000 && object.object_string.len() == 3_000_003);
        let next = bench.run(task("print('small')\nresult = 1")).await;
        assert_eq!(text(&next.stdout), "small\n");
    }
}

#[tokio::test]
async fn large_inputs_go_by_file_whoever_wrote_it() {
    let mut bench = Bench::new(1);
    let large = "ä".repeat(5 * 1024 * 1024);
    let path = bench.path("input");
    std::fs::write(&path, bytes(&archive(pickled_text(&large)))).unwrap();
    let mut task = call("builtins eval", &[]);
    task.function = archive(pickled_value("lambda *texts: [len(text) for text in texts]"));
    task.args.push((NodeId(1), Payload::File(path.clone())));
    // More than a frame takes, so that the executor lays them down itself.
    task.args.extend((2..6).map(|node| (NodeId(node), archive(pickled_text(&large)))));
    let n = large.chars().count();
    assert_eq!(
        completed(bench.run(task).await).object_string,
        format!("[{n}, {n}, {n}, {n}, {n}]")
    );
    assert!(path.exists());
    let left: Vec<_> = std::fs::read_dir(bench.path("spool")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A task that applies a Python lambda to a file, given as an argument and as the keyword `again`.
fn applied(lambda: &str, file: &std::path::Path) -> cov_exec::Task {
    let mut task = call("builtins eval", &[]);
    task.function = archive(pickled_value(lambda));
    task.args.push((NodeId(1), Payload::File(file.to_owned())));
    task.kwargs.push(("again".to_owned(), NodeId(1), Payload::File(file.to_owned())));
    task
}

#[tokio::test]
async fn a_large_input_that_nobody_can_change_and_is_returned_keeps_its_archive() {
    let mut bench = Bench::new(1);
    let path = bench.path("input");
    let made = completed(bench.run(task("result = b'x' * 3_000_000")).await);
    let marked = TransportableObject { object_string: "marked".into(), ..made.clone() };
    std::fs::write(&path, marked.to_archive()).unwrap();
    let returned = completed(bench.run(applied("lambda x, again: x", &path)).await);
    assert_eq!(returned, marked);
    let changed =
        completed(bench.run(applied("lambda x, again: x + b''.join([again])", &path)).await);
    assert_eq!(changed.object_string.len(), 6_000_003);
    let header = Header { cloudpickle_version: "0".into(), ..marked.header.clone() };
    std::fs::write(&path, TransportableObject { header, ..marked }.to_archive()).unwrap();
    let written = completed(bench.run(applied("lambda x, again: again", &path)).await);
    assert_eq!(written, made, "what another cloudpickle wrote is written again");
    // A list can be changed: each place gets its own, and what is returned is written anew.
    let list = completed(bench.run(task("result = list(range(500_000))")).await);
    std::fs::write(&path, list.to_archive()).unwrap();
    let lengths = "lambda x, again: (x.append(1), len(x), len(again))[1:]";
    let lengths = completed(bench.run(applied(lengths, &path)).await);
    assert_eq!(lengths.object_string, "(500001, 500000)");
    let longer = completed(bench.run(applied("lambda x, again: (x.append(7), x)[1]", &path)).await);
    assert!(longer.object_string.ends_with("499999, 7]"));
}

#[tokio::test]
async fn an_input_that_is_missing_or_damaged_fails_the_task() {
    let mut bench = Bench::new(1);
    let missing = Payload::File(bench.path("missing"));
    for (input, said) in [
        (missing, "FileNotFoundError"),
        (Payload::Bytes(Bytes::from_static(b"too short")), "no transportable object"),
        (archive(b"garbage".to_vec()), "UnpicklingError"),
    ] {
        let mut task = call("builtins len", &[]);
        task.args.push((NodeId(1), input));
        let ending = bench.run(task).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Task);
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test]
async fn json_inputs_are_read() {
    let mut bench = Bench::new(1);
    let mut task = call("builtins sorted", &[]);
    let list = TransportableObject::from_json(&[3, 1, 2]).unwrap();
    task.args.push((NodeId(1), Payload::Bytes(list.to_archive().into())));
    assert_eq!(completed(bench.run(task).await).object_string, "[1, 2, 3]");
}

#[tokio::test]
async fn a_function_of_another_python_is_refused_before_it_is_read() {
    let mut bench = Bench::new(1);
    let mut task = call("builtins eval", &["1"]);
    // Reading this would raise something else.
    task.function = archive_by("3.7.17", b"garbage".to_vec());
    let ending = bench.run(task).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Task);
    let ours = bench.eval("import platform\nresult = platform.python_version()").await;
    assert!(message.contains("3.7.17") && message.contains(&ours), "{message}");
    // Another patch version is fine.
    let (minor, _) = ours.rsplit_once('.').unwrap();
    let mut task = call("builtins eval", &["1"]);
    task.function = archive_by(&format!("{minor}.99"), pickled_name("builtins eval"));
    completed(bench.run(task).await);
}

#[tokio::test]
async fn a_task_that_lacks_covalent_is_told_how_to_install_it() {
    let mut bench = Bench::new(1);
    let source = "raise ModuleNotFoundError(\"No module named 'covalent'\")";
    let ending = bench.run(task(source)).await;
    assert!(
        failed(&ending).1.contains("-m pip install covalent==0.240.0"),
        "{:?}",
        failed(&ending)
    );
    assert!(text(&ending.stderr).ends_with("No module named 'covalent'\n\n"));
}

#[tokio::test]
async fn tracebacks_begin_in_the_code_of_the_task() {
    let mut bench = Bench::new(1);
    let source = "import io, sys\nsys.stderr = io.StringIO()\ndef inner(): raise ValueError('deep')\ninner()";
    let ending = bench.run(task(source)).await;
    assert_eq!(
        text(&ending.stderr),
        "Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\n  \
         File \"<string>\", line 1, in <lambda>\n  File \"<string>\", line 4, in <module>\n  \
         File \"<string>\", line 3, in inner\nValueError: deep\n\n"
    );
}

/// A task with a large output, whose place in the spool is taken before by what `source` puts at
/// `place`.
fn with_place(bench: &Bench, source: &str) -> cov_exec::Task {
    let mut task = task("");
    let name = format!("attempt-{:016x}.output", task.attempt.to_bits());
    let place = bench.path("spool").join(name);
    let source = format!("import os\nplace = {place:?}\n{source}\nresult = b'x' * 3_000_000");
    task.args = crate::support::task(&source).args;
    task
}

#[tokio::test]
async fn an_output_waits_for_space_on_a_full_disk() {
    let mut bench = Bench::new(1);
    // It is there for the first try, and gone for the second.
    let task = with_place(&bench, "os.symlink('/dev/full', place)");
    let Outcome::Completed(Payload::File(path)) = bench.run(task).await.outcome else {
        panic!("no file")
    };
    let metadata = std::fs::symlink_metadata(path).unwrap();
    assert!(metadata.is_file() && metadata.len() > 3_000_000);
}

#[tokio::test]
async fn an_output_that_the_spool_never_takes_is_the_servers_fault() {
    let mut bench = Bench::new(1);
    let task = with_place(&bench, "os.mkdir(place)\nprint('ran')");
    let ending = bench.run(task).await;
    let Outcome::Failed { fault, message } = ending.outcome else { panic!("{ending:?}") };
    assert_eq!(fault, Fault::Server);
    assert!(message.contains("could not be written to the server's disk"), "{message}");
    assert!(message.contains("Is a directory"), "{message}");
    assert_eq!(bytes(&ending.stdout), b"ran\n");
    assert_eq!(bench.eval("result = 1").await, "1", "the runner goes on");
}
