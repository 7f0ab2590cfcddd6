"""Login: tokens, what the SDK sends without them, TLS, and what the audit knows afterwards.

The SDK runs in processes of its own here, because it reads its configuration when it is imported.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import requests
import wire
from harness import isolate_sdk

pytestmark = pytest.mark.own_server
ALWAYS = ("--login", "always")
TRIGGERS = "/api/triggers/register"
#: Longer than any of the workflows takes on a busy machine.
SDK_TIMEOUT_S = 120

WORKFLOW = """
    import covalent as ct

    @ct.electron
    def double(x):
        return 2 * x

    @ct.lattice
    def inner(x):
        return double(x)

    @ct.lattice
    def workflow(n):
        return [double(i) for i in range(n)]
"""


def first_token(server) -> str:
    """Made by the program, on a data directory that no server uses."""
    command = [server.binary, "--create-token", "root", "--data-dir", str(server.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def locked(spawn_server):
    """A server at which everybody has to log in, and a token with every right."""
    own = spawn_server(start=False, options=ALWAYS)
    own.data_dir.mkdir(parents=True, mode=0o700)
    token = first_token(own)
    return own.start(), token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make_token(server, admin: str, name: str, **options) -> str:
    body = {"name": name, **options}
    answer = requests.post(
        f"{server.url}/api/v3/tokens", json=body, headers=bearer(admin), timeout=wire.TIMEOUT_S
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


def audit(server, token: str, **query) -> list[dict]:
    answer = wire.get(server, "/api/v3/audit", params=query, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    return answer.json()["entries"]


def sdk(server, script: str, home: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs a script with an SDK that nobody has configured but this call."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    before = dict(os.environ)
    try:
        isolate_sdk(home)
        sdk_environment = {n: v for n, v in os.environ.items() if n.startswith(("COVALENT", "HOME"))}
    finally:
        os.environ.clear()
        os.environ.update(before)
    sdk_environment["COVALENT_DISPATCHER_ADDR"] = server.host
    sdk_environment["COVALENT_SVC_PORT"] = str(server.port)
    source = textwrap.dedent(WORKFLOW) + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", source],
        env={**kept, **sdk_environment, **environment},
        capture_output=True,
        text=True,
        timeout=SDK_TIMEOUT_S,
        cwd=home,
        check=False,
    )


def header_for(token: str) -> str:
    return json.dumps(bearer(token))


RUN = """
    import sys
    dispatch_id = ct.dispatch(workflow)(int(sys.argv[1]) if sys.argv[1:] else 3)
    got = ct.get_result(dispatch_id, wait=True)
    print(dispatch_id, got.status, got.result)
"""


def test_the_sdk_logs_in_with_a_header(locked, tmp_path):
    """Files go without the header: their addresses carry their own permission."""
    own, admin = locked
    token = make_token(own, admin, "ci", scope="dispatch")
    done = sdk(own, RUN, tmp_path / "sdk", COVALENT_EXTRA_HEADERS=header_for(token))
    assert done.returncode == 0, done.stderr[-3000:]
    dispatch_id, rest = done.stdout.split(maxsplit=1)
    assert rest.strip() == "COMPLETED [0, 2, 4]"
    rows = audit(own, admin, who="ci")
    assert [(row["action"], row["target"]) for row in reversed(rows)] == [
        ("dispatch.register", dispatch_id),
        ("dispatch.start", dispatch_id),
    ]
    assert {row["origin"] for row in rows} == {"127.0.0.1"}
    assert all(row["request_id"] and row["status"] < 300 for row in rows)


def test_without_a_token_nothing_is_told(locked, tmp_path):
    own, _ = locked
    done = sdk(own, RUN, tmp_path / "sdk")
    assert done.returncode != 0 and "401" in done.stderr, done.stderr[-2000:]
    for method, path in [
        ("GET", "/api/v2/dispatches"),
        ("POST", "/api/v2/dispatches"),
        ("GET", f"/api/v2/dispatches/{wire.UNKNOWN}"),
        ("PUT", f"/api/v2/dispatches/{wire.UNKNOWN}/status"),
        ("GET", f"/api/v0/files/{wire.UNKNOWN}/results.tobj"),
        ("PUT", f"/api/v0/files/{wire.UNKNOWN}/results.tobj"),
        ("POST", TRIGGERS),
        ("GET", "/api/v3/dispatches"),
        ("POST", "/api/v3/dispatches"),
        ("POST", "/api/v3/purge"),
        ("GET", "/api/v3/tokens"),
        ("GET", "/api/v3/audit"),
        ("GET", "/"),
        ("GET", "/no/such/path"),
    ]:
        answer = requests.request(method, own.url + path, data="{", timeout=wire.TIMEOUT_S)
        assert answer.status_code == 401, (method, path, answer.text)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["X-Error-Code"] == "COV1010"
    for path in ("/healthz", "/readyz"):
        assert wire.get(own, path).status_code == 200, "probes need no token"


def test_scopes(locked):
    own, admin = locked
    read = make_token(own, admin, "reader", scope="read")
    dispatch = make_token(own, admin, "writer", scope="dispatch")

    def status(token, method, path, **options):
        answer = requests.request(
            method, own.url + path, headers=bearer(token), timeout=wire.TIMEOUT_S, **options
        )
        return answer.status_code

    assert status(read, "GET", "/api/v2/dispatches") == 200
    assert status(read, "POST", "/api/v2/dispatches", data="{}") == 403
    assert status(dispatch, "POST", "/api/v2/dispatches", data="{}") == 422
    purge = {"older_than_seconds": 0, "dry_run": True}
    assert status(dispatch, "POST", "/api/v3/purge", json=purge) == 403
    assert status(dispatch, "GET", "/api/v3/tokens") == 403
    assert status(dispatch, "POST", "/api/v3/import", data=b"") == 403, "outcomes are taken as true"
    assert status(admin, "POST", "/api/v3/import", data=b"") in (415, 422)
    assert status(admin, "POST", "/api/v3/purge", json=purge) == 200
    assert status(admin, "GET", "/api/v3/tokens") == 200


def test_tokens_are_rotated_revoked_and_expire_while_the_server_runs(locked):
    own, admin = locked
    first = make_token(own, admin, "ci", scope="read")

    def works(token):
        answer = wire.get(own, "/api/v2/dispatches", headers=bearer(token))
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    assert works(first)
    rotated = requests.post(
        f"{own.url}/api/v3/tokens/ci/rotate", headers=bearer(admin), timeout=wire.TIMEOUT_S
    )
    second = rotated.json()["token"]
    assert works(second) and not works(first)
    own.kill9()
    own.restart()
    assert works(second) and not works(first), "what was answered survives a kill"
    gone = requests.delete(
        f"{own.url}/api/v3/tokens/ci", headers=bearer(admin), timeout=wire.TIMEOUT_S
    )
    assert gone.status_code == 200 and not works(second)
    again = requests.post(
        f"{own.url}/api/v3/tokens", json={"name": "ci"}, headers=bearer(admin), timeout=10
    )
    assert again.status_code == 409, "a name keeps its meaning in the audit"
    brief = make_token(own, admin, "brief", scope="read", expires_in_seconds=1)
    listed = wire.get(own, "/api/v3/tokens", headers=bearer(admin)).json()["tokens"]
    until = next(row["expires_at"] for row in listed if row["name"] == "brief")
    end = datetime.datetime.fromisoformat(until).replace(tzinfo=datetime.timezone.utc)
    while datetime.datetime.now(datetime.timezone.utc) < end:
        wire.get(own, "/healthz")
    assert not works(brief)
    text = wire.get(own, "/api/v3/tokens", headers=bearer(admin)).text
    assert not any(token in text for token in (admin, second, brief)), "no secret is listed"
    actions = [row["action"] for row in audit(own, admin, target="ci")]
    assert actions == ["token.revoke", "token.rotate", "token.create"]


def test_no_token_is_kept_in_plain_text(locked):
    own, admin = locked
    token = make_token(own, admin, "ci")
    own.stop()
    secrets = [text.rpartition("_")[2].encode() for text in (admin, token)]
    for path in own.data_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path
    log = own.stderr_text()
    assert admin not in log and token not in log


def register_with_a_token(own, token):
    """A dispatch that somebody with a token has registered, and the answer."""
    prepared = wire.prepare(make_workflow(), 2)
    answer = requests.post(
        own.url + wire.DISPATCHES,
        data=json.dumps(prepared.body),
        headers=bearer(token),
        timeout=wire.TIMEOUT_S,
    )
    assert answer.status_code == 201, answer.text
    return prepared, answer.json()


def make_workflow():
    import covalent as ct

    @ct.electron
    def double(x):
        return 2 * x

    @ct.lattice
    def workflow(n):
        return [double(i) for i in range(n)]

    return workflow


def test_a_signed_address_is_for_one_asset_one_direction_and_survives_a_restart(locked):
    own, admin = locked
    prepared, answer = register_with_a_token(own, admin)
    addresses = {
        path: wire.upload_address(prepared.body, answer, path) for path in prepared.contents
    }
    path, address = next((path, text) for path, text in addresses.items() if text)
    assert "signature=" in address and "expires=" in address
    get = requests.get(address, timeout=wire.TIMEOUT_S)
    assert get.status_code == 401, "it was given to store, not to fetch"
    plain, _, query = address.partition("?")
    other = next(text.partition("?")[0] for text in addresses.values() if text and text != address)
    for forged in (
        plain,
        f"{other}?{query}",
        address[:-3] + ("AAA" if address[-3:] != "AAA" else "BBB"),
        address.replace("expires=", "expires=9"),
    ):
        refused = requests.put(forged, data=prepared.contents[path], timeout=wire.TIMEOUT_S)
        assert refused.status_code == 401, forged
    own.kill9()
    own.restart()
    for path, address in addresses.items():
        if address:
            put = requests.put(address, data=prepared.contents[path], timeout=wire.TIMEOUT_S)
            assert put.status_code == 200, put.text


def test_a_signed_address_expires(spawn_server):
    own = spawn_server(start=False, options=(*ALWAYS, "--limits-address-seconds", "60"))
    own.data_dir.mkdir(parents=True, mode=0o700)
    admin = first_token(own)
    own.start()
    _, answer = register_with_a_token(own, admin)
    uri = answer["lattice"]["assets"]["workflow_function"]["remote_uri"]
    end = int(uri.partition("expires=")[2].partition("&")[0])
    now = datetime.datetime.now(datetime.timezone.utc).timestamp()
    assert 55 <= end - now <= 61


def test_a_fan_of_a_thousand_is_fetched_with_addresses_that_last(locked, tmp_path):
    own, admin = locked
    script = """
        dispatch_id = ct.dispatch(workflow)(1000)
        got = ct.get_result(dispatch_id, wait=True)
        print(got.status, sum(got.result))
    """
    done = sdk(own, script, tmp_path / "sdk", COVALENT_EXTRA_HEADERS=header_for(admin))
    assert done.stdout.strip() == f"COMPLETED {sum(2 * i for i in range(1000))}", done.stderr[-3000:]
    export = wire.get(
        own, f"{wire.DISPATCHES}/{audit(own, admin)[0]['target']}", headers=bearer(admin)
    ).json()
    nodes = export["lattice"]["transport_graph"]["nodes"]
    uris = [node["assets"]["output"]["remote_uri"] for node in nodes]
    assert len(uris) > 1000
    with requests.Session() as session:
        for uri in uris:
            assert session.get(uri, timeout=wire.TIMEOUT_S).status_code == 200


TRIGGERED = """
    from covalent.triggers import TimeTrigger

    @ct.lattice(triggers=TimeTrigger(time_gap=3600))
    def timed(n):
        return double(n)

    print(ct.dispatch(timed)(2))
"""


def test_the_sdk_registers_triggers_of_what_it_has_just_dispatched(locked, tmp_path):
    """It sends no header with them; see the rule in the decision on login."""
    own, admin = locked
    token = make_token(own, admin, "ci")
    done = sdk(own, TRIGGERED, tmp_path / "sdk", COVALENT_EXTRA_HEADERS=header_for(token))
    assert done.returncode == 0, done.stderr[-3000:]
    dispatch_id = done.stdout.strip()
    listed = wire.get(
        own, "/api/v3/triggers", params={"dispatch_id": dispatch_id}, headers=bearer(admin)
    )
    assert len(listed.json()["triggers"]) == 1
    rows = audit(own, admin, action="trigger.register")
    assert [(row["who"], row["target"]) for row in rows] == [("ci", dispatch_id)]
    stranger = {"name": "TimeTrigger", "time_gap": 3600, "lattice_dispatch_id": wire.UNKNOWN}
    refused = requests.post(own.url + TRIGGERS, json=stranger, timeout=wire.TIMEOUT_S)
    assert refused.status_code == 401, "of a dispatch that nobody has just registered"
    own.stop()
    own.restart()
    later = requests.post(
        own.url + TRIGGERS,
        json={**stranger, "lattice_dispatch_id": dispatch_id},
        timeout=wire.TIMEOUT_S,
    )
    assert later.status_code == 401, "the registration is long ago"


def test_a_netrc_file_covers_everything_that_the_sdk_sends(locked, tmp_path):
    own, admin = locked
    home = tmp_path / "sdk"
    (home / "home").mkdir(parents=True)
    netrc = home / "home" / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login token password {admin}\n")
    netrc.chmod(0o600)
    done = sdk(own, TRIGGERED, home, NETRC=str(netrc))
    assert done.returncode == 0, done.stderr[-3000:]
    assert audit(own, admin, action="trigger.register")[0]["who"] == "root"


def test_tasks_may_dispatch(locked, tmp_path):
    """What runs on this server logs in with a token that the server gave it."""
    own, admin = locked
    script = """
        @ct.electron
        def outer(x):
            import covalent as ct
            import os
            address = os.environ["COVALENT_DISPATCHER_URL"]
            found = ct.dispatch(inner, dispatcher_addr=address)(x)
            return ct.get_result(found, wait=True, dispatcher_addr=address).result

        @ct.lattice
        def whole(x):
            return outer(x)

        dispatch_id = ct.dispatch(whole)(21)
        got = ct.get_result(dispatch_id, wait=True)
        print(got.status, got.result, got.error)
    """
    done = sdk(own, script, tmp_path / "sdk", COVALENT_EXTRA_HEADERS=header_for(admin))
    assert done.stdout.split()[:2] == ["COMPLETED", "42"], done.stdout + done.stderr[-3000:]
    assert {row["who"] for row in audit(own, admin, action="dispatch.register")} == {"root", "task"}


def test_loopback_without_tokens_works_out_of_the_box_and_is_written_down(spawn_server):
    own = spawn_server()
    refused = wire.register(own, "{}")
    assert refused.status_code == 422
    dispatch_id = wire.submit(own, wire.prepare(make_workflow(), 1))
    rows = wire.get(own, "/api/v3/audit").json()["entries"]
    assert [(row["who"], row["action"], row["target"]) for row in reversed(rows)] == [
        ("local", "dispatch.register", dispatch_id),
        ("local", "dispatch.start", dispatch_id),
    ]
    own.stop()
    own.restart()
    assert len(wire.get(own, "/api/v3/audit").json()["entries"]) == 2, "rows are kept"


def own_address() -> str:
    """An address of this machine that is not loopback; packets to it stay on the machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return probe.getsockname()[0]


def test_another_address_needs_tokens_or_a_word(spawn_server):
    own = spawn_server(start=False)
    own.host = "0.0.0.0"
    with pytest.raises(RuntimeError, match="--create-token"):
        own.start()
    own.data_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
    admin = first_token(own)
    own.host, own.port = "0.0.0.0", 0
    own.start()
    assert wire.get(own, "/api/v2/dispatches").status_code == 200, "from this machine"
    outside = own_address()
    if outside and not outside.startswith("127."):
        url = f"http://{outside}:{own.port}/api/v2/dispatches"
        assert requests.get(url, timeout=wire.TIMEOUT_S).status_code == 401
        assert requests.get(url, headers=bearer(admin), timeout=wire.TIMEOUT_S).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For: 203.0.113.9",
        "Forwarded: for=203.0.113.9",
        "Via: 1.1 proxy",
        "X-Real-IP: 1.2.3.4",
        "X-Forwarded-Proto: https",
        "CF-Connecting-IP: 203.0.113.9",
    ],
)
def test_what_a_proxy_passes_on_is_not_from_this_machine(server, header):
    status, _ = wire.exchange(server, wire.head(server, "GET", "/api/v2/dispatches", header))
    assert status == 401


def test_a_token_that_is_wrong_is_refused_also_from_this_machine(server):
    answer = wire.get(server, "/api/v2/dispatches", headers=bearer("cov_12345678_" + "x" * 43))
    assert answer.status_code == 401
    no_text = wire.head(server, "GET", "/api/v2/dispatches", "Authorization: Bearer cov_\xff\xfe")
    assert wire.exchange(server, no_text)[0] == 401


def test_guessing_is_slowed_down(spawn_server):
    own = spawn_server(start=False, options=(*ALWAYS, "--limits-refusals-per-minute", "5"))
    own.data_dir.mkdir(parents=True, mode=0o700)
    admin = first_token(own)
    own.start()
    statuses = [
        wire.get(own, "/api/v2/dispatches", headers=bearer(f"cov_12345678_{n:043}")).status_code
        for n in range(20)
    ]
    assert set(statuses) == {401, 429} and statuses.count(401) <= 11
    assert wire.get(own, "/api/v2/dispatches", headers=bearer(admin)).status_code == 429
    assert wire.get(own, "/healthz").status_code == 200


REBINDING = ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "[::2]:{port}"]


@pytest.mark.parametrize("name", REBINDING)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_whose_name_was_bound_to_this_machine_is_refused(server, method, name):
    """What a browser sends for a page of `name` once its name leads to 127.0.0.1."""
    host = name.format(port=server.port)
    for path in ("/api/v2/dispatches", "/api/v3/tokens", "/api/v3/audit"):
        headers = [f"Origin: http://{host}", "Content-Type: text/plain", "Content-Length: 2"]
        request = wire.head(server, method, path, *headers, host=host) + b"{}"
        status, body = wire.exchange(server, request)
        assert status == 403 and b"COV1006" in body, (path, status, body)


def test_a_page_of_another_port_of_this_machine_makes_no_token(server):
    headers = [f"Origin: http://localhost:{server.port + 1}", "Content-Length: 14"]
    request = wire.head(server, "POST", "/api/v3/tokens", *headers) + b'{"name":"web"}'
    status, body = wire.exchange(server, request)
    assert status == 403 and b"COV1006" in body
