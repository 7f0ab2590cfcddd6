"""A task that takes its process down fails alone; the pool is whole again and nobody else notices."""

import ctypes
import math
import os
import re
import signal
import time

import covalent as ct
import pytest
from checks import completed, failed, node, nodes, run, status_of
from meeting import arrive

pytestmark = pytest.mark.mends
start = ct._dispatcher_plugins.local.LocalDispatcher.start


@ct.electron
def identity(value):
    return value


@ct.electron
def report(address, name):
    arrive(address, name)
    return os.getpid()


def _die(how):
    if how.startswith("exit"):
        os._exit(int(how.split()[1]))
    if how == "real segfault":
        ctypes.string_at(0)
    if how == "closed descriptors":
        os.closerange(3, 1024)
        time.sleep(3600)
    os.kill(os.getpid(), getattr(signal, how))


@ct.electron
def die(how):
    print("last words", flush=True)
    _die(how)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exit 0", r"exit\w*\W.*\b0\b"),
        ("exit 9", r"exit\w*\W.*\b9\b"),
        ("SIGKILL", r"SIGKILL|signal 9\b"),
        ("SIGSEGV", r"SIGSEGV|signal 11\b"),
        ("SIGABRT", r"SIGABRT|signal 6\b"),
        ("SIGTERM", r"SIGTERM|signal 15\b"),
        ("real segfault", r"SIGSEGV|signal 11\b"),
        ("closed descriptors", r"\w"),
    ],
)
def test_the_task_fails_with_the_reason(how, reason):
    @ct.lattice
    def workflow(how):
        return identity(die(how)), identity("unharmed")

    result = ct.dispatch_sync(workflow)(how)
    assert "die" in failed(result)
    bad = node(result, "die")
    assert str(bad["status"]) == "FAILED"
    assert re.search(reason, bad["error"]), bad["error"]
    assert bad["stdout"] == "last words\n"
    assert bad["start_time"] <= bad["end_time"]
    assert sorted(str(n["status"]) for n in nodes(result, "identity")) == ["COMPLETED", "NEW_OBJECT"]
    assert run(_after, 1) == 1


@ct.lattice
def _after(x):
    return identity(x)


def test_neighbour_keeps_its_process(meeting_point):
    """A task that runs beside the dying one goes on in the same process."""

    @ct.electron
    def long_neighbour(address):
        before = os.getpid()
        arrive(address, "neighbour")
        return [before, os.getpid()]

    @ct.electron
    def die_when_told(address):
        arrive(address, "victim")
        os._exit(1)

    @ct.lattice
    def workflow(address):
        return long_neighbour(address), die_when_told(address)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("neighbour", "victim")
    meeting_point.release("victim")
    while status_of(ct.get_result(dispatch_id), "die_when_told") != "FAILED":
        pass
    meeting_point.release("neighbour")
    result = ct.get_result(dispatch_id, wait=True)
    failed(result)
    before, after = node(result, "long_neighbour")["output"].get_deserialized()
    assert before == after


def test_killed_from_outside(tmp_path, meeting_point):
    """What the OOM killer does: SIGKILL from elsewhere while the task runs."""

    @ct.electron
    def victim(path, address):
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        arrive(address, "victim")

    @ct.lattice
    def workflow(path, address):
        return victim(path, address), identity(1)

    path = tmp_path / "pid"
    dispatch_id = ct.dispatch(workflow)(str(path), meeting_point.address)
    meeting_point.wait_for("victim")
    os.kill(int(path.read_text()), signal.SIGKILL)
    result = ct.get_result(dispatch_id, wait=True)
    failed(result)
    assert re.search(r"SIGKILL|signal 9\b", node(result, "victim")["error"])
    assert status_of(result, "identity") == "COMPLETED"


def test_the_pool_is_whole_within_a_second(meeting_point):
    """Right after a death two tasks run side by side again, which needs both workers."""

    @ct.lattice
    def both(address):
        return report(address, "left"), report(address, "right")

    @ct.lattice
    def deadly(how):
        return die(how)

    waiting = ct.dispatch(both, disable_run=True)(meeting_point.address)
    failed(ct.dispatch_sync(deadly)("SIGKILL"))
    start(waiting)
    meeting_point.wait_for("left", "right", timeout=2.0)
    meeting_point.release("left", "right")
    left, right = completed(ct.get_result(waiting, wait=True))
    assert left != right


def test_many_deaths_in_one_dispatch():
    @ct.lattice
    def workflow(n):
        return [die("exit 1") for _ in range(n)], [identity(i) for i in range(n)]

    result = ct.dispatch_sync(workflow)(10)
    failed(result)
    assert {str(n["status"]) for n in nodes(result, "die")} == {"FAILED"}
    assert {str(n["status"]) for n in nodes(result, "identity")} == {"COMPLETED"}
    assert run(_after, "alive") == "alive"


def test_death_inside_a_sublattice():
    @ct.electron
    @ct.lattice
    def deadly(x):
        return identity(die("SIGSEGV"))

    @ct.lattice
    def workflow(x):
        return deadly(x), identity(x)

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    inner = node(result, ":sublattice:deadly")["sublattice_result"]
    assert re.search(r"SIGSEGV|signal 11\b", node(inner, "die")["error"])
    assert status_of(result, "identity") == "COMPLETED"


def test_death_while_unpickling_and_while_pickling():
    class DeadlyToLoad:
        def __reduce__(self):
            return (os._exit, (5,))

    class DeadlyToDump:
        def __reduce__(self):
            os._exit(6)

    @ct.electron
    def loads(value):
        return 1

    @ct.electron
    def dumps():
        return DeadlyToDump()

    @ct.lattice
    def workflow(value):
        return loads(value), dumps(), identity(1)

    result = ct.dispatch_sync(workflow)(DeadlyToLoad())
    failed(result)
    assert status_of(result, "loads") == "FAILED"
    assert status_of(result, "dumps") == "FAILED"
    assert status_of(result, "identity") == "COMPLETED"


def test_tasks_may_use_processes_of_their_own():
    """Forking inside a task disturbs neither the task nor its runner."""

    @ct.electron
    def parallel(values):
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(2) as pool:
            return list(pool.map(math.sqrt, values))

    @ct.electron
    def forks(x):
        child = os.fork()
        if child == 0:
            os._exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @ct.lattice
    def workflow():
        return parallel([1, 4, 9]), forks(1)

    assert run(workflow) == [[1.0, 2.0, 3.0], 3]
    assert run(_after, 2) == 2
