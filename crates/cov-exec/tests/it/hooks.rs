//! What runs around an electron, in which order, and what it passes on.

use cov_core::error::Fault;
use cov_exec::{Payload, Task};
use serde_json::{Value, json};

use crate::support::*;

/// Hooks that write their names to a file, as a task that then reads it.
fn recording(path: &std::path::Path) -> (Task, Value) {
    let note = |name: &str| format!("open({path:?}, 'a').write({name:?} + ' ')");
    let task = task(&format!("{}\nresult = open({path:?}).read()", note("function")));
    let hooks = json!({
        "call_after": [hook(&note("after1"), ""), hook(&note("after2"), "ignored")],
        "call_before": [hook(&note("before1"), ""), hook(&note("before2"), "")],
        "deps": {"pip": hook(&note("pip"), ""), "bash": hook(&note("bash"), "")},
    });
    (task, hooks)
}

fn with(mut task: Task, hooks: &Value) -> Task {
    task.hooks = Some(Payload::Bytes(hooks.to_string().into()));
    task
}

#[tokio::test]
async fn shell_then_packages_then_calls_then_function_then_calls() {
    let mut bench = Bench::new(1);
    let record = bench.path("record");
    let (task, hooks) = recording(&record);
    let seen = completed(bench.run(with(task, &hooks)).await).object_string;
    assert_eq!(seen, "bash pip before1 before2 function ");
    let all = std::fs::read_to_string(record).unwrap();
    assert_eq!(all, "bash pip before1 before2 function after1 after2 ");
}

#[tokio::test]
async fn nodes_that_inherit_hooks_run_shell_and_packages_only() {
    let mut bench = Bench::new(1);
    let record = bench.path("record");
    let (task, hooks) = recording(&record);
    let mut task = with(task, &hooks);
    task.run_callables = false;
    completed(bench.run(task).await);
    assert_eq!(std::fs::read_to_string(record).unwrap(), "bash pip function ");
}

#[tokio::test]
async fn what_calls_before_return_becomes_keywords() {
    let mut bench = Bench::new(1);
    let hooks = json!({"call_before": [
        hook("result = 1", "once"),
        hook("result = 2", "twice"),
        hook("result = 3", "twice"),
        hook("result = ('from', 'to')", "files"),
        hook("result = 'dropped'", ""),
        hook("result = 'new'", "given"),
    ]});
    let mut task = with(call("builtins dict", &[]), &hooks);
    task.kwargs = vec![("given".into(), cov_core::ids::NodeId(9), archive(pickled_text("old")))];
    assert_eq!(
        completed(bench.run(task).await).object_string,
        "{'given': 'new', 'once': 1, 'twice': [2, 3], 'files': [('from', 'to')]}"
    );
}

#[tokio::test]
async fn hooks_that_fail_or_cannot_be_read_fail_the_task() {
    let mut bench = Bench::new(1);
    let before = json!({"call_before": [hook("raise ValueError('before')", "")]});
    let after = json!({"call_after": [hook("raise ValueError('after')", "")]});
    for (hooks, said) in [
        (before.to_string(), "ValueError: before"),
        (after.to_string(), "ValueError: after"),
        ("{".to_owned(), "JSONDecodeError"),
    ] {
        let mut task = task("result = 1");
        task.hooks = Some(Payload::Bytes(hooks.into()));
        let ending = bench.run(task).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Task);
        assert!(message.contains(said), "{message}");
    }
    for hooks in ["{}", "null", ""] {
        let mut task = task("result = 1");
        task.hooks = Some(Payload::Bytes(hooks.into()));
        assert_eq!(completed(bench.run(task).await).object_string, "1");
    }
}

#[tokio::test]
async fn plain_pip_is_that_of_the_interpreter() {
    let mut bench = Bench::new(1);
    let source = "import os, shutil, subprocess, sys\n\
                  first = os.environ['PATH'].split(os.pathsep)[0] == os.path.dirname(sys.executable)\n\
                  said = subprocess.run(['pip', '--version'], capture_output=True, text=True).stdout\n\
                  at = os.path.realpath(said.rpartition(' from ')[2].partition(' (python')[0])\n\
                  prefixes = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix)}\n\
                  result = (first, any(at.startswith(p) for p in prefixes) or (said, at, prefixes))";
    assert_eq!(bench.eval(source).await, "(True, True)");
}

#[tokio::test]
async fn hooks_of_the_sdk_are_understood() {
    if !has_module("covalent") {
        assert!(std::env::var_os("CI").is_none(), "COV_TEST_PYTHON lacks covalent");
        return;
    }
    let mut bench = Bench::new(1);
    let mark = bench.path("mark");
    let make = format!(
        "import json\nfrom covalent import DepsBash, DepsCall\nfrom covalent import fs, fs_strategies\n\
         hooks = {{'deps': {{'bash': DepsBash(['echo made by $0 > {mark}', 'true']).to_dict()}},\n\
         'call_before': [DepsCall(max, [1, 5], retval_keyword='most').to_dict()]}}\n\
         result = json.dumps(hooks)",
        mark = mark.display()
    );
    let hooks: Value = serde_json::from_str(&bench.eval(&make).await).unwrap();
    let seen = completed(bench.run(with(call("builtins dict", &[]), &hooks)).await).object_string;
    assert_eq!(seen, "{'most': 5}");
    assert_eq!(std::fs::read_to_string(mark).unwrap(), "made by /bin/sh\n");

    let make = "import json\nfrom covalent import DepsBash\n\
                result = json.dumps({'deps': {'bash': DepsBash('exit 7').to_dict()}})";
    let hooks: Value = serde_json::from_str(&bench.eval(make).await).unwrap();
    let ending = bench.run(with(task("result = 1"), &hooks)).await;
    assert!(failed(&ending).1.contains("returned non-zero exit status 7"), "{:?}", failed(&ending));
}
