"""Time triggers: the grid they keep, fractions, many at once, stopping; cron; and what policies do to firings."""

import datetime
import itertools

import covalent as ct
import pytest
import requests
import wire
from checks import completed
from covalent.triggers import BaseTrigger, DirTrigger, TimeTrigger
from firing import (
    fired,
    history,
    holding,
    native,
    refused,
    status,
    telling,
    trigger_of,
    until,
)

GAP_S = 0.4


def seconds(text: str) -> float:
    """A time of the API as seconds since 1970."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def configured(trigger, **policies):
    """Policies are plain attributes: the SDK sends whatever the object holds."""
    for name, value in policies.items():
        setattr(trigger, name, value)
    return trigger


class CronTrigger(BaseTrigger):
    """A user's subclass is enough to reach a type that the SDK does not bring."""

    def __init__(self, cron, time_zone=None, **further):
        super().__init__()
        self.cron = cron
        if time_zone:
            self.time_zone = time_zone
        configured(self, **further)


# --- the grid -----------------------------------------------------------------------------------


def test_each_firing_is_a_run(server, firings):
    dispatch_id = firings.arm(TimeTrigger(1))
    runs = firings.wait(3)
    assert runs[0].dispatch_id == dispatch_id
    assert len({run.dispatch_id for run in runs}) == len(runs)


@pytest.mark.mends
def test_twenty_firings_do_not_drift(server, firings):
    """Each is due on the grid that starts with the registration, and the last ones are not later than the first."""
    dispatch_id = firings.arm(TimeTrigger(0.25))
    runs = {run.dispatch_id: run.at for run in firings.wait(20)}
    ct.stop_triggers(dispatch_id)
    rows = [row for row in history(server, dispatch_id, "fired") if row["dispatch_id"] in runs]
    created = seconds(trigger_of(server, dispatch_id)["created_at"])
    ticks = [(seconds(row["due_at"]) - created) / 0.25 for row in rows]
    assert [tick for tick in ticks if abs(tick - round(tick)) > 0.001] == []
    assert len(ticks) == len({round(tick) for tick in ticks}) >= 20
    # The best of several: a busy machine delays single runs, a drifting trigger delays all.
    late = [runs[row["dispatch_id"]] - seconds(row["due_at"]) for row in rows]
    assert abs(min(late[-5:]) - min(late[1:6])) < 0.12, late


@pytest.mark.mends
def test_a_fraction_of_a_second(server, firings):
    dispatch_id = firings.arm(TimeTrigger(0.5))
    firings.wait(4)
    ct.stop_triggers(dispatch_id)
    due = [seconds(row["due_at"]) for row in history(server, dispatch_id)]
    gaps = {round(later - earlier, 3) for earlier, later in itertools.pairwise(due)}
    assert gaps == {0.5}


@pytest.mark.mends
def test_forty_triggers_all_fire(server, firings):
    """Covalent observes as many as it has threads, and the others never."""
    ids = [firings.arm(TimeTrigger(1.5)) for _ in range(40)]
    enough = firings.meeting.wait_until(lambda: set(ids) <= set(firings.ids()), 40)
    ct.stop_triggers(ids)
    assert enough, f"{len(set(ids) & set(firings.ids()))} of 40 have fired"
    assert {status(server, dispatch_id) for dispatch_id in ids} <= {"RUNNING", "COMPLETED"}


@pytest.mark.mends
def test_nothing_fires_after_stop_has_returned(server, firings):
    """Covalent's sleeping trigger fires once more."""
    dispatch_id = firings.arm(TimeTrigger(0.3))
    firings.wait(3)
    ct.stop_triggers(dispatch_id)
    at_stop = fired(server, dispatch_id)
    before = wire.all_dispatches(server)
    fence = firings.arm(TimeTrigger(0.3), label="fence")
    firings.wait(3, "fence")
    ct.stop_triggers(fence)
    assert fired(server, dispatch_id) == at_stop
    assert set(firings.ids()) <= set(at_stop)
    assert wire.all_dispatches(server) - before == set(fired(server, fence))


@pytest.mark.mends
def test_a_trigger_that_never_fired_leaves_its_dispatch_unstarted(server, firings):
    dispatch_id = firings.arm(TimeTrigger(GAP_S))
    ct.stop_triggers(dispatch_id)
    if not fired(server, dispatch_id):
        assert status(server, dispatch_id) == "NEW_OBJECT"
    fence = firings.arm(TimeTrigger(GAP_S), label="fence")
    firings.wait(2, "fence")
    ct.stop_triggers(fence)
    assert firings.ids() == fired(server, dispatch_id)


@pytest.mark.mends
def test_the_next_ticks_are_told(server, firings):
    dispatch_id = firings.arm(TimeTrigger(3_600))
    shown = trigger_of(server, dispatch_id)
    ticks = native(server, "GET", f"/{shown['id']}/next", params={"count": 3})["next"]
    created = seconds(shown["created_at"])
    assert [round(seconds(tick) - created) for tick in ticks] == [3_600, 7_200, 10_800]
    assert shown["next_due"] == ticks[0]


@pytest.mark.mends
def test_jitter_moves_firings_by_less_than_it_says_and_keeps_the_grid(server, firings):
    dispatch_id = firings.arm(configured(TimeTrigger(0.5), jitter=0.2))
    firings.wait(4)
    ct.stop_triggers(dispatch_id)
    rows = history(server, dispatch_id, "fired")
    created = seconds(trigger_of(server, dispatch_id)["created_at"])
    for row in rows:
        tick = int(row["event_key"].removeprefix("tick:")) / 1e6
        assert abs((tick - created) / 0.5 - round((tick - created) / 0.5)) < 0.001
        assert seconds(row["decided_at"]) >= tick


# --- cron ---------------------------------------------------------------------------------------


@pytest.mark.mends
def test_cron_ticks_are_on_the_wall_clock_of_its_zone(server, firings):
    trigger = CronTrigger("30 2 * * *", "Europe/Berlin")
    shown = trigger_of(server, firings.arm(trigger))
    ticks = native(server, "GET", f"/{shown['id']}/next", params={"count": 400})["next"]
    utc = {datetime.datetime.fromisoformat(tick.replace("Z", "+00:00")).strftime("%H:%M") for tick in ticks}
    # 02:30 is 01:30 in winter and 00:30 in summer.
    assert {"01:30", "00:30"} <= utc
    assert len(ticks) == len(set(ticks)) == 400


@pytest.mark.mends
@pytest.mark.parametrize(
    "cron, zone, named",
    [("every morning", "UTC", "cron"), ("0 0 31 2 *", "UTC", "cron"), ("0 0 * * *", "Mars/Olympus", "Mars/Olympus")],
)
def test_cron_that_means_nothing_is_refused(server, firings, cron, zone, named):
    assert named in refused(CronTrigger(cron, zone), firings.arm())


# --- policies -----------------------------------------------------------------------------------


def held_original(firings, folder, **policies):
    """A directory trigger whose first firing has started the original, which waits at the gate."""
    dispatch_id = firings.arm(configured(DirTrigger(str(folder), ["created"]), **policies), workflow=holding)
    (folder / "first").touch()
    firings.wait(1)
    return dispatch_id


OVERLAP = [("allow", 4, 0), ("skip", 1, 3), ("queue_one", 2, 2), ("queue_all", 4, 0)]


@pytest.mark.mends
@pytest.mark.parametrize("overlap, runs, skipped", OVERLAP)
def test_what_comes_while_the_original_runs(server, firings, meeting_point, tmp_path, overlap, runs, skipped):
    dispatch_id = held_original(firings, tmp_path, overlap=overlap)
    for number in range(3):
        (tmp_path / f"during{number}").touch()
    until(lambda: len(history(server, dispatch_id)) == 4)
    assert fired(server, dispatch_id) == [dispatch_id]
    assert len(history(server, dispatch_id, "skipped")) == skipped
    meeting_point.release("gate")
    until(lambda: len(fired(server, dispatch_id)) == runs)
    for run in firings.wait(runs):
        completed(ct.get_result(run.dispatch_id, wait=True))
    reasons = [row["reason"] for row in history(server, dispatch_id, "skipped")]
    assert len(reasons) == skipped and all(reasons)
    assert sorted(firings.ids()) == sorted(fired(server, dispatch_id))
    assert history(server, dispatch_id, "queued", "failed") == []


@pytest.mark.mends
def test_a_skipped_firing_names_what_was_in_its_way(server, firings, meeting_point, tmp_path):
    dispatch_id = held_original(firings, tmp_path, overlap="skip")
    (tmp_path / "second").touch()
    [row] = until(lambda: history(server, dispatch_id, "skipped"))
    assert dispatch_id in row["reason"]
    meeting_point.release("gate")
    completed(ct.get_result(dispatch_id, wait=True))
    (tmp_path / "third").touch()
    assert firings.wait(2)[1].dispatch_id != dispatch_id


@pytest.mark.mends
def test_cancel_running_ends_what_runs_before_it_fires(server, firings, meeting_point, tmp_path):
    dispatch_id = held_original(firings, tmp_path, overlap="cancel_running")
    (tmp_path / "second").touch()
    second = firings.wait(2)[1].dispatch_id
    assert str(ct.get_result(dispatch_id, wait=True).status) == "CANCELLED"
    meeting_point.release("gate")
    completed(ct.get_result(second, wait=True))


@pytest.mark.mends
def test_ticks_while_the_original_runs_wait_as_one(server, firings, meeting_point):
    """The default: one tick waits for the end of the original, and the others are told why they were skipped."""
    dispatch_id = firings.arm(TimeTrigger(0.25), workflow=holding)
    firings.wait(1)
    until(lambda: len(history(server, dispatch_id, "skipped")) >= 2)
    assert len(history(server, dispatch_id, "queued")) == 1
    assert fired(server, dispatch_id) == [dispatch_id]
    meeting_point.release("gate")
    firings.wait(3)
    ct.stop_triggers(dispatch_id)
    assert len(fired(server, dispatch_id)) == len(set(fired(server, dispatch_id)))


@pytest.mark.mends
def test_stopping_drops_what_waits(server, firings, meeting_point, tmp_path):
    dispatch_id = held_original(firings, tmp_path, overlap="queue_all")
    for number in range(2):
        (tmp_path / f"during{number}").touch()
    until(lambda: len(history(server, dispatch_id, "queued")) == 2)
    ct.stop_triggers(dispatch_id)
    assert history(server, dispatch_id, "queued") == []
    assert len(history(server, dispatch_id, "skipped")) == 2
    meeting_point.release("gate")
    completed(ct.get_result(dispatch_id, wait=True))
    assert fired(server, dispatch_id) == firings.ids() == [dispatch_id]


@pytest.mark.mends
def test_debounce_waits_for_quiet(server, firings, tmp_path):
    trigger = configured(DirTrigger(str(tmp_path), ["created"]), debounce={"quiet": 0.5, "max_wait": 30})
    dispatch_id = firings.arm(trigger)
    for number in range(10):
        (tmp_path / f"{number}").touch()
    firings.wait(1)
    (tmp_path / "later").touch()
    firings.wait(2)
    assert len(fired(server, dispatch_id)) == 2


@pytest.mark.mends
def test_debounce_does_not_wait_for_ever(server, firings, tmp_path):
    trigger = configured(DirTrigger(str(tmp_path), ["created"]), debounce={"quiet": 1.0, "max_wait": 1.5})
    firings.arm(trigger)
    for number in range(40):
        (tmp_path / f"{number}").touch()
        if firings.meeting.wait_until(lambda: len(firings.runs()) > 0, 0.25):
            return
    pytest.fail("ten seconds of changes, and not one firing")


@pytest.mark.mends
def test_an_incomplete_batch_fires_after_its_timeout(server, firings, tmp_path):
    trigger = configured(DirTrigger(str(tmp_path), ["created"], batch_size=100), batch_timeout=0.4)
    dispatch_id = firings.arm(trigger)
    (tmp_path / "only").touch()
    assert firings.wait(1)[0].dispatch_id == dispatch_id


@pytest.mark.mends
def test_the_same_trigger_twice_is_two_triggers(server, firings, tmp_path):
    """As in Covalent: each registration observes for itself."""
    trigger = DirTrigger(str(tmp_path), ["created"])
    dispatch_id = firings.arm(trigger, trigger, workflow=telling)
    (tmp_path / "a").touch()
    firings.wait(2)
    shown = native(server, "GET", params={"dispatch_id": dispatch_id})["triggers"]
    assert len(shown) == 2
    assert {row["state"] for row in shown} == {"active"}
    ct.stop_triggers(dispatch_id)
    shown = native(server, "GET", params={"dispatch_id": dispatch_id})["triggers"]
    assert {row["state"] for row in shown} == {"stopped"}


@pytest.mark.mends
def test_an_unknown_trigger_is_not_found(server):
    answer = requests.get(f"{server.url}/api/v3/triggers/{wire.UNKNOWN}", timeout=30)
    assert answer.status_code == 404
