"""Cancelling: whole dispatches and chosen tasks, at every moment, and who wins a race."""

import os
import time

import covalent as ct
import pytest
import requests
from checks import cancelled, completed, describe, node, nodes, status_of, statuses, until_shown
from meeting import arrive
from wire import UNKNOWN

pytestmark = pytest.mark.mends
start = ct._dispatcher_plugins.local.LocalDispatcher.start


@ct.electron
def identity(value):
    return value


@ct.electron
def report(address, name):
    return arrive(address, name)


@ct.electron
def note(path, name):
    with open(path, "a") as file:
        file.write(f"{name}\n")
    return name


@ct.lattice
def held(address, name):
    return identity(report(address, name))


def wait(dispatch_id):
    return ct.get_result(dispatch_id, wait=True)


def set_status(server, dispatch_id, body):
    url = f"{server.url}/api/v2/dispatches/{dispatch_id}/status"
    return requests.put(url, json=body, timeout=30)


def sub_result(result, name):
    return node(result, name)["sublattice_result"]


def test_the_answers_byte_for_byte(server, meeting_point):
    dispatch_id = ct.dispatch(held)(meeting_point.address, "answers")
    expected = {
        (1,): f'"Cancelled tasks [1] in dispatch {dispatch_id}."',
        (0, 2): f'"Cancelled tasks [0, 2] in dispatch {dispatch_id}."',
        (): f'"Dispatch {dispatch_id} cancelled."',
    }
    for task_ids, text in expected.items():
        body = {"status": "CANCELLED", "task_ids": list(task_ids)}
        for _ in range(2):
            answer = set_status(server, dispatch_id, body)
            assert (answer.status_code, answer.text) == (202, text)
    answer = set_status(server, dispatch_id, {"status": "CANCELLED"})
    assert (answer.status_code, answer.text) == (202, expected[()])


def test_the_sdk_says_what_the_server_said(meeting_point):
    dispatch_id = ct.dispatch(held)(meeting_point.address, "words")
    assert ct.cancel(dispatch_id, task_ids=2) == f"Cancelled tasks [2] in dispatch {dispatch_id}."
    assert ct.cancel(dispatch_id, task_ids=[0, 2]) == f"Cancelled tasks [0, 2] in dispatch {dispatch_id}."
    assert ct.cancel(dispatch_id) == f"Dispatch {dispatch_id} cancelled."


def test_unknown_dispatches_and_nodes_are_404_and_change_nothing(server, meeting_point):
    answer = set_status(server, UNKNOWN, {"status": "CANCELLED"})
    assert answer.status_code == 404
    assert UNKNOWN in answer.json()["detail"]
    with pytest.raises(requests.HTTPError, match="404"):
        ct.cancel(UNKNOWN)
    dispatch_id = ct.dispatch(held)(meeting_point.address, "unknown")
    meeting_point.wait_for("unknown")
    for task_ids in ([99], [0, 99]):
        answer = set_status(server, dispatch_id, {"status": "CANCELLED", "task_ids": task_ids})
        assert answer.status_code == 404
        assert "99" in answer.json()["detail"]
    meeting_point.release("unknown")
    assert completed(wait(dispatch_id)) == "go"


def test_before_the_start(tmp_path):
    """It stays NEW_OBJECT; started later, its parameters complete, and what is reached is CANCELLED."""

    @ct.lattice
    def workflow(path):
        return identity(note(path, "never"))

    path = tmp_path / "notes"
    dispatch_id = ct.dispatch(workflow, disable_run=True)(str(path))
    ct.cancel(dispatch_id)
    parked = ct.get_result(dispatch_id)
    assert parked.status == ct.status.NEW_OBJECT
    assert set(statuses(parked).values()) == {"NEW_OBJECT"}
    start(dispatch_id)
    result = cancelled(wait(dispatch_id))
    shown = {row["node_name"]: str(row["status"]) for row in result.get_all_node_results()}
    parameters = [status for name, status in shown.items() if name.startswith(":parameter:")]
    assert parameters == ["COMPLETED", "COMPLETED"]
    assert shown["note"] == "CANCELLED"
    assert shown["identity"] == "NEW_OBJECT"
    assert not path.exists()


def test_chosen_tasks_before_the_start(meeting_point):
    @ct.lattice
    def workflow(address):
        return report(address, "kept"), report(address, "dropped")

    meeting_point.release("kept")
    dispatch_id = ct.dispatch(workflow, disable_run=True)(meeting_point.address)
    dropped = nodes(ct.get_result(dispatch_id), "report")[1]["node_id"]
    ct.cancel(dispatch_id, task_ids=[dropped])
    assert ct.get_result(dispatch_id).status == ct.status.NEW_OBJECT
    start(dispatch_id)
    result = cancelled(wait(dispatch_id))
    kept, dropped = nodes(result, "report")
    assert (str(kept["status"]), str(dropped["status"])) == ("COMPLETED", "CANCELLED")
    assert kept["output"].get_deserialized() == "go"
    assert meeting_point.arrivals("dropped") == 0


def test_while_queued(spawn_server, meeting_point):
    """One worker is taken; what waits behind it is cancelled and never begins."""
    own = spawn_server(workers=1)
    first = ct.dispatch(held, dispatcher_addr=own.url)(meeting_point.address, "first")
    meeting_point.wait_for("first")
    queued = ct.dispatch(held, dispatcher_addr=own.url)(meeting_point.address, "queued")
    ct.cancel(queued, dispatcher_addr=own.url)
    cancelled(ct.get_result(queued, wait=True, dispatcher_addr=own.url))
    meeting_point.release("first")
    assert completed(ct.get_result(first, wait=True, dispatcher_addr=own.url)) == "go"
    after = ct.dispatch(held, dispatcher_addr=own.url)(meeting_point.address, "first")
    assert completed(ct.get_result(after, wait=True, dispatcher_addr=own.url)) == "go"
    assert meeting_point.arrivals("queued") == 0


def test_a_chosen_task_while_queued(spawn_server, meeting_point):
    """Of two tasks of one dispatch the one that waits for the only worker is cancelled; the other goes on."""

    @ct.lattice
    def workflow(address):
        return identity(report(address, "one")), identity(report(address, "two"))

    own = spawn_server(workers=1)
    address = {"dispatcher_addr": own.url}
    dispatch_id = ct.dispatch(workflow, **address)(meeting_point.address)
    assert meeting_point.wait_until(lambda: meeting_point.arrivals("one") + meeting_point.arrivals("two") == 1)
    running = "one" if meeting_point.arrivals("one") else "two"
    queued = "two" if running == "one" else "one"
    pair = dict(zip(("one", "two"), nodes(ct.get_result(dispatch_id, **address), "report")))
    ct.cancel(dispatch_id, task_ids=pair[queued]["node_id"], **address)
    meeting_point.release(running)
    result = cancelled(ct.get_result(dispatch_id, wait=True, **address))
    pair = dict(zip(("one", "two"), nodes(result, "report")))
    assert str(pair[queued]["status"]) == "CANCELLED"
    assert pair[queued]["start_time"] is None
    assert str(pair[running]["status"]) == "COMPLETED"
    assert sorted(str(below["status"]) for below in nodes(result, "identity")) == ["COMPLETED", "NEW_OBJECT"]
    assert meeting_point.arrivals(queued) == 0


def test_a_chosen_task_that_waits_for_its_input(meeting_point, tmp_path):
    """It is CANCELLED when its turn comes, and does not run."""

    @ct.lattice
    def workflow(address, path):
        return identity(note(path, report(address, "above")))

    path = tmp_path / "notes"
    dispatch_id = ct.dispatch(workflow)(meeting_point.address, str(path))
    meeting_point.wait_for("above")
    waiting = node(ct.get_result(dispatch_id), "note")["node_id"]
    ct.cancel(dispatch_id, task_ids=[waiting])
    meeting_point.release("above")
    result = cancelled(wait(dispatch_id))
    assert status_of(result, "report") == "COMPLETED"
    assert status_of(result, "note") == "CANCELLED"
    assert status_of(result, "identity") == "NEW_OBJECT"
    assert not path.exists()


def test_no_further_try_after_a_cancel(meeting_point):
    """A task with tries left is not tried again."""

    @ct.electron(executor=ct.executor.LocalExecutor(retries=5))
    def stubborn(address):
        arrive(address, "try")
        raise ValueError("on purpose")

    @ct.lattice
    def workflow(address):
        return stubborn(address)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("try")
    ct.cancel(dispatch_id)
    result = cancelled(wait(dispatch_id))
    assert status_of(result, "stubborn") == "CANCELLED"
    meeting_point.release("try")
    assert meeting_point.arrivals("try") == 1


def test_while_running(meeting_point):
    dispatch_id = ct.dispatch(held)(meeting_point.address, "running")
    meeting_point.wait_for("running")
    before = time.monotonic()
    ct.cancel(dispatch_id)
    result = cancelled(wait(dispatch_id))
    assert time.monotonic() - before < 10
    running = node(result, "report")
    assert str(running["status"]) == "CANCELLED"
    assert running["start_time"] <= running["end_time"]
    assert status_of(result, "identity") in ("CANCELLED", "NEW_OBJECT")


def test_a_chosen_task_while_its_neighbour_runs(meeting_point):
    """The neighbour keeps its process, and what depends on it alone runs too."""

    @ct.electron
    def neighbour(address):
        before = os.getpid()
        arrive(address, "neighbour")
        return before == os.getpid()

    @ct.lattice
    def workflow(address):
        return identity(neighbour(address)), identity(report(address, "victim"))

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("neighbour", "victim")
    victim = node(ct.get_result(dispatch_id), "report")["node_id"]
    ct.cancel(dispatch_id, task_ids=[victim])
    until_shown(dispatch_id, victim, "CANCELLED")
    assert ct.get_result(dispatch_id, status_only=True)["status"] == "RUNNING"
    meeting_point.release("neighbour")
    result = cancelled(wait(dispatch_id))
    assert status_of(result, "neighbour") == "COMPLETED"
    after, below = nodes(result, "identity")
    assert after["output"].get_deserialized() is True
    assert str(below["status"]) == "NEW_OBJECT"


def test_other_dispatches_keep_running(meeting_point):
    kept = ct.dispatch(held)(meeting_point.address, "kept")
    dropped = ct.dispatch(held)(meeting_point.address, "dropped")
    meeting_point.wait_for("kept", "dropped")
    ct.cancel(dropped)
    cancelled(wait(dropped))
    assert ct.get_result(kept, status_only=True)["status"] == "RUNNING"
    meeting_point.release("kept")
    assert completed(wait(kept)) == "go"
    assert meeting_point.arrivals("kept") == 1


def test_after_the_end_nothing_changes(meeting_point):
    meeting_point.release("quick")
    finished = ct.dispatch(held)(meeting_point.address, "quick")
    before = wait(finished)
    for task_ids in ([], [0], [1, 2]):
        ct.cancel(finished, task_ids=task_ids)
    after = ct.get_result(finished)
    assert completed(after) == "go"
    assert statuses(after) == statuses(before)
    assert (after.start_time, after.end_time) == (before.start_time, before.end_time)

    dropped = ct.dispatch(held)(meeting_point.address, "slow")
    meeting_point.wait_for("slow")
    ct.cancel(dropped)
    before = cancelled(wait(dropped))
    ct.cancel(dropped)
    start(dropped)
    after = cancelled(ct.get_result(dropped))
    assert statuses(after) == statuses(before)
    assert after.end_time == before.end_time


def test_failed_stays_failed():
    @ct.electron
    def fail():
        raise ValueError("on purpose")

    @ct.lattice
    def workflow():
        return fail()

    dispatch_id = ct.dispatch(workflow)()
    before = wait(dispatch_id)
    ct.cancel(dispatch_id)
    after = ct.get_result(dispatch_id)
    assert after.status == ct.status.FAILED
    assert (after.error, after.end_time) == (before.error, before.end_time)


def test_failing_wins_over_being_cancelled(meeting_point):
    @ct.electron
    def fail():
        raise ValueError("on purpose")

    @ct.lattice
    def workflow(address):
        return fail(), report(address, "beside")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("beside")
    until_shown(dispatch_id, node(ct.get_result(dispatch_id), "fail")["node_id"], "FAILED")
    ct.cancel(dispatch_id)
    result = wait(dispatch_id)
    assert result.status == ct.status.FAILED, describe(result)
    assert status_of(result, "report") == "CANCELLED"


def test_into_sub_workflows(meeting_point):
    """A cancelled parent takes its sub-dispatches along, to any depth."""

    @ct.electron
    @ct.lattice
    def inner(address):
        return report(address, "deep")

    @ct.electron
    @ct.lattice
    def middle(address):
        return identity(inner(address))

    @ct.lattice
    def outer(address):
        return middle(address)

    dispatch_id = ct.dispatch(outer)(meeting_point.address)
    meeting_point.wait_for("deep")
    ct.cancel(dispatch_id)
    result = cancelled(wait(dispatch_id))
    in_middle = cancelled(sub_result(result, ":sublattice:middle"))
    in_inner = cancelled(sub_result(in_middle, ":sublattice:inner"))
    assert status_of(in_inner, "report") == "CANCELLED"


def test_the_node_of_a_sub_workflow(meeting_point):
    @ct.electron
    @ct.lattice
    def inner(address):
        return report(address, "inside")

    @ct.lattice
    def outer(address):
        return inner(address), report(address, "beside")

    dispatch_id = ct.dispatch(outer)(meeting_point.address)
    meeting_point.wait_for("inside", "beside")
    sub = node(ct.get_result(dispatch_id), ":sublattice:inner")["node_id"]
    ct.cancel(dispatch_id, task_ids=[sub])
    until_shown(dispatch_id, sub, "CANCELLED")
    cancelled(sub_result(ct.get_result(dispatch_id), ":sublattice:inner"))
    meeting_point.release("beside")
    result = cancelled(wait(dispatch_id))
    assert status_of(result, "report") == "COMPLETED"


def test_a_cancelled_sub_dispatch_cancels_its_node(meeting_point):
    @ct.electron
    @ct.lattice
    def inner(address):
        return report(address, "below")

    @ct.lattice
    def outer(address):
        return identity(inner(address))

    dispatch_id = ct.dispatch(outer)(meeting_point.address)
    meeting_point.wait_for("below")
    ct.cancel(sub_result(ct.get_result(dispatch_id), ":sublattice:inner").dispatch_id)
    result = cancelled(wait(dispatch_id))
    assert status_of(result, ":sublattice:inner") == "CANCELLED"


@pytest.mark.parametrize("late_s", [0.0, 0.001, 0.003, 0.01, 0.03])
def test_a_race_with_the_end_has_one_winner(meeting_point, tmp_path, late_s):
    """Whatever is shown first stays; a task that is shown COMPLETED has its output, another has none."""
    path = tmp_path / "notes"

    @ct.electron
    def race(address, path):
        arrive(address, "race")
        with open(path, "a") as file:
            file.write("ran\n")
        return "output"

    @ct.lattice
    def workflow(address, path):
        return race(address, path)

    dispatch_id = ct.dispatch(workflow)(meeting_point.address, str(path))
    meeting_point.wait_for("race")
    racer = node(ct.get_result(dispatch_id), "race")["node_id"]
    meeting_point.release("race")
    time.sleep(late_s)
    ct.cancel(dispatch_id)
    result = wait(dispatch_id)
    outcome = statuses(result)[racer]
    assert (outcome, str(result.status)) in (("COMPLETED", "COMPLETED"), ("CANCELLED", "CANCELLED"), ("COMPLETED", "CANCELLED"))
    for _ in range(20):
        again = ct.get_result(dispatch_id)
        assert statuses(again) == statuses(result)
        assert (str(again.status), again.end_time) == (str(result.status), result.end_time)
    if outcome == "COMPLETED":
        assert path.read_text() == "ran\n"
        assert node(result, "race")["output"].get_deserialized() == "output"
    else:
        assert node(result, "race")["output"] is None


@pytest.mark.own_server
def test_many_races_and_their_winners_are_kept_over_kill9(spawn_server, meeting_point):
    """Twenty tasks end while they are cancelled; the record of each says who won, and goes on saying so."""

    @ct.electron
    def race(address, number):
        arrive(address, "race")
        return number

    @ct.lattice
    def workflow(address):
        return [race(address, number) for number in range(20)]

    own = spawn_server(workers=20)
    address = {"dispatcher_addr": own.url}
    dispatch_id = ct.dispatch(workflow, **address)(meeting_point.address)
    meeting_point.wait_for("race", count=20)
    meeting_point.release("race")
    ct.cancel(dispatch_id, **address)
    result = ct.get_result(dispatch_id, wait=True, **address)
    for number, racer in enumerate(nodes(result, "race")):
        if str(racer["status"]) == "COMPLETED":
            assert racer["output"].get_deserialized() == number
        else:
            assert (str(racer["status"]), racer["output"]) == ("CANCELLED", None)
    own.kill9()
    own.restart()
    again = ct.get_result(dispatch_id, wait=True, **address)
    assert statuses(again) == statuses(result)
    assert (again.status, again.end_time) == (result.status, result.end_time)
    assert meeting_point.arrivals("race") == 20


@pytest.mark.own_server
def test_cancelled_before_the_start_is_kept_over_kill9(spawn_server, meeting_point):
    own = spawn_server()
    address = {"dispatcher_addr": own.url}
    dispatch_id = ct.dispatch(held, disable_run=True, **address)(meeting_point.address, "never")
    ct.cancel(dispatch_id, **address)
    own.kill9()
    own.restart()
    assert ct.get_result(dispatch_id, **address).status == ct.status.NEW_OBJECT
    start(dispatch_id, own.url)
    cancelled(ct.get_result(dispatch_id, wait=True, **address))
    assert meeting_point.arrivals("never") == 0


@pytest.mark.own_server
def test_stopping_the_server_cancels_nothing(spawn_server, meeting_point):
    """D8: parked dispatches run when they are started after the next start."""
    own = spawn_server()
    address = {"dispatcher_addr": own.url}
    parked = ct.dispatch(held, disable_run=True, **address)(meeting_point.address, "parked")
    assert own.stop() == 0
    own.restart()
    start(parked, own.url)
    meeting_point.release("parked")
    assert completed(ct.get_result(parked, wait=True, **address)) == "go"
