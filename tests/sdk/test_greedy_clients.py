"""Slow, stuck, greedy and too many clients: they are cut off by deadlines or told to come again, and
nobody else waits for them. Nothing of them is left behind.
"""

from __future__ import annotations

import os
import socket
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import covalent as ct
import pytest
import requests
import wire
from harness import memory_kib

pytestmark = pytest.mark.own_server
#: The SDK opens a connection for each request. COV_ONE_SHOTS=50000 is the full run.
ONE_SHOTS = int(os.environ.get("COV_ONE_SHOTS", "8000"))
#: Clients that send a header and no end to it. COV_SLOW_CLIENTS=2000 is the full run.
SLOW = int(os.environ.get("COV_SLOW_CLIENTS", "500"))
#: Long enough for everything that does happen.
SOON_S = 20
#: What a server opens for itself when it is first used: readers of the database, pipes of runners.
OWN_DESCRIPTORS = 32


@ct.electron
def identity(value):
    return value


@ct.lattice
def simple(x):
    return identity(x)


def descriptors(server) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def until(condition, what: str) -> None:
    """Waits for something that the server does by itself."""
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def connect(server) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=SOON_S)


def settled(server, stack: ExitStack, count: int) -> None:
    """Opens connections that are served, and keeps them."""
    for _ in range(count):
        stream = stack.enter_context(connect(server))
        stream.sendall(wire.head(server, "GET", "/healthz"))
        assert stream.recv(12) == b"HTTP/1.1 200"


def ended(stream: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    answer = b""
    try:
        while data := stream.recv(65536):
            answer += data
    except ConnectionError:
        pass
    return answer


def latencies(server, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        assert wire.get(server, "/api/v2/dispatches").status_code == 200
        taken.append(time.perf_counter() - begin)
    return taken


def test_one_shot_connections_leave_nothing_behind(spawn_server):
    own = spawn_server()
    request = wire.head(own, "GET", "/api/v2/dispatches?count=1", "Connection: close")
    for _ in range(100):
        assert wire.exchange(own, request)[0] == 200
    before, memory = descriptors(own), memory_kib(own.pid, "VmRSS")
    for number in range(ONE_SHOTS):
        with connect(own) as stream:
            if number % 10:
                stream.sendall(request)
                assert stream.recv(12) == b"HTTP/1.1 200"
    until(lambda: descriptors(own) <= before + OWN_DESCRIPTORS, "descriptors are left behind")
    assert memory_kib(own.pid, "VmRSS") - memory < 32 * 1024


def test_slow_headers_hold_up_nobody_and_end(spawn_server):
    own = spawn_server(options=("--limits-idle-seconds", "5"))
    alone = statistics.median(latencies(own, 50))
    before, memory = descriptors(own), memory_kib(own.pid, "VmRSS")
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(own)) for _ in range(SLOW)]
        for stream in slow:
            stream.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        until(lambda: descriptors(own) >= before + SLOW, "they are connected")
        busy = statistics.median(latencies(own, 50))
        assert busy < max(2 * alone, 0.02), (alone, busy)
        assert memory_kib(own.pid, "VmRSS") - memory < 200 * 1024
        assert all(b"200 OK" not in ended(stream) for stream in slow)
    until(lambda: descriptors(own) <= before + OWN_DESCRIPTORS, "descriptors are left behind")


@pytest.mark.parametrize("kind", ["a byte at a time", "nothing"])
def test_slow_bodies_end(spawn_server, kind):
    own = spawn_server(options=("--limits-body-seconds", "1"))
    answer = wire.register(own, wire.prepare(simple, f"slow {kind}").body).json()
    asset = answer["lattice"]["assets"]["workflow_function"]
    path = asset["remote_uri"].removeprefix(own.url)
    for method, target, size in (("POST", wire.DISPATCHES, 100_000), ("PUT", path, asset["size"])):
        with connect(own) as stream:
            stream.sendall(wire.head(own, method, target, f"Content-Length: {size}"))
            begin = time.monotonic()
            stream.settimeout(0.1)
            said = b""
            while not said:
                assert time.monotonic() - begin < SOON_S, "the server still waits"
                try:
                    if kind == "a byte at a time":
                        stream.sendall(b" ")
                    said = stream.recv(100)
                    break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            assert not said or said.split()[1] == b"400", said


def test_readers_that_never_read_are_cut_off(spawn_server):
    own = spawn_server(options=("--limits-idle-seconds", "2"))
    prepared = wire.prepare(simple, "x" * (32 << 20))
    answer = wire.register(own, prepared.body).json()
    wire.upload(prepared, answer)
    path = next(path for path in prepared.contents if path[-1] == "value")
    url = wire.upload_address(prepared.body, answer, path)
    before, memory = descriptors(own), memory_kib(own.pid, "VmRSS")
    with ExitStack() as stack:
        for _ in range(50):
            stream = stack.enter_context(socket.socket())
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stream.connect((own.host, own.port))
            stream.sendall(wire.head(own, "GET", url.removeprefix(own.url)))
        until(lambda: descriptors(own) >= before + 50, "they are connected")
        assert memory_kib(own.pid, "VmRSS") - memory < 64 * 1024
        until(lambda: descriptors(own) <= before + OWN_DESCRIPTORS, "who does not read is still waited for")


def test_half_open_connections_do_not_keep_a_server_from_stopping(spawn_server):
    own = spawn_server(options=("--grace", "1"))
    with ExitStack() as stack:
        for words in (b"", b"GET / HTTP/1.1\r\n", wire.head(own, "POST", wire.DISPATCHES, "Content-Length: 5")):
            stream = stack.enter_context(connect(own))
            stream.sendall(words)
            stream.shutdown(socket.SHUT_WR)
        wire.get(own, "/healthz")
        assert own.stop() == 0


def test_too_many_connections_are_told_to_come_again(spawn_server):
    own = spawn_server(options=("--limits-connections", "20"))
    with ExitStack() as stack:
        settled(own, stack, 20)
        answer = requests.get(own.url + "/healthz", timeout=SOON_S)
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
        assert answer.json()["code"] == "COV3003"
    assert wire.get(own, "/healthz").status_code == 200, "as soon as there is room"


def test_one_address_does_not_take_all_connections(spawn_server):
    own = spawn_server(options=("--limits-connections-per-address", "5"))
    with ExitStack() as stack:
        settled(own, stack, 5)
        answer = requests.get(own.url + "/healthz", timeout=SOON_S)
        assert answer.status_code == 503
        with socket.create_connection(
            (own.host, own.port), timeout=SOON_S, source_address=("127.0.0.2", 0)
        ) as stream:
            stream.sendall(wire.head(own, "GET", "/healthz"))
            assert stream.recv(12) == b"HTTP/1.1 200", "another address is served"


def test_bodies_share_their_memory(spawn_server):
    """What has no room is told to come again; it is not gathered."""
    mib = 1 << 20
    options = ("--limits-manifest-bytes", str(16 * mib), "--limits-body-memory-bytes", str(16 * mib))
    own = spawn_server(options=options)
    memory = memory_kib(own.pid, "VmRSS")
    body = b" " * (6 * mib)
    with ExitStack() as stack:
        for _ in range(2):
            stream = stack.enter_context(connect(own))
            stream.sendall(wire.head(own, "POST", wire.DISPATCHES, f"Content-Length: {7 * mib}"))
            stream.sendall(body)
        until(lambda: memory_kib(own.pid, "VmRSS") - memory > 10 * 1024, "both are read")
        refused = requests.post(own.url + wire.DISPATCHES, data=body, timeout=SOON_S)
        assert refused.status_code == 503 and refused.headers["Retry-After"], refused.text
        assert memory_kib(own.pid, "VmRSS") - memory < 64 * 1024
    until(
        lambda: requests.post(own.url + wire.DISPATCHES, data=body, timeout=SOON_S).status_code == 400,
        "the memory is given back",
    )


def test_a_token_has_its_rate(spawn_server):
    own = spawn_server(
        start=False,
        options=("--login", "always", "--limits-requests-per-second", "5"),
    )
    from test_login import bearer, first_token

    own.data_dir.mkdir(parents=True, mode=0o700)
    admin = first_token(own)
    own.start()
    answers = [wire.get(own, "/api/v2/dispatches", headers=bearer(admin)) for _ in range(40)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and all(answer.headers["Retry-After"] == "1" for answer in refused)
    assert {answer.status_code for answer in answers} == {200, 429}


def is_full(answer: requests.Response) -> bool:
    if answer.status_code != 507:
        return False
    assert answer.json()["code"] == "COV3006" and answer.headers["Retry-After"]
    return True


@pytest.mark.parametrize("quota", ["disk", "database"])
def test_quotas(spawn_server, quota):
    """Nothing new is taken in beyond a quota; what is there can be read, run and removed."""
    own = spawn_server(options=(f"--limits-{quota}-bytes", "3000000"))
    first = wire.submit(own, wire.prepare(simple, "first"))
    size = 200_000 if quota == "disk" else 3_000
    deadline = time.monotonic() + 60
    number = 0
    while True:
        number += 1
        body = wire.prepare(simple, f"{number}" + os.urandom(size).hex())
        answer = wire.register(own, body.body)
        if is_full(answer):
            break
        assert answer.status_code == 201, answer.text
        try:
            wire.upload(body, answer.json())
        except requests.HTTPError as error:
            assert is_full(error.response), error.response.text
            break
        assert time.monotonic() < deadline, "the quota was never reached"
    assert wire.get(own, "/api/v2/dispatches").status_code == 200
    got = ct.get_result(first, wait=True, dispatcher_addr=own.url)
    assert got.result == "first"


def test_the_floor_of_free_space(spawn_server):
    own = spawn_server(options=("--limits-free-bytes", str(1 << 60)))
    assert is_full(wire.register(own, wire.prepare(simple, 1).body))
    assert wire.get(own, "/api/v2/dispatches").status_code == 200
    assert wire.get(own, "/readyz").status_code == 200
