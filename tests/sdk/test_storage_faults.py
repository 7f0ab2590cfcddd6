"""A real server on a disk that fails: full, with I/O errors, with syncs that fail, locked.

What was acknowledged before or during the fault must be there afterwards, also after `kill -9`; new
work is refused with 503 or 507 and `Retry-After`; the server neither dies nor needs help when the
fault ends.
"""

from __future__ import annotations

import errno
import mmap
import os
import sqlite3
import struct
import subprocess
import time
from pathlib import Path

import covalent as ct
import pytest
import requests

from harness import Server

pytestmark = [pytest.mark.own_server, pytest.mark.mends]

WRITES, SYNCS, NAMES = 1, 2, 4
DATABASE, CONTENTS = 1, 2
FAULT_S = 2.0

FAULTS = [
    pytest.param(errno.ENOSPC, WRITES, DATABASE, id="database full"),
    pytest.param(errno.EIO, WRITES, DATABASE, id="database I/O error"),
    pytest.param(errno.EIO, SYNCS, DATABASE, id="database sync fails"),
    pytest.param(errno.ENOSPC, WRITES, CONTENTS, id="contents full"),
    pytest.param(errno.EIO, SYNCS, CONTENTS, id="contents sync fails"),
    pytest.param(errno.ENOSPC, NAMES, CONTENTS, id="no new files"),
    pytest.param(errno.ENOSPC, WRITES | SYNCS | NAMES, DATABASE | CONTENTS, id="everything fails"),
]


class Disk:
    """The control of the preloaded disk: see failing_disk.c."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(4096))
        self.path = path
        with path.open("r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)

    def fail(self, error: int, what: int, where: int) -> None:
        self.page[1:3] = bytes([what, where])
        self.page[0] = error

    def heal(self) -> None:
        self.page[0] = 0

    def failed_calls(self) -> int:
        return struct.unpack("Q", self.page[8:16])[0]


@pytest.fixture(scope="module")
def failing_disk_library(tmp_path_factory) -> Path:
    """The library to preload, built with the C compiler that the project needs anyway."""
    library = tmp_path_factory.mktemp("disk") / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    return library


@pytest.fixture
def faulty_server(failing_disk_library, tmp_path):
    """A server of its own whose disk fails on demand."""
    disk = Disk(tmp_path / "control")
    server = Server(
        os.environ["COV_SERVER_BIN"],
        tmp_path / "server",
        environment={
            "LD_PRELOAD": str(failing_disk_library),
            "FAULT_CONTROL": str(disk.path),
            "FAULT_DIR": str(tmp_path / "server" / "data"),
        },
    )
    server.start()
    yield server, disk
    disk.heal()
    server.kill9()


@ct.electron(executor="local")
def step(value, pause):
    time.sleep(pause)
    return value + 1


@ct.electron(executor="local")
def large(value):
    return bytes(200_000) + str(value).encode()


@ct.electron(executor="local")
def size(data):
    return len(data)


@ct.lattice(executor="local", workflow_executor="local")
def counting(value, pause):
    for _ in range(4):
        value = step(value, pause)
    return value


@ct.lattice(executor="local", workflow_executor="local")
def heavy(value):
    return size(large(step(value, 0.3)))


@ct.lattice(executor="local", workflow_executor="local")
def weighing(data):
    return size(data)


def register(server, name="refused"):
    """Registers an empty workflow over raw HTTP; returns the response."""
    asset = {"digest_alg": None, "digest": None, "uri": "", "remote_uri": None, "size": 0}
    keys = ("workflow_function", "workflow_function_string", "doc", "inputs", "hooks")
    manifest = {
        "metadata": {"dispatch_id": "", "root_dispatch_id": "", "status": "NEW_OBJECT"},
        "assets": {"result": asset, "error": asset},
        "lattice": {
            "metadata": {
                "name": name,
                "executor": "local",
                "executor_data": {},
                "workflow_executor": "local",
                "workflow_executor_data": {},
            },
            "assets": {key: asset for key in keys},
            "transport_graph": {"nodes": [], "links": []},
        },
    }
    return requests.post(f"{server.url}/api/v2/dispatches", json=manifest, timeout=60)


def results_of(server, dispatches):
    return [ct.get_result(d, wait=True, dispatcher_addr=server.url).result for d in dispatches]


@pytest.mark.parametrize(("error", "what", "where"), FAULTS)
def test_nothing_acknowledged_is_lost(faulty_server, error, what, where):
    """Work goes on after the fault, from where it was."""
    server, disk = faulty_server
    counts = [ct.dispatch(counting, dispatcher_addr=server.url)(n, 0.15) for n in range(3)]
    blobs = [ct.dispatch(heavy, dispatcher_addr=server.url)(n) for n in range(2)]
    disk.fail(error, what, where)
    time.sleep(FAULT_S)
    answer = register(server)
    if where & DATABASE:
        assert answer.status_code in (503, 507), answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        assert disk.failed_calls() > 0
    assert requests.get(f"{server.url}/healthz", timeout=10).status_code == 200
    disk.heal()
    assert register(server).status_code == 201
    assert results_of(server, counts) == [4, 5, 6]
    assert results_of(server, blobs) == [200_001] * 2
    server.kill9()
    server.restart()
    assert results_of(server, counts) == [4, 5, 6]
    assert not server.panics()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_refused_upload_changes_nothing(faulty_server, error):
    """A large upload that meets a full disk is refused, and can be sent again."""
    server, disk = faulty_server
    data = os.urandom(100_000)
    disk.fail(error, WRITES | SYNCS | NAMES, CONTENTS)
    with pytest.raises(requests.HTTPError) as refused:
        ct.dispatch(weighing, dispatcher_addr=server.url)(data)
    assert refused.value.response.status_code in (503, 507)
    disk.heal()
    dispatch = ct.dispatch(weighing, dispatcher_addr=server.url)(data)
    assert results_of(server, [dispatch]) == [100_000]


def test_a_locked_database_is_waited_for(faulty_server):
    """Another process holds the write lock for a while; no client sees `database is locked`."""
    server, _ = faulty_server
    running = ct.dispatch(counting, dispatcher_addr=server.url)(1, 0.1)
    database = sqlite3.connect(server.data_dir / "dispatches.sqlite", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    time.sleep(FAULT_S)
    database.execute("ROLLBACK")
    database.close()
    assert results_of(server, [running]) == [5]
    assert "database is locked" not in requests.get(f"{server.url}/api/v2/dispatches/{running}").text
