"""Makes `database.tar.gz`: a database and a results directory that Covalent 0.240.0 has written, and what its own SDK
reads from them.

    python3 -m venv VENV && VENV/bin/pip install covalent==0.240.0
    VENV/bin/python tests/covalent/make.py

Starts Covalent's server in a folder of its own, always the same one, since the database holds absolute paths; runs the
workflows beside this file; asks for everything that the SDK shows of them; packs the folder while one of them is still
under way; stops the server.
"""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = Path("/tmp/covalent-of-before")
PACKED = ["data"]
# The same interpreter under a name that is the same everywhere: tracebacks are part of what is kept.
PYTHON = HOME / "venv" / "bin" / "python"
CLI = "from covalent_dispatcher._cli.cli import cli; cli()"


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def environment(port):
    folders = {
        "COVALENT_CONFIG_DIR": "config",
        "COVALENT_CACHE_DIR": "cache",
        "COVALENT_LOGDIR": "cache",
        "COVALENT_DATA_DIR": "data",
        "COVALENT_DATABASE": "data/db.sqlite",
        "COVALENT_RESULTS_DIR": "results",
        "COVALENT_DISPATCH_CACHE_DIR": "dispatches",
        "COVALENT_HEARTBEAT_FILE": "heartbeat",
    }
    settings = {name: str(HOME / folder) for name, folder in folders.items()}
    settings.update(HOME=str(HOME), COVALENT_SVC_PORT=str(port), COVALENT_DISABLE_DASK="1")
    return {**os.environ, **settings}


def start_server(port):
    env = environment(port)
    log = open(HOME / "log", "wb")
    subprocess.run([PYTHON, "-c", CLI, "db", "migrate"], env=env, cwd=HOME, stdout=log, stderr=log, check=True)
    app = next((HOME / "venv").glob("lib/python3*/site-packages/covalent_ui/app.py"))
    command = [PYTHON, app, "--port", str(port), "--no-cluster"]
    server = subprocess.Popen(command, env=env, cwd=HOME, stdout=log, stderr=log, start_new_session=True)
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/triggers/status", timeout=1)
            return server
        except OSError:
            time.sleep(0.3)
    raise SystemExit(f"Covalent did not start: see {HOME / 'log'}")


def seen(ct, dispatch_id, **place):
    """Everything that the SDK shows of a dispatch."""
    record = ct.get_result(dispatch_id, **place)
    nodes = {}
    for node in record.get_all_node_results():
        output, below = node["output"], node["sublattice_result"]
        nodes[node["node_id"]] = {
            "name": node["node_name"],
            "status": str(node["status"]),
            "start": str(node["start_time"]),
            "end": str(node["end_time"]),
            "output": repr(output.get_deserialized()) if output is not None else None,
            "error": node["error"],
            "stdout": node["stdout"],
            "stderr": node["stderr"],
            "sub_dispatch_id": below.dispatch_id if below is not None else None,
        }
    return {
        "status": str(record.status),
        "start": str(record.start_time),
        "end": str(record.end_time),
        "root": record.root_dispatch_id,
        "name": record.lattice.__name__,
        "doc": record.lattice.__doc__,
        "inputs": repr(record.inputs.get_deserialized()),
        "result": repr(record.result),
        "error": record.error,
        "nodes": nodes,
    }


def run_workflows():
    import covalent as ct
    import workflows

    ids = {}
    ids["sums"] = ct.dispatch(workflows.sums)(1)
    ids["fails"] = ct.dispatch(workflows.fails)("on purpose")
    ids["nested"] = ct.dispatch(workflows.nested)(5)
    ids["heavy"] = ct.dispatch(workflows.heavy)(100_000, "x" * 5000)
    for name in ["sums", "fails", "nested", "heavy"]:
        ct.get_result(ids[name], wait=True)
    ids["again"] = ct.redispatch(ids["sums"], reuse_previous_results=True)(1)
    ct.get_result(ids["again"], wait=True)
    ids["cancelled"] = ct.dispatch(workflows.waits)(str(HOME / "go-on"))
    ids["running"] = ct.dispatch(workflows.waits)(str(HOME / "never"))
    for name in ["cancelled", "running"]:
        until = time.monotonic() + 60
        while str(ct.get_result(ids[name], status_only=True)["status"]) != "RUNNING":
            assert time.monotonic() < until
            time.sleep(0.2)
    # Covalent lets a local task that runs end, and cancels those behind it.
    ct.cancel(ids["cancelled"])
    (HOME / "go-on").touch()
    ct.get_result(ids["cancelled"], wait=True)
    from covalent._dispatcher_plugins.local import LocalDispatcher

    ids["registered"] = LocalDispatcher.register(workflows.sums)(7)
    records = {name: seen(ct, id_) for name, id_ in ids.items() if name not in ("running", "registered")}
    for node in records["nested"]["nodes"].values():
        if node["sub_dispatch_id"]:
            ids["below"] = node["sub_dispatch_id"]
            records["below"] = seen(ct, ids["below"])
    return {"ids": ids, "records": records}


def pack(expected):
    text = json.dumps(expected, indent=1, sort_keys=True).encode()

    def anonymous(member):
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(HERE / "database.tar.gz", "w:gz") as archive:
        for name in PACKED:
            archive.add(HOME / name, arcname=name, filter=anonymous)
        member = tarfile.TarInfo("expected.json")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))


def main():
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(run_workflows()))
        return
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    (HOME / "venv").symlink_to(sys.prefix)
    for name in ["make.py", "workflows.py"]:
        shutil.copy(HERE / name, HOME)
    port = free_port()
    server = start_server(port)
    try:
        answer = HOME / "answer.json"
        client = environment(port)
        for name in ["COVALENT_CONFIG_DIR", "COVALENT_CACHE_DIR"]:
            client[name] = str(HOME / "client" / name.lower())
        subprocess.run([PYTHON, HOME / "make.py", answer], env=client, check=True, cwd=HOME)
        pack(json.loads(answer.read_text()))
    finally:
        os.killpg(server.pid, 9)


if __name__ == "__main__":
    main()
