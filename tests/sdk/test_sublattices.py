"""Sub-workflows: static, nested, of a shape decided at run time, their failures, both ways of submitting."""

import os

import covalent as ct
import pytest
from checks import completed, describe, failed, node, nodes, run, status_of
from meeting import arrive


@ct.electron
def increment(value):
    return value + 1


@ct.electron
def total(values):
    return sum(values)


@ct.electron
def numbers(n):
    return list(range(n))


@ct.electron
def refuse(value):
    raise ValueError(f"refused {value}")


@ct.electron
@ct.lattice
def twice(value):
    return increment(increment(value))


@ct.electron
@ct.lattice
def sum_of_increments(values):
    return total([increment(value) for value in values])


@ct.electron
@ct.lattice
def refusing(value):
    increment(value)
    return increment(refuse(value))


def test_static_sublattice():
    @ct.lattice
    def workflow(x):
        return increment(twice(increment(x)))

    result = ct.dispatch_sync(workflow)(0)
    assert completed(result) == 4
    sub = node(result, ":sublattice:twice")
    assert str(sub["status"]) == "COMPLETED"
    assert sub["output"].get_deserialized() == 3
    inner = sub["sublattice_result"]
    assert completed(inner) == 3
    assert inner.dispatch_id != result.dispatch_id
    assert len(nodes(inner, "increment")) == 2


def test_several_sublattices_side_by_side():
    @ct.lattice
    def workflow(n):
        return [twice(i) for i in range(n)]

    assert run(workflow, 4) == [2, 3, 4, 5]


def test_nested_three_deep():
    @ct.electron
    @ct.lattice
    def level_three(x):
        return increment(x)

    @ct.electron
    @ct.lattice
    def level_two(x):
        return increment(level_three(x))

    @ct.electron
    @ct.lattice
    def level_one(x):
        return increment(level_two(x))

    @ct.lattice
    def workflow(x):
        return increment(level_one(x))

    result = ct.dispatch_sync(workflow)(0)
    assert completed(result) == 4
    one = node(result, ":sublattice:level_one")["sublattice_result"]
    two = node(one, ":sublattice:level_two")["sublattice_result"]
    three = node(two, ":sublattice:level_three")["sublattice_result"]
    assert [one.result, two.result, three.result] == [3, 2, 1]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_shape_decided_by_a_task(count):
    @ct.lattice
    def workflow(n):
        return sum_of_increments(numbers(n))

    result = ct.dispatch_sync(workflow)(count)
    assert completed(result) == count * (count + 1) // 2
    inner = node(result, ":sublattice:sum_of_increments")["sublattice_result"]
    assert len(nodes(inner, "increment")) == count


def test_dynamic_loop_over_sublattices():
    @ct.electron
    @ct.lattice
    def spread(values):
        return total([twice(value) if value % 2 else increment(value) for value in values])

    @ct.lattice
    def workflow(n):
        return spread(numbers(n))

    result = ct.dispatch_sync(workflow)(4)
    assert completed(result) == 1 + 3 + 3 + 5
    inner = node(result, ":sublattice:spread")["sublattice_result"]
    assert len(nodes(inner, ":sublattice:twice")) == 2


def test_keyword_and_default_arguments():
    @ct.electron
    @ct.lattice
    def scaled(value, *, factor=10):
        return increment(value * factor)

    @ct.lattice
    def workflow(x):
        return scaled(x), scaled(increment(x), factor=3)

    assert run(workflow, 2) == [21, 10]


def test_subscript_attribute_and_unpacking_of_a_sublattice():
    @ct.electron
    @ct.lattice
    def both(x):
        return [increment(x), {"k": x}]

    @ct.lattice
    def workflow(x):
        a, b = both(x)
        return a, b["k"], both(x)[0]

    assert run(workflow, 1) == [2, 1, 2]


def test_sublattice_without_electrons():
    @ct.electron
    @ct.lattice
    def constant(x):
        return [x, "constant"]

    @ct.lattice
    def workflow(x):
        return constant(x)

    assert run(workflow, 8) == [8, "constant"]


def test_waiting_for_a_sublattice(tmp_path):
    @ct.electron
    def write(path):
        with open(path, "w") as file:
            file.write("written")

    @ct.electron
    @ct.lattice
    def writing(path):
        return write(path)

    @ct.electron
    def read(path):
        with open(path) as file:
            return file.read()

    @ct.lattice
    def workflow(path):
        child = read(path)
        ct.wait(child, writing(path))
        return child

    assert run(workflow, str(tmp_path / "file")) == "written"


def test_failing_sublattice():
    """The parent's node fails, what stands below it never starts, the other branch ends well."""

    @ct.lattice
    def workflow(x):
        bad = increment(refusing(x))
        good = twice(x)
        return bad, good

    result = ct.dispatch_sync(workflow)(5)
    assert ":sublattice:refusing" in failed(result)
    assert status_of(result, ":sublattice:refusing") == "FAILED"
    assert status_of(result, "increment") == "NEW_OBJECT"
    assert status_of(result, ":sublattice:twice") == "COMPLETED"
    assert status_of(result, ":postprocess:reconstruct") == "NEW_OBJECT"
    inner = node(result, ":sublattice:refusing")["sublattice_result"]
    assert "refuse" in failed(inner)
    assert "ValueError: refused 5" in node(inner, "refuse")["stderr"]


def test_failure_three_deep_fails_every_level():
    @ct.electron
    @ct.lattice
    def middle(x):
        return refusing(x)

    @ct.lattice
    def workflow(x):
        return middle(x)

    result = ct.dispatch_sync(workflow)(1)
    assert ":sublattice:middle" in failed(result)
    inner = node(result, ":sublattice:middle")["sublattice_result"]
    assert ":sublattice:refusing" in failed(inner)
    innermost = node(inner, ":sublattice:refusing")["sublattice_result"]
    assert status_of(innermost, "refuse") == "FAILED"


def test_lattice_function_of_a_sublattice_raises():
    """The graph cannot be built: the node fails with the traceback of the user's function."""

    @ct.electron
    @ct.lattice
    def broken(x):
        raise RuntimeError(f"cannot build {x}")

    @ct.lattice
    def workflow(x):
        return broken(x)

    result = ct.dispatch_sync(workflow)(3)
    failed(result)
    bad = node(result, ":sublattice:broken")
    assert str(bad["status"]) == "FAILED"
    assert "RuntimeError: cannot build 3" in bad["stderr"]
    assert bad["sublattice_result"] is None


def test_lattice_called_inside_an_electron_is_a_plain_function():
    """Called where no graph is being built, a lattice is the function it was made from."""

    @ct.lattice
    def inner(x):
        return increment(x)

    @ct.electron
    def outer(x):
        return inner(x) * 10

    @ct.lattice
    def workflow(x):
        return outer(x)

    assert run(workflow, 1) == 20


def test_parent_waits_while_the_sublattice_runs(meeting_point):
    """While its sub-dispatch runs, the parent's node is neither failed nor complete."""

    @ct.electron
    def report(address):
        return arrive(address, "inside")

    @ct.electron
    @ct.lattice
    def inner(address):
        return report(address)

    @ct.lattice
    def workflow(address):
        return inner(address)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("inside")
    partial = ct.get_result(dispatch_id)
    assert str(partial.status) == "RUNNING", describe(partial)
    assert status_of(partial, ":sublattice:inner") in ("RUNNING", "DISPATCHING")
    sub = node(partial, ":sublattice:inner")["sublattice_result"]
    assert str(sub.status) == "RUNNING"
    meeting_point.release("inside", message="out")
    assert completed(ct.get_result(dispatch_id, wait=True)) == "out"


def _forget_the_server():
    """Without its address the build cannot register the sub-dispatch and hands back an archive."""
    for name in ("COVALENT_DISPATCHER_URL", "COVALENT_TASKS"):
        os.environ.pop(name, None)


@pytest.mark.parametrize("ending", ["well", "badly"])
def test_sublattice_submitted_as_an_archive(ending):
    """The second way of submitting: the server unpacks what the build task returned."""
    inner = twice if ending == "well" else refusing

    @ct.lattice(call_before=ct.DepsCall(_forget_the_server))
    def workflow(x):
        return inner(x)

    result = ct.dispatch_sync(workflow)(1)
    name = ":sublattice:twice" if ending == "well" else ":sublattice:refusing"
    assert "Packing staging directory" in node(result, name)["stdout"]
    sub = node(result, name)["sublattice_result"]
    assert sub.dispatch_id and sub.dispatch_id != result.dispatch_id
    assert sub.root_dispatch_id == result.dispatch_id
    if ending == "well":
        assert completed(result) == 3
        assert completed(sub) == 3
    else:
        failed(result)
        assert "ValueError: refused 1" in node(sub, "refuse")["stderr"]


def test_environment_changed_by_one_task_does_not_reach_the_next():
    """After the archive tests a runner has lost its variables; a direct submission must work again."""

    @ct.lattice
    def workflow(x):
        return [twice(i) for i in range(x)]

    result = ct.dispatch_sync(workflow)(4)
    assert completed(result) == [2, 3, 4, 5]
    for sub in nodes(result, ":sublattice:twice"):
        assert "Packing" not in (sub["stdout"] or "")
