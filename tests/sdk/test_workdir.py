"""Options of the local executor: working directory, retries, time limit; and the names of executors."""

import os
import time

import covalent as ct
import pytest
from checks import completed, failed, node, nodes, run, status_of
from meeting import arrive

pytestmark = pytest.mark.mends
LocalExecutor = ct.executor.LocalExecutor


def _where():
    return os.getcwd()


@ct.electron
def where(x):
    return _where()


@ct.electron(executor="local")
def where_local(x):
    return _where()


def test_default_leaves_the_working_directory_alone():
    """The SDK's default `workdir` names a directory nobody asked for; it must not be entered."""
    default = ct.get_config("executors.local.workdir")

    @ct.electron(executor=LocalExecutor())
    def where_default(x):
        return _where()

    @ct.lattice
    def workflow(x):
        return where(x), where_local(x), where_default(x)

    directories = run(workflow, 1)
    assert len(set(directories)) == 1
    assert directories[0] != default


def test_workdir_is_created_and_entered(tmp_path):
    chosen = str(tmp_path / "deep" / "er")

    @ct.electron(executor=LocalExecutor(workdir=chosen))
    def task(x):
        with open("relative.txt", "w") as file:
            file.write(str(x))
        return os.getcwd()

    @ct.lattice
    def workflow(x):
        return task(x)

    assert run(workflow, 7) == chosen
    with open(f"{chosen}/relative.txt") as file:
        assert file.read() == "7"


def test_unique_workdir_is_one_per_task(tmp_path):
    executor = LocalExecutor(workdir=str(tmp_path), create_unique_workdir=True)

    @ct.electron(executor=executor)
    def task(x):
        return os.getcwd()

    @ct.lattice
    def workflow():
        return task(1), task(2)

    result = ct.dispatch_sync(workflow)()
    ids = [n["node_id"] for n in nodes(result, "task")]
    expected = [str(tmp_path / result.dispatch_id / f"node_{number}") for number in ids]
    assert completed(result) == expected


def test_workdir_of_one_task_does_not_reach_the_next(tmp_path):
    @ct.electron(executor=LocalExecutor(workdir=str(tmp_path)))
    def moved(x):
        return os.getcwd()

    @ct.electron
    def wanderer(x):
        os.chdir("/")
        return x

    @ct.lattice
    def workflow():
        before = [where(i) for i in range(4)]
        away = moved(wanderer(before))
        after = [where(away) for _ in range(4)]
        return before, away, after

    before, away, after = run(workflow)
    assert away == str(tmp_path)
    assert set(before) == set(after)
    assert len(set(before)) == 1


def test_hooks_run_in_the_workdir_too(tmp_path):
    @ct.electron(
        executor=LocalExecutor(workdir=str(tmp_path)), deps_bash=ct.DepsBash("pwd > where.txt")
    )
    def task(x):
        with open("where.txt") as file:
            return file.read().strip()

    @ct.lattice
    def workflow(x):
        return task(x)

    assert run(workflow, 1) == str(tmp_path)


def test_workdir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")

    @ct.electron(executor=LocalExecutor(workdir=str(tmp_path / "file" / "sub")))
    def task(x):
        return x

    @ct.lattice
    def workflow(x):
        return task(x), where(x)

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    assert str(tmp_path / "file") in node(result, "task")["error"]
    assert status_of(result, "where") == "COMPLETED"


def _attempt(path):
    """Counts how often it was called, across processes."""
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)


@pytest.mark.parametrize(("retries", "needed"), [(2, 3), (5, 2), (0, 1)])
def test_retries_until_it_works(tmp_path, retries, needed):
    counter = str(tmp_path / "attempts")

    @ct.electron(executor=LocalExecutor(retries=retries))
    def flaky(path, needed):
        attempt = _attempt(path)
        if attempt < needed:
            raise ConnectionError(f"attempt {attempt}")
        return attempt

    @ct.lattice
    def workflow(path, needed):
        return flaky(path, needed)

    assert run(workflow, counter, needed) == needed
    assert os.path.getsize(counter) == needed


def test_retries_used_up(tmp_path):
    counter = str(tmp_path / "attempts")

    @ct.electron(executor=LocalExecutor(retries=2))
    def hopeless(path):
        raise ConnectionError(f"attempt {_attempt(path)}")

    @ct.lattice
    def workflow(path):
        return hopeless(path), where(path)

    result = ct.dispatch_sync(workflow)(counter)
    failed(result)
    assert os.path.getsize(counter) == 3
    assert "ConnectionError: attempt 3" in node(result, "hopeless")["error"]
    assert status_of(result, "where") == "COMPLETED"


def test_retry_after_the_runner_died(tmp_path):
    counter = str(tmp_path / "attempts")

    @ct.electron(executor=LocalExecutor(retries=1))
    def dies_once(path):
        if _attempt(path) == 1:
            os._exit(9)
        return "second attempt"

    @ct.lattice
    def workflow(path):
        return dies_once(path)

    assert run(workflow, counter) == "second attempt"


@pytest.mark.parametrize("retries", [False, "", -1], ids=repr)
def test_values_that_mean_no_retry(tmp_path, retries):
    counter = str(tmp_path / "attempts")

    @ct.electron(executor=LocalExecutor(retries=retries))
    def hopeless(path):
        raise ConnectionError(f"attempt {_attempt(path)}")

    @ct.lattice
    def workflow(path):
        return hopeless(path)

    failed(ct.dispatch_sync(workflow)(counter))
    assert os.path.getsize(counter) == 1


def test_time_limit_ends_the_task_and_nothing_else(meeting_point):
    @ct.electron(executor=LocalExecutor(time_limit=1))
    def too_long(x):
        print("started", flush=True)
        while True:
            time.sleep(3600)

    @ct.electron
    def neighbour(address):
        return arrive(address, "neighbour")

    @ct.lattice
    def workflow(address):
        return too_long(1), neighbour(address)

    began = time.monotonic()
    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("neighbour")
    partial = ct.get_result(dispatch_id)
    while status_of(partial, "too_long") != "FAILED":
        assert time.monotonic() - began < 30, "the time limit had no effect"
        partial = ct.get_result(dispatch_id)
    assert time.monotonic() - began >= 1
    assert status_of(partial, "neighbour") == "RUNNING"
    meeting_point.release("neighbour")
    result = ct.get_result(dispatch_id, wait=True)
    failed(result)
    bad = node(result, "too_long")
    assert "time limit" in bad["error"].lower()
    assert bad["stdout"] == "started\n"
    assert status_of(result, "neighbour") == "COMPLETED"


@pytest.mark.parametrize("time_limit", [-1, "", False, 60], ids=repr)
def test_time_limits_that_are_not_reached(time_limit):
    @ct.electron(executor=LocalExecutor(time_limit=time_limit))
    def task(x):
        time.sleep(0.05)
        return x

    @ct.lattice
    def workflow(x):
        return task(x)

    assert run(workflow, "in time") == "in time"


@pytest.mark.parametrize("name", ["dask", "local"])
def test_executors_by_name(name):
    @ct.electron(executor=name)
    def task(x):
        return x

    @ct.lattice(executor=name, workflow_executor=name)
    def workflow(x):
        return task(x)

    assert run(workflow, 1) == 1


def test_dask_object_without_an_address_runs_on_the_local_pool():
    @ct.electron(executor=ct.executor.DaskExecutor())
    def task(x):
        return x

    @ct.lattice
    def workflow(x):
        return task(x)

    assert run(workflow, 1) == 1
