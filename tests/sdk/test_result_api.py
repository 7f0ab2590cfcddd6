"""Every attribute and method of `Result`, the ways of asking for it, and what it shows while running."""

import datetime
import json
import os
import time

import covalent as ct
import pytest
from checks import completed, node, nodes, status_of
from meeting import arrive

NODE_FIELDS = {
    "node_id",
    "node_name",
    "start_time",
    "end_time",
    "status",
    "output",
    "error",
    "sublattice_result",
    "stdout",
    "stderr",
}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@ct.electron
def greet(name, mark="!"):
    """Greets."""
    print(f"greeting {name}")
    return f"hello {name}{mark}"


@ct.electron
def shout(text):
    return text.upper()


@ct.electron
def report(address, name):
    print(f"now at {name}", flush=True)
    return arrive(address, name)


@ct.lattice
def greeting(name, mark="?"):
    """A docstring of the lattice."""
    return shout(greet(name, mark=mark))


@ct.electron
@ct.lattice
def inner_greeting(name):
    return greet(name)


@pytest.fixture(scope="module")
def result():
    """One finished dispatch that most tests of this file read."""
    return ct.dispatch_sync(greeting)("world", mark=".")


def test_identity_and_status(result):
    assert isinstance(result.dispatch_id, str) and len(result.dispatch_id) == 36
    assert result.root_dispatch_id == result.dispatch_id
    assert result.status == ct.status.COMPLETED
    assert str(result.status) == "COMPLETED"
    assert result.error is None


def test_value(result):
    assert result.result == "HELLO WORLD."
    assert result.encoded_result.get_deserialized() == "HELLO WORLD."
    assert isinstance(result.encoded_result, ct.TransportableObject)
    assert result.encoded_result.python_version.startswith("3.")


def test_times_are_naive_utc_and_in_order(result):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    assert result.start_time.tzinfo is None and result.end_time.tzinfo is None
    assert result.start_time <= result.end_time
    assert abs((now - result.end_time).total_seconds()) < 600
    for done in result.get_all_node_results():
        assert done["start_time"] <= done["end_time"] <= result.end_time
        assert done["start_time"] >= result.start_time - datetime.timedelta(seconds=1)


def test_lattice_and_inputs(result):
    assert result.inputs.get_deserialized() == {"args": ("world",), "kwargs": {"mark": "."}}
    lattice = result.lattice
    assert lattice.__name__ == "greeting"
    assert lattice.__doc__ == "A docstring of the lattice."
    assert "def greeting(name" in lattice.workflow_function_string
    assert lattice.workflow_function.get_deserialized()("you", mark="-") == "HELLO YOU-"
    assert lattice.metadata["executor"] in ("dask", "local")


def test_results_dir(result):
    assert os.path.isdir(result.results_dir)
    assert result.dispatch_id in result.results_dir
    assert os.path.isdir(os.path.join(result.results_dir, "node_0"))


def test_get_node_result_has_every_documented_field(result):
    found = node(result, "greet")
    assert set(found) == NODE_FIELDS
    again = result.get_node_result(found["node_id"])
    assert again["node_name"] == "greet"
    assert again["status"] == ct.status.COMPLETED
    assert again["output"].get_deserialized() == "hello world."
    assert isinstance(again["start_time"], datetime.datetime)
    assert isinstance(again["end_time"], datetime.datetime)
    assert again["stdout"] == "greeting world\n"
    assert not again["stderr"]
    assert not again["error"]
    assert again["sublattice_result"] is None


def test_parameter_nodes_are_complete_with_their_value(result):
    parameter = node(result, ":parameter:world")
    assert set(parameter) == NODE_FIELDS
    assert parameter["status"] == ct.status.COMPLETED
    assert parameter["output"].get_deserialized() == "world"
    assert parameter["start_time"] and parameter["end_time"]


def test_get_all_node_results(result):
    everything = result.get_all_node_results()
    assert [n["node_id"] for n in everything] == list(range(len(everything)))
    assert {n["node_name"] for n in everything} == {
        "greet",
        "shout",
        ":parameter:world",
        ":parameter:.",
        ":postprocess:reconstruct",
    }
    assert all(set(n) == NODE_FIELDS for n in everything)


def test_get_all_node_outputs(result):
    outputs = result.get_all_node_outputs()
    number = node(result, "greet")["node_id"]
    assert outputs[f"greet({number})"].get_deserialized() == "hello world."
    assert len(outputs) == len(result.get_all_node_results())


def test_str(result):
    text = str(result)
    for part in ("status: COMPLETED", "result: HELLO WORLD.", "input args: 'world'", "'mark': '.'"):
        assert part in text
    assert f"dispatch_id: {result.dispatch_id}" in text
    assert "hello world." in text.partition("Node Outputs")[2]


def test_post_process(result):
    """Runs the lattice function again on the recorded outputs."""
    assert result.post_process() == "HELLO WORLD."


def test_sources_and_hooks_come_back(result):
    graph = result.lattice.transport_graph
    number = node(result, "greet")["node_id"]
    assert "def greet(name, mark" in graph.get_node_value(number, "function_string")
    function = graph.get_node_value(number, "function").get_deserialized()
    assert function("a") == "hello a!"
    assert graph.get_node_value(number, "metadata")["hooks"] == {}


def test_get_result_of_a_finished_dispatch_in_every_way(result):
    dispatch_id = result.dispatch_id
    assert ct.get_result(dispatch_id, status_only=True) == {
        "id": dispatch_id,
        "status": "COMPLETED",
    }
    assert ct.get_result(dispatch_id, wait=True, status_only=True)["status"] == "COMPLETED"
    for wait in (True, False):
        assert ct.get_result(dispatch_id, wait=wait).result == "HELLO WORLD."


def test_partial_downloads(result):
    bare = ct.get_result(result.dispatch_id, workflow_output=False, intermediate_outputs=False)
    assert bare.result is None
    assert bare.status == ct.status.COMPLETED
    assert node(bare, "greet")["stdout"] == "greeting world\n"


def test_results_dir_argument(result, tmp_path):
    chosen = str(tmp_path / "chosen")
    again = ct.get_result(result.dispatch_id, results_dir=chosen)
    assert again.results_dir == chosen
    assert (tmp_path / "chosen" / "results.tobj").is_file()
    assert (tmp_path / "chosen" / "node_0" / "function.tobj").is_file()


def test_explicit_dispatcher_address(server):
    address = f"http://{server.host}:{server.port}"
    dispatch_id = ct.dispatch(greeting, dispatcher_addr=address)("you")
    got = ct.get_result(dispatch_id, wait=True, dispatcher_addr=address)
    assert completed(got) == "HELLO YOU?"


def test_result_manager(result, tmp_path):
    manager = ct.get_result_manager(result.dispatch_id, results_dir=str(tmp_path / "m"))
    manager.download_result_asset("result")
    manager.load_result_asset("result")
    assert manager.result_object.result == "HELLO WORLD."
    manager.save()
    saved = json.loads((tmp_path / "m" / "manifest.json").read_text())
    assert saved["metadata"]["dispatch_id"] == result.dispatch_id


def test_unknown_dispatch():
    from covalent._shared_files.exceptions import MissingLatticeRecordError

    for options in ({}, {"wait": True}, {"status_only": True}):
        with pytest.raises(MissingLatticeRecordError):
            ct.get_result(UNKNOWN, **options)


def test_sublattice_results_can_be_left_out():
    @ct.lattice
    def workflow(name):
        return inner_greeting(name)

    dispatch_id = ct.dispatch(workflow)("you")
    full = ct.get_result(dispatch_id, wait=True)
    assert completed(full) == "hello you!"
    assert node(full, ":sublattice:inner_greeting")["sublattice_result"].result == "hello you!"
    without = ct.get_result(dispatch_id, sublattice_results=False)
    assert node(without, ":sublattice:inner_greeting")["sublattice_result"] is None
    assert without.result == "hello you!"


def test_status_before_start_and_partial_results_while_running(meeting_point):
    @ct.lattice
    def workflow(address, name):
        early = greet(name)
        middle = report(address, "middle")
        return shout(early), shout(middle)

    dispatch_id = ct.dispatch(workflow, disable_run=True)(meeting_point.address, "you")
    parked = ct.get_result(dispatch_id)
    assert str(parked.status) == "NEW_OBJECT"
    assert parked.start_time is None and parked.end_time is None
    assert {str(n["status"]) for n in parked.get_all_node_results()} == {"NEW_OBJECT"}

    ct._dispatcher_plugins.local.LocalDispatcher.start(dispatch_id)
    meeting_point.wait_for("middle")
    while status_of(ct.get_result(dispatch_id), "greet") != "COMPLETED":
        time.sleep(0.05)
    assert ct.get_result(dispatch_id, status_only=True)["status"] == "RUNNING"
    partial = ct.get_result(dispatch_id, wait=False)
    assert str(partial.status) == "RUNNING"
    assert partial.result is None and partial.error is None
    assert partial.start_time is not None and partial.end_time is None
    assert node(partial, "greet")["output"].get_deserialized() == "hello you!"
    assert node(partial, "greet")["stdout"] == "greeting you\n"
    running = node(partial, "report")
    assert str(running["status"]) == "RUNNING"
    assert running["end_time"] is None and running["output"] is None
    assert status_of(partial, ":postprocess:reconstruct") == "NEW_OBJECT"

    meeting_point.release("middle", message="there")
    assert completed(ct.get_result(dispatch_id, wait=True)) == ["HELLO YOU!", "THERE"]


@pytest.mark.mends
def test_stdout_and_stderr_can_be_read_while_the_task_runs(meeting_point):
    @ct.electron
    def chatty(address):
        import sys

        print("first line")
        print("to stderr", file=sys.stderr)
        arrive(address, "chatty")
        print("second line")

    @ct.lattice
    def workflow(address):
        return chatty(address)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("chatty")
    deadline = time.monotonic() + 10
    partial = node(ct.get_result(dispatch_id), "chatty")
    while not (partial["stdout"] and partial["stderr"]) and time.monotonic() < deadline:
        partial = node(ct.get_result(dispatch_id), "chatty")
    assert str(partial["status"]) == "RUNNING"
    assert partial["stdout"] == "first line\n"
    assert partial["stderr"] == "to stderr\n"
    meeting_point.release("chatty")
    done = node(ct.get_result(dispatch_id, wait=True), "chatty")
    assert done["stdout"] == "first line\nsecond line\n"


def test_context_and_environment_of_a_task():
    @ct.electron
    def look(x):
        context = ct.get_context()
        return [
            context.dispatch_id,
            context.task_id,
            os.environ["COVALENT_DISPATCH_ID"],
            json.loads(os.environ["COVALENT_TASKS"]),
            os.environ["COVALENT_DISPATCHER_URL"],
        ]

    @ct.lattice
    def workflow(x):
        return look(x)

    found = ct.dispatch_sync(workflow)(5)
    dispatch_id, task_id, env_id, tasks, url = completed(found)
    number = node(found, "look")["node_id"]
    assert dispatch_id == env_id == found.dispatch_id
    assert task_id == number
    assert tasks[0]["electron_id"] == number
    assert tasks[0]["args"] == [node(found, ":parameter:5")["node_id"]]
    assert tasks[0]["kwargs"] == {}
    assert url.startswith("http://")


def test_many_lines_of_output():
    @ct.electron
    def chatty(lines):
        for number in range(lines):
            print(f"line {number} – ü")

    @ct.lattice
    def workflow(lines):
        return chatty(lines)

    found = ct.dispatch_sync(workflow)(20_000)
    completed(found)
    assert nodes(found, "chatty")[0]["stdout"].splitlines() == [
        f"line {number} – ü" for number in range(20_000)
    ]
