"""Shapes of graphs: chains, fans, diamonds, waiting edges, inlined lattices."""

import covalent as ct
import pytest
from checks import completed, node, nodes, run
from meeting import arrive


@ct.electron
def increment(value):
    return value + 1


@ct.electron
def total(values):
    return sum(values)


@ct.electron
def add(a, b):
    return a + b


@ct.electron
def report(address, name):
    return arrive(address, name)


def test_single():
    @ct.lattice
    def workflow(x):
        return increment(x)

    assert run(workflow, 1) == 2


@pytest.mark.parametrize("length", [20])
def test_chain(length):
    @ct.lattice
    def workflow(x):
        for _ in range(length):
            x = increment(x)
        return x

    assert run(workflow, 0) == length


def test_diamond():
    @ct.lattice
    def workflow(x):
        top = increment(x)
        return add(increment(top), add(top, increment(top)))

    assert run(workflow, 0) == 5


def test_fan_out_and_in():
    @ct.lattice
    def workflow(n):
        return total([increment(i) for i in range(n)])

    assert run(workflow, 30) == 465


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_fan_of_a_thousand():
    @ct.lattice
    def workflow(n):
        return total([increment(i) for i in range(n)])

    dispatch_id = ct.dispatch(workflow)(1000)
    result = ct.get_result(dispatch_id, wait=True, intermediate_outputs=False)
    assert completed(result) == 500_500
    done = nodes(result, "increment")
    assert len(done) == 1000
    assert {str(n["status"]) for n in done} == {"COMPLETED"}
    last_input = max(n["end_time"] for n in done)
    assert node(result, "total")["start_time"] >= last_input


def test_electrons_whose_output_nobody_uses_run_too():
    @ct.lattice
    def workflow(x):
        increment(x)
        increment(x + 1)
        return "done"

    result = ct.dispatch_sync(workflow)(1)
    assert completed(result) == "done"
    assert sorted(n["output"].get_deserialized() for n in nodes(result, "increment")) == [2, 3]


def test_wait_for_orders_without_passing_a_value(meeting_point):
    address = meeting_point.address

    @ct.electron
    def after(address):
        return report_later(address)

    def report_later(address):
        return arrive(address, "child")

    @ct.lattice
    def workflow(address):
        first = report(address, "parent one")
        second = report(address, "parent two")
        child = after(address)
        ct.wait(child=child, parents=[first, second])
        return child

    dispatch_id = ct.dispatch(workflow)(address)
    meeting_point.wait_for("parent one", "parent two")
    meeting_point.release("parent one")
    meeting_point.release("child", message="last")
    assert meeting_point.arrivals("child") == 0
    meeting_point.release("parent two")
    result = ct.get_result(dispatch_id, wait=True)
    assert completed(result) == "last"
    parents_ended = max(n["end_time"] for n in nodes(result, "report"))
    assert node(result, "after")["start_time"] >= parents_ended


def test_wait_for_a_single_electron_and_a_chain_of_waits(tmp_path):
    @ct.electron
    def append(path, text):
        with open(path, "a") as file:
            file.write(text)
        return text

    @ct.electron
    def read(path):
        with open(path) as file:
            return file.read()

    @ct.lattice
    def workflow(path):
        first = append(path, "a")
        second = append(path, "b")
        ct.wait(second, first)
        third = append(path, "c")
        ct.wait(third, second)
        return ct.wait(read(path), [third])

    assert run(workflow, str(tmp_path / "log")) == "abc"


def test_a_lattice_called_in_a_lattice_is_inlined():
    @ct.lattice
    def inner(x):
        return increment(increment(x))

    @ct.lattice
    def outer(x):
        return add(inner(x), 1)

    result = ct.dispatch_sync(outer)(1)
    assert completed(result) == 4
    assert len(nodes(result, "increment")) == 2


def test_independent_branches_run_side_by_side(meeting_point):
    """Two tasks that each wait for the other to be running: with two workers both must be."""

    @ct.lattice
    def workflow(address):
        return report(address, "left"), report(address, "right")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("left", "right")
    meeting_point.release("left", "right")
    assert completed(ct.get_result(dispatch_id, wait=True)) == ["go", "go"]


def test_the_same_lattice_can_be_dispatched_again():
    @ct.lattice
    def workflow(x):
        return increment(x)

    first = ct.dispatch_sync(workflow)(1)
    second = ct.dispatch_sync(workflow)(5)
    assert (completed(first), completed(second)) == (2, 6)
    assert first.dispatch_id != second.dispatch_id
