//! Plugins by the old contract: what they are asked, what becomes of their tasks, and what one of
//! them can do to the others.

use cov_core::error::Fault;
use cov_exec::{Event, Finder as _, Outcome};
use serde_json::json;

use crate::host::{Host, RUN, has_plugins, on, plugin, plugin_of_coroutines};
use crate::support::{Line, call, completed, failed, task, text};

#[tokio::test]
async fn a_plugin_in_one_file_runs_tasks_and_is_asked_in_order() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    host.plugin(
        "steps",
        &plugin(
            "
    def _say(self, word): print(word, file=self.task_stdout)
    def setup(self, task_metadata): self._say('setup')
    def teardown(self, task_metadata): self._say('teardown')
    def run(self, function, args, kwargs, task_metadata):
        self._say('run node %d %s' % (task_metadata['node_id'], self.colour))
        self._say(sorted(self.get_version_info()))
        self._say(self.get_cancel_requested())
        print('an error', file=self.task_stderr)
        print('to the process')
        self.set_job_handle({'id': 7})
        return function(*args, **kwargs)
",
        ),
    );
    let given = on("steps", json!({ "colour": "blue" }), task("result = 6 * 7"));
    let attempt = host.submit(given).await;
    let handle = host.handle_of(attempt).await;
    assert!(handle.contains("\"id\": 7"), "{handle}");
    let Event::Ended(ending) = host.end_of(attempt).await else { panic!() };
    let stdout = text(&ending.stdout);
    let expected =
        "setup\nrun node 0 blue\n['covalent', 'python']\nFalse\nteardown\nto the process\n";
    assert_eq!(stdout, expected);
    assert_eq!(text(&ending.stderr), "an error\n");
    assert_eq!(completed(ending).object_string, "42");
}

#[tokio::test]
async fn a_plugin_of_coroutines_runs_many_tasks_at_once() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    host.plugin(
        "waits",
        &plugin_of_coroutines(
            "
    async def run(self, function, args, kwargs, task_metadata):
        global together
        together = together + 1
        while together < 3:
            await asyncio.sleep(0.01)
        return function(*args, **kwargs)
together = 0
",
        ),
    );
    for _ in 0..3 {
        host.submit(on("waits", json!({}), task("result = 1"))).await;
    }
    let mut ends = 0;
    while ends < 3 {
        if let Event::Ended(ending) = host.next().await.event {
            assert_eq!(completed(ending).object_string, "1");
            ends += 1;
        }
    }
}

#[tokio::test]
async fn what_can_be_found_is_told_and_one_that_is_broken_harms_no_other() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::with(|options| {
        options.concurrency.insert("good".to_owned(), 3);
    });
    host.plugin("good", &plugin(RUN));
    host.plugin("broken", "import nothing_of_this_name");
    host.plugin("leaves", "raise SystemExit(3)");
    host.plugin("empty", "");
    let found = host.host.found().await.unwrap();
    let of = |name| found.iter().find(|found| found.name == name).unwrap();
    assert_eq!((of("good").slots, of("good").fault.as_deref()), (3, None));
    assert!(of("good").origin.ends_with("/plugins/good.py"), "{:?}", of("good"));
    assert!(!of("good").attaches);
    assert!(of("dask").attaches && of("dask").fault.is_none(), "{:?}", of("dask"));
    assert!(of("broken").fault.as_deref().unwrap().contains("nothing_of_this_name"));
    assert!(of("leaves").fault.as_deref().unwrap().contains("SystemExit"));
    assert!(of("empty").fault.as_deref().unwrap().contains("EXECUTOR_PLUGIN_NAME"));
    assert!(!found.iter().any(|found| found.name == "local"));

    let ending = host.run(on("nosuch", json!({}), task("result = 1"))).await;
    let expected = "No executor found by name: nosuch. This server has: broken, dask, empty, \
                    good, leaves, local.";
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    assert!(message.starts_with(expected.trim_end_matches("leaves, local.")), "{message}");
    let ending = host.run(on("broken", json!({}), task("result = 1"))).await;
    assert!(failed(&ending).1.contains("nothing_of_this_name"), "{ending:?}");
    // One that is written later is found as well.
    host.plugin("late", &plugin(RUN));
    let ending = host.run(on("late", json!({}), task("result = 1"))).await;
    assert_eq!(completed(ending).object_string, "1");
}

#[tokio::test]
async fn failures_have_the_address_that_the_plugin_gives_them() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    host.plugin(
        "fails",
        &plugin(
            "
    def __init__(self, **options):
        raise ValueError('never made')
    def run(self, function, args, kwargs, task_metadata):
        print('so far', file=self.task_stdout)
        print('the traceback', file=self.task_stderr)
        raise {'runtime': TaskRuntimeError, 'cancelled': TaskCancelledError,
               'exit': SystemExit, 'empty': TimeoutError}.get(self.how, RuntimeError)(*self.words)
",
        ),
    );
    let cases = [
        ("runtime", json!(["x"]), Fault::Task, "the traceback"),
        ("other", json!(["no such machine"]), Fault::Executor, "no such machine"),
        ("empty", json!([]), Fault::Executor, "TimeoutError"),
        ("exit", json!([4]), Fault::Executor, "4"),
        ("cancelled", json!([]), Fault::Executor, "did not ask for it"),
    ];
    for (how, words, fault, message) in cases {
        let attributes = json!({ "how": how, "words": words });
        let ending = host.run(on("fails", attributes, task("result = 1"))).await;
        let (theirs, said) = failed(&ending);
        assert_eq!(theirs, fault, "{how}: {said}");
        assert!(said.contains(message), "{how}: {said}");
        assert_eq!(text(&ending.stdout), "so far\n", "{how}");
    }
    let mut named = on("fails", json!({}), task("result = 1"));
    let spec = cov_core::executor::ExecutorSpec { name: "fails".into(), ..Default::default() };
    named.engine = Some(spec.into());
    let ending = host.run(named).await;
    assert!(failed(&ending).1.contains("never made"), "{ending:?}");
}

#[tokio::test]
async fn a_kill_asks_the_plugin_and_heeds_its_answer() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    host.plugin(
        "jobs",
        &plugin_of_coroutines(
            "
    async def run(self, function, args, kwargs, task_metadata):
        jobs[self.job] = asyncio.Event()
        await self.set_job_handle(self.job)
        await jobs[self.job].wait()
        if self.ends:
            raise RuntimeError('the job was cancelled')
        return function(*args, **kwargs)
    async def cancel(self, task_metadata, job_handle):
        jobs[job_handle].set()
        return self.ends
jobs = {}
",
        ),
    );
    for ends in [true, false] {
        let attributes = json!({ "job": format!("job {ends}"), "ends": ends });
        let attempt = host.submit(on("jobs", attributes, task("result = 1"))).await;
        host.handle_of(attempt).await;
        host.host.executor("jobs").kill(attempt).await;
        let Event::Ended(ending) = host.end_of(attempt).await else { panic!() };
        if ends {
            assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
        } else {
            assert_eq!(completed(ending).object_string, "1");
        }
    }
}

#[tokio::test]
async fn a_plugin_that_says_it_ends_a_job_has_a_time_for_it() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::with(|options| options.kill_grace = std::time::Duration::ZERO);
    let line = Line::new(host.folder.path());
    host.plugin(
        "deaf",
        &plugin(
            "
    def run(self, function, args, kwargs, task_metadata):
        return function(*args, **kwargs)
    def cancel(self, task_metadata, job_handle):
        return True
",
        ),
    );
    let source = format!("{}wait()", line.prelude());
    let attempt = host.submit(on("deaf", json!({}), task(&source))).await;
    let _talk = line.answer().await;
    host.host.executor("deaf").kill(attempt).await;
    let Event::Ended(ending) = host.end_of(attempt).await else { panic!() };
    assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
}

#[tokio::test]
async fn a_task_that_waits_for_the_host_is_killed_before_it_begins() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    host.plugin("plain", &plugin(RUN));
    let attempt = host.submit(on("plain", json!({}), task("result = 1"))).await;
    host.host.executor("plain").kill(attempt).await;
    let report = host.next().await;
    let Event::Ended(ending) = report.event else { panic!("{report:?}") };
    assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
}

#[tokio::test]
async fn what_it_has_printed_is_shown_while_it_runs() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    let line = Line::new(host.folder.path());
    host.plugin("plain", &plugin(RUN));
    let source = format!("print('so far')\n{}tell(1)\nwait()", line.prelude());
    let attempt = host.submit(on("plain", json!({}), task(&source))).await;
    let mut talk = line.answer().await;
    talk.hear().await;
    let (out, _) = host.host.executor("plain").live_output(attempt).await.unwrap();
    assert_eq!(out, "so far\n");
    talk.let_on().await;
    host.end_of(attempt).await;
    assert!(host.host.executor("plain").live_output(attempt).await.is_none());
}

#[tokio::test]
async fn credentials_stay_in_the_host() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    host.plugin(
        "login",
        &plugin(
            "
    def run(self, function, args, kwargs, task_metadata):
        print('login with', self.options['api_token'], file=self.task_stdout)
        print('and', self.password, file=sys.__stderr__)
        sys.__stderr__.flush()
        raise RuntimeError('%s is refused with %s' % (self.password, self.ssh_key_file))
",
        ),
    );
    let attributes = json!({ "password": "open sesame", "options": { "api_token": "tok-123" },
        "ssh_key_file": "~/.ssh/id" });
    let ending = host.run(on("login", attributes, task("result = 1"))).await;
    assert_eq!(failed(&ending).1, "*** is refused with ~/.ssh/id");
    assert_eq!(text(&ending.stdout), "login with ***\n");
    let log = host.log();
    assert!(log.contains("*** is refused"), "{log}");
    assert!(!log.contains("tok-123"), "{log}");
}

#[tokio::test]
async fn one_that_kills_the_host_is_found_out_and_the_others_go_on() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    host.plugin("plain", &plugin(RUN));
    host.plugin(
        "deadly",
        &plugin(
            "
    def run(self, function, args, kwargs, task_metadata):
        os._exit(9)
",
        ),
    );
    // Whoever asks again uses new attempts; the electron is the same.
    for _ in 0..2 {
        let attempt = host.submit(on("deadly", json!({}), task("result = 1"))).await;
        let event = host.end_of(attempt).await;
        assert!(matches!(event, Event::Lost), "{event:?}");
    }
    let ending = host.run(on("deadly", json!({}), task("result = 1"))).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    assert!(message.contains("exited with code 9"), "{message}");
    let ending = host.run(on("plain", json!({}), task("result = 2"))).await;
    assert_eq!(completed(ending).object_string, "2");
}

#[tokio::test]
async fn one_that_blocks_its_loop_or_prints_much_stops_no_other() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    let line = Line::new(host.folder.path());
    host.plugin("plain", &plugin(RUN));
    host.plugin(
        "blocks",
        &plugin_of_coroutines(
            "
    async def run(self, function, args, kwargs, task_metadata):
        print('x' * 20_000_000)
        return function(*args, **kwargs)
",
        ),
    );
    let source = format!("{}wait()\nresult = 1", line.prelude());
    let blocking = host.submit(on("blocks", json!({}), task(&source))).await;
    let mut talk = line.answer().await;
    assert!(matches!(host.next().await.event, Event::Begun));
    let ending = host.run(on("plain", json!({}), task("result = 2"))).await;
    assert_eq!(completed(ending).object_string, "2");
    talk.let_on().await;
    let Event::Ended(ending) = host.end_of(blocking).await else { panic!() };
    let printed = text(&ending.stdout);
    assert!(printed.len() > 1_000_000 && printed.len() < 20_000_000, "{}", printed.len());
    assert_eq!(completed(ending).object_string, "1");
}

#[tokio::test]
async fn a_large_output_comes_in_a_file() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    host.plugin("plain", &plugin(RUN));
    let ending = host.run(on("plain", json!({}), task("result = 'x' * 3_000_000"))).await;
    let Outcome::Completed(cov_exec::Payload::File(path)) = &ending.outcome else { panic!() };
    assert!(path.starts_with(host.path("spool")), "{path:?}");
    assert_eq!(completed(ending).object_string.len(), 3_000_000);
}

#[tokio::test]
async fn everything_that_a_plugin_started_here_ends_with_the_host() {
    if !has_plugins("covalent") {
        return;
    }
    let host = Host::new();
    let line = Line::new(host.folder.path());
    host.plugin("plain", &plugin(RUN));
    let source = format!(
        "{}import subprocess\n\
         subprocess.Popen(['sleep', '1000'], pass_fds=[line.fileno()], start_new_session=True)\n\
         tell(1)\nwait()",
        line.prelude()
    );
    host.submit(on("plain", json!({}), task(&source))).await;
    let mut talk = line.answer().await;
    talk.hear().await;
    host.host.stop().await;
    talk.gone().await;
    let again = host.host.executor("plain").submit(on("plain", json!({}), task(""))).await;
    assert!(matches!(again, Err(cov_exec::Error::Stopping)), "{again:?}");
}

#[tokio::test]
async fn a_job_of_the_old_contract_is_cancelled_by_the_next_host_and_counts_as_lost() {
    if !has_plugins("covalent") {
        return;
    }
    let mut host = Host::new();
    let line = Line::new(host.folder.path());
    host.plugin(
        "jobs",
        &plugin(
            "
    def run(self, function, args, kwargs, task_metadata):
        self.set_job_handle('job 1')
        return function(*args, **kwargs)
    def cancel(self, task_metadata, job_handle):
        with open(self.proof, 'w') as file: file.write(job_handle)
        return True
",
        ),
    );
    let proof = host.path("proof");
    let source = format!("{}tell(1)\nwait()", line.prelude());
    let given = on("jobs", json!({ "proof": proof }), task(&source));
    let attempt = host.submit(given.clone()).await;
    let handle = host.handle_of(attempt).await;
    let mut host = host.restarted().await;
    host.attach(&given, handle).await;
    let event = host.end_of(attempt).await;
    assert!(matches!(event, Event::Lost), "{event:?}");
    assert_eq!(std::fs::read_to_string(proof).unwrap(), "job 1");
}

#[tokio::test]
async fn without_covalent_it_is_said_what_to_install() {
    let mut host = Host::with(|options| options.python = Some("/usr/bin/false".into()));
    let ending = host.run(on("plain", json!({}), call("builtins int", &[]))).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    assert!(message.contains("pip install covalent"), "{message}");
    assert!(host.host.found().await.is_err());
}
