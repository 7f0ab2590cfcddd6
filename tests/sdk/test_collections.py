"""Collections of electrons as arguments and results; subscripts, attributes, iteration, arithmetic."""

import covalent as ct
import pytest
from checks import completed, nodes, run


@ct.electron
def identity(value):
    return value


@ct.electron
def describe(value):
    return repr(value)


@ct.electron
def total(values):
    return sum(values)


class Box:
    def __init__(self, content):
        self.content = content
        self.label = "box"


@ct.electron
def box(content):
    return Box(content)


@ct.electron
def pair(a, b):
    return a, b


def test_list_of_outputs():
    @ct.lattice
    def workflow(n):
        return total([identity(i) for i in range(n)])

    result = ct.dispatch_sync(workflow)(5)
    assert completed(result) == 10
    assert len(nodes(result, ":electron_list:")) == 1


def test_dict_of_outputs():
    @ct.lattice
    def workflow():
        return describe({"a": identity(1), 2: identity("two"), None: 5})

    assert run(workflow) == "{'a': 1, 2: 'two', None: 5}"


def test_nested_collections():
    @ct.lattice
    def workflow():
        return describe({"x": [identity(1), {"y": [identity(2), 3]}], "z": []})

    assert run(workflow) == "{'x': [1, {'y': [2, 3]}], 'z': []}"


@pytest.mark.parametrize(
    ("given", "arrives"),
    [((1, 2), "[1, 2]"), ({7}, "[7]"), ([], "[]"), ({}, "{}"), ([[[]]], "[[[]]]")],
    ids=repr,
)
def test_literal_collections(given, arrives):
    """The SDK turns every tuple and set argument into a list."""

    @ct.lattice
    def workflow():
        return describe(given)

    assert run(workflow) == arrives


def test_deeply_nested_list():
    @ct.lattice
    def workflow(depth):
        value = identity(0)
        nested = value
        for _ in range(depth):
            nested = [nested]
        return describe(nested)

    assert run(workflow, 20) == "[" * 20 + "0" + "]" * 20


def test_lattice_returns_a_nested_collection():
    @ct.lattice
    def workflow(x):
        return {"list": [identity(x), (identity(x + 1), 3)], "plain": None, "text": "t"}

    assert run(workflow, 1) == {"list": [1, [2, 3]], "plain": None, "text": "t"}


def test_lattice_returns_none():
    @ct.lattice
    def workflow():
        identity(1)

    result = ct.dispatch_sync(workflow)()
    assert completed(result) is None
    assert len(nodes(result, "identity")) == 1


def test_subscripts():
    @ct.lattice
    def workflow():
        values = identity([10, 20, 30])
        table = identity({"k": {"inner": [1, 2]}})
        return values[0], values[-1], table["k"]["inner"][1], values[1:]

    assert run(workflow) == [10, 30, 2, [20, 30]]


def test_subscript_by_an_output():
    @ct.lattice
    def workflow():
        values = identity([10, 20, 30])
        return values[identity(2)]

    assert run(workflow) == 30


def test_attributes():
    @ct.lattice
    def workflow():
        made = box(box(5))
        return made.label, made.content.content

    assert run(workflow) == ["box", 5]


def test_unpacking():
    @ct.lattice
    def workflow():
        a, b = pair(1, "two")
        c, d = pair(a, b)
        return d, c

    assert run(workflow) == ["two", 1]


def test_derived_values_feed_electrons():
    @ct.lattice
    def workflow():
        a, b = pair(3, 4)
        return total([a, b, box(5).content, identity({"k": 6})["k"]])

    assert run(workflow) == 18


def test_arithmetic():
    @ct.lattice
    def workflow(x):
        a, b = identity(x), identity(4)
        return a + b, a - 1, 2 * b, b / a, a**3, 10 - a, (a + b) * (a - b)

    assert run(workflow, 2) == [6, 1, 8, 2.0, 8, 8, -12]


def test_many_references_to_one_output_in_the_result():
    @ct.lattice
    def workflow():
        value = identity(9)
        return [value, value, {"again": value}]

    assert run(workflow) == [9, 9, {"again": 9}]


def test_iteration_over_lattice_inputs():
    @ct.lattice
    def workflow(values, table):
        return [identity(v) for v in values], {k: identity(v) for k, v in table.items()}

    assert run(workflow, [1, 2], {"a": 3}) == [[1, 2], {"a": 3}]
