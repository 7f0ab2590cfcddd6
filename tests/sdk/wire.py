"""Raw HTTP for what the SDK never sends: manifests built by the SDK and then altered, and single requests.

Only for tests of the wire; a test of behaviour goes through `import covalent as ct`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import covalent as ct
import requests

DISPATCHES = "/api/v2/dispatches"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
TIMEOUT_S = 30
Dispatcher = ct._dispatcher_plugins.local.LocalDispatcher


@dataclass
class Prepared:
    """A manifest as the SDK would send it, and the bytes of each of its assets by their path in it."""

    body: dict
    contents: dict[tuple, bytes]

    def replace(self, path: tuple, content: bytes) -> None:
        """Gives an asset other bytes, with the digest and size that belong to them."""
        asset = at(self.body, path)
        asset["digest"] = hashlib.sha1(content).hexdigest()
        asset["size"] = len(content)
        self.contents[path] = content


def at(tree, path: tuple):
    """The part of a JSON tree at a path of keys and indices."""
    for step in path:
        tree = tree[step]
    return tree


def asset_paths(body: dict) -> list[tuple]:
    """Where a manifest holds assets."""
    paths = [("assets", key) for key in body["assets"]]
    paths += [("lattice", "assets", key) for key in body["lattice"]["assets"]]
    for number, node in enumerate(body["lattice"]["transport_graph"]["nodes"]):
        prefix = ("lattice", "transport_graph", "nodes", number, "assets")
        paths += [(*prefix, key) for key in node["assets"]]
    return paths


def prepare(workflow, *args, **kwargs) -> Prepared:
    """Builds what `ct.dispatch(workflow)(*args, **kwargs)` would register and upload, and sends nothing."""
    lattice = copy.deepcopy(workflow)
    lattice.build_graph(*args, **kwargs)
    with tempfile.TemporaryDirectory() as directory:
        body = json.loads(Dispatcher.prepare_manifest(lattice, directory).model_dump_json())
        contents = {}
        for path in asset_paths(body):
            asset = at(body, path)
            if asset["uri"] and asset["size"]:
                contents[path] = Path(asset["uri"].removeprefix("file://")).read_bytes()
            asset["uri"] = ""
    return Prepared(body, contents)


def register(server, body) -> requests.Response:
    """E1, as the SDK sends it: a JSON string and no Content-Type."""
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return requests.post(server.url + DISPATCHES, data=text, timeout=TIMEOUT_S)


def upload(prepared: Prepared, answer: dict) -> None:
    """Sends every asset the server asked for."""
    by_id = {n["id"]: n for n in answer["lattice"]["transport_graph"]["nodes"]}
    for path, content in prepared.contents.items():
        target = upload_address(prepared.body, answer, path, by_id)
        if target:
            requests.put(target, data=content, timeout=TIMEOUT_S).raise_for_status()


def upload_address(body: dict, answer: dict, path: tuple, by_id: dict | None = None) -> str:
    """Where the answer wants this asset, "" when it does not."""
    if path[:3] != ("lattice", "transport_graph", "nodes"):
        return at(answer, path)["remote_uri"]
    by_id = by_id or {n["id"]: n for n in answer["lattice"]["transport_graph"]["nodes"]}
    return by_id[at(body, path[:4])["id"]]["assets"][path[5]]["remote_uri"]


def start(server, dispatch_id: str) -> requests.Response:
    """E3 with RUNNING."""
    url = f"{server.url}{DISPATCHES}/{dispatch_id}/status"
    return requests.put(url, json={"status": "RUNNING"}, timeout=TIMEOUT_S)


def submit(server, prepared: Prepared) -> str:
    """Registers, uploads and starts; returns the dispatch id."""
    answer = register(server, prepared.body)
    assert answer.status_code == 201, answer.text
    upload(prepared, answer.json())
    dispatch_id = answer.json()["metadata"]["dispatch_id"]
    started = start(server, dispatch_id)
    assert started.status_code == 202, started.text
    return dispatch_id


def get(server, path: str, **options) -> requests.Response:
    return requests.get(server.url + path, timeout=TIMEOUT_S, **options)


def export(server, dispatch_id: str) -> dict:
    """E5, with the nodes in the order of their ids."""
    answer = get(server, f"{DISPATCHES}/{dispatch_id}")
    assert answer.status_code == 200, answer.text
    manifest = answer.json()
    manifest["lattice"]["transport_graph"]["nodes"].sort(key=lambda node: node["id"])
    return manifest


def exported_node(manifest: dict, name: str) -> dict:
    found = [
        node
        for node in manifest["lattice"]["transport_graph"]["nodes"]
        if node["metadata"]["name"] == name
    ]
    assert len(found) == 1, name
    return found[0]


def all_dispatches(server) -> set[str]:
    """The ids of everything the server has stored."""
    rows = get(server, DISPATCHES, params={"count": 100_000, "status_only": True}).json()
    return {row["dispatch_id"] for row in rows["dispatches"]}


def names_path(text: str, *parts: str | int) -> bool:
    """Whether an error names this path, as `a.b[0].c`, `/a/b/0/c` or `["a", "b", 0, "c"]`."""
    pattern = r"\W+".join(re.escape(str(part)) for part in parts)
    return re.search(rf"\b{pattern}\b", text) is not None


def exchange(server, request: bytes, timeout: float = 10.0) -> tuple[int, bytes]:
    """Sends exactly these bytes and returns status and body, reading to the end of the answer."""
    with socket.create_connection((server.host, server.port), timeout=timeout) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            status_line = stream.readline()
            assert status_line.startswith(b"HTTP/1."), status_line
            length, chunked = 0, False
            while (line := stream.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
                chunked = chunked or line == b"transfer-encoding: chunked"
            body = stream.readline() if chunked else stream.read(length)
    return int(status_line.split()[1]), body


def head(server, method: str, target: str, *headers: str, host: str | None = None) -> bytes:
    """A request head with a target that no client library has tidied up."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host or f'{server.host}:{server.port}'}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")
