"""What goes wrong in a task is told where the user looks, and stops nothing else."""

import sys

import covalent as ct
import pytest
from checks import completed, failed, node, nodes, status_of
from meeting import arrive


@ct.electron
def identity(value):
    return value


@ct.electron
def fail(message):
    print("before the failure")
    print("a complaint", file=sys.stderr)
    raise ValueError(message)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("this cannot be pickled")


class TrickyError(Exception):
    """Cannot be rebuilt from its pickle: its constructor wants more than the pickle holds."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_exception_in_a_task():
    @ct.lattice
    def workflow(x):
        return identity(fail(x))

    result = ct.dispatch_sync(workflow)("no good")
    error = failed(result)
    bad = node(result, "fail")
    assert str(bad["status"]) == "FAILED"
    assert bad["output"] is None
    assert "Traceback (most recent call last)" in bad["stderr"]
    assert "ValueError: no good" in bad["stderr"]
    assert "a complaint" in bad["stderr"]
    assert bad["stdout"] == "before the failure\n"
    assert f"{bad['node_id']}: fail" in error


@pytest.mark.mends
def test_traceback_is_also_the_nodes_error():
    @ct.lattice
    def workflow(x):
        return fail(x)

    bad = node(ct.dispatch_sync(workflow)("no good"), "fail")
    assert "Traceback (most recent call last)" in bad["error"]
    assert "ValueError: no good" in bad["error"]
    assert "in fail" in bad["error"]


def test_nothing_downstream_runs_and_independent_branches_finish():
    @ct.lattice
    def workflow(x):
        bad = fail(x)
        below = identity(bad)
        also_below = identity([below, {"k": bad}])
        good = identity(identity(x))
        return also_below, good

    result = ct.dispatch_sync(workflow)("x")
    failed(result)
    statuses = sorted(str(n["status"]) for n in nodes(result, "identity"))
    assert statuses == ["COMPLETED", "COMPLETED", "NEW_OBJECT", "NEW_OBJECT"]
    assert status_of(result, ":postprocess:reconstruct") == "NEW_OBJECT"
    for unreached in nodes(result, "identity"):
        if str(unreached["status"]) == "NEW_OBJECT":
            assert unreached["start_time"] is None
            assert unreached["end_time"] is None
            assert unreached["output"] is None


def test_a_failure_below_a_waiting_edge_stops_the_waiting_task():
    @ct.lattice
    def workflow(x):
        child = identity(x)
        ct.wait(child, fail(x))
        return child

    result = ct.dispatch_sync(workflow)("x")
    failed(result)
    assert status_of(result, "identity") == "NEW_OBJECT"


def test_dispatch_stays_running_while_another_branch_runs(meeting_point):
    """The verdict is given when nothing runs any more, not at the first failure."""

    @ct.electron
    def branch(address):
        return arrive(address, "branch")

    @ct.electron
    def fail_then(address):
        arrive(address, "failing")
        raise ValueError("early")

    @ct.lattice
    def workflow(address):
        return branch(address), fail_then(address)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("branch", "failing")
    meeting_point.release("failing")
    partial = ct.get_result(dispatch_id)
    while status_of(partial, "fail_then") != "FAILED":
        partial = ct.get_result(dispatch_id)
    assert str(partial.status) == "RUNNING"
    assert status_of(partial, "branch") == "RUNNING"
    meeting_point.release("branch")
    result = ct.get_result(dispatch_id, wait=True)
    failed(result)
    assert status_of(result, "branch") == "COMPLETED"


def _raise(kind):
    if kind == "exit":
        sys.exit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "recursion":
        return _raise(kind)
    if kind == "unpicklable":
        return Unpicklable()
    if kind == "tricky":
        raise TrickyError("one", "two")
    if kind == "group":
        raise ExceptionGroup("several", [ValueError("first"), KeyError("second")])
    if kind == "chained":
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ValueError("effect") from cause
    if kind == "unicode":
        raise ValueError("Größe – 東京 – \udc80 lone")
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("recursion", "RecursionError"),
        ("unpicklable", "this cannot be pickled"),
        ("tricky", "one and two"),
        ("group", "second"),
        ("chained", "effect"),
    ],
)
def test_unusual_exceptions(kind, told):
    @ct.electron
    def task(kind):
        return _raise(kind)

    @ct.lattice
    def workflow(kind):
        return task(kind), identity("fine")

    result = ct.dispatch_sync(workflow)(kind)
    failed(result)
    assert told in node(result, "task")["stderr"]
    assert status_of(result, "identity") == "COMPLETED"


@pytest.mark.mends
@pytest.mark.parametrize(
    ("kind", "told"),
    [("exit", "SystemExit: 3"), ("interrupt", "KeyboardInterrupt"), ("unicode", "東京")],
)
def test_exceptions_that_break_covalent(kind, told):
    @ct.electron
    def task(kind):
        print("said before")
        return _raise(kind)

    @ct.lattice
    def workflow(kind):
        return task(kind), identity("fine")

    result = ct.dispatch_sync(workflow)(kind)
    failed(result)
    bad = node(result, "task")
    assert told in bad["error"]
    assert bad["stdout"] == "said before\n"
    assert status_of(result, "identity") == "COMPLETED"


def test_long_message():
    @ct.lattice
    def workflow(x):
        return fail(x)

    result = ct.dispatch_sync(workflow)("long " * 100_000)
    failed(result)
    assert node(result, "fail")["stderr"].count("long ") >= 100_000


def test_failing_helper_node():
    """A subscript that does not exist fails its own node, not the task it belongs to."""

    @ct.lattice
    def workflow():
        return identity({"a": 1})["b"]

    result = ct.dispatch_sync(workflow)()
    failed(result)
    assert status_of(result, "identity") == "COMPLETED"
    assert "KeyError: 'b'" in node(result, ":identity.__getitem__")["stderr"]


def test_failing_arithmetic():
    @ct.lattice
    def workflow():
        return identity(1) / identity(0)

    result = ct.dispatch_sync(workflow)()
    failed(result)
    assert "ZeroDivisionError" in node(result, "identity_/_identity")["stderr"]


def test_module_missing_in_the_runner():
    """The task's function cannot be unpickled: the node fails with the import error."""
    import types

    import cloudpickle

    module = types.ModuleType("a_module_only_the_client_has")
    exec("def helper(x):\n    return x\n", module.__dict__)
    sys.modules[module.__name__] = module
    try:

        @ct.electron
        def task(x):
            return module.helper(x)

        @ct.lattice
        def workflow(x):
            return task(x), identity(x)

        assert cloudpickle.dumps(module.helper)
        result = ct.dispatch_sync(workflow)(1)
    finally:
        del sys.modules[module.__name__]
    failed(result)
    assert "a_module_only_the_client_has" in node(result, "task")["stderr"]
    assert status_of(result, "identity") == "COMPLETED"


def test_unknown_executor_fails_the_node_not_the_registration():
    @ct.electron(executor="local")
    def near(x):
        return x

    @ct.electron(executor="no_such_executor")
    def far(x):
        return x

    @ct.lattice
    def workflow(x):
        return near(x), far(x)

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    bad = node(result, "far")
    assert str(bad["status"]) == "FAILED"
    assert "no_such_executor" in bad["error"]
    assert status_of(result, "near") == "COMPLETED"


def test_exception_in_the_lattice_function_never_reaches_the_server():
    @ct.lattice
    def workflow():
        raise LookupError("while building")

    with pytest.raises(LookupError, match="while building"):
        ct.dispatch(workflow)()


def test_the_server_runs_tasks_as_before_after_many_failures():
    @ct.lattice
    def failing(n):
        return [fail(str(i)) for i in range(n)]

    @ct.lattice
    def working(x):
        return identity(x)

    result = ct.dispatch_sync(failing)(6)
    failed(result)
    assert {str(n["status"]) for n in nodes(result, "fail")} == {"FAILED"}
    assert completed(ct.dispatch_sync(working)("still here")) == "still here"
