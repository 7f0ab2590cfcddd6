"""Input that is made to do harm: what arrives is refused with a 4xx or kept as plain bytes, and the
server stays small, answers others, and never runs any of it.

The memory is that of the real server process. Tasks are another matter: they are programs of the
user who sent them, and run as the server's user.
"""

from __future__ import annotations

import ctypes
import gzip
import io
import json
import os
import pickle
import socket
import tarfile
import threading
import time
import zipfile

import covalent as ct
import pytest
import requests
import wire
from checks import run
from harness import Server, memory_kib

pytestmark = pytest.mark.own_server
#: Most that one attempt may add to the server's memory, at its peak.
GROWTH_KIB = 64 * 1024
MIB = 1 << 20


@ct.electron
def identity(value):
    return value


@ct.lattice
def simple(x):
    return identity(x)


@pytest.fixture
def small(spawn_server):
    """A server with low limits, whose memory is looked at."""
    return spawn_server(
        options=(
            *("--limits-manifest-bytes", str(4 * MIB)),
            *("--limits-upload-bytes", str(8 * MIB)),
            *("--limits-idle-seconds", "2"),
            *("--limits-body-seconds", "2"),
        )
    )


@pytest.fixture
def stays_small(small: Server):
    """The attempt of the test adds little to the memory, even for a moment, and others are served."""
    wire.get(small, "/api/v2/dispatches")
    before = memory_kib(small.pid, "VmHWM")
    yield small
    assert small.alive(), small.stderr_text()[-3000:]
    grown = memory_kib(small.pid, "VmHWM") - before
    assert grown < GROWTH_KIB, f"the memory grew by {grown} KiB"
    dispatch_id = wire.submit(small, wire.prepare(simple, "still works"))
    assert wire.export(small, dispatch_id)["metadata"]["dispatch_id"] == dispatch_id
    assert not small.panics()


def is_refused(answer: requests.Response) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])


# Archives: what is uploaded is kept as it is, and unpacked by nobody.


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, to: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def zip_bomb() -> bytes:
    """About a thousand to one, and zipped again: about a million to one."""
    content = b"\0" * (64 * MIB)
    for name in ("inner", "outer"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for number in range(16):
                archive.writestr(f"{name}-{number}", content)
        content = buffer.getvalue()
    return content


ARCHIVES = {
    "parent": lambda: tar_of((tarfile.TarInfo("../../escaped"), b"x")),
    "absolute": lambda: tar_of((tarfile.TarInfo("/tmp/cov-escaped"), b"x")),
    "symbolic link": lambda: tar_of(
        (link("a", "/etc", tarfile.SYMTYPE), b""), (tarfile.TarInfo("a/passwd"), b"x")
    ),
    "hard link": lambda: tar_of((link("a", "/etc/passwd", tarfile.LNKTYPE), b"")),
    "device": lambda: tar_of((link("a", "", tarfile.CHRTYPE), b"")),
    "gzip bomb": lambda: gzip.compress(gzip.compress(b"\0" * (256 * MIB), 9), 9),
    "zip bomb": zip_bomb,
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_is_a_content_like_any_other(stays_small, kind):
    content = ARCHIVES[kind]()
    prepared = wire.prepare(simple, 1)
    path = next(path for path in prepared.contents if path[-1] == "value")
    prepared.replace(path, content)
    answer = wire.register(stays_small, prepared.body)
    assert answer.status_code == 201, answer.text
    target = wire.upload_address(prepared.body, answer.json(), path)
    assert requests.put(target, data=content, timeout=wire.TIMEOUT_S).status_code == 200
    assert requests.get(target, timeout=wire.TIMEOUT_S).content == content
    known = {"contents", "dispatches.sqlite", "run", "server.lock", "spool"}
    there = {path.name.removesuffix("-wal").removesuffix("-shm") for path in stays_small.data_dir.iterdir()}
    assert there <= known and not os.path.exists("/tmp/cov-escaped")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_a_compressed_body_is_not_unpacked(stays_small, encoding):
    bomb = gzip.compress(b"[" * (256 * MIB), 9)
    headers = {"Content-Encoding": encoding}
    for path in (wire.DISPATCHES, "/api/v3/dispatches", "/api/triggers/register"):
        url = stays_small.url + path
        is_refused(requests.post(url, data=bomb, headers=headers, timeout=wire.TIMEOUT_S))


# Lengths that are not true.


LENGTHS = {
    "a hundred gibibytes": ("Content-Length: 107374182400", 413),
    "more than fits a number": ("Content-Length: 184467440737095516160", None),
    "negative": ("Content-Length: -1", None),
    "signed": ("Content-Length: +5", None),
    "words": ("Content-Length: many", None),
    "two": ("Content-Length: 5\r\nContent-Length: 6", None),
    "a length and chunks": ("Content-Length: 5\r\nTransfer-Encoding: chunked", None),
    "an unknown encoding": ("Transfer-Encoding: gzip", None),
    "chunks twice": ("Transfer-Encoding: chunked, chunked", None),
}


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("path", [wire.DISPATCHES, "/api/v3/dispatches", "/api/triggers/register"])
def test_lengths_that_lie(stays_small, kind, path):
    header, expected = LENGTHS[kind]
    request = wire.head(stays_small, "POST", path, header) + b"12345"
    status, _ = wire.exchange(stays_small, request)
    assert status == expected if expected else 400 <= status < 500 or status == 501, status


def test_a_body_that_is_shorter_than_announced(stays_small):
    for path in (wire.DISPATCHES, "/api/v3/dispatches"):
        with socket.create_connection((stays_small.host, stays_small.port), timeout=20) as stream:
            stream.sendall(wire.head(stays_small, "POST", path, "Content-Length: 1000") + b"{")
            stream.shutdown(socket.SHUT_WR)
            assert b" 50" not in stream.recv(100)


# Bodies without an end.


def pour(server: Server, path: str, begin: bytes, piece: bytes) -> tuple[float, bytes]:
    """Sends pieces until the server has enough; how many seconds that took, and what it said."""
    started = time.monotonic()
    with socket.create_connection((server.host, server.port), timeout=20) as stream:
        answer = bytearray()

        def listen() -> None:
            try:
                while data := stream.recv(65536):
                    answer.extend(data)
            except OSError:
                return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            stream.sendall(wire.head(server, "POST", path, "Transfer-Encoding: chunked") + begin)
            while not answer and time.monotonic() < started + 60:
                stream.sendall(piece)
        except OSError:
            pass
        took = time.monotonic() - started
        listener.join(20)
    return took, bytes(answer)


CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
ENDLESS = {
    "chunks": (b"", CHUNK),
    "small chunks": (b"", b"1\r\n \r\n" * 4096),
    "one chunk": (b"FFFFFFFFFFFF\r\n", b" " * 65536),
    "an extension of a chunk": (b"1;a=", b"x" * 65536),
    "trailers": (b"1\r\n{\r\n0\r\n", b"x: y\r\n" * 4096),
    "a length of a chunk": (b"", b"0" * 65536),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_bodies_without_an_end(stays_small, kind):
    begin, piece = ENDLESS[kind]
    took, answer = pour(stays_small, wire.DISPATCHES, begin, piece)
    assert took < 20, f"the server listened for {took} s"
    assert not answer or answer.split()[1].startswith(b"4"), answer[:200]


def test_a_manifest_that_is_longer_than_it_says(stays_small):
    """The native API: a length of four bytes in front."""
    kind = {"Content-Type": "application/vnd.cov.dispatch"}
    for head in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\1", b""):
        url = f"{stays_small.url}/api/v3/dispatches"
        is_refused(requests.post(url, data=head + b"{}", headers=kind, timeout=wire.TIMEOUT_S))


# Headers and addresses.


FLOODS = {
    "many headers": lambda: b"".join(b"x-%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
    "a long header": lambda: b"x: " + b"y" * (4 * MIB) + b"\r\n\r\n",
    "a long name": lambda: b"x" * (4 * MIB) + b": y\r\n\r\n",
    "a folded header": lambda: b"x: y\r\n" + b" z\r\n" * 100_000 + b"\r\n",
    "a bare carriage return": lambda: b"x: y\rz: w\r\n\r\n",
    "a null": lambda: b"x: \0\r\n\r\n",
    "no colon": lambda: b"xxxxxxxx\r\n\r\n",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_of_headers(stays_small, kind):
    first = f"GET / HTTP/1.1\r\nHost: {stays_small.host}:{stays_small.port}\r\n".encode()
    with socket.create_connection((stays_small.host, stays_small.port), timeout=20) as stream:
        try:
            stream.sendall(first + FLOODS[kind]())
            answer = stream.recv(1000)
        except OSError:
            answer = b""
    assert not answer or answer.split()[1].startswith(b"4"), answer


def test_headers_without_an_end(stays_small):
    first = f"GET / HTTP/1.1\r\nHost: {stays_small.host}:{stays_small.port}\r\n".encode()
    with socket.create_connection((stays_small.host, stays_small.port), timeout=20) as stream:
        stream.sendall(first)
        sent = 0
        try:
            while sent < 64 * MIB:
                stream.sendall(b"x-header: " + b"y" * 4086 + b"\r\n")
                sent += 4098
        except OSError:
            pass
    assert sent < 16 * MIB


PATHS = [
    "/" + "a" * 100_000,
    "/" + "a/" * 30_000,
    "/%",
    "/%zz",
    "/%00",
    "/%ff%fe",
    "/api/v3/dispatches/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/api/v3/dispatches/" + "x" * 60_000,
    "/api/v3/tokens/" + "x" * 60_000,
    "/api/v3/triggers/..%2f..",
    "/api/v0/files/" + "../" * 1000 + "etc/passwd",
    "/api/v2/dispatches?" + "dispatch_id=x&" * 5_000,
    "/api/v3/audit?cursor=99999999999999999999",
    "/api/v3/audit?limit=-1",
    "/?" + "a" * 60_000,
    "*",
    "//evil.example/",
    "http://evil.example/",
]


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "TRACE", "X" * 1000])
def test_addresses_that_lead_nowhere(stays_small, method):
    for path in PATHS:
        request = wire.head(stays_small, method, path, "Content-Length: 0", "Connection: close")
        status, _ = wire.exchange(stays_small, request)
        assert status < 500, (path[:60], status)


# JSON.


DEEP = {
    "arrays": b"[" * 2_000_000,
    "objects": b'{"a":' * 500_000,
    "closed arrays": b"[" * 1_000_000 + b"]" * 1_000_000,
    "in the manifest": b'{"metadata": ' + b"[" * 1_000_000,
    "numbers": b"9" * 3_000_000,
    "an exponent": b"1e999999999",
    "no text": b'"\xff\xfe"',
    "half a character": b'"\\ud800"',
    "many members": b"{" + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}",
}
BODIES = [
    ("POST", wire.DISPATCHES),
    ("POST", f"{wire.DISPATCHES}/{wire.UNKNOWN}/redispatches"),
    ("PUT", f"{wire.DISPATCHES}/{wire.UNKNOWN}/status"),
    ("PUT", f"{wire.DISPATCHES}/{wire.UNKNOWN}/electrons/0/job"),
    ("PATCH", f"{wire.DISPATCHES}/{wire.UNKNOWN}/electrons/0"),
    ("POST", "/api/v3/dispatches"),
    ("POST", "/api/v3/contents/known"),
    ("POST", "/api/v3/purge"),
    ("POST", "/api/v3/tokens"),
    ("POST", "/api/v3/triggers"),
    ("POST", "/api/triggers/register"),
    ("POST", "/api/triggers/stop_observe"),
]


@pytest.mark.parametrize("kind", DEEP)
def test_json_that_is_deep_or_strange(stays_small, kind):
    for method, path in BODIES:
        url = stays_small.url + path
        is_refused(requests.request(method, url, data=DEEP[kind], timeout=wire.TIMEOUT_S))


def test_huge_names(stays_small):
    """Names are kept as they are, up to the limit of the manifest."""
    name = "n" * (1 * MIB)
    for change in ("lattice", "node"):
        prepared = wire.prepare(simple, 1)
        lattice = prepared.body["lattice"]
        place = lattice if change == "lattice" else lattice["transport_graph"]["nodes"][0]
        place["metadata"]["name"] = name
        answer = wire.register(stays_small, prepared.body)
        assert answer.status_code == 201 or 400 <= answer.status_code < 500, answer.text[:300]
    body = {"name": name, "scope": "read"}
    is_refused(requests.post(f"{stays_small.url}/api/v3/tokens", json=body, timeout=30))
    wire.get(stays_small, "/api/v2/dispatches")


# Pickles that kill who reads them. The server does not.


class Call:
    """Pickles as a call, which is made by whoever unpickles it."""

    def __init__(self, function, *arguments) -> None:
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts

    def __repr__(self) -> str:
        return "call"


DEATHS = {
    "exit": lambda: Call(os._exit, 3),
    "segmentation fault": lambda: Call(ctypes.string_at, 1),
    "memory": lambda: Call(bytearray, 1 << 46),
    "recursion": lambda: Call(eval, "(f := lambda: f())()"),
    "depth": lambda: Call(pickle.loads, b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b"."),
    "signal": lambda: Call(eval, "__import__('os').kill(__import__('os').getpid(), 9)"),
    "not a pickle": lambda: Call(pickle.loads, b"\xff" * 100),
}


@pytest.mark.parametrize("kind", DEATHS)
def test_pickles_of_death_end_their_task_alone(small, kind):
    """The argument of a task: its bytes lie in the server, and only a runner reads them."""
    survivor = wire.submit(small, wire.prepare(simple, "another dispatch"))
    before = memory_kib(small.pid, "VmHWM")
    dispatch_id = wire.submit(small, wire.prepare(simple, DEATHS[kind]()))
    got = ct.get_result(dispatch_id, wait=True, dispatcher_addr=small.url)
    assert str(got.status) == "FAILED", got.status
    other = ct.get_result(survivor, wait=True, dispatcher_addr=small.url)
    assert other.result == "another dispatch"
    assert small.alive() and not small.panics()
    assert memory_kib(small.pid, "VmHWM") - before < GROWTH_KIB
    again = wire.submit(small, wire.prepare(simple, "afterwards"))
    assert ct.get_result(again, wait=True, dispatcher_addr=small.url).result == "afterwards"


def test_the_shared_server_has_seen_nothing_of_it(server):
    assert run(simple, "unmoved") == "unmoved"
    assert json.loads(wire.get(server, "/api/triggers/healthcheck").text) == {"status": "ok"}
