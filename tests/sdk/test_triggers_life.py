"""Triggers and the life of servers: killed and restarted in the middle, without triggers, with nothing but triggers."""

import threading
import time

import covalent as ct
import pytest
import requests
import wire
from checks import completed
from covalent.triggers import BaseTrigger, DirTrigger, TimeTrigger
from databases import Table
from firing import (
    fired,
    history,
    reason,
    status,
    tell_once,
    trigger_of,
    triggers_of,
    until,
)
from test_triggers_database import trigger_on
from test_triggers_time import CronTrigger, configured, seconds

pytestmark = [pytest.mark.mends, pytest.mark.own_server]


def test_a_time_trigger_survives_on_its_grid(spawn_server, firings):
    own = spawn_server()
    dispatch_id = firings.arm(TimeTrigger(0.5), server=own)
    firings.wait(2)
    own.kill9()
    own.restart()
    runs = len(set(firings.ids()))
    firings.meeting.wait_until(lambda: len(set(firings.ids())) >= runs + 2, 20)
    firings.stop(dispatch_id, server=own)
    created = seconds(trigger_of(own, dispatch_id)["created_at"])
    rows = history(own, dispatch_id, "fired")
    ticks = [(seconds(row["due_at"]) - created) / 0.5 for row in rows]
    assert [tick for tick in ticks if abs(tick - round(tick)) > 0.002] == []
    assert len(ticks) == len({round(tick) for tick in ticks}) >= runs + 2
    assert set(firings.ids()) <= set(fired(own, dispatch_id))
    assert set(fired(own, dispatch_id)) == wire.all_dispatches(own)


def test_files_made_around_a_kill_fire_exactly_once(spawn_server, firings, tmp_path):
    """Some before, some while the server dies, some while it is down, some after."""
    own = spawn_server()
    folder = tmp_path / "inbox"
    folder.mkdir()
    dispatch_id = firings.arm(DirTrigger(str(folder), ["created"]), server=own)
    total = 60

    def make_files():
        for number in range(total - 10):
            (folder / f"{number}").touch()
            pause.wait(0.01)

    pause = threading.Event()
    maker = threading.Thread(target=make_files)
    maker.start()
    for kills in range(2):
        firings.wait(5 * (kills + 1))
        own.kill9()
        own.restart()
    own.kill9()
    maker.join()
    for number in range(total - 10, total):
        (folder / f"{number}").touch()
    own.restart()
    until(lambda: len(fired(own, dispatch_id)) >= total)
    (folder / "last").touch()
    until(lambda: len(fired(own, dispatch_id)) >= total + 1)
    ids = fired(own, dispatch_id)
    assert len(ids) == len(set(ids)) == total + 1
    assert set(ids) == wire.all_dispatches(own)
    assert ids.count(dispatch_id) == 1
    assert history(own, dispatch_id, "failed", "skipped") == []
    until(lambda: all(status(own, each) != "NEW_OBJECT" for each in ids))


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql"])
def test_rows_written_around_a_kill_count_exactly_once(spawn_server, firings, tmp_path, kind):
    own = spawn_server()
    table = Table(kind, tmp_path).create()
    try:
        dispatch_id = firings.arm(trigger_on(table, cursor_column="id"), server=own)
        for number in range(1, 5):
            table.insert(number)
        until(lambda: len(fired(own, dispatch_id)) >= 2)
        own.kill9()
        for number in range(5, 9):
            table.insert(number)
        own.restart()
        table.insert(9)
        until(lambda: len(fired(own, dispatch_id)) >= 9)
        keys = [row["event_key"] for row in history(own, dispatch_id)]
        assert sorted(keys) == [f"row:{number}" for number in range(1, 10)]
        assert set(fired(own, dispatch_id)) == wire.all_dispatches(own)
    finally:
        table.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mysql"])
def test_a_level_fires_on_after_a_restart(spawn_server, firings, tmp_path, kind):
    own = spawn_server()
    table = Table(kind, tmp_path).create()
    try:
        table.insert(1)
        dispatch_id = firings.arm(trigger_on(table), server=own)
        firings.wait(2)
        own.kill9()
        own.restart()
        seen = len(set(firings.ids()))
        assert firings.meeting.wait_until(lambda: len(set(firings.ids())) >= seen + 2, 20)
        firings.stop(dispatch_id, server=own)
        ids = fired(own, dispatch_id)
        assert len(ids) == len(set(ids))
        assert set(ids) == wire.all_dispatches(own)
    finally:
        table.close()


def test_what_was_stopped_stays_stopped(spawn_server, firings, tmp_path):
    own = spawn_server()
    stopped = firings.arm(DirTrigger(str(tmp_path), ["created"]), server=own, label="stopped")
    kept = firings.arm(DirTrigger(str(tmp_path), ["created"]), server=own, label="kept")
    firings.stop(stopped, server=own)
    own.kill9()
    own.restart()
    (tmp_path / "a").touch()
    firings.wait(1, "kept")
    assert firings.runs("stopped") == []
    assert trigger_of(own, stopped)["state"] == "stopped"
    assert status(own, stopped) == "NEW_OBJECT"
    assert fired(own, kept) == [kept]


def test_registration_is_kept_as_soon_as_it_is_answered(spawn_server, firings):
    own = spawn_server()
    ids = [firings.arm(TimeTrigger(3_600), server=own) for _ in range(5)]
    own.kill9()
    own.restart()
    assert {trigger_of(own, dispatch_id)["state"] for dispatch_id in ids} == {"active"}


@pytest.mark.parametrize("catch_up", ["none", "last", "all"])
def test_ticks_that_were_missed(spawn_server, firings, catch_up):
    """None: one line says how many; last: one firing; all: each."""
    own = spawn_server()
    gap = 0.25
    trigger = configured(TimeTrigger(gap), catch_up=catch_up, overlap="queue_all")
    dispatch_id = firings.arm(trigger, server=own)
    firings.wait(2)
    own.kill9()
    down_at = time.time()
    # Only time makes ticks be missed.
    time.sleep(6 * gap)
    up_at = time.time()
    own.restart()
    back = time.time()
    until(lambda: [row for row in history(own, dispatch_id, "fired") if seconds(row["due_at"]) > back])
    firings.stop(dispatch_id, server=own)
    missed = [row for row in history(own, dispatch_id) if down_at < seconds(row["due_at"]) < up_at]
    count = {"none": 0, "last": 0, "all": 4}[catch_up]
    outcomes = [row["outcome"] for row in missed]
    if catch_up == "all":
        assert outcomes.count("fired") >= count, missed
        return
    skipped = [row for row in history(own, dispatch_id, "skipped") if "missed" in row["reason"]]
    assert len(skipped) == 1, history(own, dispatch_id)
    late = [row for row in history(own, dispatch_id, "fired") if down_at < seconds(row["due_at"]) < back - gap]
    assert len(late) <= {"none": 0, "last": 1}[catch_up]


def test_a_sigterm_ends_the_server_and_keeps_the_triggers(spawn_server, firings, tmp_path):
    own = spawn_server()
    ids = [
        firings.arm(DirTrigger(str(tmp_path), ["created"]), server=own, label="dir"),
        firings.arm(TimeTrigger(0.3), server=own, label="time"),
        firings.arm(CronTrigger("0 0 1 1 *"), server=own, label="cron"),
        firings.arm(BaseTrigger(), server=own, label="base"),
    ]
    firings.wait(1, "time")
    assert own.stop() == 0
    own.restart()
    assert [trigger_of(own, each)["state"] for each in ids] == ["active"] * 4
    (tmp_path / "a").touch()
    firings.wait(1, "dir")


# --- without triggers ----------------------------------------------------------------------------

DISABLED = "Trigger endpoints are disabled as requested"


def test_a_server_without_triggers_says_so(spawn_server, firings):
    own = spawn_server(options=("--no-triggers",))
    assert wire.get(own, "/api/triggers/status").json() == {"status": "disabled"}
    dispatch_id = firings.arm(server=own)
    trigger = TimeTrigger(1, lattice_dispatch_id=dispatch_id)
    trigger.triggers_server_addr = own.url.removeprefix("http://")
    with pytest.raises(requests.HTTPError) as caught:
        trigger.register()
    assert reason(caught.value, 400) == DISABLED
    with pytest.raises(requests.HTTPError) as caught:
        ct.stop_triggers(dispatch_id, triggers_server_addr=own.url)
    assert reason(caught.value, 400) == DISABLED
    plain = ct.dispatch(ct.lattice(tell_once), dispatcher_addr=own.url)(firings.address, "plain")
    completed(ct.get_result(plain, wait=True, dispatcher_addr=own.url))


def test_triggers_rest_while_they_are_switched_off(spawn_server, firings, tmp_path):
    own = spawn_server()
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"]), server=own)
    assert own.stop() == 0
    own.options = ("--no-triggers",)
    own.restart()
    (tmp_path / "a").touch()
    assert own.stop() == 0
    assert firings.runs() == []
    own.options = ()
    own.restart()
    assert firings.wait(1)[0].dispatch_id == dispatch_id


# --- nothing but triggers -------------------------------------------------------------------------


@pytest.fixture
def trigger_server(spawn_server, server):
    """A server that only watches, and fires at the suite's own server."""
    return spawn_server(name="triggers-only", options=("--triggers-only", "--dispatcher", server.url))


def remote(trigger, server, trigger_server):
    """What Covalent's documentation asks of a trigger for a stand-alone server."""
    trigger.use_internal_funcs = False
    trigger.dispatcher_addr = server.url
    trigger.triggers_server_addr = trigger_server.url.removeprefix("http://")
    return trigger


def register_remote(trigger, firings, server, trigger_server):
    dispatch_id = firings.arm()
    firings.attach(remote(trigger, server, trigger_server), dispatch_id, trigger_server)
    return dispatch_id


def test_a_trigger_server_serves_triggers_and_nothing_else(trigger_server):
    assert wire.get(trigger_server, "/api/triggers/healthcheck").json() == {"status": "ok"}
    assert wire.get(trigger_server, "/api/triggers/status").json() == {"status": "running"}
    for path in ("/api/v2/dispatches", "/api/v0/files/x/y", "/api/v1/dispatches/list", "/nothing"):
        answer = wire.get(trigger_server, path)
        assert (answer.status_code, answer.json()["detail"]) == (404, "Not Found"), path


def test_a_trigger_server_fires_at_its_dispatcher(server, trigger_server, firings, tmp_path):
    dispatch_id = register_remote(DirTrigger(str(tmp_path), ["created"]), firings, server, trigger_server)
    for number in range(1, 4):
        (tmp_path / f"{number}").touch()
        runs = firings.wait(number)
        completed(ct.get_result(runs[-1].dispatch_id, wait=True))
    assert runs[0].dispatch_id == dispatch_id
    assert len({run.dispatch_id for run in runs}) == 3
    firings.stop(dispatch_id, server=trigger_server)
    assert fired(trigger_server, dispatch_id) == [run.dispatch_id for run in runs]
    assert triggers_of(server, dispatch_id) == []


def test_a_trigger_server_that_is_killed_goes_on(server, trigger_server, firings, tmp_path):
    dispatch_id = register_remote(DirTrigger(str(tmp_path), ["created"]), firings, server, trigger_server)
    (tmp_path / "before").touch()
    completed(ct.get_result(firings.wait(1)[0].dispatch_id, wait=True))
    trigger_server.kill9()
    (tmp_path / "while down").touch()
    trigger_server.restart()
    (tmp_path / "after").touch()
    until(lambda: len(fired(trigger_server, dispatch_id)) == 3)
    ids = [run.dispatch_id for run in firings.wait(3)]
    assert len(set(ids)) == 3
    assert set(ids) == set(fired(trigger_server, dispatch_id))


def test_a_trigger_server_waits_for_its_dispatcher(spawn_server, firings, tmp_path):
    """Files that come while the dispatcher is down fire when it is back."""
    dispatcher = spawn_server(name="dispatcher")
    only = spawn_server(name="only", options=("--triggers-only", "--dispatcher", dispatcher.url))
    dispatch_id = firings.arm(server=dispatcher)
    trigger = remote(DirTrigger(str(tmp_path), ["created"]), dispatcher, only)
    firings.attach(trigger, dispatch_id, only)
    dispatcher.kill9()
    (tmp_path / "a").touch()
    until(lambda: history(only, dispatch_id, "failed", "queued"))
    dispatcher.restart()
    assert firings.wait(1)[0].dispatch_id == dispatch_id
    firings.stop(dispatch_id, server=only)
