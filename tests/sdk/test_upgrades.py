"""Data of every schema there ever was, under a server of today: it starts while clients knock, and nothing is lost.

The data are in `tests/upgrades`; see `make_fixtures.py` there.
"""

import http.client
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import covalent as ct
import pytest
from checks import completed, failed, node

FIXTURES = sorted((Path(__file__).resolve().parents[1] / "upgrades").glob("schema_*.sql"))
CLIENTS = 6
# The fixtures' functions were pickled by this Python, and bytecode is of one version.
PICKLED_BY = (3, 11)


class Knocking:
    """Clients that ask for the list of dispatches, from before the server is there, and note every answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[tuple[int, str | None]] = []
        self.faults: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._knock) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _knock(self) -> None:
        while not self._stop.is_set():
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                client.connect()
            except ConnectionRefusedError:
                time.sleep(0.001)
                continue
            try:
                client.request("GET", "/api/v3/dispatches?limit=100")
                answer = client.getresponse()
                answer.read()
                self.answers.append((answer.status, answer.getheader("Retry-After")))
            except OSError as error:
                self.faults.append(repr(error))
            finally:
                client.close()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _lay_down(fixture: Path, folder: Path) -> dict[str, list[str]]:
    """Makes the data directory; returns its dispatches by name and stored status."""
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / "dispatches.sqlite") as database:
        database.executescript(fixture.read_text())
        found: dict[str, list[str]] = {}
        for name, dispatch_id in database.execute("SELECT name, dispatch_id FROM dispatches ORDER BY id"):
            found.setdefault(name, []).append(dispatch_id)
    database.close()
    return found


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_a_server_takes_over_old_data_while_clients_knock(spawn_server, fixture, python):
    server = spawn_server(start=False)
    dispatches = _lay_down(fixture, server.data_dir)
    server.port = _free_port()
    clients = Knocking(server.port)
    try:
        server.start()
        ended = lambda dispatch_id: ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)  # noqa: E731
        again = ct.dispatch(_workflow(), dispatcher_addr=server.url)(3)
        assert completed(ended(again)) == 6
    finally:
        clients.stop()
    assert not clients.faults, clients.faults[:3]
    assert len(clients.answers) > CLIENTS
    for status, retry_after in clients.answers:
        assert status == 200 or (status == 503 and retry_after), (status, retry_after)

    assert completed(ended(dispatches["fan"][0])) == [0, 2, 4]
    broken = ended(dispatches["fails"][0])
    assert "broken" in failed(broken)
    assert "on purpose" in node(broken, "broken")["error"]
    slept = ended(dispatches["sleeps"][0])
    if _version(python) == PICKLED_BY:
        assert completed(slept) == "slept", "what was under way goes on"
    statuses = [str(ct.get_result(one, dispatcher_addr=server.url).status) for one in dispatches["fan"]]
    assert statuses.count("NEW_OBJECT") == 1, "what was not started is not started"


def _workflow():
    @ct.electron
    def double(number):
        return 2 * number

    @ct.lattice
    def doubled(number):
        return double(number)

    return doubled


def _version(python: str) -> tuple[int, int]:
    said = subprocess.check_output([python, "-c", "import sys; print(*sys.version_info[:2])"], text=True)
    major, minor = said.split()
    return int(major), int(minor)
