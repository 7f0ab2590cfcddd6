"""Requests that try to leave the house: paths, foreign origins and hosts, oversized and broken heads."""

import json
import time

import covalent as ct
import pytest
import requests
import wire
from checks import run
from harness import ExternalServer, Server

pytestmark = pytest.mark.mends
FORBIDDEN = 403


@ct.electron
def identity(value):
    return value


@ct.lattice
def simple(x):
    return identity(x)


@pytest.fixture
def dispatch_id():
    return ct.dispatch(simple, disable_run=True)(1)


ESCAPES = [
    "../../../../../../etc/passwd",
    "{D}/../../../../../../etc/passwd",
    "{D}/node_0/../../../../../../../etc/passwd",
    "..%2F..%2F..%2F..%2F..%2Fetc%2Fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "{D}/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
    "%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "/etc/passwd",
    "//etc/passwd",
    "%2Fetc%2Fpasswd",
    "file:///etc/passwd",
    "{D}/..%5c..%5c..%5cetc%5cpasswd",
    "{D}/function.tobj%00.log",
    "{D}/%00",
    "{D}-sibling/function.tobj",
    "{D}/../{D}-sibling/function.tobj",
    "{D}/node_0/./../node_0/function.tobj/..",
    "..;/etc/passwd",
    "{D}/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    "{D}/" + "a/" * 2000,
    ".",
    "",
]


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("escape", ESCAPES, ids=lambda text: text[:40])
def test_file_routes_stay_in_their_house(server, dispatch_id, method, escape):
    target = "/api/v0/files/" + escape.replace("{D}", dispatch_id)
    body = b"intruder" if method == "PUT" else b""
    request = wire.head(server, method, target, f"Content-Length: {len(body)}", "Connection: close")
    status, answer = wire.exchange(server, request + body)
    assert 400 <= status < 500, (status, answer[:300])
    assert b"root:" not in answer


def test_nothing_was_written_by_those_attempts(server, dispatch_id):
    """A PUT to an escaping path writes neither beside the data directory nor under a made-up name."""
    if isinstance(server, ExternalServer):
        pytest.fail("needs the server's own data directory")
    outside = server.data_dir.parent
    before = {path.name for path in outside.iterdir()}
    for escape in ("../cov-intruder", "..%2Fcov-intruder", "{D}/../../cov-intruder", "cov-intruder"):
        target = "/api/v0/files/" + escape.replace("{D}", dispatch_id)
        request = wire.head(server, "PUT", target, "Content-Length: 3", "Connection: close")
        status, _ = wire.exchange(server, request + b"xyz")
        assert 400 <= status < 500
    assert {path.name for path in outside.iterdir()} == before
    assert not list(server.data_dir.rglob("*cov-intruder*"))


FOREIGN_ORIGINS = [
    "http://evil.example",
    "https://evil.example:8443",
    "null",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "http://evil.example/127.0.0.1",
    "file://",
]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_foreign_origins_are_refused(server, dispatch_id, origin):
    before = wire.all_dispatches(server)
    headers = {"Origin": origin}
    for method, path, body in (
        ("POST", wire.DISPATCHES, json.dumps(wire.prepare(simple, 1).body)),
        ("GET", wire.DISPATCHES, None),
        ("GET", f"{wire.DISPATCHES}/{dispatch_id}", None),
        ("PUT", f"{wire.DISPATCHES}/{dispatch_id}/status", '{"status": "RUNNING"}'),
        ("PUT", f"/api/v0/files/{dispatch_id}/function.tobj", "x"),
        ("GET", f"/api/v0/files/{dispatch_id}/function.tobj", None),
        ("POST", "/api/draw", "{}"),
    ):
        answer = requests.request(
            method, server.url + path, data=body, headers=headers, timeout=wire.TIMEOUT_S
        )
        assert answer.status_code == FORBIDDEN, (method, path, answer.status_code)
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert wire.all_dispatches(server) == before
    assert ct.get_result(dispatch_id, status_only=True)["status"] == "NEW_OBJECT"


def test_preflights_of_foreign_origins_are_not_answered_with_leave(server):
    answer = requests.options(
        server.url + wire.DISPATCHES,
        headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"},
        timeout=wire.TIMEOUT_S,
    )
    assert answer.status_code >= 400
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "10.0.0.1:{port}", "@"],
)
def test_foreign_hosts_are_refused(server, host):
    """A name that an attacker's DNS points at this machine must not open the server to his page."""
    named = host.replace("{port}", str(server.port))
    for target in (wire.DISPATCHES, f"/api/v0/files/{wire.UNKNOWN}/function.tobj"):
        status, answer = wire.exchange(server, wire.head(server, "GET", target, host=named))
        # "@" is no host name at all, which may also be answered as a malformed request.
        malformed = host == "@" and status in (400, 422)
        assert status == FORBIDDEN or malformed, (status, answer[:200])


def test_own_names_and_own_origin_are_welcome(server):
    for name in ("127.0.0.1", "localhost"):
        own = f"{name}:{server.port}"
        request = wire.head(server, "GET", wire.DISPATCHES, f"Origin: http://{own}", host=own)
        assert wire.exchange(server, request)[0] == 200


def test_oversized_header(server):
    request = wire.head(server, "GET", wire.DISPATCHES, "X-Big: " + "x" * 2_000_000)
    try:
        status, _ = wire.exchange(server, request)
    except (ConnectionResetError, BrokenPipeError):
        status = None  # refused while we were still sending
    assert status in (413, 431, None)
    assert run(simple, "still works") == "still works"


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: minus\r\n\r\n",
        b"POST /api/v2/dispatches HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 1000,
    ],
    ids=["blank", "half", "version", "length", "two-lengths", "tls", "zeros"],
)
def test_broken_requests_do_not_disturb_the_server(server, raw):
    with wire.socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.sendall(raw)
        connection.shutdown(wire.socket.SHUT_WR)
        answer = connection.recv(4096)
    assert answer == b"" or answer.split()[1].startswith(b"4"), answer[:100]
    assert run(simple, "still works") == "still works"


def test_silent_connections_hold_up_nobody(server):
    """A hundred clients connect and say nothing, or only half a request."""
    address = (server.host, server.port)
    idle = [wire.socket.create_connection(address, timeout=5) for _ in range(100)]
    for number, connection in enumerate(idle):
        if number % 2:
            connection.sendall(b"POST /api/v2/dispatches HTTP/1.1\r\nHost: x\r\nContent-Le")
    began = time.monotonic()
    assert run(simple, "served") == "served"
    assert time.monotonic() - began < 10
    for connection in idle:
        connection.close()


def test_a_body_that_never_comes_holds_up_nobody(server):
    request = wire.head(server, "POST", wire.DISPATCHES, "Content-Length: 1000000")
    with wire.socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.sendall(request + b'{"metadata": {')
        assert run(simple, "served") == "served"
    assert run(simple, "served again") == "served again"


def test_errors_do_not_tell_where_things_are(server, dispatch_id):
    """Refusals name the fault, not the machine's directories."""
    answers = [
        wire.get(server, f"{wire.DISPATCHES}/{wire.UNKNOWN}"),
        wire.get(server, f"/api/v0/files/{dispatch_id}/..%2f..%2fetc%2fpasswd"),
        wire.register(server, "not json"),
    ]
    own = str(server.data_dir) if isinstance(server, Server) else "/data/"
    for answer in answers:
        assert 400 <= answer.status_code < 500
        assert own not in answer.text
