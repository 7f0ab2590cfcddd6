"""What goes into an electron arrives there: every kind of argument and of value."""

import datetime
import decimal
import enum
import fractions
import pathlib
import uuid

import covalent as ct
import pytest
from checks import completed, nodes, run


class Point:
    """A user's class: it exists in the test module only and travels by value."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return type(other).__name__ == "Point" and (self.x, self.y) == (other.x, other.y)

    def __hash__(self):
        return hash((self.x, self.y))

    def __repr__(self):
        return f"Point({self.x}, {self.y})"


class Colour(enum.Enum):
    RED = "red"


@ct.electron
def show(a, b=10, *args, c=30, **kwargs):
    return {"a": a, "b": b, "args": list(args), "c": c, "kwargs": dict(sorted(kwargs.items()))}


@ct.electron
def identity(value):
    return value


@ct.electron
def describe(value):
    return f"{type(value).__name__}:{value!r}"


def test_positional_arguments():
    @ct.lattice
    def workflow(x, y):
        return show(x, y)

    assert run(workflow, 1, 2) == {"a": 1, "b": 2, "args": [], "c": 30, "kwargs": {}}


def test_keyword_arguments_in_any_order():
    @ct.lattice
    def workflow(x, y):
        return show(c=x, b=y, a=3)

    assert run(workflow, x=1, y=2) == {"a": 3, "b": 2, "args": [], "c": 1, "kwargs": {}}


def test_defaults_of_electron_and_lattice():
    @ct.lattice
    def workflow(x, y=7):
        return show(x), y

    assert run(workflow, 1) == [{"a": 1, "b": 10, "args": [], "c": 30, "kwargs": {}}, 7]


def test_variable_arguments():
    @ct.lattice
    def workflow(*values, **named):
        return show(*values, **named)

    result = run(workflow, 1, 2, 3, 4, z=5, y=6)
    assert result == {"a": 1, "b": 2, "args": [3, 4], "c": 30, "kwargs": {"y": 6, "z": 5}}


def test_more_than_ten_positional_arguments_keep_their_order():
    @ct.electron
    def join(*values):
        return ",".join(str(value) for value in values)

    @ct.lattice
    def workflow():
        return join(*range(23))

    assert run(workflow) == ",".join(str(i) for i in range(23))


def test_outputs_as_positional_and_keyword_arguments():
    @ct.lattice
    def workflow(x):
        first = identity(x)
        second = identity(x + 1)
        return show(first, c=second, extra=first)

    expected = {"a": 1, "b": 10, "args": [], "c": 2, "kwargs": {"extra": 1}}
    assert run(workflow, 1) == expected


def test_one_output_feeds_several_parameters():
    @ct.electron
    def subtract(a, b, c):
        return [a, b, c]

    @ct.lattice
    def workflow(x):
        value = identity(x)
        return subtract(value, value, c=value)

    assert run(workflow, 4) == [4, 4, 4]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**200),
        0.1,
        float("inf"),
        3 + 4j,
        "",
        "x" * 70_000,
        "Zürich – 東京 – 🦀 – \u202eabc\n\t\\\"'",
        b"",
        bytes(range(256)) * 40,
        bytearray(b"abc\0"),
        range(3, 9, 2),
        datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.timezone.utc),
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=5),
        pathlib.PurePosixPath("/a/../b"),
        frozenset({1, 2}),
        Ellipsis,
        int,
        ValueError("kept as a value"),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!a}",
)
def test_values_arrive_unchanged(value):
    @ct.lattice
    def workflow(x):
        return describe(x), identity(x)

    described, returned = run(workflow, value)
    assert described == f"{type(value).__name__}:{value!r}"
    assert type(returned) is type(value)
    assert repr(returned) == repr(value)


def test_custom_class_in_and_out():
    @ct.electron
    def mirror(point):
        return Point(point.y, point.x)

    @ct.lattice
    def workflow(point):
        return mirror(point)

    assert run(workflow, Point(1, "zwei")) == Point("zwei", 1)


def test_enum_member():
    @ct.electron
    def name_of(colour):
        return colour.name

    @ct.lattice
    def workflow(colour):
        return name_of(colour)

    assert run(workflow, Colour.RED) == "RED"


def test_functions_and_closures_as_values():
    @ct.electron
    def make_adder(n):
        return lambda value: value + n

    @ct.electron
    def apply(function, value):
        return function(value)

    @ct.lattice
    def workflow(n):
        return apply(make_adder(n), 5), apply(lambda value: value * 3, n)

    assert run(workflow, 2) == [7, 6]


def test_unicode_names():
    @ct.electron
    def größe(länge, π=3):
        return länge * π

    @ct.lattice
    def ablauf(länge):
        return größe(länge, π=4)

    result = ct.dispatch_sync(ablauf)(5)
    assert completed(result) == 20
    assert result.lattice.__name__ == "ablauf"
    assert len(nodes(result, "größe")) == 1


@pytest.mark.mends
def test_arguments_with_names_of_the_protocol():
    """Keywords that look like the server's own words are only keywords (Covalent trips over `function`)."""

    @ct.electron
    def odd(function=0, output=0, kwargs=0, dispatch_id=0, node_id=0):
        return [function, output, kwargs, dispatch_id, node_id]

    @ct.lattice
    def workflow():
        return odd(function=1, output=2, kwargs=3, dispatch_id=4, node_id=5)

    assert run(workflow) == [1, 2, 3, 4, 5]


def test_lattice_without_arguments_and_without_electrons():
    @ct.lattice
    def workflow():
        return "constant"

    result = ct.dispatch_sync(workflow)()
    assert completed(result) == "constant"


def test_electron_returning_none():
    @ct.electron
    def nothing():
        pass

    @ct.lattice
    def workflow():
        return describe(nothing())

    assert run(workflow) == "NoneType:None"
