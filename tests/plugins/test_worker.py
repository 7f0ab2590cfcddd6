"""Programs and commands as engines run them: pickled, unpickled elsewhere, called, read.

Every call runs in a Python of its own that knows nothing of this project, as on a worker.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

from cov_plugins import frames, remote  # noqa: E402
from cov_plugins.worker import call as worker_call  # noqa: E402
from cov_plugins.worker import values  # noqa: E402
from cov_runner.frames import Task, WorkDir  # noqa: E402

PROGRAM = Path(os.environ.get("COV_TEST_RUNNER_TASKS", ROOT / "target/debug/examples/runner_tasks"))

ENGINE = frames.Engine("dask", {})

WORKER = """
import pickle, sys
call = pickle.load(sys.stdin.buffer)
assert not [name for name in sys.modules if name.startswith(("cov_plugins", "cov_runner"))]
# What was unpickled can travel on.
call = pickle.loads(pickle.dumps(call))
sys.stdout.buffer.write(pickle.dumps(call()))
"""


class Programs(http.server.ThreadingHTTPServer):
    """Serves one program, and counts how often."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.count = 0
        super().__init__(("127.0.0.1", 0), _Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def address(self) -> str:
        """Where it is, with the digest of what should be there."""
        port = self.server_address[1]
        return f"http://127.0.0.1:{port}/p?signature=secret#sha256={digest_of(self.content)}"


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # noqa: N802
        self.server.count += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        pass


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def programs():
    server = Programs(PROGRAM.read_bytes())
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def variables(tmp_path: Path) -> Dict[str, str]:
    """The environment of a worker: with its own cache and its own place for scratch folders."""
    (tmp_path / "tmp").mkdir()
    own = {"COV_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    return {**os.environ, **own}


def archive(value: Any) -> bytes:
    return values._packed("json", "", json.dumps(value).encode())


def task(function: Any, arguments: List[bytes], **more: Any) -> Task:
    members = {
        "attempt": 7,
        "dispatch": "d-1",
        "node": 3,
        "function": archive(function),
        "hooks": None,
        "run_callables": False,
        "args": list(enumerate(arguments)),
        "kwargs": [],
        "work_dir": None,
    }
    return Task(**{**members, **more})


def electron(address: str, name: str, arguments: List[Any], limit: Any = None, **more: Any):
    function = {"electron": name, "output": "json"}
    work = frames.Program("ab" * 32, address, limit)
    inputs = [archive(argument) for argument in arguments]
    return remote.call_of(frames.Run(ENGINE, work, task(function, inputs, **more)))


def command(argv: List[Any], arguments: List[bytes] = (), **more: Any):
    function = {"command": {"argv": argv, **more}}
    return remote.call_of(frames.Run(ENGINE, frames.Command(), task(function, list(arguments))))


def run(
    call: worker_call.Call, variables: Dict[str, str], python: str = sys.executable
) -> worker_call.Answer:
    """Calls in another process."""
    words = [python, "-I", "-c", WORKER]
    sent = pickle.dumps(call, protocol=4)
    done = subprocess.run(
        words, input=sent, env=variables, stdout=subprocess.PIPE, check=True, cwd="/"
    )
    return remote.answer_of(pickle.loads(done.stdout))


def text(answer: worker_call.Answer) -> str:
    """What a command would read of the output."""
    assert answer.kind == "completed", answer
    return values.plain(answer.output).decode()


def output(answer: worker_call.Answer) -> Any:
    """An output that is no text."""
    return json.loads(text(answer))


def pythons() -> List[str]:
    """Every version of Python that is installed here."""
    found = [sys.executable]
    for minor in range(8, 20):
        path = shutil.which(f"python3.{minor}")
        if path and subprocess.run([path, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0:
            found.append(path)
    return found


def is_clean(variables: Dict[str, str]) -> bool:
    """Whether nothing of any task is left in the worker's scratch folder."""
    return os.listdir(variables["TMPDIR"]) == []


def test_an_electron_runs_in_its_program(programs, variables):
    answer = run(electron(programs.address(), "add", [2, 40]), variables)
    assert output(answer) == 42
    assert is_clean(variables)


def test_workers_need_not_have_the_python_of_the_server(programs, variables):
    for python in pythons():
        assert output(run(electron(programs.address(), "add", [1, 2]), variables, python)) == 3
        assert text(run(command(["echo", "a"]), variables, python)) == "a\n"


def test_what_an_electron_prints_comes_with_its_answer(programs, variables):
    answer = run(electron(programs.address(), "prints", [3]), variables)
    assert answer.stdout == b"line 0\nline 1\nline 2\n"
    assert answer.stderr == b"no newline at the end"


@pytest.mark.parametrize("size", [1000, 300_000, 20_000_000])
def test_outputs_and_inputs_of_any_size(programs, variables, size):
    answer = run(electron(programs.address(), "large", [size]), variables)
    assert text(answer) == "x" * size
    answer = run(electron(programs.address(), "complain", ["y" * size]), variables)
    assert answer.kind == "task" and len(answer.message) >= min(size, 1000)


def test_failures_of_an_electron_are_its_own(programs, variables):
    answer = run(electron(programs.address(), "parse", ["seven"]), variables)
    assert answer.kind == "task" and "the text was refused" in answer.message
    answer = run(electron(programs.address(), "panics", ["that"]), variables)
    assert answer.kind == "task" and "no way on with that" in answer.message
    assert answer.stdout == b"about to panic\n"


def test_a_program_that_dies_is_told_of(programs, variables):
    answer = run(electron(programs.address(), "aborts", []), variables)
    assert answer.kind == "runner" and "SIGABRT (signal 6)" in answer.message
    assert answer.stdout == b"last words\n"
    answer = run(electron(programs.address(), "large", [900_000_000], limit=256 << 20), variables)
    assert answer.kind == "runner" and "limited to 256 MB" in answer.message, answer.message


def test_the_folder_that_was_chosen_is_run_in(programs, variables, tmp_path):
    chosen = WorkDir(str(tmp_path / "chosen"), True)
    answer = run(electron(programs.address(), "place", [], work_dir=chosen), variables)
    assert output(answer) == [str(tmp_path / "chosen" / "d-1" / "node_3"), "d-1", 3, 0]


def test_a_program_is_fetched_once_by_many_at_the_same_time(variables):
    server = Programs(PROGRAM.read_bytes())
    with ThreadPoolExecutor(8) as pool:
        calls = [electron(server.address(), "add", [i, i]) for i in range(24)]
        answers = list(pool.map(lambda call: run(call, variables), calls))
    assert [output(answer) for answer in answers] == [2 * i for i in range(24)]
    assert server.count == 1
    # What was damaged meanwhile is fetched again.
    place = Path(variables["COV_CACHE_DIR"]) / "programs" / digest_of(server.content)
    place.write_bytes(b"damaged")
    assert output(run(electron(server.address(), "add", [1, 1]), variables)) == 2
    assert server.count == 2
    server.shutdown()
    server.server_close()


def test_another_program_than_the_task_names_is_not_run(variables):
    server = Programs(b"#!/bin/sh\ntouch /tmp/never\n")
    wrong = server.address().replace(digest_of(server.content), digest_of(b"the right one"))
    answer = run(electron(wrong, "add", [1, 1]), variables)
    assert answer.kind == "runner" and "not the program that the task names" in answer.message
    assert "signature" not in answer.message
    server.shutdown()
    server.server_close()


def test_a_program_that_is_no_runner_is_told_of(variables):
    server = Programs(b"#!/bin/sh\necho I am something else\n")
    answer = run(electron(server.address(), "add", [1, 1]), variables)
    assert answer.kind == "runner" and "cov::runner::init()" in answer.message
    assert "I am something else" in answer.message
    server.content = b"\x7fELF of another machine"
    answer = run(electron(server.address(), "add", [1, 1]), variables)
    assert answer.kind == "runner" and "system and processor" in answer.message
    server.shutdown()
    server.server_close()


def test_a_server_without_an_address_is_told_of(variables):
    answer = run(electron(None, "add", [1, 1]), variables)
    assert answer.kind == "runner" and "public_url" in answer.message


def test_a_command_runs(variables):
    answer = run(command(["sh", "-c", "echo out; echo err >&2"]), variables)
    assert (text(answer), answer.stdout, answer.stderr) == ("out\n", b"out\n", b"err\n")
    assert is_clean(variables)


def test_values_reach_a_command(variables):
    inputs = [archive("it's\n"), archive({"a": [1, 2]}), archive("x\ny")]
    shell = ["printf %s ", {"input": 0, "quote": "bare"}, "; cat; echo; echo $B; wc -l < "]
    shell.append({"input": 2, "as": "file"})
    more = {"stdin": [{"input": 1, "as": "text"}], "env": {"B": ["b", {"input": 2}]}}
    answer = run(command(["sh", "-c", shell], inputs, **more), variables)
    assert text(answer) == "it's" + '{"a": [1, 2]}' + "\nbx y\n1\n"
    argv = ["tail", "-qn", "1", [{"input": 0, "count": 3, "as": "files", "name": "n.txt"}]]
    assert text(run(command(argv, inputs), variables)) == "it's\n" + '{"a": [1, 2]}' + "y"


def test_bytes_and_files_come_back(variables):
    answer = run(command(["sh", "-c", r"printf '\377\000a'"]), variables)
    assert values.read(answer.output).encoding == "array"
    assert values.plain(answer.output) == b"\xff\0a"
    argv = ["sh", "-c", "mkdir out; echo kept > out/a; echo no"]
    assert text(run(command(argv, output={"file": "out/a"}), variables)) == "kept\n"
    answer = run(command(["true"], output={"file": "none"}), variables)
    assert answer.kind == "task" and "`none` cannot be read" in answer.message


def test_exit_codes_are_judged(variables):
    answer = run(command(["sh", "-c", "echo why >&2; exit 3"]), variables)
    assert answer.kind == "task"
    assert answer.message == "The command exited with code 3. The end of its error stream:\nwhy"
    assert run(command(["sh", "-c", "exit 3"], success=[0, 3]), variables).kind == "completed"
    answer = run(command(["no-such-program-anywhere"]), variables)
    assert answer.kind == "task" and "code 127" in answer.message
    assert "cannot be started" in answer.message
    answer = run(command(["sh", "-c", "kill -9 $$"]), variables)
    assert answer.kind == "task" and "SIGKILL" in answer.message


def test_values_that_no_command_reads_are_named(variables):
    pickled = values._packed("cloudpickle", "", pickle.dumps(1))
    answer = run(command(["echo", [{"input": 0}]], [pickled]), variables)
    assert answer.kind == "task" and "input 0 of 1" in answer.message
    assert "cloudpickle" in answer.message


# Holds the pipe open with all that it starts: a child in a session of its own, too.
STAYS = "exec 9> {path}; setsid sleep 600 & (sleep 600 &) ; echo ready >&9; {then}"


@pytest.mark.timeout(60)
def test_nothing_of_a_command_outlives_it(variables, tmp_path):
    path = tmp_path / "pids"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    answer = run(command(["sh", "-c", STAYS.format(path=path, then="exit 0")]), variables)
    assert answer.kind == "completed"
    assert os.read(fd, 100) == b"ready\n"
    assert os.read(fd, 100) == b"", "something still has it open"
    os.close(fd)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_of_a_command_outlives_its_worker(variables, tmp_path, number):
    path = tmp_path / "pids"
    os.mkfifo(path)
    call = command(["sh", "-c", STAYS.format(path=path, then="sleep 600")])
    words = [sys.executable, "-I", "-c", WORKER]
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=variables)
    worker.stdin.write(pickle.dumps(call))
    worker.stdin.close()
    # Waits until the command has opened it.
    with open(path, "rb") as pipe:
        assert pipe.readline() == b"ready\n"
        worker.send_signal(number)
        worker.wait()
        assert pipe.read() == b""
