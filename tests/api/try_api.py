"""Tries the native API of a real server with requests made from its own description.

Starts the server that COV_SERVER_BIN names on a free port and an empty folder, registers a few
dispatches so that there is something to find, and runs schemathesis for a bounded time. What it
checks: no answer has a 5xx status, and every answer has a status, a content type and a shape that
the description knows. Never touches a server that runs already.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

SECONDS_MAX = 60
EXAMPLES = 12
#: Follows for as long as somebody reads, or answers with an archive of unknown length.
UNBOUNDED = ["/api/v3/events", "/api/v3/backup", "/api/v3/dispatches/{dispatch}/events"]
READY = re.compile(rb"http://[0-9.]+:[0-9]+")


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The server and its address, once it is ready."""
    command = [os.environ["COV_SERVER_BIN"], "--listen", "127.0.0.1:0", "--workers", "1"]
    command += ["--data-dir", str(folder / "data"), "--python", sys.executable]
    environment = {**os.environ, "HOME": str(folder)}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
    assert server.stdout is not None
    for line in server.stdout:
        if found := READY.search(line):
            return server, found.group().decode()
    log_text = (folder / "server.log").read_text(errors="replace")
    raise SystemExit(f"the server did not start:\n{log_text}")


def post(address: str, path: str, body: object) -> dict:
    """Sends JSON and returns the JSON that is answered."""
    request = urllib.request.Request(
        address + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def prepare(address: str) -> None:
    """Dispatches with ids that the description's examples can meet: two that run, one that waits."""
    for name, start in (("a", "true"), ("b", "true"), ("c", "false")):
        nodes = [{"name": "1", "kind": "parameter"}, {"name": "task"}]
        edges = [{"source": 0, "target": 1, "kind": {"arg": 0}}]
        manifest = {"dispatch_id": name, "lattice": {"name": name}, "nodes": nodes, "edges": edges}
        post(address, f"/api/v3/dispatches?start={start}", manifest)


def main() -> int:
    program = Path(sys.executable).parent / "schemathesis"
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        server, address = start(folder)
        try:
            prepare(address)
            command = [str(program), "run", f"{address}/api/v3/openapi.json"]
            command += ["--checks", "not_a_server_error,status_code_conformance"]
            command[-1] += ",content_type_conformance,response_schema_conformance"
            # Its phase `coverage` meets a fault of CPython 3.11 (the depth of recursion in `ast`).
            command += ["--phases", "examples,fuzzing", "--max-examples", str(EXAMPLES)]
            command += ["--seed", "1", "--max-time", str(SECONDS_MAX), "--request-timeout", "10"]
            command += ["--max-failures", "20", "--workers", "2", "--no-color"]
            for path in UNBOUNDED:
                command += ["--exclude-path", path]
            environment = dict(os.environ, SCHEMATHESIS_HOOKS="hooks")
            environment["PYTHONPATH"] = str(Path(__file__).parent)
            outcome = subprocess.run(
                command, cwd=folder, env=environment, timeout=SECONDS_MAX * 3, check=False
            )
            if server.poll() is not None:
                print("the server ended")
                return 1
            return outcome.returncode
        finally:
            server.terminate()
            server.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())
