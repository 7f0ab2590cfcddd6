"""Tasks on a real Dask cluster, which is sound and stays so."""

import covalent as ct
import pytest
import requests
from checks import cancelled, completed, describe, node, nodes, run, status_of
from engines import keys_at, until, why
from meeting import arrive

pytestmark = pytest.mark.mends


def worker_address():
    """Runs in tasks: the Dask worker around them, or nothing."""
    from distributed import get_worker

    try:
        return get_worker().address
    except ValueError:
        return ""


@ct.electron
def where(x):
    return worker_address(), x


@ct.electron
def increment(x):
    return x + 1


@ct.electron
def double(text):
    return text + text


@ct.electron(executor="local")
def measure(text):
    return len(text)


@ct.electron
def report(address, name):
    return arrive(address, name)


@ct.electron
def refuse(x):
    print("before the end")
    raise ValueError(f"refused {x}")


@ct.electron
@ct.lattice
def twice(x):
    return increment(increment(x))


def on(executor, electron):
    """The same function on another executor."""
    return ct.electron(electron.electron_object.function, executor=executor)


def test_a_fan_runs_on_the_workers(on_dask):
    there = on(on_dask, where)

    @ct.lattice
    def workflow(n):
        return [there(i) for i in range(n)]

    answers = run(workflow, 50)
    assert [x for _, x in answers] == list(range(50))
    assert "" not in {address for address, _ in answers}


def test_both_workers_are_used_at_once(on_dask, meeting_point):
    """Each of them has one thread: two tasks that wait for each other need both."""
    held = on(on_dask, report)

    @ct.lattice
    def workflow(address):
        return held(address, "one"), held(address, "two")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("one", "two")
    meeting_point.release("one", "two")
    assert completed(ct.get_result(dispatch_id, wait=True)) == ["go", "go"]


def test_a_large_value_comes_back_and_goes_on(on_dask):
    """Larger than what fits into a message."""
    there, here = on(on_dask, double), on("local", double)

    @ct.lattice
    def workflow(size):
        return measure(here(there(there("x" * size))))

    assert run(workflow, 3_000_000) == 24_000_000


def test_a_chain_passes_its_values_on(on_dask):
    step = on(on_dask, increment)

    @ct.lattice
    def workflow(x):
        for _ in range(6):
            x = step(x)
        return x

    assert run(workflow, 1) == 7


def test_the_same_call_twice_is_two_tasks(on_dask, tmp_path):
    """Dask would take two calls of a function with the same arguments for one, and run it once."""

    @ct.electron(executor=on_dask)
    def count(path):
        with open(path, "a") as file:
            file.write("x")
        return 1

    @ct.lattice
    def workflow(path):
        return [count(path), count(path), count(path)]

    assert run(workflow, str(tmp_path / "count")) == [1, 1, 1]
    assert (tmp_path / "count").read_text() == "xxx"


def test_what_is_printed_and_what_is_raised_comes_back(on_dask):
    bad = on(on_dask, refuse)

    @ct.lattice
    def workflow(x):
        return bad(x)

    result = ct.dispatch_sync(workflow)("this")
    assert "refused this" in why(result)
    row = node(result, "refuse")
    assert row["stdout"].strip() == "before the end"
    assert "ValueError: refused this" in row["stderr"]


def test_keywords_hooks_and_the_context(on_dask, tmp_path):
    before = ct.DepsCall(lambda: "injected", retval_keyword="extra")
    after = ct.DepsCall(lambda path: open(path, "w").close(), args=[str(tmp_path / "after")])

    @ct.electron(executor=on_dask, call_before=[before], call_after=[after])
    def told(x, *, y, extra):
        context = ct.get_context()
        return x, y, extra, str(context.dispatch_id), context.task_id

    @ct.lattice
    def workflow(x):
        return told(x, y=2)

    result = ct.dispatch_sync(workflow)(1)
    number = node(result, "told")["node_id"]
    assert completed(result) == (1, 2, "injected", result.dispatch_id, number)
    assert (tmp_path / "after").exists()


def test_a_sublattice(on_dask):
    inner = ct.electron(twice.electron_object.function, executor=on_dask)

    @ct.lattice(executor=on_dask)
    def workflow(x):
        return increment(inner(x))

    result = ct.dispatch_sync(workflow)(1)
    assert completed(result) == 4
    sub = node(result, ":sublattice:twice")["sublattice_result"]
    assert [str(row["status"]) for row in nodes(sub, "increment")] == ["COMPLETED"] * 2


def test_a_workflow_of_both_kinds_of_workers(on_dask):
    there, here = on(on_dask, where), on("local", where)

    @ct.lattice
    def workflow(x):
        return here(there(x)), there(here(x))

    (here_last, (there_first, _)), (there_last, (here_first, _)) = run(workflow, 0)
    assert (here_last, here_first) == ("", "")
    assert there_first and there_last


def test_cancel_removes_the_future_from_the_scheduler(on_dask, dask_address, meeting_point):
    held = on(on_dask, report)

    @ct.lattice
    def workflow(address):
        return increment(held(address, "held"))

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")
    mine = [key for key in keys_at(dask_address) if dispatch_id in key]
    assert mine, "the key of a task names its dispatch"
    ct.cancel(dispatch_id)
    result = cancelled(ct.get_result(dispatch_id, wait=True))
    assert status_of(result, "report") == "CANCELLED"
    until(lambda: not [key for key in keys_at(dask_address) if dispatch_id in key])
    meeting_point.release("held")


def test_cancel_of_one_task_spares_the_others(on_dask, meeting_point):
    held = on(on_dask, report)

    @ct.lattice
    def workflow(address):
        return held(address, "spared"), held(address, "dropped")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("spared", "dropped")
    spared, dropped = (row["node_id"] for row in nodes(ct.get_result(dispatch_id), "report"))
    ct.cancel(dispatch_id, task_ids=[dropped])
    until(lambda: str(nodes(ct.get_result(dispatch_id), "report")[1]["status"]) == "CANCELLED")
    meeting_point.release("spared")
    result = ct.get_result(dispatch_id, wait=True)
    assert [str(row["status"]) for row in nodes(result, "report")] == ["COMPLETED", "CANCELLED"]
    meeting_point.release("dropped")


def test_nobody_at_the_address_fails_the_task_and_says_so():
    nowhere = ct.executor.DaskExecutor(scheduler_address="tcp://127.0.0.1:1")
    away = on(nowhere, increment)

    @ct.lattice
    def workflow(x):
        return away(x)

    result = ct.dispatch_sync(workflow)(1)
    assert "tcp://127.0.0.1:1" in why(result), describe(result)


@pytest.mark.own_server
def test_without_an_address_dask_is_the_local_pool(spawn_server):
    server = spawn_server()
    here = on("dask", where)

    @ct.lattice
    def workflow(x):
        return here(x)

    dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(1)
    result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    assert completed(result) == ("", 1)


@pytest.mark.own_server
@pytest.mark.parametrize("executor", ["dask", None])
def test_an_address_of_the_server_is_for_tasks_without_one(spawn_server, dask_address, executor):
    """Also for those that named no executor: the SDK writes `dask` for them."""
    server = spawn_server(options=("--dask", dask_address))
    there = on(executor, where) if executor else where

    @ct.lattice
    def workflow(x):
        return there(x)

    dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(1)
    result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    address, _ = completed(result)
    assert address.startswith("tcp://")


@pytest.mark.own_server
def test_an_address_of_the_server_is_for_executor_objects_without_one(spawn_server, dask_address):
    server = spawn_server(options=("--dask", dask_address))
    there = on(ct.executor.DaskExecutor(), where)

    @ct.lattice
    def workflow(x):
        return there(x)

    dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(1)
    address, _ = completed(ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url))
    assert address.startswith("tcp://")


@pytest.mark.own_server
def test_slots_bound_what_runs_at_once(spawn_server, dask_address, meeting_point):
    """The rest waits in the server, and not on the scheduler."""
    server = spawn_server(options=("--dask", dask_address, "--executor-slots", "dask=1"))
    held = on("dask", report)

    @ct.lattice
    def workflow(address):
        return [held(address, "turn") for _ in range(3)]

    dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(meeting_point.address)
    meeting_point.wait_for("turn")
    mine = [key for key in keys_at(dask_address) if dispatch_id in key]
    assert len(mine) == 1, mine
    meeting_point.release("turn")
    completed(ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url))


def test_the_list_of_executors_names_it(server):
    listed = requests.get(f"{server.url}/api/v3/executors", timeout=30).json()["executors"]
    assert {"local", "dask"} <= {row["name"] for row in listed}, listed
