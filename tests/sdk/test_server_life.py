"""The server process: start, stop, kill, restart, two servers in one place, unfit Pythons."""

import os
import re
import subprocess
import time
import venv

import covalent as ct
import pytest
import requests
from checks import completed, failed
from harness import process_is_gone, processes_below
from meeting import arrive

pytestmark = pytest.mark.own_server


@ct.electron
def identity(value):
    return value


@ct.electron
def report(address, name):
    return arrive(address, name)


@ct.lattice
def simple(x):
    return identity(identity(x))


@ct.lattice
def held(address, x):
    return identity(x), identity(report(address, "held"))


def dispatch(server, workflow, *args, **options):
    return ct.dispatch(workflow, dispatcher_addr=server.url, **options)(*args)


def result(server, dispatch_id, **options):
    return ct.get_result(dispatch_id, dispatcher_addr=server.url, **options)


def status(server, dispatch_id):
    return result(server, dispatch_id, status_only=True)["status"]


def wait_until_gone(pids, timeout=5.0):
    deadline = time.monotonic() + timeout
    while remaining := [pid for pid in pids if not process_is_gone(pid)]:
        assert time.monotonic() < deadline, f"still alive after {timeout} s: {remaining}"
        time.sleep(0.01)


def test_health(server):
    for path in ("/healthz", "/readyz"):
        assert requests.get(server.url + path, timeout=10).status_code == 200


def test_ready_line_is_the_only_line_and_names_the_address(spawn_server):
    own = spawn_server()
    assert re.fullmatch(rf".*{re.escape(own.url)}\b.*\n", own.ready_line)
    assert requests.get(f"{own.url}/readyz", timeout=10).status_code == 200


def test_sigterm_ends_server_and_runners(spawn_server):
    own = spawn_server()
    completed(result(own, dispatch(own, simple, 1), wait=True))
    runners = processes_below(own.pid)
    assert runners
    assert own.stop() == 0
    wait_until_gone(runners)


def test_kill9_takes_the_runners_along(spawn_server, meeting_point):
    own = spawn_server()
    dispatch(own, held, meeting_point.address, 1)
    meeting_point.wait_for("held")
    runners = processes_below(own.pid)
    assert runners
    own.kill9()
    wait_until_gone(runners)


def test_runners_inherit_no_listening_socket(spawn_server):
    own = spawn_server()
    completed(result(own, dispatch(own, simple, 1), wait=True))
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    inodes = [r[9] for r in rows if r[3] == "0A" and int(r[1].split(":")[1], 16) == own.port]
    assert len(inodes) == 1
    for pid in processes_below(own.pid):
        links = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
        assert f"socket:[{inodes[0]}]" not in links


def test_what_was_finished_survives_kill9(spawn_server):
    own = spawn_server()
    finished = dispatch(own, simple, {"kept": [1, 2, 3]})
    before = result(own, finished, wait=True)
    own.kill9()
    own.restart()
    after = result(own, finished, wait=True)
    assert completed(after) == {"kept": [1, 2, 3]}
    assert (after.start_time, after.end_time) == (before.start_time, before.end_time)
    for old, new in zip(before.get_all_node_results(), after.get_all_node_results()):
        assert str(old["status"]) == str(new["status"])
        assert old["end_time"] == new["end_time"]


def test_what_was_registered_can_be_started_after_kill9(spawn_server):
    own = spawn_server()
    parked = dispatch(own, simple, "parked", disable_run=True)
    own.kill9()
    own.restart()
    assert status(own, parked) == "NEW_OBJECT"
    ct._dispatcher_plugins.local.LocalDispatcher.start(parked, own.url)
    assert completed(result(own, parked, wait=True)) == "parked"


def test_what_was_running_is_not_lost_by_kill9(spawn_server, meeting_point):
    """It is still known, still says what it knew, and has not been failed or cancelled by the restart."""
    own = spawn_server()
    running = dispatch(own, held, meeting_point.address, "done before")
    meeting_point.wait_for("held")
    own.kill9()
    own.restart()
    assert status(own, running) not in ("FAILED", "CANCELLED", "NEW_OBJECT")
    meeting_point.release("held", message="after the restart")
    assert completed(result(own, running, wait=True)) == ["done before", "after the restart"]


def test_stopping_is_not_cancelling(spawn_server, meeting_point):
    """What runs when SIGTERM comes may end within the grace period; the rest goes on after the restart."""
    own = spawn_server()
    running = dispatch(own, held, meeting_point.address, "x")
    meeting_point.wait_for("held")
    own.ask_to_stop()
    meeting_point.release("held")
    assert own.wait() == 0
    own.restart()
    assert completed(result(own, running, wait=True)) == ["x", "go"]


def test_work_that_outlasts_the_grace_period_is_done_again(spawn_server, meeting_point):
    own = spawn_server(options=("--grace", "0.2"))
    running = dispatch(own, held, meeting_point.address, "x")
    meeting_point.wait_for("held")
    runners = processes_below(own.pid)
    assert own.stop() == 0
    wait_until_gone(runners)
    own.restart()
    meeting_point.wait_for("held", count=2)
    meeting_point.release("held", message="second attempt")
    assert completed(result(own, running, wait=True)) == ["x", "second attempt"]


def test_a_second_sigterm_ends_the_server_at_once(spawn_server, meeting_point):
    own = spawn_server()
    dispatch(own, held, meeting_point.address, "x")
    meeting_point.wait_for("held")
    began = time.monotonic()
    own.ask_to_stop()
    while own.alive():
        own.ask_to_stop()
        assert time.monotonic() - began < 5
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("shared", ["data directory", "port"])
def test_a_second_server_is_refused(spawn_server, tmp_path, shared):
    first = spawn_server(name="first")
    second = spawn_server(name="second", start=False)
    if shared == "port":
        second.port = first.port
    else:
        second.data_dir = first.data_dir
    attempt = subprocess.run(second.command(), capture_output=True, text=True, timeout=30)
    assert attempt.returncode != 0
    told = attempt.stderr
    assert (str(first.port) if shared == "port" else str(first.data_dir)) in told
    assert "panicked" not in told
    assert completed(result(first, dispatch(first, simple, 1), wait=True)) == 1


def test_runners_python_comes_first_in_their_path(python):
    @ct.electron
    def path():
        return os.environ["PATH"].split(os.pathsep)[0]

    @ct.lattice
    def workflow():
        return path()

    assert completed(ct.dispatch_sync(workflow)()) == os.path.dirname(python)


def _bare_python(directory):
    """An interpreter that has no packages at all."""
    venv.create(directory, with_pip=False, symlinks=True)
    return str(directory / "bin" / "python")


@pytest.mark.parametrize("fault", ["missing", "not a python", "no cloudpickle"])
def test_an_unfit_python_fails_the_task_and_says_what_to_do(spawn_server, tmp_path, fault):
    python = {
        "missing": lambda: str(tmp_path / "no" / "python"),
        "not a python": lambda: "/bin/false",
        "no cloudpickle": lambda: _bare_python(tmp_path / "bare"),
    }[fault]()
    own = spawn_server(python=python)
    got = result(own, dispatch(own, simple, 1), wait=True)
    failed(got)
    error = next(n["error"] for n in got.get_all_node_results() if str(n["status"]) == "FAILED")
    if fault == "no cloudpickle":
        assert "cloudpickle" in error and "install" in error
    else:
        assert python in error
    assert requests.get(f"{own.url}/readyz", timeout=10).status_code in (200, 503)
    assert requests.get(f"{own.url}/healthz", timeout=10).status_code == 200


def test_descriptors_do_not_pile_up(spawn_server):
    """After many dispatches the server holds about as many descriptors as after the first few."""
    own = spawn_server()

    def descriptors():
        return len(os.listdir(f"/proc/{own.pid}/fd"))

    for number in range(3):
        completed(result(own, dispatch(own, simple, number), wait=True))
    before = descriptors()
    for number in range(12):
        completed(result(own, dispatch(own, simple, number), wait=True))
    assert descriptors() <= before + 8
