"""Plugins that a user has written: one file in `executor_dir`, and an installed package."""

import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path

import covalent as ct
import pytest
import requests
from checks import cancelled, completed, node, nodes, status_of
from engines import until, why
from meeting import arrive

pytestmark = pytest.mark.mends
HERE = Path(__file__).parent
RECORDED = HERE.parents[1] / "protocol" / "golden" / "24_custom_executor"


def increment(x):
    print("hello from the task")
    return x + 1


def refuse(x):
    raise ValueError(f"refused {x}")


def report(address, name):
    return arrive(address, name)


@pytest.fixture(scope="module")
def python_with_package(tmp_path_factory) -> str:
    """A Python that has what ours has, and the package of a plugin installed on top."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder / "own", symlinks=True)
    python = str(folder / "own" / "bin" / "python")
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "own" / "lib" / name / "site-packages"
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "ours.pth").write_text(f"{ours}\n")
    build = folder / "package"
    subprocess.run(["cp", "-r", HERE / "packages" / "covalent-ledger-plugin", build], check=True)
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--no-build-isolation", str(build)], check=True, timeout=120)
    return python


@pytest.fixture(scope="module")
def ledger_class():
    """The package's class, as its user has it on the client."""
    place = HERE / "packages" / "covalent-ledger-plugin" / "covalent_ledger_plugin" / "ledger.py"
    specification = importlib.util.spec_from_file_location("covalent_ledger_plugin.ledger", place)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.LedgerExecutor


def courier(**options):
    return ct.executor.CourierExecutor(**options)


def listed(server):
    """The executors that a server has, by name."""
    answer = requests.get(f"{server.url}/api/v3/executors", timeout=60).json()
    return {row["name"]: row for row in answer["executors"]}


def test_a_file_in_executor_dir(tmp_path):
    notes = tmp_path / "notes"
    carried = ct.electron(increment, executor=courier(notes=str(notes)))

    @ct.lattice
    def workflow(x):
        return carried(carried(x))

    result = ct.dispatch_sync(workflow)(1)
    assert completed(result) == 3
    first, second = (row["node_id"] for row in nodes(result, "increment"))
    steps = [f"{step} {number}" for number in (first, second) for step in ("setup", "run", "teardown")]
    assert notes.read_text().splitlines() == steps
    version = ".".join(map(str, sys.version_info[:3]))
    for row in nodes(result, "increment"):
        assert f"carried for python {version}" in row["stdout"]


def test_by_name_it_has_its_defaults():
    carried = ct.electron(increment, executor="courier")

    @ct.lattice
    def workflow(x):
        return carried(x)

    assert completed(ct.dispatch_sync(workflow)(1)) == 2


def test_it_is_listed(server):
    rows = listed(server)
    assert {"courier", "toy", "ssh", "slurm"} <= set(rows), rows
    assert rows["courier"]["origin"].endswith("courier.py")
    assert not rows["courier"].get("fault")


def test_a_failing_function_says_what_went_wrong():
    carried = ct.electron(refuse, executor=courier())

    @ct.lattice
    def workflow(x):
        return carried(x)

    result = ct.dispatch_sync(workflow)("this")
    assert "refused this" in why(result)
    assert status_of(result, "refuse") == "FAILED"


def test_a_sublattice_on_a_plugin():
    inner = ct.electron(increment, executor=courier())

    @ct.electron(executor=courier())
    @ct.lattice
    def sub(x):
        return inner(inner(x))

    @ct.lattice(executor=courier())
    def workflow(x):
        return sub(x)

    assert completed(ct.dispatch_sync(workflow)(1)) == 3


def test_an_unknown_name_fails_its_node_and_says_which_there_are():
    lost = ct.electron(increment, executor="courrier")

    @ct.lattice
    def workflow(x):
        return lost(x)

    result = ct.dispatch_sync(workflow)(1)
    text = why(result)
    for name in ("courrier", "courier", "local", "dask", "ssh", "slurm"):
        assert name in text, text


def test_cancel_of_what_was_never_reached_is_cancelled(meeting_point, tmp_path):
    """Covalent's own server says FAILED here, and gives no reason."""
    notes = tmp_path / "notes"
    held = ct.electron(report, executor="local")
    never = ct.electron(increment, executor=courier(notes=str(notes)))

    @ct.lattice
    def workflow(address):
        return never(held(address, "held"))

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")
    number = node(ct.get_result(dispatch_id), "increment")["node_id"]
    ct.cancel(dispatch_id, task_ids=[number])
    meeting_point.release("held", message="1")
    result = ct.get_result(dispatch_id, wait=True)
    assert status_of(result, "report") == "COMPLETED"
    assert status_of(result, "increment") == "CANCELLED"
    cancelled(result)
    assert not notes.exists()


def test_cancel_of_what_runs_reaches_the_plugin(meeting_point, tmp_path):
    """It is given its job's handle, and may end the job itself."""
    notes = tmp_path / "notes"
    held = ct.electron(report, executor=courier(notes=str(notes)))

    @ct.lattice
    def workflow(address):
        return held(address, "held")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")
    number = node(ct.get_result(dispatch_id), "report")["node_id"]
    ct.cancel(dispatch_id)
    until(lambda: f"cancel {number} {number}" in notes.read_text())
    meeting_point.release("held")
    result = cancelled(ct.get_result(dispatch_id, wait=True))
    assert status_of(result, "report") == "CANCELLED"


def test_the_recorded_workflow():
    """The very one that was recorded with Covalent's own server, with its plugin."""
    place = RECORDED / "workflow.py"
    specification = importlib.util.spec_from_file_location("recorded_workflow", place)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    result = ct.dispatch_sync(module.custom)(5)
    assert completed(result) == [6, 10, 5]
    by_object, by_name = node(result, "on_toy"), node(result, "on_toy_by_name")
    assert "toy ran mint 3" in by_object["stdout"]
    assert "toy ran plain 1" in by_name["stdout"]


@pytest.mark.own_server
def test_a_broken_file_is_listed_and_harms_nobody(spawn_server, tmp_path):
    folder = tmp_path / "executors"
    folder.mkdir()
    (folder / "broken.py").write_text("raise RuntimeError('I am broken')\n")
    courier_text = (HERE / "executors" / "courier.py").read_text()
    (folder / "postman.py").write_text(courier_text)
    server = spawn_server(options=("--executor-dir", str(folder)))
    rows = listed(server)
    assert "I am broken" in rows["broken"]["fault"]
    assert not rows["postman"].get("fault")
    carried = ct.electron(increment, executor="postman")

    @ct.lattice
    def workflow(x):
        return carried(x)

    dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(1)
    result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    assert completed(result) == 2


@pytest.mark.own_server
def test_the_host_is_killed(spawn_server, meeting_point, tmp_path):
    """The next task has a new one; the one that was there fails with the executor's name, or runs again if it may."""
    server = spawn_server()
    pids = tmp_path / "pids"

    def where(address, name, path):
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        return arrive(address, name)

    held = ct.electron(where, executor=courier(retries=2))

    @ct.lattice
    def workflow(address, path):
        return held(address, "held", path)

    dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(meeting_point.address, str(pids))
    meeting_point.wait_for("held")
    os.kill(int(pids.read_text().split()[0]), 9)
    meeting_point.wait_for("held", count=2)
    meeting_point.release("held", message="done")
    result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    assert completed(result) == "done"
    first, second = pids.read_text().split()
    assert first != second


@pytest.mark.own_server
class TestInstalledPackage:
    """A package with an entry point, in the Python that the server was told to use."""

    def test_it_is_found_and_runs(self, spawn_server, python_with_package, ledger_class, tmp_path):
        server = spawn_server(python=python_with_package)
        ledger = tmp_path / "ledger"
        entered = ct.electron(increment, executor=ledger_class(ledger=str(ledger)))

        @ct.lattice
        def workflow(x):
            return entered(x)

        assert "covalent_ledger_plugin" in listed(server)["ledger"]["origin"]
        dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(1)
        result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
        assert completed(result) == 2
        row = node(result, "increment")
        assert row["stdout"].strip() == "hello from the task"
        assert ledger.read_text().split() == [str(row["node_id"])]

    def test_cancel_ends_its_program(
        self, spawn_server, python_with_package, ledger_class, meeting_point, tmp_path
    ):
        server = spawn_server(python=python_with_package)
        held = ct.electron(report, executor=ledger_class())

        @ct.lattice
        def workflow(address):
            return held(address, "held")

        dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(meeting_point.address)
        meeting_point.wait_for("held")
        ct.cancel(dispatch_id, dispatcher_addr=server.url)
        result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
        cancelled(result)

    def test_what_it_is_told_in_secret_stays_secret(
        self, spawn_server, python_with_package, ledger_class
    ):
        server = spawn_server(python=python_with_package)
        failing = ct.electron(refuse, executor=ledger_class(token="hush-hush-4711"))

        @ct.lattice
        def workflow(x):
            return failing(x)

        dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(1)
        result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
        assert "refused 1" in why(result)
        address = f"{server.url}/api/v3/dispatches/{dispatch_id}"
        for path in ("", "/nodes", "/nodes/0", "/events"):
            answer = requests.get(address + path, timeout=30, stream=True)
            if answer.headers.get("content-type", "").startswith("application/json"):
                assert "hush-hush" not in answer.text, path
            answer.close()
        assert "hush-hush" not in server.stderr_text()
