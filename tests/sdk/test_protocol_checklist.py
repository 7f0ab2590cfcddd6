"""The conformance checklist of the protocol (its section 24), one test per line; lines 9, 13 and 14 come later."""

import datetime
import pickle
import random
import re
import time

import covalent as ct
import pytest
import wire
from checks import completed, failed, node, status_of
from meeting import arrive

ASSET_KEYS = {
    "dispatch": {"result", "error"},
    "lattice": {"workflow_function", "workflow_function_string", "doc", "inputs", "hooks"},
    "node": {
        "function",
        "function_string",
        "value",
        "output",
        "hooks",
        "error",
        "stdout",
        "stderr",
    },
}


@ct.electron
def identity(value):
    return value


@ct.electron
def nothing(value):
    return None


@ct.electron
def order(a, b, c=None, d=None):
    return [a, b, c, d]


@ct.electron
def report(address, name):
    return arrive(address, name)


@ct.electron
def fail(value):
    raise ValueError(f"failed on {value}")


@ct.electron
@ct.lattice
def inner(value):
    return identity(value)


@ct.lattice
def simple(x):
    return identity(x)


def value_in(response):
    """The object in a `.tobj`: its data offset stands in bytes 8 to 16."""
    import base64

    content = response.content
    return pickle.loads(base64.b64decode(content[int.from_bytes(content[8:16], "big") :]))


def download(asset):
    got = wire.requests.get(asset["remote_uri"], timeout=wire.TIMEOUT_S)
    assert got.status_code == 200, got.text
    assert len(got.content) == asset["size"]
    return got


def test_line_1_register_needs_no_content_type(server):
    answer = wire.register(server, wire.prepare(simple, 1).body)
    assert "Content-Type" not in answer.request.headers
    assert answer.status_code == 201


def test_line_1_an_announced_upload_is_answered_without_its_body(server, meeting_point):
    @ct.lattice
    def workflow(address):
        return report(address, "held")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")
    target = f"{wire.DISPATCHES}/{dispatch_id}/electrons/0/assets/stdout"
    request = wire.head(server, "POST", target, "Content-Length: 12345", "Connection: keep-alive")
    began = time.monotonic()
    status, body = wire.exchange(server, request)
    assert time.monotonic() - began < 2.0
    assert status == 200
    assert wire.json.loads(body)["remote_uri"].startswith("http")
    meeting_point.release("held")
    completed(ct.get_result(dispatch_id, wait=True))


def test_line_2_the_answer_is_complete(server):
    prepared = wire.prepare(simple, "line two")
    answer = wire.register(server, prepared.body).json()
    graph_nodes = answer["lattice"]["transport_graph"]["nodes"]
    assert sorted(n["id"] for n in graph_nodes) == list(range(len(graph_nodes)))
    assert set(answer["assets"]) == ASSET_KEYS["dispatch"]
    assert set(answer["lattice"]["assets"]) == ASSET_KEYS["lattice"]
    for n in graph_nodes:
        assert set(n["assets"]) == ASSET_KEYS["node"]
    for path in wire.asset_paths(answer):
        asset = wire.at(answer, path)
        assert isinstance(asset["remote_uri"], str), path
        assert type(asset["size"]) is int, path
    assert len(answer["metadata"]["dispatch_id"]) == 36
    assert answer["metadata"]["root_dispatch_id"] == answer["metadata"]["dispatch_id"]
    assert answer["metadata"]["status"] == "NEW_OBJECT"


def test_line_3_parameter_nodes_complete_without_running(server, meeting_point):
    @ct.lattice
    def workflow(address, x):
        return report(address, "held"), identity(x)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address, "a parameter")
    meeting_point.wait_for("held")
    manifest = wire.export(server, dispatch_id)
    parameter = wire.exported_node(manifest, ":parameter:a parameter")
    assert parameter["metadata"]["status"] == "COMPLETED"
    assert parameter["metadata"]["start_time"] == parameter["metadata"]["end_time"]
    assert value_in(download(parameter["assets"]["output"])) == "a parameter"
    assert value_in(download(parameter["assets"]["value"])) == "a parameter"
    meeting_point.release("held")
    completed(ct.get_result(dispatch_id, wait=True))


def test_line_4_several_edges_between_two_nodes(server):
    @ct.lattice
    def workflow(x):
        value = identity(x)
        return order(value, value, c=value)

    result = ct.dispatch_sync(workflow)(1)
    assert completed(result) == [1, 1, 1, None]
    links = wire.export(server, result.dispatch_id)["lattice"]["transport_graph"]["links"]
    ends = (node(result, "identity")["node_id"], node(result, "order")["node_id"])
    between = [link for link in links if (link["source"], link["target"]) == ends]
    assert sorted(link["metadata"]["edge_name"] for link in between) == ["a", "b", "c"]


def test_line_5_inputs_by_index_and_name_whatever_the_order_in_the_manifest(server, tmp_path):
    @ct.electron
    def mark(path):
        with open(path, "w") as file:
            file.write("marked")

    @ct.electron
    def ordered(a, b, c=None, d=None, path=None):
        with open(path) as file:
            return [a, b, c, d, file.read()]

    @ct.lattice
    def workflow(path):
        child = ordered(identity(1), identity(2), d=identity(4), c=identity(3), path=path)
        ct.wait(child, mark(path))
        return child

    prepared = wire.prepare(workflow, str(tmp_path / "file"))
    graph = prepared.body["lattice"]["transport_graph"]
    random.Random(5).shuffle(graph["links"])
    dispatch_id = wire.submit(server, prepared)
    assert completed(ct.get_result(dispatch_id, wait=True)) == [1, 2, 3, 4, "marked"]


def test_line_6_none_is_stored_and_silence_is_not(server):
    @ct.lattice
    def workflow(x):
        return nothing(x)

    result = ct.dispatch_sync(workflow)(1)
    assert completed(result) is None
    assert result.encoded_result is not None
    done = wire.exported_node(wire.export(server, result.dispatch_id), "nothing")
    assert done["assets"]["output"]["size"] > 0
    assert value_in(download(done["assets"]["output"])) is None
    assert done["assets"]["stdout"]["size"] == 0
    assert done["assets"]["stderr"]["size"] == 0


@pytest.mark.mends
def test_line_7_where_a_failure_is_told(server, meeting_point):
    """The traceback in stderr and in the node's error; children untouched; FAILED only when idle."""

    @ct.lattice
    def workflow(address):
        return identity(fail(1)), report(address, "held")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")
    manifest = wire.export(server, dispatch_id)
    while wire.exported_node(manifest, "fail")["metadata"]["status"] != "FAILED":
        manifest = wire.export(server, dispatch_id)
    assert manifest["metadata"]["status"] == "RUNNING"
    meeting_point.release("held")
    result = ct.get_result(dispatch_id, wait=True)
    failed(result)
    bad = node(result, "fail")
    for text in (bad["stderr"], bad["error"]):
        assert "Traceback (most recent call last)" in text
        assert "ValueError: failed on 1" in text
    assert status_of(result, "identity") == "NEW_OBJECT"


def test_line_8_result_and_sub_result_are_the_outputs_they_stand_for(server):
    @ct.lattice
    def workflow(x):
        return inner(x)

    result = ct.dispatch_sync(workflow)("eight")
    assert completed(result) == "eight"
    manifest = wire.export(server, result.dispatch_id)
    last = wire.exported_node(manifest, ":postprocess:reconstruct")["assets"]["output"]
    whole = manifest["assets"]["result"]
    assert whole["size"] == last["size"] > 0
    assert download(whole).content == download(last).content
    sub_node = wire.exported_node(manifest, ":sublattice:inner")
    sub = wire.export(server, sub_node["metadata"]["sub_dispatch_id"])
    assert download(sub_node["assets"]["output"]).content == download(sub["assets"]["result"]).content


def test_line_10_start_is_idempotent_and_answers_the_quoted_id(server):
    dispatch_id = ct.dispatch(simple, disable_run=True)(1)
    for _ in range(2):
        answer = wire.start(server, dispatch_id)
        assert (answer.status_code, answer.text) == (202, f'"{dispatch_id}"')
    completed(ct.get_result(dispatch_id, wait=True))
    again = wire.start(server, dispatch_id)
    assert (again.status_code, again.json()) == (202, dispatch_id)


def test_line_10_unknown_ids(server):
    missing = wire.get(server, f"{wire.DISPATCHES}/{wire.UNKNOWN}")
    assert missing.status_code == 404
    assert missing.json() == {"message": f"The requested dispatch ID {wire.UNKNOWN} was not found."}
    listed = wire.get(server, wire.DISPATCHES, params={"dispatch_id": wire.UNKNOWN})
    assert listed.status_code == 200
    assert listed.json() == {"dispatches": [], "metadata": {"count": 0}}


NAIVE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?")


def test_line_11_times_are_naive_utc(server):
    result = ct.dispatch_sync(simple)(1)
    manifest = wire.export(server, result.dispatch_id)
    nodes = manifest["lattice"]["transport_graph"]["nodes"]
    for metadata in (manifest["metadata"], *(n["metadata"] for n in nodes)):
        for key in ("start_time", "end_time"):
            assert NAIVE.fullmatch(metadata[key]), metadata[key]
    row = wire.get(server, wire.DISPATCHES, params={"dispatch_id": result.dispatch_id}).json()
    for key in ("created_at", "updated_at", "completed_at"):
        assert NAIVE.fullmatch(row["dispatches"][0][key]), row
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    assert abs(now - datetime.datetime.fromisoformat(manifest["metadata"]["end_time"])).seconds < 60


@pytest.mark.mends
def test_line_12_the_default_executor_of_a_fresh_client_is_accepted(server):
    body = wire.prepare(simple, 1).body
    assert body["lattice"]["metadata"]["executor"] == "dask"
    assert body["lattice"]["metadata"]["executor_data"] == {}
    assert completed(ct.dispatch_sync(simple)(12)) == 12


def test_line_12_unknown_executors_fail_the_node(server):
    @ct.electron(executor="nowhere")
    def far(x):
        return x

    @ct.lattice
    def workflow(x):
        return far(x)

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    assert "No executor found by name: nowhere" in node(result, "far")["error"]


# Calls of section 3 that the SDK makes and no other test shows.


def test_list_of_dispatches(server):
    first = ct.dispatch(simple, disable_run=True)(1)
    second = ct.dispatch_sync(simple)(2).dispatch_id
    both = {"dispatch_id": [first, second]}
    rows = wire.get(server, wire.DISPATCHES, params=both).json()
    assert rows["metadata"]["count"] == 2
    assert {row["dispatch_id"]: row["status"] for row in rows["dispatches"]} == {
        first: "NEW_OBJECT",
        second: "COMPLETED",
    }
    done = next(row for row in rows["dispatches"] if row["dispatch_id"] == second)
    assert set(done) == {
        "dispatch_id",
        "root_dispatch_id",
        "status",
        "name",
        "electron_num",
        "completed_electron_num",
        "created_at",
        "updated_at",
        "completed_at",
    }
    assert done["name"] == "simple"
    assert done["electron_num"] == done["completed_electron_num"] == 3
    short = wire.get(server, wire.DISPATCHES, params={**both, "status_only": True}).json()
    assert all(set(row) == {"dispatch_id", "status"} for row in short["dispatches"])
    new = wire.get(server, wire.DISPATCHES, params={**both, "status": "NEW_OBJECT"}).json()
    assert [row["dispatch_id"] for row in new["dispatches"]] == [first]
    page = wire.get(server, wire.DISPATCHES, params={"count": 1, "offset": 1}).json()
    assert page["metadata"]["count"] == len(page["dispatches"]) == 1


def test_asset_addresses_of_a_node(server):
    result = ct.dispatch_sync(simple)("asset")
    prefix = f"{wire.DISPATCHES}/{result.dispatch_id}/electrons"
    for key in sorted(ASSET_KEYS["node"]):
        answer = wire.get(server, f"{prefix}/0/assets/{key}")
        assert answer.status_code == 200, (key, answer.text)
        assert set(answer.json()) == {"digest_alg", "digest", "uri", "remote_uri", "size"}
    output = wire.get(server, f"{prefix}/0/assets/output").json()
    assert value_in(download(output)) == "asset"


def test_files_serve_ranges_and_heads_of_text(server):
    result = ct.dispatch_sync(simple)("range")
    asset = wire.exported_node(wire.export(server, result.dispatch_id), "identity")["assets"]
    uri = asset["function_string"]["remote_uri"]
    whole = wire.requests.get(uri, timeout=wire.TIMEOUT_S)
    assert "def identity" in whole.text
    part = wire.requests.get(uri, headers={"Range": "bytes=1-3"}, timeout=wire.TIMEOUT_S)
    assert part.status_code == 206
    assert part.content == whole.content[1:4]


def test_draw_is_accepted(server):
    answer = wire.requests.post(
        f"{server.url}/api/draw",
        data=wire.json.dumps({"event": "draw-request", "payload": {}}),
        timeout=wire.TIMEOUT_S,
    )
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
