//! Dask by our own driver, with real schedulers and workers: what tasks see there, and that nothing
//! is lost whoever dies.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use cov_core::command::{self as commands, Template, Work};
use cov_core::error::Fault;
use cov_core::ids::AttemptId;
use cov_core::transportable::TransportableObject;
use cov_exec::{Event, Finder as _, Outcome, Runtime, Task};
use serde_json::{Value, json};

use crate::host::{Host, has_plugins, on, plugin};
use crate::support::{Line, completed, failed, python, task, text};

/// A scheduler and its workers.
struct Dask {
    scheduler: Child,
    workers: Vec<Child>,
    address: String,
    folder: tempfile::TempDir,
}

impl Dask {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (scheduler, address) = scheduler("0", &folder);
        let mut dask = Self { scheduler, workers: Vec::new(), address, folder };
        dask.start_workers();
        dask
    }

    fn start_workers(&mut self) {
        for _ in 0..2 {
            let mut worker = program("dask_worker", &self.folder);
            worker.args([&self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]);
            self.workers.push(worker.stderr(Stdio::null()).spawn().unwrap());
        }
    }

    /// Kills the scheduler and starts another in its place.
    fn restart(&mut self) {
        self.kill();
        let port = self.address.rsplit(':').next().unwrap().to_owned();
        (self.scheduler, self.address) = scheduler(&port, &self.folder);
        self.start_workers();
    }

    fn kill(&mut self) {
        for mut child in self.workers.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        self.scheduler.kill().unwrap();
        self.scheduler.wait().unwrap();
    }

    /// Whether the scheduler has the job that this handle names.
    fn knows(&self, handle: &str) -> bool {
        let handle: Value = serde_json::from_str(handle).unwrap();
        let source = "import sys\nfrom distributed import Client\n\
                      client = Client(sys.argv[1])\n\
                      ask = client.scheduler.get_task_status\n\
                      states = client.sync(ask, keys=[sys.argv[2]])\n\
                      sys.exit(10 if states[sys.argv[2]] is None else 11)";
        let mut command = Command::new(python());
        command.args(["-c", source, &self.address, handle["key"].as_str().unwrap()]);
        match command.stderr(Stdio::null()).status().unwrap().code() {
            Some(10) => false,
            Some(11) => true,
            other => panic!("the scheduler cannot be asked: {other:?}"),
        }
    }

    fn says(&self) -> Value {
        json!({ "scheduler_address": self.address })
    }

    fn task(&self, source: &str) -> Task {
        on("dask", self.says(), task(source))
    }
}

impl Drop for Dask {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program(name: &str, folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(python());
    command.args(["-m", &format!("distributed.cli.{name}")]).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn scheduler(port: &str, folder: &tempfile::TempDir) -> (Child, String) {
    let mut command = program("dask_scheduler", folder);
    command.args(["--host", "127.0.0.1", "--port", port, "--no-dashboard"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = said.next().expect("the scheduler ended").unwrap();
        if let Some((_, address)) = line.split_once("Scheduler at:") {
            break address.trim().to_owned();
        }
    };
    // What it says further must go somewhere.
    std::thread::spawn(move || said.for_each(drop));
    (child, address)
}

/// A line to a worker's task: what it tells, and that it may go on.
fn telling(line: &Line) -> String {
    format!("{}import os\ntell(os.getpid())\nwait()\nresult = 6 * 7", line.prelude())
}

#[tokio::test]
async fn a_task_sees_there_what_it_sees_everywhere() {
    if !has_plugins("distributed") {
        return;
    }
    let dask = Dask::start();
    let mut host = Host::new();
    let source = "import covalent as ct, os, sys\nprint('said')\nprint('wrong', file=sys.stderr)\n\
                  context = ct.get_context()\n\
                  result = [context.dispatch_id, context.task_id, 'COVALENT_TASKS' in os.environ]";
    let given = dask.task(source);
    let dispatch = given.dispatch.clone();
    let ending = host.run(given).await;
    assert_eq!((text(&ending.stdout), text(&ending.stderr)), ("said\n".into(), "wrong\n".into()));
    assert_eq!(completed(ending).object_string, format!("['{dispatch}', 0, False]"));

    let ending = host.run(dask.task("print('before')\nraise ValueError('boo')")).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Task);
    assert!(
        message.starts_with("Traceback") && message.ends_with("ValueError: boo\n"),
        "{message}"
    );
    assert!(!message.contains("elsewhere"), "{message}");
    assert_eq!(text(&ending.stdout), "before\n");
    assert!(text(&ending.stderr).contains("ValueError: boo"));

    let own = dask.folder.path().join("own");
    let mut says = dask.says();
    says["workdir"] = json!(own);
    says["create_unique_workdir"] = json!(true);
    let ending = host.run(on("dask", says, task("import os\nresult = os.getcwd()"))).await;
    let expected = own.join(dispatch.as_str()).join("node_0");
    assert_eq!(completed(ending).object_string, expected.to_str().unwrap());
    let ending = host.run(dask.task("import os\nresult = os.getcwd()")).await;
    assert!(!completed(ending).object_string.contains("own"), "the folder is put back");
}

#[tokio::test]
async fn functions_by_name_and_commands_run_there_too() {
    if !has_plugins("distributed") {
        return;
    }
    let dask = Dask::start();
    let mut host = Host::new();
    let json_archive = |value: &Value| {
        cov_exec::Payload::Bytes(TransportableObject::from_json(value).unwrap().to_archive().into())
    };
    let mut named = dask.task("");
    named.function = json_archive(&json!({ "python": "math:gcd", "output": "json" }));
    let number = |value: i64| json_archive(&json!(value));
    named.args =
        vec![(cov_core::ids::NodeId(1), number(12)), (cov_core::ids::NodeId(2), number(18))];
    let ending = host.run(named).await;
    assert_eq!(completed(ending).to_json::<i64>().unwrap(), 6);

    let mut command = dask.task("");
    command.runtime = Runtime::Command;
    let argv = ["sh", "-c", "echo there; echo oops >&2"].map(Template::from).to_vec();
    let work = Work::Command(commands::Command { argv, ..commands::Command::default() });
    command.function = json_archive(&serde_json::to_value(&work).unwrap());
    command.args = Vec::new();
    let ending = host.run(command).await;
    assert_eq!(completed(ending).to_json::<String>().unwrap(), "there\n");
}

#[tokio::test]
async fn many_come_back_each_with_its_own() {
    if !has_plugins("distributed") {
        return;
    }
    let dask = Dask::start();
    let mut host = Host::new();
    let (mut submitted, mut ended, mut sum) = (0_u64, 0, 0_u64);
    while ended < 300 {
        if submitted < 300 && submitted - ended < 64 {
            host.submit(dask.task(&format!("result = {submitted}"))).await;
            submitted += 1;
            continue;
        }
        if let Event::Ended(ending) = host.next().await.event {
            sum += completed(ending).object_string.parse::<u64>().unwrap();
            ended += 1;
        }
    }
    assert_eq!(sum, 299 * 300 / 2);
}

#[tokio::test]
async fn a_worker_that_dies_is_replaced_by_another() {
    if !has_plugins("distributed") {
        return;
    }
    let dask = Dask::start();
    let mut host = Host::new();
    let line = Line::new(host.folder.path());
    let attempt = host.submit(dask.task(&telling(&line))).await;
    let mut talk = line.answer().await;
    let worker = talk.hear().await;
    assert!(Command::new("kill").args(["-9", &worker]).status().unwrap().success());
    talk.gone().await;
    let mut talk = line.answer().await;
    assert_ne!(talk.hear().await, worker);
    talk.let_on().await;
    let Event::Ended(ending) = host.end_of(attempt).await else { panic!() };
    assert_eq!(completed(ending).object_string, "42");
}

#[tokio::test]
async fn the_next_life_of_the_server_takes_up_its_tasks() {
    if !has_plugins("distributed") {
        return;
    }
    let dask = Dask::start();
    let mut host = Host::new();
    let line = Line::new(host.folder.path());
    let given = dask.task(&telling(&line));
    let attempt = host.submit(given.clone()).await;
    let mut talk = line.answer().await;
    let worker = talk.hear().await;
    let handle = host.handle_of(attempt).await;
    let mut host = host.restarted().await;
    host.attach(&given, handle.clone()).await;
    assert!(matches!(host.next().await.event, Event::Begun));
    talk.let_on().await;
    let Event::Ended(ending) = host.end_of(attempt).await else { panic!() };
    assert_eq!(completed(ending).object_string, "42");
    assert!(!worker.is_empty());
    // It is not kept for ever: a third life finds it gone.
    let mut host = host.restarted().await;
    host.attach(&given, handle).await;
    let event = host.end_of(attempt).await;
    assert!(matches!(event, Event::Lost), "{event:?}");
}

#[tokio::test]
async fn a_task_of_an_earlier_life_is_killed_as_any_other() {
    if !has_plugins("distributed") {
        return;
    }
    let dask = Dask::start();
    let mut host = Host::new();
    let line = Line::new(host.folder.path());
    let mut talks = Vec::new();
    for _ in 0..2 {
        host.submit(dask.task(&telling(&line))).await;
        let mut talk = line.answer().await;
        talk.hear().await;
        talks.push(talk);
    }
    let given = dask.task("result = 1");
    let waiting = host.submit(given.clone()).await;
    let handle = handle_among(&mut host, waiting).await;
    assert!(dask.knows(&handle));
    let mut host = host.restarted().await;
    host.attach(&given, handle.clone()).await;
    host.host.executor("dask").kill(waiting).await;
    let Event::Ended(ending) = host.end_of(waiting).await else { panic!() };
    assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
    assert!(!dask.knows(&handle));
}

#[tokio::test]
async fn the_next_host_takes_up_its_tasks() {
    if !has_plugins("distributed") {
        return;
    }
    let dask = Dask::start();
    let mut host = Host::new();
    host.plugin(
        "deadly",
        &plugin(
            "
    def run(self, function, args, kwargs, task_metadata):
        os._exit(9)
",
        ),
    );
    let line = Line::new(host.folder.path());
    let attempt = host.submit(dask.task(&telling(&line))).await;
    let mut talk = line.answer().await;
    talk.hear().await;
    host.handle_of(attempt).await;
    let deadly = host.submit(on("deadly", json!({}), task(""))).await;
    let event = host.end_of(deadly).await;
    assert!(matches!(event, Event::Lost), "{event:?}");
    talk.let_on().await;
    let Event::Ended(ending) = host.end_of(attempt).await else { panic!() };
    assert_eq!(completed(ending).object_string, "42");
}

#[tokio::test]
async fn what_a_scheduler_took_with_it_is_lost_and_the_next_one_is_used() {
    if !has_plugins("distributed") {
        return;
    }
    let mut dask = Dask::start();
    let mut host = Host::new();
    let line = Line::new(host.folder.path());
    let attempt = host.submit(dask.task(&telling(&line))).await;
    let mut talk = line.answer().await;
    talk.hear().await;
    host.handle_of(attempt).await;
    dask.restart();
    let event = host.end_of(attempt).await;
    assert!(matches!(event, Event::Lost), "{event:?}");
    let ending = host.run(dask.task("result = 6 * 7")).await;
    assert_eq!(completed(ending).object_string, "42");
}

#[tokio::test]
async fn a_killed_task_is_over_at_once() {
    if !has_plugins("distributed") {
        return;
    }
    let dask = Dask::start();
    let mut host = Host::new();
    let line = Line::new(host.folder.path());
    let (mut talks, mut running) = (Vec::new(), AttemptId::new(0, 0));
    for _ in 0..2 {
        running = host.submit(dask.task(&telling(&line))).await;
        let mut talk = line.answer().await;
        talk.hear().await;
        talks.push(talk);
    }
    // Both workers are busy.
    let waiting = host.submit(dask.task("result = 1")).await;
    let handle = handle_among(&mut host, waiting).await;
    assert!(dask.knows(&handle));
    host.host.executor("dask").kill(waiting).await;
    let Event::Ended(ending) = end_among(&mut host, waiting).await else { panic!() };
    assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
    assert!(!dask.knows(&handle));
    // One that a worker has begun is over for its workflow.
    host.host.executor("dask").kill(running).await;
    let Event::Ended(ending) = end_among(&mut host, running).await else { panic!() };
    assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
    for talk in &mut talks {
        talk.let_on().await;
    }
}

/// Up to this attempt's handle; others may be under way.
async fn handle_among(host: &mut Host, attempt: AttemptId) -> Box<str> {
    loop {
        let report = host.next().await;
        if let (Event::Accepted { handle }, true) = (report.event, report.attempt == attempt) {
            return handle;
        }
    }
}

/// Up to this attempt's end; others may be under way.
async fn end_among(host: &mut Host, attempt: AttemptId) -> Event {
    loop {
        let report = host.next().await;
        let is_over = !matches!(report.event, Event::Begun | Event::Accepted { .. });
        if is_over && report.attempt == attempt {
            return report.event;
        }
    }
}

#[tokio::test]
async fn a_scheduler_that_cannot_be_reached_fails_the_task() {
    if !has_plugins("distributed") {
        return;
    }
    let mut host = Host::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    drop(listener);
    let given = on("dask", json!({ "scheduler_address": address }), task("result = 1"));
    let ending = host.run(given).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    assert!(message.contains("cannot be reached") && message.contains(&address), "{message}");
}
