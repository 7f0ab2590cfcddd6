"""Electrons in Rust and commands on Dask: alone, together with Python, and when something goes wrong.

The programs are examples of the crate `cov`. Workflows that no client writes are sent as manifests, over the native API.
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import os
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from engines import Cluster, kill, until

from test_worker import archive

pytestmark = [pytest.mark.mends, pytest.mark.own_server]

STEPS = '''
def numbers(count):
    return list(range(count))
'''


def program(name: str) -> Path:
    """A program that stands beside the server under test."""
    path = Path(os.environ["COV_SERVER_BIN"]).parent / "examples" / name
    assert path.exists(), f"{path} is not there: cargo build -p cov --examples"
    return path


class Gate(http.server.ThreadingHTTPServer):
    """Stands before the server as a proxy would, and counts what workers fetch."""

    daemon_threads = True

    def __init__(self) -> None:
        self.behind = ""
        self.fetched = []
        super().__init__(("127.0.0.1", 0), _Passes)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Passes(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # noqa: N802
        behind = urlsplit(self.server.behind)
        connection = http.client.HTTPConnection(behind.hostname, behind.port, timeout=60)
        connection.request("GET", self.path, headers={"Host": behind.netloc, "Via": "1.1 gate"})
        answer = connection.getresponse()
        content = answer.read()
        self.server.fetched.append((urlsplit(self.path).path, answer.status))
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gate():
    own = Gate()
    yield own
    own.shutdown()
    own.server_close()


@pytest.fixture
def two_workers(tmp_path, monkeypatch):
    """A cluster whose workers have never run a program: each has a cache of its own."""
    own = None
    for number in range(2):
        monkeypatch.setenv("COV_CACHE_DIR", str(tmp_path / f"cache{number}"))
        if own is None:
            own = Cluster(tmp_path / "dask", workers=1)
        else:
            own.start_worker()
    yield own
    own.close()


class Manifest:
    """A workflow, node by node."""

    def __init__(self) -> None:
        self.executors = [{"name": "command", "data": {}}]
        self.nodes, self.edges, self.assets, self.bodies = [], [], [], []

    def _asset(self, key: str, content: bytes, node=None, path=None) -> None:
        sha1 = hashlib.sha1(content).hexdigest()
        asset = {"node": node, "key": key, "size": len(content), "sha1": sha1}
        if path is None:
            self.bodies.append(content)
        else:
            asset.update(body=False, path=str(path))
        self.assets.append({name: value for name, value in asset.items() if value is not None})

    def value(self, value) -> int:
        """A node that has a value."""
        node = len(self.nodes)
        self.nodes.append({"name": "value", "kind": "parameter"})
        self._asset("output", archive(value), node)
        return node

    def call(self, name, executor, attributes, function, arguments, kind="task") -> int:
        """A node that runs something with the outputs of others."""
        node = len(self.nodes)
        self.executors.append({"name": executor, "data": {"attributes": attributes}})
        place = len(self.executors) - 1
        self.nodes.append({"name": name, "kind": kind, "executor": place})
        self._asset("function", archive(function), node)
        for position, source in enumerate(arguments):
            edge = {"source": source, "target": node, "name": "", "kind": {"arg": position}}
            self.edges.append(edge)
        return node

    def python(self, function, folder, on, arguments) -> int:
        document = {"python": function, "output": "json", "path": [str(folder)]}
        return self.call(function, on["name"], on["data"]["attributes"], document, arguments)

    def rust(self, electron, on, arguments, kind="task", **attributes) -> int:
        path = program("runner_tasks")
        if not any(asset["key"] == "program" for asset in self.assets):
            self._asset("program", path.read_bytes(), path=path)
        said = subprocess.run([path, "program"], capture_output=True, text=True, check=True)
        digest, platform = said.stdout.split()
        attributes.update(program=digest, platform=platform, on=on)
        function = {"electron": electron, "output": "json"}
        return self.call(electron, "rust", attributes, function, arguments, kind)

    def command(self, argv, on, arguments=(), **attributes) -> int:
        function = {"command": {"argv": argv}}
        return self.call(argv[0], "command", {**attributes, "on": on}, function, arguments)

    def dispatch(self, server, result) -> str:
        """Sends it; what the nodes `result` give is the list that the workflow gives."""
        self.call("result", "command", {}, {"collect": "list"}, result, kind="postprocess")
        document = {
            "lattice": {"name": "mixed"},
            "executors": self.executors,
            "nodes": self.nodes,
            "edges": self.edges,
            "assets": self.assets,
        }
        text = json.dumps(document, default=str).encode()
        body = len(text).to_bytes(4, "little") + text + b"".join(self.bodies)
        headers = {"Content-Type": "application/vnd.cov.dispatch"}
        url = f"{server.url}/api/v3/dispatches"
        answer = requests.post(url, data=body, headers=headers, timeout=30)
        assert answer.status_code == 201 and not answer.json().get("missing"), answer.text
        return answer.json()["dispatch_id"]


def ended(server, dispatch: str) -> dict:
    """The dispatch, when it has ended."""
    url = f"{server.url}/api/v3/dispatches/{dispatch}"

    def found():
        shown = requests.get(url, params={"wait": 20}, timeout=60).json()
        return shown if shown["status"] in ("COMPLETED", "FAILED", "CANCELLED") else None

    until(found, 120)
    return requests.get(url, timeout=60).json()


def told(server, dispatch: str, node: int, key: str) -> str:
    """A text of a node."""
    url = f"{server.url}/api/v3/dispatches/{dispatch}/nodes/{node}/{key}"
    return requests.get(url, timeout=30).text


def result(server, dispatch: str):
    shown = ended(server, dispatch)
    assert shown["status"] == "COMPLETED", shown
    url = f"{server.url}/api/v3/dispatches/{dispatch}/result"
    content = requests.get(url, timeout=30).content
    from cov_plugins.worker import values

    return json.loads(values.read(content).data)


def dask(address: str) -> dict:
    return {"name": "dask", "data": {"attributes": {"scheduler_address": address}}}


def running(name: str) -> list[int]:
    """The processes of a program in a worker's cache, whose file ends so."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "exe").endswith(name):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def cached() -> str:
    """The end of the path of the program, in the cache of any worker."""
    digest = hashlib.sha256(program("runner_tasks").read_bytes()).hexdigest()
    return f"/programs/{digest}"


def test_a_program_is_fetched_once_by_each_worker(two_workers, gate, spawn_server):
    # Whoever names another host than this machine has to log in; the workers have signed addresses.
    server = spawn_server(options=("--public-url", gate.url))
    gate.behind = server.url
    said = subprocess.run(
        [program("engines"), two_workers.address, "100"],
        env={**os.environ, "COV_ADDRESS": server.url},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout == "3.14\n"
    assert 1 <= len(gate.fetched) <= 2, gate.fetched
    assert all(status == 200 for _, status in gate.fetched)
    # Without the signature that came with the task it is nobody's.
    path, _ = gate.fetched[0]
    assert requests.get(gate.url + path, timeout=30).status_code == 401


def test_three_languages_share_a_workflow_on_dask(dask_address, server, tmp_path):
    (tmp_path / "steps.py").write_text(STEPS)
    on, flow = dask(dask_address), Manifest()
    numbers = flow.python("steps:numbers", tmp_path, on, [flow.value(4)])
    found = flow.command(["grep", "-c", "3", [{"input": 0, "as": "file"}]], on, [numbers])
    total = flow.rust("add", on, [flow.value(40), flow.value(2)])
    said = ["sh", "-c", ["echo ", {"input": 0, "quote": "bare"}, "; env | grep -c ^COV_NODE_ID="]]
    said = flow.command(said, on, [total])
    dispatch = flow.dispatch(server, [numbers, found, total, said])
    assert result(server, dispatch) == [[0, 1, 2, 3], "1\n", 42, "42\n1\n"]
    assert told(server, dispatch, said, "stdout") == "42\n1\n"


def test_a_graph_that_an_electron_builds_on_a_worker_is_run(dask_address, server):
    flow = Manifest()
    squares = flow.rust("squares", dask(dask_address), [flow.value(4)], kind="sublattice")
    dispatch = flow.dispatch(server, [squares])
    assert result(server, dispatch) == [[0, 2, 4, 6]]


@pytest.mark.heavy
@pytest.mark.parametrize("name, variable", [("ssh", "SSH_CONNECTION"), ("slurm", "SLURM_JOB_ID")])
def test_programs_and_commands_run_by_plugins(request, server, tmp_path, name, variable):
    node = request.getfixturevalue("ssh_node" if name == "ssh" else "slurm")
    executor = node.executor(tmp_path) if name == "ssh" else node.executor()
    on, flow = {"name": name, "data": {"attributes": executor.to_dict()["attributes"]}}, Manifest()
    total = flow.rust("add", on, [flow.value(40), flow.value(2)])
    said = ["sh", "-c", ["echo ", {"input": 0}, f"; echo ${variable}"]]
    said = flow.command(said, on, [total])
    fails = flow.command(["sh", "-c", "echo why >&2; exit 3"], on)
    dispatch = flow.dispatch(server, [said, fails])
    assert ended(server, dispatch)["status"] == "FAILED"
    # What the engine itself prints stands before it.
    *_, first, second = told(server, dispatch, said, "stdout").splitlines()
    assert first == "42" and second, "it did not run where it should"
    assert "exited with code 3" in told(server, dispatch, fails, "error")


def test_what_fails_says_so_with_its_own_words(dask_address, server):
    on, flow = dask(dask_address), Manifest()
    panics = flow.rust("panics", on, [flow.value("that")])
    aborts = flow.rust("aborts", on, [])
    fails = flow.command(["sh", "-c", "echo why >&2; exit 3"], on)
    dispatch = flow.dispatch(server, [panics, aborts, fails])
    assert ended(server, dispatch)["status"] == "FAILED"
    shown = {
        node: requests.get(
            f"{server.url}/api/v3/dispatches/{dispatch}/nodes/{node}", timeout=30
        ).json()
        for node in (panics, aborts, fails)
    }
    assert [shown[node]["fault"] for node in shown] == ["task", "runner", "task"], shown
    assert "no way on with that" in told(server, dispatch, panics, "error")
    assert told(server, dispatch, panics, "stdout") == "about to panic\n"
    assert "SIGABRT" in told(server, dispatch, aborts, "error")
    assert "exited with code 3. The end of its error stream:\nwhy" in told(
        server, dispatch, fails, "error"
    )


def test_a_time_limit_and_a_limit_of_memory_hold_on_a_worker(dask_address, server):
    on, flow = dask(dask_address), Manifest()
    later = flow.rust("later", on, [flow.value(600_000)], time_limit=3)
    large = flow.rust("large", on, [flow.value(900_000_000)], memory_limit_mb=256)
    dispatch = flow.dispatch(server, [later, large])
    assert ended(server, dispatch)["status"] == "FAILED"
    assert "limited to 256 MB" in told(server, dispatch, large, "error")
    assert "time" in told(server, dispatch, later, "error")
    until(lambda: not running(cached()))


def test_a_cancelled_electron_is_dead(dask_address, server):
    on, flow = dask(dask_address), Manifest()
    later = flow.rust("later", on, [flow.value(600_000)])
    sleeps = flow.command(["sh", "-c", "sleep 600 & sleep 600"], on)
    dispatch = flow.dispatch(server, [later, sleeps])
    until(lambda: running(cached()))
    url = f"{server.url}/api/v3/dispatches/{dispatch}/cancel"
    requests.post(url, json={"nodes": []}, timeout=30).raise_for_status()
    assert ended(server, dispatch)["status"] == "CANCELLED"
    until(lambda: not running(cached()))


def test_an_electron_outlives_the_server(dask_address, spawn_server):
    server = spawn_server()
    flow = Manifest()
    later = flow.rust("later", dask(dask_address), [flow.value(6_000)])
    dispatch = flow.dispatch(server, [later])
    until(lambda: running(cached()))
    url = f"{server.url}/api/v3/dispatches/{dispatch}/nodes/{later}"
    # From then on the next server finds it.
    until(lambda: "job" in requests.get(url, timeout=30).json()["assets"])
    first = requests.get(url, timeout=30).json()["attempt"]
    server.kill9()
    server.restart()
    assert result(server, dispatch) == ["later"]
    assert requests.get(url, timeout=30).json()["attempt"] == first, "it was run again"


def test_a_worker_that_dies_takes_the_program_along(two_workers, spawn_server):
    server = spawn_server()
    on, flow = dask(two_workers.address), Manifest()
    later = flow.rust("later", on, [flow.value(4_000)])
    dispatch = flow.dispatch(server, [later])
    (first,) = until(lambda: running(cached()))
    # Above it are the guard and the worker.
    guard = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
    worker = int(Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[1])
    kill(worker)
    until(lambda: first not in running(cached()))
    assert result(server, dispatch) == ["later"]


def test_a_file_says_where_its_tasks_run(dask_address, server, tmp_path):
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "flow.toml").write_text(
        f"""
        [executors.cluster]
        type = "dask"
        scheduler_address = "{dask_address}"
        [defaults]
        on = "cluster"
        [tasks.numbers]
        python = "steps:numbers"
        args = [3]
        [tasks.count]
        run = "grep -c 2; ps -o args= -p $PPID | grep -c guard.py"
        stdin = "${{{{ tasks.numbers }}}}"
        """
    )
    cov = Path(os.environ["COV_SERVER_BIN"]).parent / "cov"
    done = subprocess.run(
        [cov, "dispatch", "--server", server.url, "--once", "--wait", tmp_path / "flow.toml"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    # The process above it is the one that workers put there.
    assert done.stdout == "1\n1\n"
