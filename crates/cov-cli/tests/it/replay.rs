//! One task again, in the foreground, with a real Python.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::dispatches::{run, served};
use crate::place::{Place, Said};

/// A task that only fails for an odd number, and what comes before it.
const FLOW: &str = r#"
name = "odd"
[tasks.number]
python = "numbers_of_mine:number"
[tasks.half]
python = "numbers_of_mine:half"
args = ["${{ tasks.number }}"]
[tasks.shown]
run = ["echo", "${{ tasks.half }}"]
"#;

const MODULE: &str = "
def number():
    return 17

def half(value):
    print('halving', value)
    rest = value % 2
    if rest:
        raise ValueError(f'{value} is odd')
    return value // 2
";

fn python() -> PathBuf {
    let named = std::env::var_os("COV_TEST_PYTHON");
    named.expect("COV_TEST_PYTHON names an interpreter with cloudpickle: `cargo xtask sdk-venv` makes one").into()
}

/// A server with a Python, and a dispatch whose second task failed.
fn failed() -> Place {
    let place = Place::new();
    std::fs::write(place.path("numbers_of_mine.py"), MODULE).unwrap();
    let mut start = place.command("start --workers 1");
    let start = place.said(&start.env("COV_PYTHON", python()).output().unwrap());
    assert_eq!(start.code, 0, "{}", start.errors);
    let (_, code) = run(&place, FLOW);
    assert_eq!(code, 1, "{}", place.cov("explain").out);
    place
}

fn replay(place: &Place, line: &str, typed: &str) -> Said {
    let mut command = place.command(&format!("replay {line}"));
    command.env("COV_PYTHON", python());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    place.said(&child.wait_with_output().unwrap())
}

#[test]
fn a_task_runs_again_with_the_inputs_that_it_had() {
    let place = failed();
    let first = replay(&place, "@ 0", "");
    assert_eq!(
        (first.code, first.errors.contains("it returned 17")),
        (0, true),
        "{}",
        first.errors
    );
    let second = replay(&place, "@ 1", "");
    assert_eq!((second.code, second.out.as_str()), (1, "halving 17\n"), "{}", second.errors);
    assert!(second.errors.contains("ValueError: 17 is odd"), "{}", second.errors);
    assert!(!second.errors.contains("cov_runner"), "only the user's frames: {}", second.errors);
}

#[test]
fn a_debugger_stops_at_the_first_line_and_where_it_raises() {
    let place = failed();
    let said = replay(&place, "@ 1 --debug", "p 'value is', value\nc\np 'rest is', rest\nq\n");
    assert!(said.out.contains("('value is', 17)"), "{}\n{}", said.out, said.errors);
    assert!(said.out.contains("('rest is', 1)"), "{}\n{}", said.out, said.errors);
    assert_eq!(said.code, 1);
}

#[test]
fn what_cannot_be_run_here_says_why() {
    let place = failed();
    let command = replay(&place, "@ 2", "");
    assert_eq!(command.code, 1, "{}", command.errors);
    assert!(command.errors.contains("no inputs yet"), "{}", command.errors);
    assert_eq!(replay(&place, "@ 99", "").code, 5);
    let kept = replay(&place, "@ 1 --keep kept", "");
    assert_eq!(kept.code, 0, "{}", kept.errors);
    assert_eq!(std::fs::read_to_string(place.path("kept/input-0.json")).unwrap(), "17");
    let served = served();
    run(&served, "name = \"hi\"\n[tasks.hi]\nrun = \"echo hi\"\n");
    let command = replay(&served, "@ 0", "");
    assert!(command.errors.contains("is a command"), "{}", command.errors);
}
