"""Restate: its server, Hypercorn's worker processes with the services beside this file, and a client over HTTP."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import clients
import peerline
import work

SERVICE, ENVIRONMENT = sys.argv[1:3]

# As they come, 32 MiB; a run of 50 MB needs more.
SIZE_MAX = "256 MiB"

Figures = dict[str, Any]


class Peer:
    """The server and the workers are processes of their own; this one is the client."""

    def __init__(self) -> None:
        self.server, self.workers = None, None
        self.ingress, self.admin = peerline.free_port(), peerline.free_port()
        self.connection = HTTPConnection("127.0.0.1", self.ingress)

    def start(self) -> Figures:
        """Ready when a first workflow has run, for which the server has to know the services."""
        begin = time.perf_counter()
        services = peerline.free_port()
        self.server = start_server(self.ingress, self.admin)
        self.workers = start_workers(services)
        register(self.admin, services)
        work.expect(1, call(self.connection, "single", 0))
        seconds = time.perf_counter() - begin
        self.fan(10 * peerline.WORKERS)
        return {
            "seconds": seconds,
            "pids": [self.server.pid, self.workers.pid],
            "data": str(peerline.data()),
            "versions": {**server_version(), **peerline.versions("restate-sdk", "hypercorn")},
            "settings": f"{peerline.WORKERS} worker processes of Hypercorn; messages of up to {SIZE_MAX}; no telemetry",
        }

    def single(self, n: int) -> Figures:
        samples = []
        for number in range(n):
            begin = time.perf_counter()
            work.expect(number + 1, call(self.connection, "single", number))
            samples.append(time.perf_counter() - begin)
        return {"samples": samples}

    def chain(self, n: int) -> None:
        work.expect(n, call(self.connection, "chain", n))

    def fan(self, n: int) -> None:
        work.is_total(n, call(self.connection, "fan", n))

    def parallel(self, n: int) -> Figures:
        def client(connection: HTTPConnection, number: int) -> None:
            work.expect(number + 1, call(connection, "single", number))

        return {"seconds": self.from_connections(n, 4, client)}

    def accept(self, n: int, connections: int = 1) -> Figures:
        """The server's answer to `send` means that the invocation is in the log."""
        invocations = []

        def client(connection: HTTPConnection, number: int) -> None:
            invocations.append(call(connection, "single/send", number)["invocationId"])

        seconds = self.from_connections(n, connections, client)
        for invocation in invocations:
            self.result(invocation)
        return {"seconds": seconds}

    def accept64(self, n: int) -> Figures:
        return self.accept(n, 64)

    def redispatch(self, n: int) -> Figures:
        """A new invocation that takes over the whole journal of one that has run."""
        first = call(self.connection, "fan/send", n)["invocationId"]
        work.is_total(n, self.result(first))
        admin = HTTPConnection("127.0.0.1", self.admin)
        last = last_command(admin, first)
        begin = time.perf_counter()
        again = exchange(admin, "PATCH", f"/invocations/{first}/restart-as-new?from={last}")
        work.is_total(n, self.result(again["new_invocation_id"]))
        return {"seconds": time.perf_counter() - begin}

    def big(self, n: int) -> Figures:
        content = os.urandom(n * 1_000_000)
        begin = time.perf_counter()
        self.connection.request("POST", f"/{SERVICE}/big", content, {"Content-Type": "application/octet-stream"})
        returned = answer(self.connection)
        seconds = time.perf_counter() - begin
        work.is_same(content, returned)
        return {"seconds": seconds}

    def stop(self) -> None:
        self.connection.close()
        for process in (self.workers, self.server):
            if process is not None:
                peerline.end_group(process)

    def result(self, invocation: str) -> Any:
        return exchange(self.connection, "GET", f"/restate/invocation/{invocation}/attach")

    def from_connections(self, n: int, count: int, client: Callable[[HTTPConnection, int], None]) -> float:
        """Seconds until `client(connection, number)` was called for all numbers, from so many open connections."""
        connections = [HTTPConnection("127.0.0.1", self.ingress) for _ in range(count)]
        for connection in connections:
            connection.connect()
        try:
            return clients.share(n, connections, client)
        finally:
            for connection in connections:
                connection.close()


def start_server(ingress: int, admin: int) -> subprocess.Popen:
    node = peerline.free_port()
    settings = {
        "RESTATE_BASE_DIR": str(peerline.data() / "restate"),
        "RESTATE_NODE_NAME": "compare",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "error",
        "RESTATE_NETWORKING__MESSAGE_SIZE_LIMIT": SIZE_MAX,
        "RESTATE_METADATA_CLIENT__MESSAGE_SIZE_LIMIT": SIZE_MAX,
        "RESTATE_WORKER__INVOKER__MESSAGE_SIZE_LIMIT": SIZE_MAX,
        "RESTATE_WORKER__INVOKER__PER_INVOCATION_MEMORY_LIMIT": SIZE_MAX,
        "RESTATE_INGRESS__REQUEST_SIZE_LIMIT": SIZE_MAX,
        "RESTATE_BIFROST__RECORD_SIZE_LIMIT": SIZE_MAX,
    }
    command = [str(server_binary()), "--no-logo"]
    return subprocess.Popen(command, env={**os.environ, **settings}, stdout=sys.stderr, start_new_session=True)


def start_workers(port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "hypercorn", "services:app", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(peerline.WORKERS), "--log-level", "error"]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=sys.stderr, start_new_session=True)


def server_binary() -> Path:
    """The server itself: what npm puts into `.bin` starts it from Node."""
    found = sorted(Path(ENVIRONMENT, "node_modules", "@restatedev").glob("restate-server-*/bin/restate-server"))
    return found[0]


def server_version() -> dict[str, str]:
    package = Path(ENVIRONMENT, "node_modules", "@restatedev", "restate-server", "package.json")
    return {"restate-server": json.loads(package.read_text())["version"]}


def register(admin: int, services: int, seconds_max: float = 60.0) -> None:
    """Tells the server where the services are, as soon as it listens and they do."""
    end = time.perf_counter() + seconds_max
    while True:
        connection = HTTPConnection("127.0.0.1", admin)
        try:
            exchange(connection, "POST", "/deployments", {"uri": f"http://127.0.0.1:{services}"})
            return
        except (OSError, RuntimeError):
            if time.perf_counter() > end:
                raise
            time.sleep(0.01)
        finally:
            connection.close()


def last_command(admin: HTTPConnection, invocation: str) -> int:
    """The index in the journal of the last command before the output."""
    query = f"SELECT max(index) AS last FROM sys_journal WHERE id = '{invocation}' AND entry_type <> 'Command: Output'"
    query += " AND entry_type LIKE 'Command:%'"
    return exchange(admin, "POST", "/query", {"query": query})["rows"][0]["last"]


def call(connection: HTTPConnection, handler: str, argument: int) -> Any:
    return exchange(connection, "POST", f"/{SERVICE}/{handler}", argument)


def exchange(connection: HTTPConnection, method: str, path: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    return json.loads(answer(connection))


def answer(connection: HTTPConnection) -> bytes:
    response = connection.getresponse()
    content = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{response.status}: {content[:300]!r}")
    return content


if __name__ == "__main__":
    peerline.serve(Peer())
