"""Redispatching: what is taken over, what runs again, and the plan that says why."""

import hashlib
import time

import covalent as ct
import pytest
import requests
from checks import completed, describe, failed, node, nodes
from meeting import arrive
from wire import UNKNOWN, export, get, prepare

pytestmark = pytest.mark.mends


@ct.electron
def note(path, name, value=None):
    """Leaves a line for each time that it runs."""
    with open(path, "a") as file:
        file.write(f"{name}\n")
    print(f"said by {name}")
    return [name, value, time.time()]


@ct.electron
def note_other(path, name, value=None):
    with open(path, "a") as file:
        file.write(f"other {name}\n")
    return ["other", name, value]


@ct.electron
def fail_unless(path, switch, value):
    """Fails until somebody puts a file there."""
    import os

    with open(path, "a") as file:
        file.write("tried\n")
    if not os.path.exists(switch):
        raise ValueError(f"{switch} is missing")
    return value


@ct.electron
def hold(path, address, value):
    with open(path, "a") as file:
        file.write("held\n")
    return [value, arrive(address, "hold")]


@ct.lattice
def chain(path, x=1, y=2):
    first = note(path, "first", x)
    return [note(path, "second", first), note(path, "beside", y)]


@ct.lattice
def repairable(path, switch, x):
    return fail_unless(path, switch, note(path, "before", x))


@ct.electron
@ct.lattice
def below(path, x):
    return note(path, "inner", x)


@ct.lattice
def with_below(path, x):
    return note(path, "after", below(path, x))


@pytest.fixture
def diary(tmp_path):
    """The file in which the tasks of a test say that they ran."""
    return Diary(tmp_path / "diary")


class Diary:
    """What ran since the last question, sorted."""

    def __init__(self, path):
        self.path, self.read = str(path), 0
        path.touch()

    def new(self):
        with open(self.path) as file:
            lines = file.read().splitlines()
        fresh, self.read = sorted(lines[self.read :]), len(lines)
        return fresh


def wait(dispatch_id):
    return ct.get_result(dispatch_id, wait=True)


def again(dispatch_id, *args, reuse=False, replace=None, **kwargs):
    """Redispatches and waits; the new id is another one."""
    new = ct.redispatch(dispatch_id, replace_electrons=replace, reuse_previous_results=reuse)(*args, **kwargs)
    assert new != dispatch_id
    return wait(new)


def facts(result):
    """Everything that a result shows of its nodes."""
    rows = []
    for row in result.get_all_node_results():
        output = row["output"].object_string if row["output"] is not None else None
        rows.append((row["node_id"], str(row["status"]), row["start_time"], row["end_time"], row["stdout"], output))
    return str(result.status), result.result, result.start_time, result.end_time, rows


def plan(server, dispatch_id):
    answer = get(server, f"/api/v3/dispatches/{dispatch_id}/redispatch-plan")
    assert answer.status_code == 200, answer.text
    assert answer.json()["dispatch_id"] == dispatch_id
    return answer.json()["nodes"]


def unchanged_manifest(server, dispatch_id):
    """What the SDK sends for a redispatch without arguments: the export, with its states forgotten."""
    body = export(server, dispatch_id)
    body["metadata"].update(dispatch_id="", root_dispatch_id="", status="NEW_OBJECT")
    for row in body["lattice"]["transport_graph"]["nodes"]:
        row["metadata"].update(status="NEW_OBJECT", start_time=None, end_time=None)
    return body


def told(server, result):
    """Verdict and reason by node name, of the tasks that are ours; checked against what the nodes show."""
    rows = plan(server, result.dispatch_id)
    shown = result.get_all_node_results()
    assert [row["node_id"] for row in rows] == [row["node_id"] for row in shown]
    assert [row["name"] for row in rows] == [row["node_name"][:200] for row in shown]
    return [(row["name"], row["verdict"], row["reason"]) for row in rows]


def first_run(diary, workflow, *args):
    result = wait(ct.dispatch(workflow)(diary.path, *args))
    completed(result)
    diary.new()
    return result


def test_plain_runs_everything_again_and_leaves_the_original_alone(diary):
    """D4: the earlier dispatch's results are not written over."""
    first = first_run(diary, chain)
    before = facts(first)
    second = again(first.dispatch_id)
    assert diary.new() == ["beside", "first", "second"]
    value = completed(second)
    assert [value[0][:1], value[0][1][:2], value[1][:2]] == [["second"], ["first", 1], ["beside", 2]]
    assert value != first.result
    assert facts(ct.get_result(first.dispatch_id)) == before
    third = again(first.dispatch_id)
    assert completed(third) != value
    assert facts(ct.get_result(first.dispatch_id)) == before


def test_reuse_runs_nothing_and_carries_outputs_logs_and_times(server, diary):
    first = first_run(diary, chain)
    second = again(first.dispatch_id, reuse=True)
    assert diary.new() == []
    ran, reused = (get(server, f"/api/v3/dispatches/{one.dispatch_id}").json()["nodes"] for one in (first, second))
    times = [[(row["started_at"], row["ended_at"]) for row in rows] for rows in (ran, reused)]
    assert times[0] == times[1]
    assert completed(second) == first.result
    for old, new in zip(first.get_all_node_results(), second.get_all_node_results()):
        assert str(new["status"]) == "COMPLETED"
        assert new["output"].get_deserialized() == old["output"].get_deserialized()
        for key in ("node_name", "end_time", "stdout", "stderr", "error"):
            assert new[key] == old[key], key
        # This is how Covalent shows that a node did not run again.
        assert new["start_time"] == new["end_time"]
    assert [row["stdout"] for row in nodes(second, "note")] == [f"said by {n}\n" for n in ("first", "second", "beside")]


def test_new_arguments_without_reuse(diary):
    first = first_run(diary, chain)
    second = again(first.dispatch_id, diary.path, 10, y=20)
    assert diary.new() == ["beside", "first", "second"]
    value = completed(second)
    assert (value[0][1][1], value[1][1]) == (10, 20)


def test_new_arguments_with_reuse_run_what_depends_on_them(server, diary):
    first = first_run(diary, chain)
    second = again(first.dispatch_id, diary.path, 1, 22, reuse=True)
    assert diary.new() == ["beside"]
    value = completed(second)
    assert value[0] == first.result[0]
    assert value[1][:2] == ["beside", 22]
    verdicts = [(name, verdict, reason) for name, verdict, reason in told(server, second) if name == "note"]
    assert verdicts == [
        ("note", "reused", "unchanged"),
        ("note", "reused", "unchanged"),
        ("note", "run_again", "upstream"),
    ]
    changed = [row["node_id"] for row in plan(server, second.dispatch_id) if row["reason"] == "input"]
    assert [second.get_node_result(number)["node_name"] for number in changed] == [":parameter:22"]
    of_beside = plan(server, second.dispatch_id)[nodes(second, "note")[2]["node_id"]]
    assert of_beside["upstream"] == changed[0]
    assert not any(row.get("warnings") for row in plan(server, second.dispatch_id))


def test_replaced_electrons_with_reuse(server, diary):
    @ct.lattice
    def workflow(path):
        return note(path, "last", note_other(path, "middle", note(path, "first")))

    first = first_run(diary, workflow)
    second = again(first.dispatch_id, reuse=True, replace={"note_other": note})
    assert diary.new() == ["last", "middle"]
    assert completed(second)[1][0] == "middle"
    ours = [row for row in told(server, second) if row[0].startswith("note")]
    assert [row[1:] for row in ours] == [
        ("reused", "unchanged"),
        ("run_again", "code"),
        ("run_again", "upstream"),
    ]


def test_replaced_electrons_without_reuse(diary):
    first = first_run(diary, chain)
    second = again(first.dispatch_id, replace={"note": note_other})
    assert diary.new() == ["other beside", "other first", "other second"]
    assert completed(second)[1] == ["other", "beside", 2]
    assert [row["node_name"] for row in nodes(second, "note")] == []


def test_replaced_electrons_and_new_arguments(diary):
    first = first_run(diary, chain)
    second = again(first.dispatch_id, diary.path, 5, reuse=True, replace={"note": note_other})
    assert completed(second)[0] == ["other", "second", ["other", "first", 5]]


def test_of_a_failed_dispatch(server, diary, tmp_path):
    """What completed is reused, what failed runs again."""
    switch = tmp_path / "switch"
    first = wait(ct.dispatch(repairable)(diary.path, str(switch), 7))
    failed(first)
    assert diary.new() == ["before", "tried"]
    before = facts(first)
    switch.touch()
    second = again(first.dispatch_id, reuse=True)
    assert completed(second)[:2] == ["before", 7]
    assert diary.new() == ["tried"]
    verdicts = {name: (verdict, reason) for name, verdict, reason in told(server, second)}
    assert verdicts["note"] == ("reused", "unchanged")
    assert verdicts["fail_unless"] == ("run_again", "earlier_status")
    assert facts(ct.get_result(first.dispatch_id)) == before
    third = again(first.dispatch_id)
    assert completed(third)[:2] == ["before", 7]
    assert diary.new() == ["before", "tried"]


def test_of_a_cancelled_dispatch(server, diary, meeting_point):
    @ct.lattice
    def workflow(path, host, port):
        return hold(path, [host, port], note(path, "before"))

    first = ct.dispatch(workflow)(diary.path, *meeting_point.address)
    meeting_point.wait_for("hold")
    ct.cancel(first)
    assert wait(first).status == ct.status.CANCELLED
    assert diary.new() == ["before", "held"]
    meeting_point.release("hold", message="at last")
    second = again(first, reuse=True)
    assert completed(second)[1] == "at last"
    assert diary.new() == ["held"]
    verdicts = {name: (verdict, reason) for name, verdict, reason in told(server, second)}
    assert verdicts["hold"] == ("run_again", "earlier_status")
    assert ct.get_result(first).status == ct.status.CANCELLED


def test_of_a_dispatch_cancelled_before_it_began(diary):
    first = ct.dispatch(chain, disable_run=True)(diary.path)
    ct.cancel(first)
    ct._dispatcher_plugins.local.LocalDispatcher.start(first)
    assert wait(first).status == ct.status.CANCELLED
    assert diary.new() == []
    completed(again(first, reuse=True))
    assert diary.new() == ["beside", "first", "second"]


def test_reuse_of_a_completed_sub_workflow(diary):
    """D5: neither the sub-workflow nor what is below it runs again."""
    first = first_run(diary, with_below, 3)
    second = again(first.dispatch_id, reuse=True)
    assert diary.new() == []
    assert completed(second) == first.result
    sub = node(second, ":sublattice:below")
    assert str(sub["status"]) == "COMPLETED"
    assert sub["output"].get_deserialized()[:2] == ["inner", 3]
    assert facts(ct.get_result(first.dispatch_id)) == facts(first)


def test_a_sub_workflow_runs_again_without_reuse(diary):
    first = first_run(diary, with_below, 3)
    second = again(first.dispatch_id)
    assert diary.new() == ["after", "inner"]
    sub = [node(r, ":sublattice:below")["sublattice_result"] for r in (first, second)]
    assert sub[0].dispatch_id != sub[1].dispatch_id
    assert completed(sub[0]) == first.result[1]
    assert completed(sub[1]) == second.result[1]


def test_a_redispatch_of_a_redispatch_of_a_redispatch(diary):
    first = first_run(diary, chain)
    second = again(first.dispatch_id, diary.path, 1, 22, reuse=True)
    assert diary.new() == ["beside"]
    third = again(second.dispatch_id, reuse=True)
    fourth = again(third.dispatch_id, reuse=True)
    assert diary.new() == []
    assert completed(third) == completed(fourth) == second.result
    assert [row["stdout"] for row in nodes(fourth, "note")] == [row["stdout"] for row in nodes(second, "note")]
    fifth = again(fourth.dispatch_id, diary.path, 1, 2, reuse=True)
    assert diary.new() == ["beside"]
    assert completed(fifth)[0] == first.result[0]
    sixth = again(fifth.dispatch_id)
    assert diary.new() == ["beside", "first", "second"]
    assert completed(sixth)[0] != first.result[0]


def test_waits_for_the_end_of_a_running_dispatch(diary, meeting_point):
    @ct.lattice
    def workflow(path, host, port):
        return hold(path, [host, port], note(path, "before"))

    first = ct.dispatch(workflow)(diary.path, *meeting_point.address)
    meeting_point.wait_for("hold")
    meeting_point.release("hold")
    second = again(first, reuse=True)
    assert completed(second) == completed(wait(first))
    assert diary.new() == ["before", "held"]


def test_unknown_ids_are_404(server):
    body = prepare(chain, "/nowhere").body
    for reuse in ("true", "false"):
        url = f"{server.url}/api/v2/dispatches/{UNKNOWN}/redispatches?reuse_previous_results={reuse}"
        answer = requests.post(url, json=body, timeout=30)
        assert answer.status_code == 404
        assert UNKNOWN in answer.json()["detail"]
    answer = get(server, f"/api/v3/dispatches/{UNKNOWN}/redispatch-plan")
    assert answer.status_code == 404
    assert UNKNOWN in answer.json()["detail"]


def test_a_refused_redispatch_leaves_no_dispatch_behind(server):
    from wire import all_dispatches

    before = all_dispatches(server)
    body = prepare(chain, "/nowhere").body
    requests.post(f"{server.url}/api/v2/dispatches/{UNKNOWN}/redispatches", json=body, timeout=30)
    assert all_dispatches(server) == before


def test_what_the_server_has_is_not_asked_for_again(server, diary):
    """Line 13: nothing of a reusable node is uploaded, though the manifest carries old addresses."""
    first = first_run(diary, chain)
    body = unchanged_manifest(server, first.dispatch_id)
    for reuse in ("true", "false"):
        url = f"{server.url}/api/v2/dispatches/{first.dispatch_id}/redispatches?reuse_previous_results={reuse}"
        answer = requests.post(url, json=body, timeout=30)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["metadata"]["dispatch_id"] not in (None, first.dispatch_id)
        asked = [asset["remote_uri"] for asset in made["lattice"]["assets"].values()]
        for row in made["lattice"]["transport_graph"]["nodes"]:
            asked += [asset["remote_uri"] for asset in row["assets"].values()]
        assert set(asked) == {""}


def test_plan_of_a_dispatch_that_is_no_redispatch(server, diary, tmp_path):
    """What dispatching it again, unchanged and with reuse, would do."""
    first = first_run(diary, chain)
    assert {row[1:] for row in told(server, first)} == {("reused", "unchanged")}
    broken = wait(ct.dispatch(repairable)(diary.path, str(tmp_path / "none"), 1))
    failed(broken)
    verdicts = {name: rest for name, *rest in told(server, broken)}
    assert verdicts["note"] == ["reused", "unchanged"]
    assert verdicts["fail_unless"] == ["run_again", "earlier_status"]


def test_plan_without_reuse(server, diary):
    first = first_run(diary, chain)
    second = again(first.dispatch_id)
    assert {row[1:] for row in told(server, second)} == {("run_again", "not_asked")}


def test_plan_of_added_nodes_and_changed_structure(server, diary):
    """A lattice whose graph depends on its arguments: more nodes, and other edges."""

    @ct.lattice
    def growing(path, many, swapped):
        parts = [note(path, f"part {number}") for number in range(many)]
        return note(path, "sum", list(reversed(parts)) if swapped else parts)

    first = first_run(diary, growing, 2, False)
    second = again(first.dispatch_id, diary.path, 3, False, reuse=True)
    completed(second)
    rows = told(server, second)
    before = len(first.get_all_node_results())
    assert len(rows) > before
    assert all(row[1:] == ("new", "added") for row in rows[before:])
    assert not any(row[2] == "added" for row in rows[:before])
    assert [row[1:] for row in rows if row[0] == "note"][:1] == [("reused", "unchanged")]
    swapped = again(first.dispatch_id, diary.path, 2, True, reuse=True)
    value = completed(swapped)
    assert [part[0] for part in value[1]] == ["part 1", "part 0"]


def test_plan_warns_of_changed_functions_and_runs_the_earlier_one(server, diary):
    """The contract never compares functions; whoever changes one is told that it does not count."""
    first = first_run(diary, chain)
    body = unchanged_manifest(server, first.dispatch_id)
    number = nodes(first, "note")[0]["node_id"]
    source = b"def note(): return 'something else'"
    changed = {"digest": hashlib.sha1(source).hexdigest(), "size": len(source)}
    body["lattice"]["transport_graph"]["nodes"][number]["assets"]["function_string"].update(changed)
    url = f"{server.url}/api/v2/dispatches/{first.dispatch_id}/redispatches?reuse_previous_results=true"
    answer = requests.post(url, json=body, timeout=30)
    assert answer.status_code == 201, answer.text
    rows = plan(server, answer.json()["metadata"]["dispatch_id"])
    assert rows[number]["warnings"] == ["function_changed"]
    assert (rows[number]["verdict"], rows[number]["reason"]) == ("reused", "unchanged")
    assert [row["node_id"] for row in rows if row.get("warnings")] == [number]


@pytest.mark.own_server
def test_after_kill9_and_restart(spawn_server, diary):
    """A registered redispatch, its plan and what it shares survive; and old dispatches are still reusable."""
    own = spawn_server()
    address = {"dispatcher_addr": own.url}
    first = ct.get_result(ct.dispatch(chain, **address)(diary.path), wait=True, **address)
    completed(first)
    second = ct.redispatch(first.dispatch_id, reuse_previous_results=True, **address)(diary.path, 1, 22)
    own.kill9()
    own.restart()
    result = ct.get_result(second, wait=True, **address)
    assert completed(result)[0] == first.result[0], describe(result)
    before = plan(own, second)
    diary.new()
    third = ct.redispatch(second, reuse_previous_results=True, **address)()
    own.kill9()
    own.restart()
    assert completed(ct.get_result(third, wait=True, **address)) == result.result
    assert diary.new() == []
    assert plan(own, second) == before
    assert facts(ct.get_result(first.dispatch_id, **address)) == facts(first)
