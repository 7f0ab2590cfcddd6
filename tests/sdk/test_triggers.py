"""Triggers as the SDK registers and stops them: what the first firing does, what later ones do, and what is refused."""

import covalent as ct
import pytest
import requests
import wire
from checks import completed
from covalent.triggers import BaseTrigger, DatabaseTrigger, DirTrigger, SQLiteTrigger, TimeTrigger
from firing import (
    fired,
    history,
    native,
    reason,
    refused,
    status,
    tell_once,
    trigger_of,
    triggers_of,
    until,
)

GAP_S = 0.4


def touch(folder, name):
    (folder / name).touch()


# --- registering --------------------------------------------------------------------------------


def test_the_first_firing_starts_the_registered_dispatch(server, firings, tmp_path):
    workflow = ct.lattice(tell_once, triggers=[DirTrigger(str(tmp_path), ["created"])])
    dispatch_id = ct.dispatch(workflow)(firings.address, "run")
    assert status(server, dispatch_id) == "NEW_OBJECT"
    touch(tmp_path, "first")
    assert [run.dispatch_id for run in firings.wait(1)] == [dispatch_id]
    completed(ct.get_result(dispatch_id, wait=True))
    ct.stop_triggers(dispatch_id)


def test_later_firings_run_the_original_again_and_reuse_nothing(server, firings, tmp_path):
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"]))
    for number in range(1, 4):
        touch(tmp_path, f"{number}")
        runs = firings.wait(number)
        completed(ct.get_result(runs[-1].dispatch_id, wait=True))
    assert runs[0].dispatch_id == dispatch_id
    assert len({run.dispatch_id for run in runs}) == 3
    redispatched = ct.get_result(runs[2].dispatch_id, wait=True)
    assert completed(redispatched) == "run"
    assert redispatched.dispatch_id != dispatch_id
    # The original is left as it was.
    assert completed(ct.get_result(dispatch_id)) == "run"


def test_one_trigger_that_is_no_list(server, firings):
    workflow = ct.lattice(tell_once, triggers=TimeTrigger(GAP_S))
    dispatch_id = ct.dispatch(workflow)(firings.address, "run")
    assert firings.wait(2)[0].dispatch_id == dispatch_id
    ct.stop_triggers(dispatch_id)


def test_a_trigger_registered_by_hand(server, firings):
    dispatch_id = firings.arm()
    trigger = TimeTrigger(GAP_S)
    trigger.lattice_dispatch_id = dispatch_id
    trigger.register()
    assert firings.wait(2)[0].dispatch_id == dispatch_id
    ct.stop_triggers(dispatch_id)


def test_several_triggers_on_one_lattice(server, firings, tmp_path):
    """Each fires, and one stop stops all of them."""
    folders = [tmp_path / name for name in ("one", "two", "fence")]
    for folder in folders:
        folder.mkdir()
    one, two, fence = folders
    triggers = [DirTrigger(str(one), ["created"]), DirTrigger(str(two), ["created"])]
    workflow = ct.lattice(tell_once, triggers=triggers)
    dispatch_id = ct.dispatch(workflow)(firings.address, "run")
    touch(one, "a")
    completed(ct.get_result(firings.wait(1)[0].dispatch_id, wait=True))
    touch(two, "a")
    completed(ct.get_result(firings.wait(2)[1].dispatch_id, wait=True))
    ct.stop_triggers(dispatch_id)
    firings.arm(*(DirTrigger(str(folder), ["created"]) for folder in folders), label="fence")
    for number, folder in enumerate(folders, 1):
        touch(folder, "b")
        firings.wait(number, "fence")
    assert len(firings.runs()) == 2


def test_a_dispatch_that_has_run_already_is_run_again(server, firings, tmp_path):
    workflow = ct.lattice(tell_once)
    original = ct.dispatch(workflow)(firings.address, "run")
    completed(ct.get_result(original, wait=True))
    firings.attach(DirTrigger(str(tmp_path), ["created"]), original)
    touch(tmp_path, "a")
    runs = firings.wait(2)
    assert runs[0].dispatch_id == original != runs[1].dispatch_id


def test_a_base_trigger_fires_only_when_it_is_told_to(server, firings):
    """The SDK's own `trigger()`, in the user's process, over HTTP."""
    trigger = BaseTrigger()
    dispatch_id = firings.arm(trigger)
    trigger.use_internal_funcs = False
    trigger.dispatcher_addr = server.url
    assert status(server, dispatch_id) == "NEW_OBJECT"
    trigger.trigger()
    assert firings.wait(1)[0].dispatch_id == dispatch_id
    assert trigger.new_dispatch_ids == []
    completed(ct.get_result(dispatch_id, wait=True))
    trigger.trigger()
    assert [run.dispatch_id for run in firings.wait(2)[1:]] == trigger.new_dispatch_ids
    ct.stop_triggers(dispatch_id)


@pytest.mark.mends
@pytest.mark.parametrize("name", ["Base", "Time", "Dir", "SQLite", "Database"])
def test_what_was_registered_is_shown_unchanged(server, firings, tmp_path, name):
    trigger = {
        "Base": BaseTrigger,
        "Time": lambda: TimeTrigger(3_600.5),
        "Dir": lambda: DirTrigger(str(tmp_path), ["moved", "created"], 7, True),
        "SQLite": lambda: SQLiteTrigger(str(tmp_path / "a.db"), "jobs", 60, ["a = 'b'"], 9),
        "Database": lambda: DatabaseTrigger(f"sqlite:///{tmp_path}/a.db", "jobs", 2.5),
    }[name]()
    trigger.my_own = {"kept": ["as", 1, None]}
    dispatch_id = firings.arm(trigger)
    shown = trigger_of(server, dispatch_id)
    assert shown["name"] == f"{name}Trigger"
    assert shown["lattice_dispatch_id"] == dispatch_id
    assert shown["state"] == "active"
    assert shown["settings"] == trigger.to_dict()


# --- stopping -----------------------------------------------------------------------------------


def test_stop_one_many_and_again(server, firings, tmp_path):
    ids = [firings.arm(DirTrigger(str(tmp_path), ["created"]), label=f"stopped{n}") for n in range(3)]
    ct.stop_triggers(ids[0])
    ct.stop_triggers(ids[1:])
    ct.stop_triggers(ids)
    firings.arm(DirTrigger(str(tmp_path), ["created"]), label="fence")
    touch(tmp_path, "a")
    firings.wait(1, "fence")
    assert [firings.runs(f"stopped{n}") for n in range(3)] == [[], [], []]
    assert {status(server, dispatch_id) for dispatch_id in ids} == {"NEW_OBJECT"}


def test_a_stopped_dispatch_can_be_started_by_hand(server, firings, tmp_path):
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"]))
    ct.stop_triggers(dispatch_id)
    assert wire.start(server, dispatch_id).status_code == 202
    completed(ct.get_result(dispatch_id, wait=True))


def test_a_stopped_dispatch_can_be_given_a_trigger_again(server, firings, tmp_path):
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["deleted"]))
    ct.stop_triggers(dispatch_id)
    firings.attach(DirTrigger(str(tmp_path), ["created"]), dispatch_id)
    touch(tmp_path, "a")
    assert firings.wait(1)[0].dispatch_id == dispatch_id


@pytest.mark.mends
def test_stopping_an_unknown_dispatch_says_so(server):
    """Covalent: 500."""
    with pytest.raises(requests.HTTPError) as caught:
        ct.stop_triggers(wire.UNKNOWN)
    assert wire.UNKNOWN in reason(caught.value, 404)


@pytest.mark.mends
def test_an_unknown_dispatch_in_a_list_is_named(server, firings, tmp_path):
    known = firings.arm(TimeTrigger(3_600))
    with pytest.raises(requests.HTTPError) as caught:
        ct.stop_triggers([known, wire.UNKNOWN])
    text = reason(caught.value, 404)
    assert wire.UNKNOWN in text and known not in text


def test_stopping_nothing_is_no_error(server):
    ct.stop_triggers([])


@pytest.mark.mends
def test_a_stopped_trigger_is_kept_with_its_history(server, firings, tmp_path):
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"]))
    touch(tmp_path, "a")
    firings.wait(1)
    ct.stop_triggers(dispatch_id)
    assert trigger_of(server, dispatch_id)["state"] == "stopped"
    assert fired(server, dispatch_id) == [dispatch_id]


# --- what is refused ----------------------------------------------------------------------------


class HomeMadeTrigger(BaseTrigger):
    """A class that exists only in the user's process."""


@pytest.mark.mends
def test_a_class_the_server_does_not_know_is_refused(server, firings):
    text = refused(HomeMadeTrigger(), firings.arm())
    assert "HomeMadeTrigger" in text
    for known in ("BaseTrigger", "TimeTrigger", "DirTrigger", "SQLiteTrigger", "DatabaseTrigger"):
        assert known in text


def time_trigger():
    return TimeTrigger(60)


def dir_trigger():
    return DirTrigger("/tmp", ["created"])


def sqlite_trigger():
    return SQLiteTrigger("/tmp/some.db", "jobs")


def database_trigger():
    return DatabaseTrigger("sqlite:////tmp/some.db", "jobs")


MISSING = [
    (time_trigger, "time_gap"),
    (dir_trigger, "dir_path"),
    (dir_trigger, "event_names"),
    (sqlite_trigger, "db_path"),
    (sqlite_trigger, "table_name"),
    (database_trigger, "db_path"),
    (database_trigger, "table_name"),
]


@pytest.mark.mends
@pytest.mark.parametrize("make, field", MISSING, ids=lambda part: getattr(part, "__name__", part))
def test_a_missing_field_is_named(server, firings, make, field):
    trigger = make()
    delattr(trigger, field)
    assert field in refused(trigger, firings.arm())


WRONG = [
    (time_trigger, "time_gap", "often"),
    (time_trigger, "time_gap", 0),
    (time_trigger, "time_gap", -1),
    (time_trigger, "time_gap", None),
    (dir_trigger, "dir_path", 7),
    (dir_trigger, "dir_path", "/no/such/directory/anywhere"),
    (dir_trigger, "event_names", []),
    (dir_trigger, "event_names", ["created", "opened"]),
    (dir_trigger, "batch_size", 0),
    (dir_trigger, "batch_size", "two"),
    (dir_trigger, "recursive", "perhaps"),
    (sqlite_trigger, "table_name", ""),
    (sqlite_trigger, "poll_interval", 0),
    (sqlite_trigger, "where_clauses", [1]),
    (sqlite_trigger, "trigger_after_n", 0),
    (database_trigger, "db_path", "not a connection string"),
    (time_trigger, "overlap", "sometimes"),
    (time_trigger, "catch_up", "some"),
    (dir_trigger, "debounce", {"quiet": -1}),
    (time_trigger, "jitter", "much"),
]


@pytest.mark.mends
@pytest.mark.parametrize("make, field, value", WRONG, ids=lambda part: getattr(part, "__name__", str(part)))
def test_a_wrong_value_is_refused_and_named(server, firings, make, field, value):
    trigger = make()
    setattr(trigger, field, value)
    dispatch_id = firings.arm()
    text = refused(trigger, dispatch_id)
    assert field in text or str(value) in text
    assert triggers_of(server, dispatch_id) == []


@pytest.mark.mends
def test_a_wrong_choice_is_answered_with_the_right_ones(server, firings):
    dispatch_id = firings.arm()
    trigger = DirTrigger("/tmp", ["opened"])
    text = refused(trigger, dispatch_id)
    for name in ("opened", "created", "deleted", "modified", "moved", "closed"):
        assert name in text
    trigger = TimeTrigger(60)
    trigger.overlap = "sometimes"
    text = refused(trigger, dispatch_id)
    for name in ("sometimes", "allow", "skip", "queue_one", "queue_all", "cancel_running"):
        assert name in text
    del trigger.overlap
    trigger.catch_up = "some"
    text = refused(trigger, dispatch_id)
    for name in ("none", "last", "all"):
        assert name in text


@pytest.mark.mends
def test_an_unknown_dispatch_is_refused(server):
    trigger = TimeTrigger(60)
    trigger.lattice_dispatch_id = wire.UNKNOWN
    with pytest.raises(requests.HTTPError) as caught:
        trigger.register()
    assert wire.UNKNOWN in reason(caught.value, 400, 404, 422)


@pytest.mark.mends
def test_a_trigger_of_no_dispatch_is_refused(server):
    assert "lattice_dispatch_id" in refused(TimeTrigger(60), None)


@pytest.mark.mends
@pytest.mark.parametrize("body", ["{", "[]", '"TimeTrigger"', "{}", '{"name": 7}', "null", ""])
def test_a_body_that_is_no_trigger_is_refused(server, body):
    for path in ("register", "stop_observe"):
        url = f"{server.url}/api/triggers/{path}"
        if (path, body) == ("stop_observe", "[]"):
            continue
        answer = requests.post(url, data=body, timeout=30)
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
        assert answer.json()["detail"], (path, body)


# --- status and health --------------------------------------------------------------------------


def test_the_status_is_running(server):
    assert wire.get(server, "/api/triggers/status").json() == {"status": "running"}


def test_registering_and_stopping_answer_null(server, firings):
    dispatch_id = firings.arm()
    trigger = BaseTrigger(lattice_dispatch_id=dispatch_id)
    for path, body in (("register", trigger.to_dict()), ("stop_observe", [dispatch_id])):
        answer = requests.post(f"{server.url}/api/triggers/{path}", json=body, timeout=30)
        assert (answer.status_code, answer.json()) == (200, None), path


# --- the native side, as far as a user of the SDK meets it ----------------------------------------


@pytest.mark.mends
def test_fire_now_pause_and_resume(server, firings, tmp_path):
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"]))
    path = f"/{trigger_of(server, dispatch_id)['id']}"
    native(server, "POST", f"{path}/fire")
    assert firings.wait(1)[0].dispatch_id == dispatch_id
    completed(ct.get_result(dispatch_id, wait=True))
    native(server, "POST", f"{path}/pause", json={"note": "the disk is being moved"})
    shown = trigger_of(server, dispatch_id)
    assert (shown["state"], shown["note"]) == ("paused", "the disk is being moved")
    touch(tmp_path, "while paused")
    firings.arm(DirTrigger(str(tmp_path), ["created"]), label="fence")
    touch(tmp_path, "for the fence")
    firings.wait(1, "fence")
    assert len(firings.runs()) == 1
    native(server, "POST", f"{path}/resume")
    # Files are data: what came while the trigger was paused is made up for, one by one.
    ids = sorted(run.dispatch_id for run in firings.wait(3))
    assert len(set(ids)) == 3
    until(lambda: sorted(fired(server, dispatch_id)) == ids)


@pytest.mark.mends
def test_delete_takes_the_trigger_and_leaves_the_dispatch(server, firings, tmp_path):
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"]))
    touch(tmp_path, "a")
    completed(ct.get_result(firings.wait(1)[0].dispatch_id, wait=True))
    assert history(server, dispatch_id)
    native(server, "DELETE", f"/{trigger_of(server, dispatch_id)['id']}")
    assert triggers_of(server, dispatch_id) == []
    assert completed(ct.get_result(dispatch_id)) == "run"
