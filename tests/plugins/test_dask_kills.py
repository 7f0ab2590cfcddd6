"""What becomes of tasks on Dask when a worker, the scheduler or our server is killed in the middle of them."""

import os

import covalent as ct
import pytest
import requests
from checks import completed, nodes
from engines import kill, until, why
from meeting import arrive

pytestmark = [pytest.mark.mends, pytest.mark.own_server]


def patient():
    """Dask, for tasks that may run again. The SDK's class has no option for it."""
    executor = ct.executor.DaskExecutor()
    executor.retries = 3
    return executor


@ct.electron(executor="dask")
def report(address, name):
    return arrive(address, name)


@ct.electron(executor="dask")
def pid_of_worker(address, name, path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return arrive(address, name)


@ct.electron(executor=patient())
def stubborn(address, name):
    return arrive(address, name)


@ct.electron(executor="dask")
def plain(x):
    return x + 1


def dispatch(server, workflow, *args):
    return ct.dispatch(workflow, dispatcher_addr=server.url)(*args)


def ended(server, dispatch_id):
    return ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)


@ct.lattice
def simple(n):
    return [plain(i) for i in range(n)]


def until_known(server, dispatch_id, names):
    """Returns when the server has stored how it finds the jobs of these nodes again."""
    url = f"{server.url}/api/v3/dispatches/{dispatch_id}/nodes"
    result = ct.get_result(dispatch_id, dispatcher_addr=server.url)
    for row in nodes(result, names):
        node = f"{url}/{row['node_id']}"
        until(lambda: "job" in requests.get(node, timeout=30).json()["assets"])


def works(server):
    """The engine and the server are sound again."""
    assert completed(ended(server, dispatch(server, simple, 10))) == list(range(1, 11))


def test_a_worker_is_killed(cluster, spawn_server, meeting_point, tmp_path):
    server = spawn_server(options=("--dask", cluster.address))
    path = tmp_path / "pids"

    @ct.lattice
    def workflow(address, path):
        return [pid_of_worker(address, "held", path)] + [plain(i) for i in range(20)]

    dispatch_id = dispatch(server, workflow, meeting_point.address, str(path))
    meeting_point.wait_for("held")
    kill(int(path.read_text().split()[0]))
    meeting_point.wait_for("held", count=2)
    meeting_point.release("held", message="done")
    assert completed(ended(server, dispatch_id)) == ["done", *range(1, 21)]
    first, second = path.read_text().split()
    assert first != second
    works(server)


def test_the_scheduler_is_restarted(cluster, spawn_server, meeting_point):
    """Tasks that were there run again, if they may; nothing waits for what is lost."""
    server = spawn_server(options=("--dask", cluster.address))

    @ct.lattice
    def workflow(address):
        return [stubborn(address, "again"), *[plain(i) for i in range(20)]]

    dispatch_id = dispatch(server, workflow, meeting_point.address)
    meeting_point.wait_for("again")
    cluster.stop_scheduler()
    cluster.start()
    meeting_point.wait_for("again", count=2)
    meeting_point.release("again", message="done")
    assert completed(ended(server, dispatch_id)) == ["done", *range(1, 21)]
    works(server)


def test_the_scheduler_goes_and_does_not_come_back(cluster, spawn_server, meeting_point):
    """Nothing waits for ever: the task fails, and says that the engine is at fault."""
    server = spawn_server(options=("--dask", cluster.address))

    @ct.lattice
    def workflow(address):
        return report(address, "gone")

    dispatch_id = dispatch(server, workflow, meeting_point.address)
    meeting_point.wait_for("gone")
    cluster.stop_scheduler()
    result = ended(server, dispatch_id)
    assert cluster.address in why(result)


def test_the_server_is_killed_and_started_again(cluster, spawn_server, meeting_point):
    server = spawn_server(options=("--dask", cluster.address))

    @ct.lattice
    def workflow(address):
        return [report(address, f"held{i}") for i in range(2)] + [plain(i) for i in range(30)]

    dispatch_id = dispatch(server, workflow, meeting_point.address)
    meeting_point.wait_for("held0", "held1")
    server.kill9()
    server.restart()
    for i in range(2):
        meeting_point.release(f"held{i}", message=f"done{i}")
    result = ended(server, dispatch_id)
    assert completed(result) == ["done0", "done1", *range(1, 31)]
    assert [str(row["status"]) for row in nodes(result, "plain")] == ["COMPLETED"] * 30
    works(server)


def test_tasks_end_while_the_server_is_away(cluster, spawn_server, meeting_point):
    """What a task has returned in the meantime is not computed again, once its job is known."""
    server = spawn_server(options=("--dask", cluster.address))

    @ct.lattice
    def workflow(address):
        return [report(address, f"away{i}") for i in range(2)]

    dispatch_id = dispatch(server, workflow, meeting_point.address)
    meeting_point.wait_for("away0", "away1")
    until_known(server, dispatch_id, "report")
    server.kill9()
    for i in range(2):
        meeting_point.release(f"away{i}", message=f"done{i}")
    server.restart()
    assert completed(ended(server, dispatch_id)) == ["done0", "done1"]
    ran = [name for name, _ in meeting_point.history]
    assert sorted(ran) == ["away0", "away1"], ran


def test_the_server_is_stopped_and_started_again(cluster, spawn_server, meeting_point):
    server = spawn_server(options=("--dask", cluster.address))

    @ct.lattice
    def workflow(address):
        return [report(address, "kept"), *[plain(i) for i in range(10)]]

    dispatch_id = dispatch(server, workflow, meeting_point.address)
    meeting_point.wait_for("kept")
    assert server.stop() == 0
    server.restart()
    meeting_point.release("kept", message="done")
    assert completed(ended(server, dispatch_id)) == ["done", *range(1, 11)]
