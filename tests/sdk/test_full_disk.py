"""A real server whose data directory is a small disk of its own, full to the last byte, and free again.

Mounting such a disk needs root. Where that is not allowed the tests are skipped, but not with CI=true.
"""

import errno
import hashlib
import os
import subprocess
import time

import covalent as ct
import pytest
import requests
from checks import completed, failed, node
from meeting import arrive
from test_storage_faults import counting, heavy, register, results_of

pytestmark = [pytest.mark.own_server, pytest.mark.mends]

DISK_BYTES = 12 * 1024 * 1024
RECOVERS_IN_S = 30.0
LARGE = 3_000_000


class SmallDisk:
    """A mounted disk, and a file that fills it."""

    def __init__(self, place):
        self.place = place
        self._filler = place / "filler"

    def fill(self):
        """Leaves no byte."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1024 * 1024, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error

    def free(self):
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "own" / "data"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "none", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        why = f"no disk can be mounted here: {done.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    yield SmallDisk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def own(disk, spawn_server):
    """A server on the small disk that may use all of it; it is stopped before the disk goes."""
    return spawn_server(name="own", options=("--limits-free-bytes", "0"))


@ct.electron(executor="local")
def large(address, name):
    arrive(address, name)
    return "x" * LARGE


@ct.electron(executor="local")
def too_large():
    return "x" * DISK_BYTES


@ct.electron(executor="local")
def digest(data):
    return hashlib.sha256(data.encode()).hexdigest()


@ct.electron(executor="local")
def talkative(address, name):
    arrive(address, name)
    for number in range(40_000):
        print(f"line {number}")
    return "said"


@ct.lattice(executor="local", workflow_executor="local")
def hashing(address, name):
    return digest(large(address, name))


@ct.lattice(executor="local", workflow_executor="local")
def hopeless():
    return digest(too_large())


@ct.lattice(executor="local", workflow_executor="local")
def talking(address, name):
    return talkative(address, name)


def dispatch(server, workflow, *args):
    return ct.dispatch(workflow, dispatcher_addr=server.url)(*args)


def result(server, dispatch_id):
    return ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)


def until_accepted(server):
    """Registers until the server takes it again, which it must do by itself."""
    deadline = time.monotonic() + RECOVERS_IN_S
    while (answer := register(server)).status_code != 201:
        assert answer.status_code in (503, 507), answer.text
        assert time.monotonic() < deadline, answer.text


def until_refused(server):
    """Registers until the disk is full for the server too; returns what was accepted."""
    accepted = []
    while (answer := register(server)).status_code == 201:
        accepted.append(answer.json()["metadata"]["dispatch_id"])
    assert answer.status_code in (503, 507), answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    return accepted


def test_a_full_disk_costs_time_and_nothing_else(own, disk):
    """What was accepted is there afterwards, what was under way goes on, also after `kill -9`."""
    counts = [dispatch(own, counting, n, 0.15) for n in range(3)]
    blobs = [dispatch(own, heavy, n) for n in range(2)]
    disk.fill()
    accepted = until_refused(own)
    assert requests.get(f"{own.url}/healthz", timeout=10).status_code == 200
    assert requests.post(f"{own.url}/api/v3/backup", timeout=60).status_code in (503, 507)
    disk.free()
    until_accepted(own)
    assert results_of(own, counts) == [4, 5, 6]
    assert results_of(own, blobs) == [200_001] * 2
    own.kill9()
    own.restart()
    assert results_of(own, counts) == [4, 5, 6]
    for one in accepted:
        answer = requests.get(f"{own.url}/api/v2/dispatches/{one}", timeout=10)
        assert answer.status_code == 200, answer.text
    assert requests.post(f"{own.url}/api/v3/backup", timeout=60).status_code == 200
    assert not own.panics()


def test_a_server_that_died_on_a_full_disk_starts_when_there_is_space(own, disk):
    counts = [dispatch(own, counting, n, 0.15) for n in range(3)]
    disk.fill()
    accepted = until_refused(own)
    own.kill9()
    disk.free()
    own.restart()
    assert results_of(own, counts) == [4, 5, 6]
    for one in accepted:
        answer = requests.get(f"{own.url}/api/v2/dispatches/{one}", timeout=10)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("workflow", [hashing, talking])
def test_a_task_waits_for_space(own, disk, meeting_point, workflow):
    """What it returned or printed meets a full disk; its code is not run again, and nothing is lost."""
    running = dispatch(own, workflow, meeting_point.address, "task")
    meeting_point.wait_for("task")
    disk.fill()
    meeting_point.release("task")
    until_refused(own)
    record = f"{own.url}/api/v3/dispatches/{running}"
    unchanged = time.monotonic() + 1.0
    while time.monotonic() < unchanged:
        assert requests.get(record, timeout=10).json()["status"] == "RUNNING"
    disk.free()
    ended = result(own, running)
    if workflow is hashing:
        assert completed(ended) == hashlib.sha256(b"x" * LARGE).hexdigest()
    else:
        assert completed(ended) == "said"
        lines = node(ended, "talkative")["stdout"].splitlines()
        assert lines == [f"line {number}" for number in range(40_000)]
    assert meeting_point.arrivals("task") == 1


def test_an_output_larger_than_the_disk_is_no_fault_of_the_task(own):
    ended = result(own, dispatch(own, hopeless))
    failed(ended)
    number = node(ended, "too_large")["node_id"]
    url = f"{own.url}/api/v3/dispatches/{ended.dispatch_id}/nodes/{number}"
    shown = requests.get(url, timeout=10).json()
    assert shown["fault"] == "server"
    assert "more than the whole disk" in shown["failure"]["message"], shown
    until_accepted(own)
