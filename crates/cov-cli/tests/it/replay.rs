//! One task again, in the foreground: with a real Python, in a real program, as a command.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::dispatches::{json, run, served};
use crate::place::{Place, Said, program};

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
    assert!(place.path("kept/run.sh").is_file(), "how to run it");
}

/// A command with everything that a command can have.
const COMMANDS: &str = r#"
name = "commands"
[tasks.rows]
run = "seq 3"
[tasks.sum]
run = "awk '{ s += $1 } END { print s, ENVIRON[\"UNIT\"] }' ${{ tasks.rows.file }} - > sum.txt; cat sum.txt >&2"
env = { UNIT = "rows of '${{ tasks.rows }}'" }
stdin = "${{ tasks.rows }}"
output = { file = "sum.txt" }
[tasks.odd]
run = ["sh", "-c", "echo $COV_NODE_ID; exit ${{ tasks.rows }}", "${{ tasks.sum }}"]
success = [2]
[tasks.after]
run = ["echo", "${{ tasks.odd }}"]
"#;

#[test]
fn a_command_runs_again_as_it_was_put_together() {
    let place = served();
    let (_, code) = run(&place, COMMANDS);
    assert_eq!(code, 1, "the last one exits with the wrong code");
    let printed = |node| {
        let line = format!("logs @ {node} --stderr");
        String::from_utf8(place.command(&line).output().unwrap().stdout).unwrap()
    };
    let sum = replay(&place, "@ 1", "");
    assert_eq!((sum.code, &sum.errors), (0, &printed(1)), "as on the server");
    assert!(sum.errors.starts_with("12 rows of '1"), "{}", sum.errors);
    let odd = replay(&place, "@ 2", "");
    assert_eq!((odd.code, odd.out.as_str()), (1, "2\n"), "{}", odd.errors);

    let traced = replay(&place, "@ 1 --debug", "");
    assert!(traced.errors.contains("+ awk"), "{}", traced.errors);
    let kept = replay(&place, "@ 1 --keep kept", "");
    assert_eq!(kept.code, 0, "{}", kept.errors);
    let script = std::process::Command::new("sh").arg(place.path("kept/run.sh")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&script.stderr), sum.errors);
    assert!(place.path("kept/work/sum.txt").is_file());
    let after = replay(&place, "@ 3", "");
    assert!(after.code == 1 && after.errors.contains("no inputs yet"), "{}", after.errors);
}

#[test]
fn what_only_puts_values_together_is_not_run() {
    let place = served();
    let hi = "[tasks.hi]\nrun = [\"echo\", \"hi\"]\n";
    run(&place, &format!("name = \"two\"\n{hi}[tasks.ho]\nrun = [\"echo\", \"ho\"]\n"));
    let collects = replay(&place, "@ 2", "");
    assert!(collects.code == 1 && collects.errors.contains("puts the outputs"), "{collects:?}");
    run(&place, &format!("name = \"hi\"\n{hi}"));
    let forwards = replay(&place, "@ 1", "");
    assert!(
        forwards.code == 1 && forwards.errors.contains("which another node made"),
        "{forwards:?}"
    );
    let traced = replay(&place, "@ 0 --debug", "");
    assert!(traced.code == 0 || traced.errors.contains("no line for a shell"), "{traced:?}");
}

/// A server, and a dispatch of a Rust program with a sub-dispatch.
pub(crate) fn rust() -> Place {
    let place = served();
    let address = place.status()["address"].as_str().unwrap().to_owned();
    let ran = std::process::Command::new(program()).arg(address).output().unwrap();
    assert_eq!(ran.stdout, b"145\n", "{}", String::from_utf8_lossy(&ran.stderr));
    place
}

/// The node of this name, in the newest dispatch or the one below it.
fn node(place: &Place, dispatch: &str, name: &str) -> u64 {
    let shown = json(place, &format!("show {dispatch}"));
    let nodes = shown["nodes"].as_array().unwrap().iter();
    let found = nodes.clone().find(|node| node["name"] == name && node["kind"] == "task");
    found.unwrap_or_else(|| panic!("{shown}"))["node_id"].as_u64().unwrap()
}

#[test]
fn an_electron_runs_again_in_its_program() {
    let place = rust();
    let total = node(&place, "@", "total");
    let said = replay(&place, &format!("@ {total}"), "");
    assert_eq!(said.code, 0, "{}", said.errors);
    let kept = replay(&place, &format!("@ {total} --keep kept"), "");
    assert_eq!(kept.code, 0, "{}", kept.errors);
    let script = std::process::Command::new("sh").arg(place.path("kept/run.sh")).output().unwrap();
    assert!(script.status.success(), "{script:?}");
    let output = std::fs::read(place.path("kept/attempt-0000000000000000.output")).unwrap();
    assert!(String::from_utf8_lossy(&output).contains("145"), "what it returned is kept");

    // A dispatch that an electron built names the program of that electron.
    let shown = json(&place, "show @");
    let below = shown["nodes"].as_array().unwrap().iter();
    let below = below.clone().find_map(|node| node["sub_dispatch_id"].as_str()).unwrap();
    let add = node(&place, below, "add");
    let said = replay(&place, &format!("{below} {add}"), "");
    assert_eq!(said.code, 0, "{}", said.errors);
}

#[test]
fn a_debugger_stops_at_the_electron_or_its_absence_is_told() {
    let place = rust();
    let total = node(&place, "@", "total");
    let mut command = place.command(&format!("replay @ {total} --debug"));
    let without = place.said(&command.env("PATH", "/nowhere").output().unwrap());
    assert_eq!(without.code, 1);
    assert!(without.errors.contains("install gdb"), "{}", without.errors);
    let paths = std::env::var_os("PATH").unwrap();
    if !std::env::split_paths(&paths).any(|folder| folder.join("gdb").is_file()) {
        return;
    }
    let mut command = place.command(&format!("replay @ {total} --debug"));
    command.env("PATH", paths).env("COV_PYTHON", python());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"info args\ncontinue\nquit\n").unwrap();
    let said = place.said(&child.wait_with_output().unwrap());
    // Arguments may be optimised away; the place is the function's own line.
    assert!(said.out.contains("fn total(numbers"), "{}\n{}", said.out, said.errors);
    assert!(said.out.contains("exited normally"), "{}\n{}", said.out, said.errors);
}
