//! What a task can see of its place, and that it leaves nothing of its own to the next.

use cov_core::ids::NodeId;
use cov_exec::WorkDir;

use crate::support::*;

#[tokio::test]
async fn a_task_sees_its_dispatch_its_place_and_the_server() {
    let mut bench = Bench::new(1);
    let mut task = task(
        "import os, json\nresult = [os.environ['COVALENT_DISPATCH_ID'], \
         os.environ['COVALENT_DISPATCHER_URL'], os.environ['COVALENT_TASKS']]",
    );
    task.node = NodeId(7);
    let dispatch = task.dispatch.clone();
    assert_eq!(
        completed(bench.run(task).await).object_string,
        format!(
            "['{dispatch}', 'http://localhost:1', '[{{\"electron_id\": 7, \"args\": [1], \"kwargs\": {{}}}}]']"
        )
    );
}

#[tokio::test]
async fn covalent_tells_a_task_its_context() {
    if !has_module("covalent") {
        assert!(std::env::var_os("CI").is_none(), "COV_TEST_PYTHON lacks covalent");
        return;
    }
    let mut bench = Bench::new(1);
    let mut task = task(
        "import covalent\nfrom covalent.executor.utils import get_context\n\
         context = get_context()\nresult = (context.dispatch_id, context.task_id)",
    );
    task.node = NodeId(3);
    let dispatch = task.dispatch.clone();
    let seen = completed(bench.run(task).await).object_string;
    assert_eq!(seen, format!("('{dispatch}', 3)"));
}

#[tokio::test]
async fn nothing_of_a_task_is_left_to_the_next() {
    let mut bench = Bench::new(1);
    let look = "import os, sys, signal\nenv = sorted(item for item in os.environ.items() if 'COVALENT_' not in item[0])\n\
                result = [os.getpid(), os.getcwd(), env, sys.argv, sys.path, sys.stdout.name, sys.stderr.name,\n\
                signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT).__name__, os.umask(0o22)]";
    let before = bench.eval(look).await;
    let change = "import io, os, signal, sys\nos.chdir('/')\nos.environ['NEW'] = '1'\ndel os.environ['PATH']\n\
                  os.environ = {}\nsys.argv.append('x')\nsys.path.insert(0, '/x')\n\
                  sys.stdout = io.StringIO()\nsys.stderr.close()\nos.dup2(os.open('/dev/null', os.O_WRONLY), 1)\n\
                  signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.alarm(1000)\nos.umask(0o22)";
    let ending = bench.run(task(change)).await;
    assert!(bytes(&ending.stdout).is_empty(), "{}", text(&ending.stdout));
    completed(ending);
    assert_eq!(bench.eval(look).await, before);
    let source = "import os, sys, signal\nprint('out')\nprint('err', file=sys.stderr)\nresult = signal.alarm(0)";
    let ending = bench.run(task(source)).await;
    assert_eq!((text(&ending.stdout), text(&ending.stderr)), ("out\n".into(), "err\n".into()));
    assert_eq!(completed(ending).object_string, "0");
}

#[tokio::test]
async fn a_working_directory_is_made_and_left_again() {
    let mut bench = Bench::new(1);
    let here = std::env::current_dir().unwrap();
    let folder = bench.path("deep/work dir");
    for (unique, expected) in [
        (false, folder.clone()),
        (true, folder.join("6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11/node_4")),
    ] {
        let mut task = task("import os\nopen('left', 'w').close()\nresult = os.getcwd()");
        task.node = NodeId(4);
        task.work_dir = Some(WorkDir { path: folder.clone(), unique });
        let seen = completed(bench.run(task).await).object_string;
        assert_eq!(seen, expected.canonicalize().unwrap().to_str().unwrap());
        assert!(expected.join("left").exists());
        assert_eq!(bench.eval("import os\nresult = os.getcwd()").await, here.to_str().unwrap());
    }
    let mut task = task("result = 1");
    task.work_dir = Some(WorkDir { path: "/dev/null/none".into(), unique: false });
    let ending = bench.run(task).await;
    assert!(failed(&ending).1.contains("NotADirectoryError"), "{:?}", failed(&ending));
}

#[tokio::test]
async fn a_process_that_a_task_forked_cannot_speak_for_it() {
    let mut bench = Bench::new(1);
    // The child comes back out of the task's code, too.
    let source = "import os\npid = os.fork()\nresult = 'child'\n\
                  if pid: result = (os.waitpid(pid, 0)[1], 'parent')";
    assert_eq!(bench.eval(source).await, "(0, 'parent')");
    assert_eq!(bench.eval("result = 'next'").await, "next");
}

#[tokio::test]
async fn what_a_left_child_prints_is_not_given_to_the_next_task() {
    let mut bench = Bench::new(1);
    let line = Line::new(bench.folder.path());
    let child =
        format!("{}tell('up')\nwait()\nprint('late', flush=True)\ntell('printed')", line.prelude());
    let start = format!(
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child:?}])\nprint('first')"
    );
    let ending = bench.run(task(&start)).await;
    assert_eq!(text(&ending.stdout), "first\n");
    let mut talk = line.answer().await;
    assert_eq!(talk.hear().await, "up");
    talk.let_on().await;
    assert_eq!(talk.hear().await, "printed");
    let ending = bench.run(task("print('second')")).await;
    assert_eq!(text(&ending.stdout), "second\n");
}

#[tokio::test]
async fn a_runner_holds_its_connection_and_its_queue_and_no_other_socket() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::new(1);
    let source = "import os\nfds = os.listdir('/proc/self/fd')\n\
                  links = [os.readlink(f'/proc/self/fd/{fd}') for fd in fds if os.path.exists(f'/proc/self/fd/{fd}') \
                  or os.path.islink(f'/proc/self/fd/{fd}')]\n\
                  result = sum(link.startswith('socket:') for link in links)";
    assert_eq!(bench.eval(source).await, "2");
    let source = "import subprocess, sys\n\
                  look = 'import os; print(sum(os.readlink(f\"/proc/self/fd/{n}\").startswith(\"socket:\") for n in range(3, 64) if os.path.islink(f\"/proc/self/fd/{n}\")))'\n\
                  result = subprocess.run([sys.executable, '-c', look], capture_output=True, text=True).stdout";
    assert_eq!(bench.eval(source).await, "0\n");
    drop(listener);
}

#[tokio::test]
async fn tasks_may_start_processes_in_every_way_of_multiprocessing() {
    let mut bench = Bench::new(1);
    for way in ["fork", "spawn", "forkserver"] {
        let source = format!(
            "import math, multiprocessing\nwith multiprocessing.get_context('{way}').Pool(2) as pool:\n    \
             result = pool.map(math.sqrt, [1, 4, 9])"
        );
        assert_eq!(bench.eval(&source).await, "[1.0, 2.0, 3.0]", "{way}");
    }
    let source = "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 5\nresult = asyncio.run(main())";
    assert_eq!(bench.eval(source).await, "5");
}
