"""Values across languages: programs in Rust call Python, read what the SDK dispatched, and dispatch
it again with other inputs. The programs are examples of the crate `cov`.
"""

import os
import subprocess
from pathlib import Path

import covalent as ct
import pytest
from checks import completed, node

pytestmark = pytest.mark.mends

STEPS = '''
import datetime

def numbers(count):
    return list(range(count))

def total(lists, more):
    return sum(sum(numbers) for numbers in lists) + more

def words(text):
    return {word: None for word in text.split()} | {"count": len(text.split()) / 2}

def double(array):
    return array * 2

def now():
    return [{"at": datetime.datetime.now()}]
'''


def example(name: str) -> str:
    """A program that stands beside the server under test."""
    server = os.environ.get("COV_SERVER_BIN")
    if not server:
        pytest.fail("these tests need the programs beside a server: set COV_SERVER_BIN")
    path = Path(server).parent / "examples" / name
    assert path.exists(), f"{path} is not there: cargo build -p cov --examples"
    return str(path)


def says(program: str, *arguments: str, environment: dict | None = None) -> list[str]:
    """Runs a program that must succeed; returns the lines that it prints."""
    ended = subprocess.run(
        [example(program), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **(environment or {})},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "steps.py").write_text(STEPS)
    return str(tmp_path)


def test_python_is_called_by_name_from_rust(server, folder):
    assert says("languages", server.url, folder, "named") == [
        'false (16, {"b": None, "count": Some(1.0), "ä": None})',
        "[[3.0, -4.0], [inf, 0.0]]",
        "[0]",
    ]


def test_rust_and_python_share_a_workflow(server):
    (said,) = says("mixed", environment={"COV_ADDRESS": server.url})
    assert said == "100 values around 1.49, from 0.00 to 2.50; changed by 1.50"


@ct.electron
def plain(large):
    return {
        "none": None,
        "truth": True,
        "large": -(2**100),
        "float": 0.5,
        "text": "ä\n" * large,
        "bytes": b"\x00\xff",
        "pair": (-1, 2),
        "set": {1, 2, 3},
        "nested": {"k": [{1: "one"}, {}]},
    }


@ct.lattice
def of_plain(large):
    return plain(large)


def test_rust_reads_what_an_electron_of_the_sdk_returned(server, folder):
    result = ct.dispatch_sync(of_plain)(1)
    (said,) = says("languages", server.url, folder, "read", result.dispatch_id)
    assert said == (
        "Plain { none: None, truth: true, large: -1267650600228229401496703205376, float: 0.5, "
        'text: "ä\\n", bytes: [0, 255], pair: (-1, 2.0), set: {1, 2, 3}, '
        'nested: {"k": [{1: "one"}, {}]} }'
    )
    # Over what comes with the record.
    result = ct.dispatch_sync(of_plain)(3_000_000)
    (said,) = says("languages", server.url, folder, "read", result.dispatch_id)
    assert said.startswith("the result has 24") and "bytes and was not fetched" in said


@ct.electron
def unusual():
    import datetime

    return [datetime.datetime(2026, 1, 2)]


@ct.lattice
def of_unusual():
    return unusual()


def test_rust_is_told_what_it_cannot_read(server, folder):
    result = ct.dispatch_sync(of_unusual)()
    (said,) = says("languages", server.url, folder, "read", result.dispatch_id)
    assert said.startswith("the result is encoded as cloudpickle and cannot be read as `languages::Plain`")
    assert "it holds a `datetime.datetime`" in said


@ct.electron
def grown(numbers):
    import sys

    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(numbers, numpy.ndarray):
        return (numbers * 2).tolist()
    return [number + 1 for number in numbers]


@ct.lattice
def of_grown(numbers):
    return grown(numbers)


def test_rust_dispatches_again_what_the_sdk_dispatched_with_other_inputs(server, folder):
    result = ct.dispatch_sync(of_grown)(range(1, 3))
    assert completed(result) == [2, 3]
    parameter = node(result, ":parameter:range(1, 3)")["node_id"]
    before, after, array = says(
        "languages", server.url, folder, "again", result.dispatch_id, str(parameter)
    )
    assert ":parameter:range(1, 3)" in before
    dispatch, _, value = after.partition(" ")
    assert value == "[11, 21]"
    assert array == "[1.0, 0.5]"
    # The SDK sees it as any other.
    again = ct.get_result(dispatch, wait=True)
    assert completed(again) == [11, 21]


def test_what_cannot_cross_is_told_with_node_type_and_encodings(server, folder):
    leaving, coming = says("languages", server.url, folder, "refused")
    assert "the output of node 0 (`steps:now`), a `list` in Python, cannot be encoded as json" in leaving
    assert "the output of node 0, encoded as cloudpickle, is no `alloc::string::String`" in coming
    assert "it holds a `datetime.datetime`" in leaving and "As cloudpickle, only Python" in leaving
    assert "expected a string" in coming
