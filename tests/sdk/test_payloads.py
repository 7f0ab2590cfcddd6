"""Large, binary and odd payloads."""

import hashlib
import random

import covalent as ct
import pytest
from checks import completed, node, run
from harness import memory_kib

MIB = 1024 * 1024


@ct.electron
def identity(value):
    return value


@ct.electron
def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_result_of_a_hundred_megabytes():
    size = 100 * 1000 * 1000

    @ct.electron
    def produce(size):
        return "0123456789" * (size // 10)

    @ct.electron
    def measure(text):
        print(len(text), text[:10], text[-10:])

    @ct.lattice
    def workflow(size):
        text = produce(size)
        measure(text)
        return text

    dispatch_id = ct.dispatch(workflow)(size)
    result = ct.get_result(dispatch_id, wait=True, intermediate_outputs=False)
    text = completed(result)
    assert len(text) == size
    assert text == "0123456789" * (size // 10)
    assert node(result, "measure")["stdout"] == f"{size} 0123456789 0123456789\n"


@pytest.mark.heavy
@pytest.mark.own_server
@pytest.mark.timeout(300)
def test_twenty_megabyte_argument_is_streamed(spawn_server):
    """The SDK makes a 60 MB node name of it; the server must not hold its assets in memory."""
    own = spawn_server()
    data = random.Random(1).randbytes(20 * 1000 * 1000)
    idle = memory_kib(own.pid, "VmRSS")

    @ct.lattice
    def workflow(data):
        return digest(data)

    dispatch_id = ct.dispatch(workflow, dispatcher_addr=own.url)(data)
    result = ct.get_result(
        dispatch_id, wait=True, dispatcher_addr=own.url, intermediate_outputs=False
    )
    assert completed(result) == hashlib.sha256(data).hexdigest()
    over_idle = memory_kib(own.pid, "VmHWM") - idle
    assert over_idle < 256 * 1024, f"the server peaked {over_idle // 1024} MiB over idle"


@pytest.mark.parametrize("size", [1, 4096, 300_000, 3 * MIB])
def test_binary_round_trip(size):
    data = random.Random(size).randbytes(size)

    @ct.lattice
    def workflow(data):
        return identity(data), digest(data)

    assert run(workflow, data) == [data, hashlib.sha256(data).hexdigest()]


def test_every_code_point_range_in_text():
    text = "".join(chr(c) for c in (*range(1, 0x300), 0x2028, 0x2029, 0xFEFF, 0xFFFD, 0x1F600))

    @ct.lattice
    def workflow(text):
        return identity(text), {"key " + text: text}

    assert run(workflow, text) == [text, {"key " + text: text}]


def test_name_with_every_kind_of_quote_and_newline():
    """A parameter's node is named after its value, whatever the value looks like."""
    value = "a\n\r\t\"'\\/<>&%{}[]();--\0 end"

    @ct.lattice
    def workflow(value):
        return identity(value)

    result = ct.dispatch_sync(workflow)(value)
    assert completed(result) == value
    assert node(result, f":parameter:{value}")["output"].get_deserialized() == value


def test_many_medium_results():
    @ct.electron
    def block(number):
        return bytes([number]) * 200_000

    @ct.electron
    def total(blocks):
        return sum(len(b) for b in blocks)

    @ct.lattice
    def workflow(n):
        return total([block(i) for i in range(n)])

    assert run(workflow, 12) == 12 * 200_000


def test_equal_contents_of_different_dispatches_stay_apart():
    """Content is stored once; that must never show."""

    @ct.lattice
    def workflow(x):
        return identity(x), identity(x)

    same = "the same value " * 1000
    first = ct.dispatch(workflow)(same)
    second = ct.dispatch(workflow)(same)
    assert completed(ct.get_result(second, wait=True)) == [same, same]
    assert completed(ct.get_result(first, wait=True)) == [same, same]


def test_value_whose_text_is_misleading():
    """The archive holds the value's `str` beside its pickle; only the pickle counts."""

    class Misleading:
        def __init__(self, text):
            self.text = text

        def __str__(self):
            return self.text

    @ct.lattice
    def workflow(value):
        return identity(value)

    for text in ("", "gAVOLg==", "\0" * 50, '{"py_version": "2.7"}', "é" * 1000):
        assert run(workflow, Misleading(text)).text == text
