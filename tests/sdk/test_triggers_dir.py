"""Directory triggers: every event, files and directories, recursion, batches, bursts, directories that go."""

import os
import shutil
import threading
from pathlib import Path

import covalent as ct
import pytest
import requests
import wire
from checks import completed
from covalent.triggers import DirTrigger
from firing import fired, history, status, trigger_of, until


def write(path, text="x"):
    with open(path, "a") as file:
        file.write(text)


def create(folder, name):
    (folder / name).touch()


def delete(folder, name):
    (folder / name).unlink()


def modify(folder, name):
    """One write, and the file stays open: nothing is closed until the process ends."""
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_APPEND)
    KEPT_OPEN.append(descriptor)
    os.write(descriptor, b"x")


def move(folder, name):
    (folder / name).rename(folder / f"moved-{name}")


def close(folder, name):
    write(folder / name)


KEPT_OPEN: list[int] = []


@pytest.fixture(autouse=True)
def _close_what_was_kept_open():
    yield
    while KEPT_OPEN:
        os.close(KEPT_OPEN.pop())


# Event, what makes it, and whether the files have to be there before.
EVENTS = [
    ("created", create, False),
    ("deleted", delete, True),
    ("modified", modify, True),
    ("moved", move, True),
    ("closed", close, True),
]


@pytest.mark.parametrize("event, make, there", EVENTS, ids=[event for event, _, _ in EVENTS])
def test_each_event(server, firings, tmp_path, event, make, there):
    names = ["a", "b"]
    if there:
        for name in names:
            (tmp_path / name).touch()
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), [event]))
    make(tmp_path, names[0])
    completed(ct.get_result(firings.wait(1)[0].dispatch_id, wait=True))
    make(tmp_path, names[1])
    runs = firings.wait(2)
    assert runs[0].dispatch_id == dispatch_id != runs[1].dispatch_id


@pytest.mark.mends
@pytest.mark.parametrize("event, make, there", EVENTS, ids=[event for event, _, _ in EVENTS])
def test_each_event_counts_once_and_no_other_counts(server, firings, tmp_path, event, make, there):
    """All five things happen to files of their own, and each trigger sees its own one."""
    for name, _, is_there in EVENTS:
        if is_there:
            (tmp_path / name).touch()
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), [event]))
    fence = firings.arm(DirTrigger(str(tmp_path), ["created"]), label="fence")
    make(tmp_path, event)
    (tmp_path / "zzz-fence").mkdir()
    firings.wait(2 if event == "created" else 1, "fence")
    # The fence is a created entry as well, and a directory whose entries change is a modified one.
    extra = {"created": 1}.get(event, 0)
    until(lambda: len(history(server, dispatch_id)) >= 1 + extra)
    seen = len(history(server, dispatch_id))
    if event == "modified":
        assert 1 <= seen <= 2, history(server, dispatch_id)
    else:
        assert seen == 1 + extra, history(server, dispatch_id)
    ct.stop_triggers([dispatch_id, fence])


def test_several_events_of_one_trigger(server, firings, tmp_path):
    create(tmp_path, "old")
    firings.arm(DirTrigger(str(tmp_path), ["created", "deleted"]))
    create(tmp_path, "new")
    completed(ct.get_result(firings.wait(1)[0].dispatch_id, wait=True))
    delete(tmp_path, "old")
    firings.wait(2)


def test_a_single_event_name(server, firings, tmp_path):
    """The SDK makes a list of a single string itself."""
    firings.arm(DirTrigger(str(tmp_path), "created"))
    create(tmp_path, "a")
    firings.wait(1)


@pytest.mark.mends
def test_a_single_event_name_that_was_set_later(server, firings, tmp_path):
    trigger = DirTrigger(str(tmp_path), ["deleted"])
    trigger.event_names = "created"
    firings.arm(trigger)
    create(tmp_path, "a")
    firings.wait(1)


def test_a_file_is_watched(server, firings, tmp_path):
    watched = tmp_path / "watched.csv"
    watched.touch()
    firings.arm(DirTrigger(str(watched), ["modified"]))
    write(watched)
    firings.wait(1)


@pytest.mark.mends
def test_a_watched_file_has_no_siblings(server, firings, tmp_path):
    watched = tmp_path / "watched.csv"
    watched.touch()
    dispatch_id = firings.arm(DirTrigger(str(watched), ["closed"]))
    firings.arm(DirTrigger(str(tmp_path), ["closed"]), label="fence")
    write(tmp_path / "sibling.csv")
    firings.wait(1, "fence")
    assert history(server, dispatch_id) == []
    write(watched)
    firings.wait(1)


@pytest.mark.mends
def test_a_file_that_is_replaced_is_watched_on(server, firings, tmp_path):
    """How most programs save: a new file is moved over the old one."""
    watched = tmp_path / "watched.csv"
    watched.touch()
    firings.arm(DirTrigger(str(watched), ["modified", "created", "moved", "closed"]))
    for number in (1, 2):
        replacement = tmp_path / "new"
        replacement.write_text("x" * number)
        before = len(firings.runs())
        replacement.rename(watched)
        firings.wait(before + 1)
        completed(ct.get_result(firings.runs()[-1].dispatch_id, wait=True))


@pytest.mark.parametrize("recursive", [False, True])
def test_recursion(server, firings, tmp_path, recursive):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"], recursive=recursive))
    create(tmp_path / "deep" / "deeper", "a")
    if recursive:
        firings.wait(1)
        return
    firings.arm(DirTrigger(str(tmp_path), ["created"], recursive=True), label="fence")
    create(tmp_path / "deep", "b")
    firings.wait(1, "fence")
    assert firings.runs() == []
    assert status(server, dispatch_id) == "NEW_OBJECT"


@pytest.mark.mends
def test_directories_that_are_made_later_are_watched_too(server, firings, tmp_path):
    """Also what is put into them before anybody can have begun to watch them."""
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"], recursive=True))
    for number in range(5):
        folder = tmp_path / f"new{number}" / "inner"
        folder.mkdir(parents=True)
        create(folder, "file")
    until(lambda: len(fired(server, dispatch_id)) == 15)
    firings.arm(DirTrigger(str(tmp_path), ["created"]), label="fence")
    create(tmp_path, "fence")
    firings.wait(1, "fence")
    until(lambda: len(fired(server, dispatch_id)) == 16)


def test_a_batch_is_complete_or_does_not_fire(server, firings, tmp_path):
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"], batch_size=3))
    firings.arm(DirTrigger(str(tmp_path), ["created"]), label="fence")
    create(tmp_path, "0")
    # Covalent loses the second of two firings that come before the first is known to have started.
    completed(ct.get_result(firings.wait(1, "fence")[0].dispatch_id, wait=True))
    create(tmp_path, "1")
    firings.wait(2, "fence")
    assert status(server, dispatch_id) == "NEW_OBJECT"
    create(tmp_path, "2")
    completed(ct.get_result(firings.wait(1)[0].dispatch_id, wait=True))
    for number in range(3, 7):
        create(tmp_path, f"{number}")
    firings.wait(2)
    firings.wait(7, "fence")
    assert len(firings.runs()) == 2


@pytest.mark.mends
def test_home_is_the_servers(server, firings):
    """`~` is expanded where the directory is watched; server and test share HOME here."""
    folder = Path.home() / "watched by a trigger"
    folder.mkdir(exist_ok=True)
    firings.arm(DirTrigger("~/watched by a trigger", ["created"]))
    create(folder, "ä name with spaces")
    firings.wait(1)


@pytest.mark.mends
def test_a_burst_fires_once_for_each_file(server, firings, tmp_path):
    dispatch_id = firings.arm(DirTrigger(str(tmp_path), ["created"]))
    before = wire.all_dispatches(server)
    for number in range(40):
        create(tmp_path, f"{number}")
    runs = firings.wait(40)
    until(lambda: len(fired(server, dispatch_id)) == 40)
    ct.stop_triggers(dispatch_id)
    assert sorted(run.dispatch_id for run in runs) == sorted(fired(server, dispatch_id))
    assert wire.all_dispatches(server) - before == set(fired(server, dispatch_id)) - {dispatch_id}
    keys = [row["event_key"] for row in history(server, dispatch_id)]
    assert len(set(keys)) == len(keys) == 40


@pytest.mark.mends
def test_stop_while_it_fires_does_not_hang_the_server(server, firings, tmp_path):
    """Covalent's server never answers again."""
    for attempt in range(5):
        folder = tmp_path / f"{attempt}"
        folder.mkdir()
        dispatch_id = firings.arm(DirTrigger(str(folder), ["created"]))
        done = threading.Event()

        def make_files(folder=folder, done=done):
            number = 0
            while not done.is_set() and number < 300:
                create(folder, f"{number}")
                number += 1

        maker = threading.Thread(target=make_files)
        maker.start()
        try:
            firings.meeting.wait_until(lambda: len(firings.runs()) > attempt, 20)
            ct.stop_triggers(dispatch_id)
            at_stop = fired(server, dispatch_id)
        finally:
            done.set()
            maker.join()
        assert requests.get(f"{server.url}/readyz", timeout=5).status_code == 200
        create(folder, "after")
        assert fired(server, dispatch_id) == at_stop


@pytest.mark.mends
def test_a_directory_that_goes_and_comes_back(server, firings, tmp_path):
    """The trouble is told while it lasts, and firing goes on by itself."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    dispatch_id = firings.arm(DirTrigger(str(folder), ["created"]))
    create(folder, "before")
    completed(ct.get_result(firings.wait(1)[0].dispatch_id, wait=True))
    shutil.rmtree(folder)
    trouble = until(lambda: trigger_of(server, dispatch_id)["trouble"])
    assert str(folder) in trouble["error"]
    folder.mkdir()
    until(lambda: trigger_of(server, dispatch_id)["trouble"] is None)
    seen = len(firings.runs())
    create(folder, "after")
    firings.wait(seen + 1)
