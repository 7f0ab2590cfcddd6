//! What is said of wrong files.

use insta::assert_snapshot;

use super::{parse, plan_with, shown};

fn toml(text: &str) -> String {
    shown(&parse("wrong.toml", text).expect_err("the file is wrong"))
}

fn yaml(text: &str) -> String {
    shown(&parse("wrong.yaml", text).expect_err("the file is wrong"))
}

#[test]
fn a_file_that_is_no_toml() {
    assert_snapshot!(toml("name = \"x\"\n[tasks.a\nrun = 1\n"));
}

#[test]
fn a_file_that_is_no_yaml() {
    assert_snapshot!(yaml("tasks:\n  a:\n    run: [echo\n  b: }\n"));
}

#[test]
fn keys_that_are_not_known() {
    assert_snapshot!(toml(
        "nam = \"x\"\n\n[tasks.fetch]\nrun = [\"true\"]\nretrys = 3\nneed = []\ncolour = \"red\"\n"
    ));
}

#[test]
fn a_task_that_is_not_there() {
    assert_snapshot!(yaml(
        "tasks:\n  fetch:\n    run: [\"true\"]\n  report:\n    needs: [fetsh]\n    run: cat ${{ tasks.fech.file }}\n"
    ));
}

#[test]
fn tasks_that_wait_for_each_other() {
    assert_snapshot!(toml(
        "[tasks.a]\nrun = \"echo ${{ tasks.c.output }}\"\n[tasks.b]\nneeds = [\"a\"]\nrun = [\"true\"]\n\
         [tasks.c]\nrun = [\"true\"]\nneeds = [\"b\"]\n"
    ));
}

#[test]
fn a_name_that_is_given_twice() {
    assert_snapshot!(yaml("tasks:\n  a:\n    run: x\n  b:\n    run: y\n  a:\n    run: z\n"));
    assert_snapshot!(toml("[tasks.a]\nrun = \"x\"\n[tasks.a]\nrun = \"y\"\n"));
}

#[test]
fn parameters_that_are_not_known() {
    assert_snapshot!(toml(
        "[params]\ncity = \"Berlin\"\n\n[tasks.a]\nrun = [\"echo\", \"${{ params.ctiy }}\", \"${{ matrix.size }}\"]\n"
    ));
}

#[test]
fn parameters_that_are_never_used() {
    let workflow = parse("w.toml", "params.unused = 1\n[tasks.a]\nrun = [\"true\"]\n").unwrap();
    assert_snapshot!(shown(&workflow.warnings().unwrap()));
}

#[test]
fn values_of_parameters_that_do_not_fit() {
    let text = "[params]\ncount = 3\nmode = { default = \"fast\", choices = [\"fast\", \"slow\"] }\n\
                must = { description = \"where it goes\" }\n\
                [tasks.a]\nrun = \"echo ${{ params.count }} ${{ params.mode }} ${{ params.must }}\"\n";
    let sets = [("count", "many"), ("mode", "quick"), ("conut", "1")];
    assert_snapshot!(shown(&plan_with(text, &sets, &[]).unwrap_err()));
}

#[test]
fn a_pattern_without_files() {
    let text = "[tasks.a]\nforeach = \"data/*.csv\"\nrun = [\"wc\", \"${{ item }}\"]\n";
    assert_snapshot!(shown(&plan_with(text, &[], &[("data/a.txt", "")]).unwrap_err()));
}

#[test]
fn an_input_that_is_not_there() {
    let text =
        "[tasks.a]\ninputs = { data = \"data.csv\" }\nrun = [\"wc\", \"${{ inputs.data }}\"]\n";
    assert_snapshot!(shown(&plan_with(text, &[], &[]).unwrap_err()));
}

#[test]
fn references_that_mean_nothing() {
    assert_snapshot!(yaml(
        "tasks:\n  a:\n    run: |\n      set -u\n      echo ${{ item }} ${{ tasks.a.file }}\n      echo `cat ${{ workflow.dir }}`\n"
    ));
    assert_snapshot!(yaml(
        "tasks:\n  a:\n    run: |\n      set -u\n      echo ${{ item }} ${{ tasks.a.file }}\n"
    ));
}

#[test]
fn values_of_the_wrong_kind() {
    assert_snapshot!(yaml(
        "tasks:\n  a:\n    run: {}\n    retries: many\n    time_limit: soon\n    needs: 3\n    success: 256\n    output: result.csv\n"
    ));
}

#[test]
fn what_a_task_cannot_have_together() {
    assert_snapshot!(toml(
        "[tasks.a]\nrun = [\"true\"]\npython = \"m:f\"\n[tasks.b]\npython = \"no function\"\n\
         [tasks.c]\npython = \"m:f\"\nstdin = \"x\"\n[tasks.d]\n[tasks.\"e f\"]\nrun = \"x\"\n"
    ));
}

#[test]
fn triggers_that_mean_nothing() {
    assert_snapshot!(toml(
        "[tasks.a]\nrun = \"x\"\n[[triggers]]\ncron = \"0 3 * * *\"\nevery = \"1h\"\n\
         [[triggers]]\ncron = \"0 3 * * *\"\noverlap = \"skp\"\nrecursive = true\n\
         [[triggers]]\ncron = \"0 25 * * *\"\n"
    ));
}

#[test]
fn faults_for_programs_are_lines() {
    let text = "[tasks.ä]\nrun = \"é ${{ params.x }}\"\n";
    assert_eq!(
        parse("w.toml", text).unwrap_err().lines(),
        ["w.toml:1:8: this is no TOML: invalid unquoted key, expected letters, numbers, `-`, `_`"]
    );
    let text = "[tasks.a]\nrun = \"é ${{ params.x }}\"\n";
    let said = parse("w.toml", text).unwrap_err().lines();
    assert_eq!(said, ["w.toml:2:10: there is no parameter `x`"]);
}

#[test]
fn a_file_without_tasks() {
    assert_snapshot!(yaml(""));
    assert_snapshot!(yaml("tasks: {}\n"));
}

#[test]
fn what_is_too_much() {
    let deep = format!("tasks: {}{}", "[".repeat(40), "]".repeat(40));
    assert!(yaml(&deep).contains("nested deeper"));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..8 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(yaml(&laughs).contains("more than"));
    let axes = "matrix = { a = [1,2,3,4,5,6,7,8,9,0], b = [1,2,3,4,5,6,7,8,9,0], \
                c = [1,2,3,4,5,6,7,8,9,0], d = [1,2,3,4,5,6,7,8,9,0], e = [1,2,3,4,5,6,7,8,9,0] }";
    let text = format!("[tasks.a]\nrun = \"x\"\n{axes}\n");
    let faults = plan_with(&text, &[], &[]).unwrap_err();
    assert!(faults.to_string().contains("more than 50000 times"), "{faults}");
}

#[test]
fn executors_that_are_none() {
    let said = toml(
        "[executors.\"my cluster\"]\ntype = 3\n[executors.b]\nhostname = \"${{ params.host }}\"\n\
         [tasks.a]\nrun = [\"true\"]\non = \"\"\n[tasks.b]\nrun = [\"true\"]\non = 7\n",
    );
    for part in [
        "an executor cannot be called `my cluster`",
        "this has to be a text; it is",
        "nothing can be referred to here",
        "this is no name of an executor",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
