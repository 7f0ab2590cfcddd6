"""`cov purge`, `cov backup` and `cov restore` on a server at work: what is kept stays right, what goes is gone."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import covalent as ct
import pytest
import requests
from checks import completed, failed
from meeting import arrive
from upkeep import Cov

pytestmark = [pytest.mark.own_server, pytest.mark.mends]

LARGE = 200_000


@ct.electron(executor="local")
def blob(seed):
    return seed.encode() + bytes(LARGE)


@ct.electron(executor="local")
def size(data):
    return len(data)


@ct.electron(executor="local")
def broken(data):
    raise ValueError(f"after {len(data)} bytes")


@ct.electron(executor="local")
def waiting(address, name, data):
    return arrive(address, name) + str(len(data))


@ct.lattice(executor="local", workflow_executor="local")
def kept(seed):
    return size(blob(seed))


@ct.lattice(executor="local", workflow_executor="local")
def failing(seed):
    return broken(blob(seed))


@ct.lattice(executor="local", workflow_executor="local")
def weighing(data):
    return size(data)


@ct.lattice(executor="local", workflow_executor="local")
def weighing_and_failing(data):
    size(data)
    return broken(data)


@ct.lattice(executor="local", workflow_executor="local")
def held(address, name, seed):
    return waiting(address, name, blob(seed))


@pytest.fixture
def cov(tmp_path):
    own = Cov(tmp_path / "home").start()
    yield own
    own.end()


def dispatch(cov, workflow, *args):
    return ct.dispatch(workflow, dispatcher_addr=cov.url)(*args)


def result(cov, dispatch_id):
    return ct.get_result(dispatch_id, wait=True, dispatcher_addr=cov.url)


def purge(cov, *words):
    return cov.run("purge", "--older-than", "0s", *words)


class Churn:
    """Dispatches that fail after a large output, and purges of failed ones, until told to stop."""

    def __init__(self, cov) -> None:
        self._over = threading.Event()
        self._purged = threading.Condition()
        self._gone = 0
        self._pool = ThreadPoolExecutor(2)
        self._ways = [self._pool.submit(self._fail, cov), self._pool.submit(self._purge, cov)]

    def _fail(self, cov):
        number = 0
        while not self._over.is_set():
            dispatches = [dispatch(cov, failing, f"{number + n}") for n in range(2)]
            for one in dispatches:
                until_ended(cov, one)
            number += 2

    def _purge(self, cov):
        while not self._over.is_set():
            gone = purge(cov, "--status", "FAILED")["dispatches"]
            with self._purged:
                self._gone += gone
                self._purged.notify_all()

    def until_more_is_purged(self):
        """Returns when dispatches were purged since now."""
        with self._purged:
            before = self._gone
            more = self._purged.wait_for(
                lambda: self._gone > before or any(way.done() for way in self._ways), 60
            )
        if not more or self._gone == before:
            self.end()
            raise AssertionError("nothing was purged")

    def end(self):
        """What went wrong in the background is raised here."""
        self._over.set()
        for way in self._ways:
            way.result()
        self._pool.shutdown()


def until_ended(cov, dispatch_id):
    """Waits until a dispatch has ended; it may be purged as soon as it has."""
    while True:
        answer = requests.get(f"{cov.url}/api/v3/dispatches/{dispatch_id}", timeout=30)
        if answer.status_code == 404 or answer.json()["status"] == "FAILED":
            return


def outputs_are_whole(cov):
    """Every dispatch that a server has can be read, with the bytes of every output that is there."""
    page = requests.get(f"{cov.url}/api/v3/dispatches?limit=100", timeout=30).json()
    for summary in page["dispatches"]:
        dispatch_id = summary["dispatch_id"]
        record = requests.get(f"{cov.url}/api/v2/dispatches/{dispatch_id}", timeout=30).json()
        for node in record["lattice"]["transport_graph"]["nodes"]:
            output = node["assets"]["output"]
            if output["size"]:
                answer = requests.get(output["remote_uri"], timeout=30)
                assert answer.status_code == 200, answer.text
                assert len(answer.content) == output["size"]
    return len(page["dispatches"])


def test_a_busy_server_is_backed_up_and_goes_on_elsewhere(cov, tmp_path, meeting_point):
    """Results are there, what was running runs again, and no backup sees half of a purge."""
    before = [dispatch(cov, kept, f"kept {n}") for n in range(3)]
    sizes = [completed(result(cov, one)) for one in before]
    parked = ct.dispatch(kept, dispatcher_addr=cov.url, disable_run=True)("parked")
    running = dispatch(cov, held, meeting_point.address, "held", "held")
    meeting_point.wait_for("held")
    churn = Churn(cov)
    files = [tmp_path / f"backup{n}.tar" for n in range(4)]
    written = []
    for file in files:
        churn.until_more_is_purged()
        written.append(cov.run("backup", str(file)))
    churn.end()
    assert all(one["contents"] >= len(before) for one in written)
    cov.kill9()

    for file in files[:-1]:
        restored = Cov(tmp_path / file.stem)
        said = restored.run("restore", str(file), "--data-dir", str(restored.data_dir))
        assert said["dispatches"] >= 5
    other = Cov(tmp_path / "other")
    other.run("restore", str(files[-1]), "--data-dir", str(other.data_dir))
    other.start()
    try:
        assert [completed(result(other, one)) for one in before] == sizes
        meeting_point.wait_for("held", count=2)
        meeting_point.release("held")
        assert completed(result(other, running)) == f"go{LARGE + len('held')}"
        ct._dispatcher_plugins.local.LocalDispatcher.start(parked, other.url)
        assert completed(result(other, parked)) == LARGE + len("parked")
        assert outputs_are_whole(other) >= 5
        purge(other)
        assert other.contents() == []
    finally:
        other.end()


def test_a_purge_takes_nothing_that_anybody_still_needs(cov, meeting_point):
    """The same bytes are purged with one dispatch while the next one is registered with them."""
    data = os.urandom(LARGE)
    running = dispatch(cov, held, meeting_point.address, "held", "held")
    meeting_point.wait_for("held")
    over = threading.Event()

    def purging():
        gone = 0
        while not over.is_set():
            gone += purge(cov, "--status", "FAILED", "--status", "CANCELLED")["dispatches"]
        return gone

    with ThreadPoolExecutor(3) as pool:
        purged = pool.submit(purging)
        completing = [pool.submit(dispatch, cov, weighing, data) for _ in range(6)]
        for _ in range(6):
            one = dispatch(cov, weighing_and_failing, data)
            until_ended(cov, one)
        sizes = [completed(result(cov, one.result())) for one in completing]
        over.set()
        assert purged.result() > 0
    assert sizes == [LARGE] * 6
    assert purge(cov, "--dry-run")["dispatches"] >= 6
    assert purge(cov)["dispatches"] >= 6
    for one in completing:
        url = f"{cov.url}/api/v3/dispatches/{one.result()}"
        assert requests.get(url, timeout=30).status_code == 404
    meeting_point.release("held")
    assert completed(result(cov, running)) == f"go{LARGE + len('held')}"
    assert purge(cov)["dispatches"] == 1
    assert cov.contents() == []


def test_a_purge_that_is_killed_is_finished_by_the_next(cov, meeting_point):
    """`kill -9` while much is being removed; what is under way goes on."""
    running = dispatch(cov, held, meeting_point.address, "held", "held")
    meeting_point.wait_for("held")
    done = [dispatch(cov, kept, f"{n}") for n in range(12)]
    for one in done:
        completed(result(cov, one))
    with ThreadPoolExecutor(1) as pool:
        purging = pool.submit(cov.run_any, "purge", "--older-than", "0s")
        while len(cov.contents()) == 13 and not purging.done():
            pass
        cov.kill9()
        purging.result()
    cov.start()
    meeting_point.wait_for("held", count=2)
    meeting_point.release("held")
    assert completed(result(cov, running)) == f"go{LARGE + len('held')}"
    left = outputs_are_whole(cov)
    assert purge(cov)["dispatches"] == left
    assert outputs_are_whole(cov) == 0
