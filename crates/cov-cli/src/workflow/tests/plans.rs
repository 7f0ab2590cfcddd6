//! What right files become.

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::bundle::Bundle;
use cov_core::command::{Command, Form, Input, Output, Part, Quote, Template, Work};
use cov_core::graph::{EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::transportable::TransportableObject;
use serde_json::{Value, json};

use super::{parse, plan, plan_with};
use crate::workflow::{Plan, schema};

fn node(bundle: &Bundle, name: &str) -> NodeId {
    let place = bundle.manifest.nodes.iter().position(|node| node.name == name);
    let names: Vec<&str> = bundle.manifest.nodes.iter().map(|node| node.name.as_str()).collect();
    NodeId(u32::try_from(place.unwrap_or_else(|| panic!("no `{name}` in {names:?}"))).unwrap())
}

fn asset(bundle: &Bundle, node: NodeId, key: AssetKey) -> TransportableObject {
    let address = AssetAddress::of_node(node, key);
    let mut assets = bundle.manifest.assets.iter();
    let index = assets.position(|asset| asset.address == address).unwrap();
    TransportableObject::from_archive(bundle.bytes_of(index).unwrap()).unwrap()
}

fn command(plan: &Plan, name: &str) -> Command {
    let function = asset(&plan.bundle, node(&plan.bundle, name), AssetKey::Function);
    match function.to_json().unwrap() {
        Work::Command(command) => command,
        Work::Collect(_) => panic!("{name} runs nothing"),
    }
}

fn function(plan: &Plan, name: &str) -> Value {
    asset(&plan.bundle, node(&plan.bundle, name), AssetKey::Function).to_json().unwrap()
}

/// The names of the nodes whose values a node takes, in order, and of those that it waits for.
fn sources(plan: &Plan, name: &str) -> (Vec<String>, Vec<String>) {
    let graph = plan.bundle.manifest.graph(usize::MAX).unwrap();
    let at = node(&plan.bundle, name);
    let called = |id: NodeId| plan.bundle.manifest.nodes[id.index()].name.clone();
    let waits = graph.edges_into(at).filter(|edge| edge.kind == EdgeKind::Wait);
    let waits = waits.map(|edge| called(edge.source)).collect();
    (graph.inputs(at).args.into_iter().map(called).collect(), waits)
}

#[test]
fn toml_and_yaml_say_the_same() {
    let toml = r#"
        name = "both"
        description = "the same"
        [params]
        city = "Ulm"
        [defaults]
        retries = 2
        time_limit = "1m30s"
        [tasks.fetch]
        run = ["echo", "${{ params.city }}", 3, true]
        [tasks.count]
        run = "wc -l < ${{ tasks.fetch.file }}"
        env = { LANG = "C" }
        retries = 0
    "#;
    let yaml = "
name: both
description: the same
params: { city: Ulm }
defaults: { retries: 2, time_limit: 90 }
tasks:
  fetch:
    run: [echo, '${{ params.city }}', 3, true]
  count:
    run: wc -l < ${{ tasks.fetch.file }}
    env: { LANG: C }
    retries: 0
";
    let from_toml = plan(toml).bundle;
    let from_yaml = parse("test.yaml", yaml).unwrap().plan(&[], &super::Files::default()).unwrap();
    assert_eq!(from_toml, from_yaml.bundle);
    let executors = &from_toml.manifest.executors;
    let of = |name: &str| {
        &executors[from_toml.manifest.nodes[node(&from_toml, name).index()].executor as usize]
    };
    assert_eq!(of("fetch").data, json!({ "attributes": { "retries": 2, "time_limit": 90.0 } }));
    assert_eq!(of("count").data, json!({ "attributes": { "retries": 0, "time_limit": 90.0 } }));
    assert_eq!(of("count").name, "command");
}

#[test]
fn words_are_used_as_they_are() {
    let plan = plan(
        r#"
        params.names = ["a b", "c"]
        [tasks.a]
        run = ["echo", "${{ params.names }}", "x ${{ params.names }}", "$HOME"]
        workdir = "sub"
        output = { file = "out.txt" }
        success = [0, 3]
    "#,
    );
    let words = ["echo", "a b", "c", "x a b c", "$HOME"].map(Template::from).to_vec();
    let expected = Command {
        argv: words,
        workdir: Some("/here/sub".to_owned()),
        output: Output::File("out.txt".to_owned()),
        success: vec![0, 3],
        ..Command::default()
    };
    assert_eq!(command(&plan, "a"), expected);
}

#[test]
fn a_shell_gets_text_that_stays_text() {
    let plan = plan_with(
        r#"
        params.city = "it's; rm -rf /"
        [tasks.a]
        run = "echo hi"
        [tasks.b]
        shell = "bash"
        run = '''grep "${{ params.city }}" ${{ tasks.a.file }} | awk '$1 > ${{ tasks.a }}' ${{ params.city }}'''
    "#,
        &[],
        &[],
    );
    let command = command(&plan.unwrap(), "b");
    let words: Vec<&Template> = command.argv.iter().collect();
    assert_eq!(words[..2], [&Template::from("bash"), &Template::from("--noprofile")]);
    let file = Input {
        form: Form::File,
        quote: Some(Quote::Bare),
        name: Some("a.out".to_owned()),
        ..Input::line(0)
    };
    let text = Input { quote: Some(Quote::Single), ..Input::line(0) };
    let parts = vec![
        Part::Text("grep \"it's; rm -rf /\" ".to_owned()),
        Part::Input(file),
        Part::Text(" | awk '$1 > ".to_owned()),
        Part::Input(text),
        Part::Text("' 'it'\\''s; rm -rf /'".to_owned()),
    ];
    assert_eq!(words.last(), Some(&&Template::Parts(parts)));
}

#[test]
fn a_matrix_is_every_combination() {
    let plan = plan(
        r#"
        params.sizes = [1, 2]
        [tasks.run]
        matrix = { size = "${{ params.sizes }}", method = ["a", "b"] }
        run = ["solve", "${{ matrix.size }}", "${{ matrix.method }}"]
        [tasks.best]
        run = "sort ${{ tasks.run.files }}"
        stdin = "${{ tasks.run.output }}"
    "#,
    );
    assert_eq!(plan.tasks, 5);
    let names = [
        "run[size=1, method=a]",
        "run[size=1, method=b]",
        "run[size=2, method=a]",
        "run[size=2, method=b]",
    ];
    let (args, waits) = sources(&plan, "best");
    assert_eq!(args, names);
    assert!(waits.is_empty());
    let best = command(&plan, "best");
    let all = Input { count: 4, form: Form::Text, ..Input::line(0) };
    assert_eq!(best.stdin, Some(Template::Parts(vec![Part::Input(all)])));
    assert_eq!(command(&plan, names[2]).argv, ["solve", "2", "a"].map(Template::from).to_vec());
}

#[test]
fn files_are_followed_one_by_one() {
    let text = r#"
        [tasks.clean]
        foreach = "data/*.csv"
        inputs = { table = "${{ item }}" }
        run = "sort ${{ inputs.table }}"
        [tasks.measure]
        foreach = { task = "clean" }
        matrix = { scale = [1, 2] }
        run = ["measure", "${{ item.stem }}", "${{ tasks.clean.file }}", "${{ matrix.scale }}"]
        [tasks.report]
        run = "cat ${{ tasks.measure.files }}"
        needs = ["clean"]
    "#;
    let files = [("data/a.csv", "2\n1\n"), ("data/b.csv", "x"), ("data/c.txt", "")];
    let plan = plan_with(text, &[], &files).unwrap();
    assert_eq!(plan.tasks, 7);
    assert_eq!(sources(&plan, "clean[a.csv]").0, ["/here/data/a.csv"]);
    assert_eq!(sources(&plan, "measure[b.csv, scale=2]").0, ["clean[b.csv]"]);
    let measure = command(&plan, "measure[b.csv, scale=2]");
    assert_eq!(measure.argv[1], Template::from("b"));
    let (args, waits) = sources(&plan, "report");
    assert_eq!(args.len(), 4);
    assert_eq!(waits, ["clean[a.csv]", "clean[b.csv]"]);
    let value = asset(&plan.bundle, node(&plan.bundle, "/here/data/a.csv"), AssetKey::Output);
    assert_eq!(value.to_json::<String>().unwrap(), "2\n1\n");
}

#[test]
fn functions_take_values() {
    let plan = plan(
        r#"
        params.deep = 3
        [tasks.part]
        foreach = ["x", "y"]
        run = "echo ${{ item }}"
        [tasks.one]
        run = ["true"]
        [tasks.sum]
        python = "lib.sums:total"
        args = [1, "${{ tasks.part }}", { of = "${{ tasks.one }}" }, [1, 2]]
        kwargs = { depth = "${{ params.deep }}", first = "${{ tasks.one }}" }
        workdir = "here"
    "#,
    );
    assert_eq!(
        function(&plan, "sum"),
        json!({
            "python": "lib.sums:total", "output": "json", "path": ["/here"],
            "args": ["value", { "values": 2 }, { "map": [["value", "value"]] }, "value"],
        })
    );
    let (args, _) = sources(&plan, "sum");
    assert_eq!(args, ["1", "part[x]", "part[y]", "\"of\"", "one", "[1,2]"]);
    let graph = plan.bundle.manifest.graph(usize::MAX).unwrap();
    let sum = node(&plan.bundle, "sum");
    let kwargs: Vec<String> = graph.inputs(sum).kwargs.into_iter().map(|(name, _)| name).collect();
    assert_eq!(kwargs, ["depth", "first"]);
    let executor = plan.bundle.manifest.nodes[sum.index()].executor as usize;
    assert_eq!(plan.bundle.manifest.executors[executor].name, "local");
    assert_eq!(
        plan.bundle.manifest.executors[executor].data,
        json!({ "attributes": { "workdir": "/here/here" } })
    );
}

#[test]
fn the_result_is_what_nobody_takes_or_what_is_asked_for() {
    let result = |outputs: &str| {
        let plan = plan(&format!(
            "{outputs}\n[tasks.a]\nrun = \"x\"\n[tasks.b]\nmatrix = {{ n = [1, 2] }}\n\
             run = \"y ${{{{ tasks.a }}}}\"\n[tasks.c]\nrun = \"z\"\n"
        ));
        let last = plan.bundle.manifest.nodes.last().unwrap();
        assert_eq!(last.name, "result");
        let (args, waits) = sources(&plan, "result");
        let function = (last.kind != NodeKind::Forward).then(|| function(&plan, "result"));
        assert!(last.kind.ends_lattice());
        (function, args, waits)
    };
    let collected = |value: Value| Some(json!({ "collect": value }));
    let (document, args, waits) = result("");
    assert_eq!(document, collected(json!({ "map": [["b", 2], ["c", null]] })));
    assert_eq!(args, ["b[n=1]", "b[n=2]", "c"]);
    assert!(waits.is_empty());
    let (document, args, waits) = result("outputs = \"a\"");
    assert_eq!((document, args), (None, vec!["a".to_owned()]));
    assert_eq!(waits, ["b[n=1]", "b[n=2]", "c"]);
    let (document, ..) = result("outputs = \"b\"");
    assert_eq!(document, collected(json!("list")));
    let (document, ..) = result("outputs = { best = \"a\", rest = \"b\" }");
    assert_eq!(document, collected(json!({ "map": [["best", null], ["rest", 2]] })));
}

#[test]
fn triggers_are_dictionaries_that_a_server_knows() {
    let plan = plan(
        r#"
        [tasks.a]
        run = "x"
        [[triggers]]
        cron = "0 3 * * *"
        time_zone = "Europe/Berlin"
        overlap = "skip"
        [[triggers]]
        dir = "incoming"
        [[triggers]]
        every = "1h"
    "#,
    );
    assert_eq!(
        serde_json::to_value(&plan.triggers).unwrap(),
        json!([
            { "name": "CronTrigger", "cron": "0 3 * * *", "time_zone": "Europe/Berlin", "overlap": "skip" },
            { "name": "DirTrigger", "dir_path": "/here/incoming", "event_names": ["created", "closed"] },
            { "name": "TimeTrigger", "time_gap": 3600.0 },
        ])
    );
}

#[test]
fn values_of_parameters_have_the_type_of_their_defaults() {
    let text = r#"
        [params]
        count = 3
        names = ["a"]
        word = {}
        [tasks.a]
        run = ["x", "${{ params.count }}", "${{ params.names }}", "${{ params.word }}"]
    "#;
    let words = |sets: &[(&str, &str)]| {
        let plan = plan_with(text, sets, &[]).unwrap();
        serde_json::to_value(command(&plan, "a").argv).unwrap()
    };
    let given = [("count", "7"), ("names", "b,c"), ("word", "1 = 2")];
    assert_eq!(words(&given), json!(["x", "7", "b", "c", "1 = 2"]));
    let given = [("names", r#"["b,c", "d"]"#), ("word", ""), ("count", "1"), ("count", "2")];
    assert_eq!(words(&given), json!(["x", "2", "b,c", "d", ""]));
}

#[test]
fn the_schema_is_the_committed_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/workflow.schema.json");
    let schema = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("COV_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert_eq!(committed, schema, "write it with COV_WRITE_SCHEMA=1");
}

#[test]
fn the_files_in_the_documentation_are_right() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/workflow-files.md");
    let page = std::fs::read_to_string(path).unwrap();
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    let mut count = 0;
    for (language, text) in blocks {
        let language = language.split(' ').next().unwrap_or_default();
        // The others are parts of files.
        if matches!(language, "toml" | "yaml") && text.contains("tasks") {
            let parsed = parse(&format!("page.{language}"), text);
            parsed.unwrap_or_else(|faults| panic!("{}", super::shown(&faults)));
            count += 1;
        }
    }
    assert_eq!(count, 5);
}

#[test]
fn tasks_of_every_kind_run_where_the_file_says() {
    let plan = plan(
        r#"
        [executors.cluster]
        type = "dask"
        scheduler_address = "tcp://10.0.0.7:8786"
        [executors.ssh]
        hostname = "10.0.0.8"
        [defaults]
        on = "cluster"
        [tasks.count]
        run = "seq 3"
        retries = 1
        [tasks.fit]
        python = "models:fit"
        args = ["${{ tasks.count }}"]
        retries = 1
        [tasks.far]
        run = ["hostname"]
        on = "ssh"
        [tasks.gpu]
        run = ["hostname"]
        on = "gpu"
        [tasks.here]
        run = ["hostname"]
        on = "local"
        "#,
    );
    let of = |name: &str| {
        let node = &plan.bundle.manifest.nodes[node(&plan.bundle, name).index()];
        let spec = &plan.bundle.manifest.executors[node.executor as usize];
        (spec.name.as_str(), spec.data["attributes"].clone())
    };
    let on = |name: &str, told: Value| json!({ "name": name, "data": { "attributes": told } });
    let told = json!({ "scheduler_address": "tcp://10.0.0.7:8786" });
    assert_eq!(of("count"), ("command", json!({ "retries": 1, "on": on("dask", told) })));
    let told = json!({ "retries": 1, "scheduler_address": "tcp://10.0.0.7:8786" });
    assert_eq!(of("fit"), ("dask", told));
    let told = json!({ "hostname": "10.0.0.8" });
    assert_eq!(of("far"), ("command", json!({ "on": on("ssh", told) })));
    assert_eq!(of("gpu"), ("command", json!({ "on": on("gpu", json!({})) })));
    assert_eq!(of("here"), ("command", json!({ "on": on("local", json!({})) })));
    assert_eq!(of("result"), ("command", json!({})), "what was put together needs no engine");
}
