"""Many dispatches at once, and dispatches that are registered now and started later."""

import json
import os
import subprocess
import threading

import covalent as ct
import pytest
from checks import completed, failed, run
from meeting import arrive

start = ct._dispatcher_plugins.local.LocalDispatcher.start

DISPATCHING_PROCESS = """
import json, sys
import covalent as ct

@ct.electron
def square(value):
    return value * value

@ct.electron
def add(a, b):
    return a + b

@ct.lattice
def workflow(a, b):
    return add(square(a), square(b))

first, count = int(sys.argv[1]), int(sys.argv[2])
ids = [ct.dispatch(workflow)(number, 1) for number in range(first, first + count)]
print(json.dumps([[i, ct.get_result(i, wait=True).result] for i in ids]))
"""


@ct.electron
def identity(value):
    return value


@ct.electron
def report(address, name):
    return arrive(address, name)


@pytest.mark.heavy
def test_fifty_dispatches_from_four_processes(tmp_path, python):
    shares = [(0, 13), (100, 13), (200, 12), (300, 12)]
    processes = []
    for first, count in shares:
        config = tmp_path / f"config{first}"
        config.mkdir()
        processes.append(
            subprocess.Popen(
                [python, "-c", DISPATCHING_PROCESS, str(first), str(count)],
                env={**os.environ, "COVALENT_CONFIG_DIR": str(config)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    ids = set()
    for (first, count), process in zip(shares, processes):
        out, err = process.communicate(timeout=110)
        assert process.returncode == 0, err
        answers = json.loads(out.splitlines()[-1])
        assert [value for _, value in answers] == [n * n + 1 for n in range(first, first + count)]
        ids.update(dispatch_id for dispatch_id, _ in answers)
    assert len(ids) == 50


def test_dispatches_from_threads_of_one_process():
    @ct.lattice
    def workflow(x):
        return identity(x)

    values: dict[int, object] = {}

    def user(number):
        values[number] = ct.dispatch_sync(workflow)(number).result

    threads = [threading.Thread(target=user, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {number: number for number in range(8)}


def test_a_waiting_dispatch_does_not_stop_another(meeting_point):
    """One workflow holds a worker; the other worker serves everybody else."""

    @ct.lattice
    def holding(address):
        return report(address, "held")

    @ct.lattice
    def quick(x):
        return identity(identity(x))

    held = ct.dispatch(holding)(meeting_point.address)
    meeting_point.wait_for("held")
    for number in range(3):
        assert run(quick, number) == number
    assert ct.get_result(held, status_only=True)["status"] == "RUNNING"
    meeting_point.release("held")
    assert completed(ct.get_result(held, wait=True)) == "go"


@pytest.mark.mends
def test_a_small_dispatch_overtakes_a_wide_one(meeting_point):
    """Workers are shared fairly: a single task does not queue behind a hundred of another dispatch."""

    @ct.electron
    def gate(address):
        return arrive(address, "gate")

    @ct.electron
    def worker(gate_message, number):
        import time

        time.sleep(0.05)
        return number

    @ct.lattice
    def wide(address):
        opened = gate(address)
        return [worker(opened, number) for number in range(100)]

    @ct.lattice
    def small(x):
        return identity(x)

    wide_id = ct.dispatch(wide)(meeting_point.address)
    meeting_point.wait_for("gate")
    parked = ct.dispatch(small, disable_run=True)("small")
    meeting_point.release("gate")
    start(parked)
    result = ct.get_result(parked, wait=True)
    assert ct.get_result(wide_id, status_only=True)["status"] == "RUNNING"
    assert completed(result) == "small"
    assert completed(ct.get_result(wide_id, wait=True)) == list(range(100))


def test_register_now_and_start_later():
    @ct.lattice
    def workflow(x):
        return identity(x)

    dispatch_id = ct.dispatch(workflow, disable_run=True)("later")
    assert ct.get_result(dispatch_id, status_only=True)["status"] == "NEW_OBJECT"
    assert run(workflow, "another") == "another"
    assert ct.get_result(dispatch_id, status_only=True)["status"] == "NEW_OBJECT"
    assert start(dispatch_id) == dispatch_id
    assert completed(ct.get_result(dispatch_id, wait=True)) == "later"


def test_starting_twice_runs_once(tmp_path):
    counter = tmp_path / "count"

    @ct.electron
    def count(path):
        with open(path, "a") as file:
            file.write("x")

    @ct.lattice
    def workflow(path):
        return count(path)

    dispatch_id = ct.dispatch(workflow, disable_run=True)(str(counter))
    assert start(dispatch_id) == dispatch_id
    assert start(dispatch_id) == dispatch_id
    completed(ct.get_result(dispatch_id, wait=True))
    assert start(dispatch_id) == dispatch_id
    assert ct.get_result(dispatch_id, status_only=True)["status"] == "COMPLETED"
    assert counter.read_text() == "x"


def test_a_failing_and_a_working_dispatch_at_once():
    @ct.electron
    def fail(x):
        raise ValueError(x)

    @ct.lattice
    def failing(x):
        return fail(x)

    @ct.lattice
    def working(x):
        return identity(x)

    ids = [(ct.dispatch(failing)(n), ct.dispatch(working)(n)) for n in range(4)]
    for number, (bad, good) in enumerate(ids):
        failed(ct.get_result(bad, wait=True))
        assert completed(ct.get_result(good, wait=True)) == number
