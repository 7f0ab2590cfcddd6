"""Limits that the operator sets: what is over them is 413, and the server goes on."""

import json

import covalent as ct
import pytest
import requests
import wire
from checks import completed

pytestmark = pytest.mark.own_server
TOO_LARGE = 413


@ct.electron
def identity(value):
    return value


@ct.lattice
def chain(n):
    value = identity("start")
    for _ in range(n):
        value = identity(value)
    return value


def still_works(server):
    dispatch_id = ct.dispatch(chain, dispatcher_addr=server.url)(0)
    got = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    assert completed(got) == "start"


def test_nodes(spawn_server):
    """`chain(n)` has n + 3 nodes: the electrons, one parameter, the postprocessing node."""
    own = spawn_server(options=("--limits-nodes", "5"))
    before = wire.all_dispatches(own)
    refused = wire.register(own, wire.prepare(chain, 3).body)
    assert refused.status_code == TOO_LARGE, refused.text
    assert refused.headers["Content-Type"].startswith("application/json")
    assert "nodes" in refused.text and "5" in refused.text
    assert wire.all_dispatches(own) == before
    assert wire.register(own, wire.prepare(chain, 2).body).status_code == 201
    still_works(own)


def test_manifest_bytes(spawn_server):
    own = spawn_server(options=("--limits-manifest-bytes", "100000"))
    body = json.dumps(wire.prepare(chain, 200).body)
    assert len(body) > 100_000
    refused = wire.register(own, body)
    assert refused.status_code == TOO_LARGE, refused.text
    chunked = requests.post(
        own.url + wire.DISPATCHES,
        data=(body[i : i + 8192].encode() for i in range(0, len(body), 8192)),
        timeout=wire.TIMEOUT_S,
    )
    assert chunked.status_code == TOO_LARGE, "the same without an announced length"
    assert wire.all_dispatches(own) == set()
    still_works(own)


def test_upload_bytes(spawn_server):
    own = spawn_server(options=("--limits-upload-bytes", "50000"))

    @ct.lattice
    def large(x):
        return identity(x)

    prepared = wire.prepare(large, "x" * 100_000)
    answer = wire.register(own, prepared.body)
    statuses = [answer.status_code]
    if answer.status_code == 201:
        for path, content in prepared.contents.items():
            address = wire.upload_address(prepared.body, answer.json(), path)
            if address:
                put = requests.put(address, data=content, timeout=wire.TIMEOUT_S)
                statuses.append(put.status_code)
                assert (put.status_code == TOO_LARGE) == (len(content) > 50_000)
        dispatch_id = answer.json()["metadata"]["dispatch_id"]
        assert wire.start(own, dispatch_id).status_code == 409
    assert TOO_LARGE in statuses
    still_works(own)
