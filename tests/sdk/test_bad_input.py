"""What the server refuses: never a 5xx, the path of the fault named, nothing stored, nothing leaked."""

import copy
import json
import time

import covalent as ct
import pytest
import requests
import wire
from checks import completed, failed, node, run
from harness import ExternalServer

pytestmark = pytest.mark.mends
GRAPH = ("lattice", "transport_graph")
REFUSED = (400, 422)


@ct.electron
def identity(value):
    return value


@ct.electron
def add(a, b):
    return a + b


@ct.lattice
def simple(x):
    return identity(x)


@ct.lattice
def wider(x):
    return add(identity(x), identity(x + 1))


def fresh():
    """A value no other test has sent, so that nothing of it is stored yet."""
    return f"fresh {time.time_ns()}"


@pytest.fixture
def nothing_stored(server):
    """The refused request must leave no dispatch behind."""
    ours_alone = not isinstance(server, ExternalServer)
    before = wire.all_dispatches(server)
    yield
    assert wire.all_dispatches(server) == before or not ours_alone
    assert run(simple, "the server still works") == "the server still works"


def refused(answer, *statuses):
    assert answer.status_code in (statuses or REFUSED), (answer.status_code, answer.text[:500])
    assert answer.headers["Content-Type"].startswith("application/json"), answer.headers
    assert isinstance(answer.json(), dict)
    return answer


# Unknown things


@pytest.mark.parametrize("dispatch_id", [wire.UNKNOWN, "no-uuid", "0" * 36, "x" * 3000, "%20"])
def test_unknown_dispatch(server, dispatch_id):
    base = f"{server.url}{wire.DISPATCHES}/{dispatch_id}"
    electron = f"{base}/electrons/0"
    known = ct.dispatch(simple, disable_run=True)(1)
    for method, url, body in (
        ("GET", base, None),
        ("PUT", f"{base}/status", {"status": "RUNNING"}),
        ("PATCH", electron, {"sub_dispatch_id": known}),
        ("GET", f"{electron}/assets/function", None),
        ("POST", f"{electron}/assets/output", None),
        ("PUT", f"{electron}/job", {"status": "COMPLETED"}),
    ):
        answer = requests.request(method, url, json=body, timeout=wire.TIMEOUT_S)
        refused(answer, 404, 414, 422) if dispatch_id != wire.UNKNOWN else refused(answer, 404)


@pytest.mark.parametrize("number", [99, 2**31, 2**63, 10**30])
def test_unknown_node(server, number):
    dispatch_id = ct.dispatch(simple, disable_run=True)(1)
    other = ct.dispatch(simple, disable_run=True)(2)
    base = f"{server.url}{wire.DISPATCHES}/{dispatch_id}/electrons/{number}"
    for method, path, body in (
        ("PATCH", "", {"sub_dispatch_id": other}),
        ("GET", "/assets/function", None),
        ("POST", "/assets/output", None),
        ("PUT", "/job", {"status": "COMPLETED"}),
    ):
        answer = requests.request(method, base + path, json=body, timeout=wire.TIMEOUT_S)
        refused(answer, 404) if number == 99 else refused(answer, 404, 400, 422)


def test_node_ids_that_are_no_numbers(server):
    dispatch_id = ct.dispatch(simple, disable_run=True)(1)
    for number in ("-1", "one", "1.5", "0x1", "%00"):
        path = f"{wire.DISPATCHES}/{dispatch_id}/electrons/{number}/assets/function"
        refused(wire.get(server, path), 400, 404, 422)


def test_unknown_asset(server):
    dispatch_id = ct.dispatch(simple, disable_run=True)(1)
    base = f"{wire.DISPATCHES}/{dispatch_id}/electrons/0/assets"
    refused(wire.get(server, f"{base}/nope"), 404, 422)
    refused(wire.get(server, f"/api/v0/files/{dispatch_id}/nothing.tobj"), 403, 404, 422)
    refused(wire.get(server, f"/api/v0/files/{dispatch_id}/node_77/results.tobj"), 403, 404)
    refused(wire.get(server, f"/api/v0/files/{wire.UNKNOWN}/results.tobj"), 403, 404)


def test_an_asset_that_is_known_but_not_there_yet(server):
    """No task has run: its output has an address and no content, which is no server error."""
    dispatch_id = ct.dispatch(simple, disable_run=True)(fresh())
    output = wire.exported_node(wire.export(server, dispatch_id), "identity")["assets"]["output"]
    assert output["size"] == 0
    if output["remote_uri"]:
        answer = requests.get(output["remote_uri"], timeout=wire.TIMEOUT_S)
        refused(answer, 404)


def test_unknown_routes_and_methods(server):
    for method, path in (
        ("DELETE", wire.DISPATCHES),
        ("GET", "/api/v2/nothing/here"),
        ("PUT", "/api/v9"),
        ("TRACE", wire.DISPATCHES),
    ):
        answer = requests.request(method, server.url + path, timeout=wire.TIMEOUT_S)
        assert answer.status_code in (404, 405, 501), (method, path, answer.status_code)


# Bodies that are not what they should be


def _truncated():
    text = json.dumps(wire.prepare(simple, 1).body)
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "not json",
        lambda: "{",
        lambda: "[]",
        lambda: "null",
        lambda: '"text"',
        lambda: "{}",
        lambda: '{"metadata": NaN}',
        lambda: b'{"metadata": "\xff\xfe"}',
        lambda: "[" * 200_000,
        lambda: '{"a":' * 100_000,
        _truncated,
    ],
    ids=["empty", "text", "brace", "list", "null", "string", "object", "nan", "no-utf8"]
    + ["deep-list", "deep-object", "truncated"],
)
def test_bodies_that_are_no_manifest(server, nothing_stored, make):
    refused(wire.register(server, make()))


def change(path, value):
    """A mutation that sets one place of the manifest."""

    def mutate(body):
        wire.at(body, path[:-1])[path[-1]] = value

    return mutate


def remove(path):
    def mutate(body):
        del wire.at(body, path[:-1])[path[-1]]

    return mutate


NODES, LINKS = (*GRAPH, "nodes"), (*GRAPH, "links")
FAULTY_FIELDS = {
    "no metadata": (remove(("metadata",)), ("metadata",)),
    "no lattice": (remove(("lattice",)), ("lattice",)),
    "no graph": (remove(GRAPH), GRAPH),
    "no nodes": (remove(NODES), NODES),
    "no links": (remove(LINKS), LINKS),
    "nodes an object": (change(NODES, {}), NODES),
    "links null": (change(LINKS, None), LINKS),
    "a node is a number": (change((*NODES, 1), 5), (*NODES, 1)),
    "dispatch status": (change(("metadata", "status"), "HALTED"), ("metadata", "status")),
    "status a number": (change(("metadata", "status"), 3), ("metadata", "status")),
    "node status": (
        change((*NODES, 0, "metadata", "status"), "SLEEPING"),
        (*NODES, 0, "metadata", "status"),
    ),
    "node name a list": (
        change((*NODES, 0, "metadata", "name"), ["x"]),
        (*NODES, 0, "metadata", "name"),
    ),
    "no executor": (
        remove((*NODES, 1, "metadata", "executor")),
        (*NODES, 1, "metadata", "executor"),
    ),
    "node id text": (change((*NODES, 2, "id"), "two"), (*NODES, 2, "id")),
    "node id fraction": (change((*NODES, 2, "id"), 2.5), (*NODES, 2, "id")),
    "no assets": (remove((*NODES, 0, "assets")), (*NODES, 0, "assets")),
    "asset a text": (
        change((*NODES, 0, "assets", "function"), "bytes"),
        (*NODES, 0, "assets", "function"),
    ),
    "size text": (
        change((*NODES, 0, "assets", "function", "size"), "big"),
        (*NODES, 0, "assets", "function", "size"),
    ),
    "size negative": (
        change((*NODES, 0, "assets", "function", "size"), -1),
        (*NODES, 0, "assets", "function", "size"),
    ),
    "lattice asset size": (
        change(("lattice", "assets", "inputs", "size"), [1]),
        ("lattice", "assets", "inputs", "size"),
    ),
    "digest a number": (
        change(("lattice", "assets", "inputs", "digest"), 12),
        ("lattice", "assets", "inputs", "digest"),
    ),
    "source null": (change((*LINKS, 0, "source"), None), (*LINKS, 0, "source")),
    "edge name missing": (
        remove((*LINKS, 0, "metadata", "edge_name")),
        (*LINKS, 0, "metadata", "edge_name"),
    ),
    "argument index text": (
        change((*LINKS, 0, "metadata", "arg_index"), "first"),
        (*LINKS, 0, "metadata", "arg_index"),
    ),
    "start time text": (change(("metadata", "start_time"), "yesterday"), ("metadata", "start_time")),
}


@pytest.mark.parametrize("fault", FAULTY_FIELDS)
def test_a_faulty_field_is_named_by_its_path(server, nothing_stored, fault):
    mutate, path = FAULTY_FIELDS[fault]
    body = wire.prepare(wider, 1).body
    mutate(body)
    told = refused(wire.register(server, body)).text
    named = wire.names_path(told, *path)
    # A missing field may be told as "<path of its parent>: ... <field>".
    parent = path[:-1]
    named = named or ((not parent or wire.names_path(told, *parent)) and str(path[-1]) in told)
    assert named, (path, told[:1000])


def _link(body, source, target):
    links = wire.at(body, LINKS)
    new = copy.deepcopy(links[0])
    new["source"], new["target"] = source, target
    new["metadata"].update(edge_name="!waiting_edge", param_type=None, arg_index=None)
    links.append(new)


def _cycle(body):
    first = wire.at(body, LINKS)[0]
    _link(body, first["target"], first["source"])


def _renumber(body, old, new):
    wire.at(body, NODES)[old]["id"] = new


FAULTY_GRAPHS = {
    "cycle": (_cycle, GRAPH),
    "self loop": (lambda body: _link(body, 0, 0), GRAPH),
    "dangling target": (lambda body: _link(body, 0, 999), LINKS),
    "dangling source": (lambda body: _link(body, 999, 0), LINKS),
    "negative edge": (lambda body: _link(body, -1, 0), LINKS),
    "duplicate id": (lambda body: _renumber(body, 1, 0), NODES),
    "negative id": (lambda body: _renumber(body, 1, -1), NODES),
    "gap in the ids": (lambda body: _renumber(body, 1, 1000), NODES),
    "huge id": (lambda body: _renumber(body, 1, 2**70), NODES),
    "no nodes at all": (lambda body: wire.at(body, NODES).clear(), GRAPH),
    "unknown task group": (
        change((*NODES, 0, "metadata", "task_group_id"), 4711),
        (*NODES, 0, "metadata", "task_group_id"),
    ),
    "negative task group": (
        change((*NODES, 0, "metadata", "task_group_id"), -2),
        (*NODES, 0, "metadata", "task_group_id"),
    ),
}


@pytest.mark.parametrize("fault", FAULTY_GRAPHS)
def test_a_graph_that_cannot_be_run_is_refused(server, nothing_stored, fault):
    mutate, path = FAULTY_GRAPHS[fault]
    body = wire.prepare(wider, 1).body
    mutate(body)
    answer = refused(wire.register(server, body))
    assert wire.names_path(answer.text, *path), answer.text[:1000]


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "{}", '{"status": "PAUSED"}', '{"status": 5}', '{"status": "COMPLETED"}'],
)
def test_status_changes_that_make_no_sense(server, body):
    dispatch_id = ct.dispatch(simple, disable_run=True)(1)
    url = f"{server.url}{wire.DISPATCHES}/{dispatch_id}/status"
    answer = refused(requests.put(url, data=body, timeout=wire.TIMEOUT_S))
    if body.startswith('{"') or body == "{}":
        assert "status" in answer.text
    assert ct.get_result(dispatch_id, status_only=True)["status"] == "NEW_OBJECT"


@pytest.mark.parametrize("body", ["", "{", '{"sub_dispatch_id": 5}', "{}", "[]"])
def test_links_that_make_no_sense(server, body):
    dispatch_id = ct.dispatch(simple, disable_run=True)(1)
    url = f"{server.url}{wire.DISPATCHES}/{dispatch_id}/electrons/0"
    refused(requests.patch(url, data=body, timeout=wire.TIMEOUT_S))


@pytest.mark.parametrize("body", ["", "{", "[]", '{"status": "PAUSED"}'])
def test_job_events_that_make_no_sense(server, body):
    dispatch_id = ct.dispatch(simple, disable_run=True)(1)
    url = f"{server.url}{wire.DISPATCHES}/{dispatch_id}/electrons/0/job"
    refused(requests.put(url, data=body, timeout=wire.TIMEOUT_S), 400, 409, 422)


@pytest.mark.parametrize(
    "query", ["count=two", "count=-1", "offset=-1", "latest=maybe", "status=SLEEPING", "offset=1e9"]
)
def test_queries_that_make_no_sense(server, query):
    answer = refused(wire.get(server, f"{wire.DISPATCHES}?{query}"))
    assert query.partition("=")[0] in answer.text


# Uploads


def _missing_of(server, workflow, *args):
    """A registered dispatch with nothing uploaded, and one asset the server wants."""
    prepared = wire.prepare(workflow, *args)
    answer = wire.register(server, prepared.body).json()
    for path, content in prepared.contents.items():
        address = wire.upload_address(prepared.body, answer, path)
        if address and path[-1] == "inputs":
            return prepared, answer, address, content
    raise AssertionError("the server wants no inputs")


@pytest.mark.parametrize("fault", ["digest", "shorter", "longer", "empty"])
def test_an_upload_that_is_not_what_was_announced(server, fault):
    prepared, answer, address, content = _missing_of(server, simple, fresh())
    wrong = {
        "digest": bytes([content[0] ^ 1]) + content[1:],
        "shorter": content[:-1],
        "longer": content + b"x",
        "empty": b"",
    }[fault]
    dispatch_id = answer["metadata"]["dispatch_id"]
    wire.upload(prepared, answer)
    # The right bytes are there; wrong ones must not take their place.
    refused(requests.put(address, data=wrong, timeout=wire.TIMEOUT_S), 409, 422)
    assert wire.start(server, dispatch_id).status_code == 202
    assert completed(ct.get_result(dispatch_id, wait=True)).startswith("fresh")


@pytest.mark.parametrize("fault", ["digest", "shorter", "longer"])
def test_a_corrupt_upload_keeps_the_dispatch_from_starting(server, fault):
    prepared, answer, address, content = _missing_of(server, simple, fresh())
    wrong = {
        "digest": bytes([content[0] ^ 1]) + content[1:],
        "shorter": content[:-1],
        "longer": content + b"x",
    }[fault]
    dispatch_id = answer["metadata"]["dispatch_id"]
    refused(requests.put(address, data=wrong, timeout=wire.TIMEOUT_S), 409, 422)
    for path, right in prepared.contents.items():
        other = wire.upload_address(prepared.body, answer, path)
        if other and other != address:
            requests.put(other, data=right, timeout=wire.TIMEOUT_S).raise_for_status()
    told = refused(wire.start(server, dispatch_id), 409)
    assert "inputs" in told.text
    assert ct.get_result(dispatch_id, status_only=True)["status"] == "NEW_OBJECT"
    requests.put(address, data=content, timeout=wire.TIMEOUT_S).raise_for_status()
    assert wire.start(server, dispatch_id).status_code == 202
    assert completed(ct.get_result(dispatch_id, wait=True)).startswith("fresh")


def test_an_upload_that_breaks_off(server):
    """The client announces a size and goes away: nothing is kept, a second try works."""
    prepared, answer, address, content = _missing_of(server, simple, fresh())
    target = address.removeprefix(server.url)
    request = wire.head(server, "PUT", target, f"Content-Length: {len(content)}")
    with wire.socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(request + content[: len(content) // 2])
    dispatch_id = answer["metadata"]["dispatch_id"]
    assert wire.start(server, dispatch_id).status_code == 409
    wire.upload(prepared, answer)
    assert wire.start(server, dispatch_id).status_code == 202
    assert completed(ct.get_result(dispatch_id, wait=True)).startswith("fresh")


def test_a_function_pickled_by_another_python(server):
    """Refused, or failed with both versions named; never run."""
    prepared = wire.prepare(simple, fresh())
    path = next(
        (*NODES, n["id"], "assets", "function")
        for n in wire.at(prepared.body, NODES)
        if n["metadata"]["name"] == "identity"
    )
    content = prepared.contents[path]
    offset = int.from_bytes(content[:8], "big")
    header = json.loads(content[16:offset])
    own_version = header["py_version"]
    header["py_version"] = "3.6.15"
    changed = json.dumps(header).encode()
    shift = len(changed) - (offset - 16)
    data_offset = int.from_bytes(content[8:16], "big") + shift
    offsets = (offset + shift).to_bytes(8, "big") + data_offset.to_bytes(8, "big")
    prepared.replace(path, offsets + changed + content[offset:])
    answer = wire.register(server, prepared.body)
    wire.upload(prepared, answer.json())
    dispatch_id = answer.json()["metadata"]["dispatch_id"]
    started = wire.start(server, dispatch_id)
    if started.status_code == 202:
        result = ct.get_result(dispatch_id, wait=True)
        failed(result)
        told = node(result, "identity")["error"]
    else:
        told = refused(started, 400, 409, 422).text
    assert "3.6" in told
    assert ".".join(own_version.split(".")[:2]) in told
