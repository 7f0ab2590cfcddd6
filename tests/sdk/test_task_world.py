"""What a task finds in its process: it is an ordinary Python program's main thread, alone with its task."""

import concurrent.futures
import os
import random
import sys
import threading
import time

import covalent as ct
import pytest
from checks import completed, failed, node, nodes, run, status_of
from meeting import arrive


@ct.electron
def identity(value):
    return value


def test_main_thread_signals_and_asyncio():
    """Libraries that need the main thread, or no running event loop, must work."""

    @ct.electron
    def task(x):
        import asyncio
        import signal

        fired = []
        signal.signal(signal.SIGALRM, lambda *_: fired.append("alarm"))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not fired:
            time.sleep(0.001)

        async def double(value):
            await asyncio.sleep(0)
            return 2 * value

        in_main = threading.current_thread() is threading.main_thread()
        return [in_main, asyncio.run(double(x)), fired]

    @ct.lattice
    def workflow(x):
        return task(x)

    assert run(workflow, 4) == [True, 8, ["alarm"]]


def test_standard_input_is_empty():
    @ct.electron
    def asks(x):
        return input("name? ")

    @ct.electron
    def child_asks(x):
        import subprocess

        return subprocess.run(["cat"], capture_output=True, timeout=20).stdout

    @ct.lattice
    def workflow(x):
        return asks(x), child_asks(x)

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    assert "EOFError" in node(result, "asks")["stderr"]
    assert node(result, "child_asks")["output"].get_deserialized() == b""


def test_output_streams_behave_like_streams():
    @ct.electron
    def task(x):
        print("plain", end="")
        print(" and", "separated", sep="-")
        sys.stdout.write("written\n")
        sys.stdout.writelines(["one\n", "two\n"])
        sys.stdout.flush()
        sys.stderr.flush()
        return [sys.stdout.isatty(), sys.stderr.isatty(), sys.stdout.writable()]

    @ct.lattice
    def workflow(x):
        return task(x)

    result = ct.dispatch_sync(workflow)(1)
    assert completed(result) == [False, False, True]
    done = node(result, "task")
    assert done["stdout"] == "plain and-separated\nwritten\none\ntwo\n"
    assert not done["stderr"]


def test_warnings_and_logging_go_to_stderr():
    @ct.electron
    def task(x):
        import logging
        import warnings

        warnings.warn("be careful")
        logging.getLogger("somewhere").warning("logged %d", x)

    @ct.lattice
    def workflow(x):
        return task(x)

    result = ct.dispatch_sync(workflow)(17)
    completed(result)
    assert "be careful" in node(result, "task")["stderr"]
    assert "logged 17" in node(result, "task")["stderr"]


def test_output_of_tasks_side_by_side_is_not_mixed(meeting_point):
    @ct.electron
    def chatter(address, name):
        for number in range(200):
            print(name, number)
            if number == 100:
                arrive(address, name)

    @ct.lattice
    def workflow(address):
        return chatter(address, "left"), chatter(address, "right")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("left", "right")
    meeting_point.release("left", "right")
    result = ct.get_result(dispatch_id, wait=True)
    completed(result)
    texts = sorted(n["stdout"] for n in nodes(result, "chatter"))
    assert texts == ["".join(f"{name} {i}\n" for i in range(200)) for name in ("left", "right")]


def test_random_numbers_differ_between_tasks(meeting_point):
    @ct.electron
    def draw(address, name):
        arrive(address, name)
        return [random.random(), os.urandom(8)]

    @ct.lattice
    def workflow(address):
        return draw(address, "a"), draw(address, "b")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("a", "b")
    meeting_point.release("a", "b")
    first, second = completed(ct.get_result(dispatch_id, wait=True))
    assert first[0] != second[0] and first[1] != second[1]


def test_a_thread_left_behind_disturbs_nobody(meeting_point):
    @ct.electron
    def leaves_a_thread(address):
        def background():
            arrive(address, "background")
            print("from the grave")

        threading.Thread(target=background, daemon=True).start()
        return "done"

    @ct.electron
    def quiet(x):
        return x

    @ct.lattice
    def workflow(address):
        return [quiet(leaves_a_thread(address)) for _ in range(2)]

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("background", count=2)
    meeting_point.release("background")
    assert completed(ct.get_result(dispatch_id, wait=True)) == ["done", "done"]
    assert run(_simple, "next") == "next"


@ct.lattice
def _simple(x):
    return identity(x)


def test_lambdas_and_callable_objects_as_electrons():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def by(self, value):
            return self.factor * value

    triple = ct.electron(lambda value: 3 * value)
    scaled = ct.electron(Scale(10).by)

    @ct.lattice
    def workflow(x):
        return scaled(triple(x))

    assert run(workflow, 2) == 60


def test_a_wide_positional_fan_in():
    @ct.electron
    def total(*values):
        return sum(values)

    @ct.lattice
    def workflow(n):
        return total(*[identity(i) for i in range(n)])

    assert run(workflow, 25) == 300


@pytest.fixture
def exhaustive():
    ct.set_config("sdk.exhaustive_postprocess", "true")
    yield
    ct.set_config("sdk.exhaustive_postprocess", "false")


def test_exhaustive_postprocessing_keeps_tuples(exhaustive):
    """The SDK's other way of finishing: the lattice function runs again on the outputs."""

    @ct.lattice
    def workflow(x):
        return (identity(x), {"k": identity(x + 1)})

    result = ct.dispatch_sync(workflow)(1)
    assert completed(result) == (1, {"k": 2})
    assert status_of(result, ":postprocess:") == "COMPLETED"


def test_many_clients_wait_for_one_dispatch(meeting_point):
    """Thirty waiting clients hold up neither each other nor anyone else, and all see the end."""

    @ct.electron
    def report(address):
        return arrive(address, "held")

    @ct.lattice
    def workflow(address):
        return report(address)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")

    def wait(_):
        status = "RUNNING"
        while status == "RUNNING":
            status = ct.get_result(dispatch_id, status_only=True)["status"]
        return status

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        waiting = [pool.submit(wait, number) for number in range(30)]
        assert run(_simple, "meanwhile") == "meanwhile"
        assert not any(future.done() for future in waiting)
        meeting_point.release("held")
        assert {future.result(timeout=30) for future in waiting} == {"COMPLETED"}


@pytest.mark.mends
def test_options_of_the_lattices_executor_reach_its_electrons(tmp_path):
    counter = str(tmp_path / "attempts")

    @ct.electron
    def flaky(path):
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            raise ConnectionError("not yet")
        return os.getcwd()

    executor = ct.executor.LocalExecutor(retries=2, workdir=str(tmp_path / "w"))

    @ct.lattice(executor=executor)
    def workflow(path):
        return flaky(path)

    assert run(workflow, counter) == str(tmp_path / "w")
    assert os.path.getsize(counter) == 3
