"""Spans on their way to a real collector: a trace that a client has begun goes on in the server's spans."""

import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import covalent as ct
import pytest
import requests
from checks import completed
from prometheus import missing

TIMEOUT_S = 30
# Python versions for which the collector can be installed.
WHEELS_FOR = (3, 11)


@ct.electron
def double(number):
    return 2 * number


@ct.lattice
def doubled(number):
    return double(number)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Collector:
    """Rotel, a collector of OpenTelemetry, that prints what it receives."""

    def __init__(self, folder: Path) -> None:
        if sys.version_info[:2] != WHEELS_FOR:
            pytest.skip("the collector has no wheel for this Python")
        try:
            import rotel
        except ImportError:
            missing("the collector is not there: pip install -r tests/sdk/requirements.txt")
        program = Path(rotel.__file__).with_name("rotel-agent")
        self.port, grpc = _free_port(), _free_port()
        options = {
            "otlp-http-endpoint": f"127.0.0.1:{self.port}",
            "otlp-grpc-endpoint": f"127.0.0.1:{grpc}",
            "exporter": "blackhole",
            "debug-log": "traces",
            "debug-log-verbosity": "detailed",
            "log-format": "text",
            "pid-file": str(folder / "rotel.pid"),
            "log-file": str(folder / "rotel.log"),
        }
        command = [str(program), "start", *(f"--{name}={value}" for name, value in options.items())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._lines: list[str] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._more:
                self._lines.append(re.sub(r"\x1b\[[0-9;]*m", "", line))
                self._more.notify_all()

    @property
    def text(self) -> str:
        with self._more:
            return "".join(self._lines)

    def wait_for(self, *words: str) -> str:
        """What was received, as soon as all of these are in it."""
        with self._more:
            there = lambda: all(word in "".join(self._lines) for word in words)  # noqa: E731
            assert self._more.wait_for(there, TIMEOUT_S), f"{words} are not in\n{''.join(self._lines)[-5000:]}"
        return self.text

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def collector(tmp_path):
    running = Collector(tmp_path)
    running.wait_for("Starting Rotel")
    yield running
    running.close()


def _has_feature(server) -> bool:
    return b"OTEL_EXPORTER_OTLP_ENDPOINT" in Path(server.binary).read_bytes()


def test_spans_reach_a_collector_and_continue_their_clients_trace(spawn_server, collector):
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    server = spawn_server(start=False, environment=endpoint)
    if not _has_feature(server):
        missing("this server was built without the feature otel")
    server.start()
    trace, parent = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    dispatch_id = ct.dispatch(doubled, dispatcher_addr=server.url)(4)
    completed(ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url))
    again = requests.post(
        f"{server.url}/api/v3/dispatches/{dispatch_id}/redispatch",
        headers={"traceparent": f"00-{trace}-{parent}-01"},
        timeout=10,
    )
    assert again.status_code == 201
    made = again.json()["dispatch_id"]
    received = collector.wait_for(trace, parent, made, dispatch_id, "cov-server", "node.id", "attempt", "request.id")
    for name in ("request", "dispatch", "task"):
        assert re.search(rf"Name\W+{name}\b", received), name


def test_a_collector_that_is_gone_holds_up_nobody(spawn_server):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{_free_port()}"}
    server = spawn_server(environment=environment)
    dispatch_id = ct.dispatch(doubled, dispatcher_addr=server.url)(4)
    assert completed(ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)) == 8
    asked = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - asked < 15
