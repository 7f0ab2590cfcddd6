"""Defects of Covalent's own server that a server can mend, one section each (numbers of the protocol's §22.2)."""

import concurrent.futures
import os
import re
import time

import covalent as ct
import pytest
import wire
from checks import completed, failed, node, nodes, run, status_of
from meeting import arrive

pytestmark = pytest.mark.mends


@ct.electron
def identity(value):
    return value


@ct.electron
def report(address, name):
    return arrive(address, name)


@ct.electron
def fail_one(value):
    raise ValueError(f"one {value}")


@ct.electron
def fail_two(value):
    raise KeyError(f"two {value}")


@ct.lattice
def simple(x):
    return identity(x)


@ct.lattice
def held(address):
    return report(address, "held")


@ct.electron
@ct.lattice
def failing_inner(x):
    return identity(fail_one(x)), fail_two(x)


@ct.electron
@ct.lattice
def inner(x):
    return identity(x)


@ct.electron
@ct.lattice
def outer(x):
    return inner(x)


def test_d1_bodies_without_content_type(server):
    """The SDK registers without Content-Type; whatever is said there, the body is JSON."""
    assert run(simple, 1) == 1
    body = wire.prepare(simple, 2).body
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json"):
        answer = wire.requests.post(
            server.url + wire.DISPATCHES,
            data=wire.json.dumps(body),
            headers={"Content-Type": content_type},
            timeout=wire.TIMEOUT_S,
        )
        assert answer.status_code == 201, (content_type, answer.text)


def test_d2_a_dying_task_does_not_end_the_pool():
    @ct.electron
    def die(x):
        os._exit(1)

    @ct.lattice
    def deadly(x):
        return die(x)

    for _ in range(3):
        failed(ct.dispatch_sync(deadly)(1))
    assert run(simple, "still works") == "still works"


@pytest.fixture
def task_packing():
    ct.set_config("sdk.task_packing", "true")
    yield
    ct.set_config("sdk.task_packing", "false")


def test_d3_a_failure_in_a_packed_group_ends_the_dispatch(task_packing):
    @ct.lattice
    def workflow(x):
        return fail_one(x)["key"], identity({"k": x})["k"], identity([identity(x), {"d": x}])

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    assert status_of(result, "fail_one") == "FAILED"
    assert status_of(result, ":fail_one.__getitem__") == "NEW_OBJECT"
    assert status_of(result, ":identity.__getitem__") == "COMPLETED"


def test_d3_packed_groups_that_work(task_packing):
    @ct.lattice
    def workflow(x):
        a, b = identity([x, x + 1])
        return identity({"list": [a, b], "item": identity({"k": x})["k"]})

    assert run(workflow, 1) == {"list": [1, 2], "item": 1}


class Point:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize("use", ["subscript", "attribute", "unpacking", "nothing"])
def test_d12_helper_nodes_do_not_run_the_hooks_of_their_task(tmp_path, use):
    log = tmp_path / "log"

    def hook(path, text):
        with open(path, "a") as file:
            file.write(text)
        return 5

    @ct.electron(
        call_before=ct.DepsCall(hook, args=[str(log), "before,"], retval_keyword="value"),
        call_after=ct.DepsCall(hook, args=[str(log), "after,"]),
    )
    def task(use, value=None):
        return {"subscript": {"k": value}, "attribute": Point(value)}.get(use, [value, value])

    @ct.lattice
    def workflow(use):
        made = task(use)
        if use == "subscript":
            return made["k"]
        if use == "attribute":
            return made.value
        if use == "unpacking":
            a, b = made
            return [a, b]
        return made

    expected = 5 if use in ("subscript", "attribute") else [5, 5]
    assert run(workflow, use) == expected
    assert log.read_text() == "before,after,"


def test_d15_sub_dispatches_know_their_root():
    @ct.lattice
    def workflow(x):
        return outer(x)

    result = ct.dispatch_sync(workflow)(1)
    assert completed(result) == 1
    first = node(result, ":sublattice:outer")["sublattice_result"]
    second = node(first, ":sublattice:inner")["sublattice_result"]
    assert result.root_dispatch_id == result.dispatch_id
    assert first.root_dispatch_id == result.dispatch_id
    assert second.root_dispatch_id == result.dispatch_id
    assert len({result.dispatch_id, first.dispatch_id, second.dispatch_id}) == 3


def test_d17_an_export_never_promises_what_is_not_there(server, meeting_point):
    """An upload is announced, nothing arrives: every address the export gives must still work."""
    dispatch_id = ct.dispatch(held)(meeting_point.address)
    meeting_point.wait_for("held")
    for key in ("stdout", "stderr", "output"):
        target = f"{wire.DISPATCHES}/{dispatch_id}/electrons/0/assets/{key}"
        status, body = wire.exchange(server, wire.head(server, "POST", target, "Content-Length: 999"))
        assert status == 200, body
    manifest = wire.export(server, dispatch_id)
    for path in wire.asset_paths(manifest):
        asset = wire.at(manifest, path)
        if asset and asset["size"]:
            got = wire.requests.get(asset["remote_uri"], timeout=wire.TIMEOUT_S)
            assert got.status_code == 200, (path, got.status_code)
            assert len(got.content) == asset["size"], path
    meeting_point.release("held")
    assert completed(ct.get_result(dispatch_id, wait=True)) == "go"


def test_d17_start_names_what_is_missing_and_can_be_repeated(server):
    prepared = wire.prepare(simple, f"unique {time.time_ns()}")
    answer = wire.register(server, prepared.body).json()
    dispatch_id = answer["metadata"]["dispatch_id"]
    refused = wire.start(server, dispatch_id)
    assert refused.status_code == 409
    assert "inputs" in refused.text
    assert wire.export(server, dispatch_id)["metadata"]["status"] == "NEW_OBJECT"
    wire.upload(prepared, answer)
    assert wire.start(server, dispatch_id).status_code == 202
    assert completed(ct.get_result(dispatch_id, wait=True)).startswith("unique")


def test_d18_a_trivial_dispatch_does_not_cost_a_polling_second():
    def seconds(number):
        began = time.monotonic()
        assert run(simple, number) == number
        return time.monotonic() - began

    assert min(seconds(number) for number in range(3)) < 0.9


def _timed_status(dispatch_id):
    began = time.monotonic()
    status = ct.get_result(dispatch_id, status_only=True)["status"]
    return status, time.monotonic() - began


def test_d18_a_repeated_status_query_is_held_until_the_end(meeting_point):
    dispatch_id = ct.dispatch(held)(meeting_point.address)
    meeting_point.wait_for("held")
    status, took = _timed_status(dispatch_id)
    assert status == "RUNNING"
    assert took < 1.0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        second = pool.submit(_timed_status, dispatch_id)
        with pytest.raises(concurrent.futures.TimeoutError):
            second.result(timeout=1.2)
        released = time.monotonic()
        meeting_point.release("held")
        status, _ = second.result(timeout=10)
        assert status == "COMPLETED"
        assert time.monotonic() - released < 1.0


def test_d18_queries_that_are_not_waiting_are_answered_at_once(meeting_point):
    parked = ct.dispatch(simple, disable_run=True)(1)
    done = ct.dispatch_sync(simple)(1).dispatch_id
    for dispatch_id, expected in ((parked, "NEW_OBJECT"), (done, "COMPLETED")):
        for _ in range(3):
            status, took = _timed_status(dispatch_id)
            assert status == expected
            assert took < 0.25


def test_d18_waiting_is_woken_by_a_failure_too(meeting_point):
    @ct.electron
    def fail_later(address):
        arrive(address, "failing")
        raise ValueError("now")

    @ct.lattice
    def workflow(address):
        return fail_later(address)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("failing")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ct.get_result, dispatch_id, wait=True)
        with pytest.raises(concurrent.futures.TimeoutError):
            waiting.result(timeout=1.5)
        released = time.monotonic()
        meeting_point.release("failing")
        failed(waiting.result(timeout=10))
        assert time.monotonic() - released < 2.0


def test_d19_a_hundred_small_tasks_take_no_time():
    @ct.lattice
    def workflow(n):
        return [identity(i) for i in range(n)]

    dispatch_id = ct.dispatch(workflow)(100)
    result = ct.get_result(dispatch_id, wait=True, intermediate_outputs=False)
    assert completed(result) == list(range(100))
    assert (result.end_time - result.start_time).total_seconds() < 5


def test_d20_the_working_directory_is_honoured(tmp_path):
    @ct.electron(executor=ct.executor.LocalExecutor(workdir=str(tmp_path / "w")))
    def plain(x):
        return os.getcwd()

    @ct.electron(
        executor=ct.executor.LocalExecutor(workdir=str(tmp_path), create_unique_workdir=True)
    )
    def unique(x):
        return os.getcwd()

    @ct.lattice
    def workflow(x):
        return plain(x), unique(x)

    result = ct.dispatch_sync(workflow)(1)
    number = node(result, "unique")["node_id"]
    expected = tmp_path / result.dispatch_id / f"node_{number}"
    assert completed(result) == [str(tmp_path / "w"), str(expected)]


def test_d25_failed_nodes_are_listed_one_per_line():
    @ct.lattice
    def workflow(x):
        return fail_one(x), fail_two(x), identity(x)

    result = ct.dispatch_sync(workflow)(1)
    lines = failed(result).splitlines()
    for name in ("fail_one", "fail_two"):
        number = node(result, name)["node_id"]
        assert any(re.match(rf"\s*{number}: {name}\b", line) for line in lines), lines
    assert not any("fail_one" in line and "fail_two" in line for line in lines), lines


def test_d25_failures_inside_sub_workflows_reach_the_parents_error():
    @ct.lattice
    def workflow(x):
        return failing_inner(x), identity(x)

    result = ct.dispatch_sync(workflow)(1)
    lines = failed(result).splitlines()
    for name in (":sublattice:failing_inner", "fail_one", "fail_two"):
        assert any(name in line for line in lines), lines
    assert not any("fail_one" in line and "fail_two" in line for line in lines), lines
    sub = node(result, ":sublattice:failing_inner")["sublattice_result"]
    assert "fail_one" in failed(sub) and "fail_two" in sub.error


def test_d26_a_build_that_fails_after_linking_fails_the_dispatch():
    """The sub-dispatch is registered and linked, then a hook of the build task raises."""

    def explode():
        raise RuntimeError("after the build")

    @ct.lattice(call_after=ct.DepsCall(explode))
    def workflow(x):
        return inner(x)

    dispatch_id = ct.dispatch(workflow)(1)
    result = ct.get_result(dispatch_id, wait=True, sublattice_results=False)
    failed(result)
    bad = node(result, ":sublattice:inner")
    assert str(bad["status"]) == "FAILED"
    assert "RuntimeError: after the build" in bad["stderr"]
    assert len(nodes(result, ":sublattice:inner")) == 1
