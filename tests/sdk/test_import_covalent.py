"""`cov import-covalent`: a database that Covalent's own server has written, seen through the SDK before and after."""

import importlib.util
import json
import re
import shutil
import sqlite3
import sys
import tarfile
from pathlib import Path

import covalent as ct
import pytest
import requests
from checks import completed
from upkeep import Cov

pytestmark = [pytest.mark.own_server, pytest.mark.mends]

SOURCE = Path(__file__).parent.parent / "covalent"
#: Taken over, in this order; those below others after them.
ENDED = ["again", "below", "cancelled", "fails", "heavy", "nested", "sums"]


def without_addresses(record: dict) -> dict:
    """What a record says, without where objects were in memory when it was looked at."""
    return json.loads(re.sub(r"0x[0-9a-f]+", "0x", json.dumps(record)))


def maker():
    """The script that made the database; it says what is looked at."""
    spec = importlib.util.spec_from_file_location("make_database", SOURCE / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Old:
    """What Covalent left."""

    def __init__(self, folder: Path) -> None:
        with tarfile.open(SOURCE / "database.tar.gz") as archive:
            archive.extractall(folder)
        self.results = folder / "data"
        self.database = self.results / "db.sqlite"
        expected = json.loads((folder / "expected.json").read_text())
        self.ids, self.records = expected["ids"], expected["records"]
        self.options = ("--database", str(self.database), "--results", str(self.results))

    def contents(self) -> dict:
        return {path: path.read_bytes() for path in self.results.rglob("*") if path.is_file()}


@pytest.fixture()
def old(tmp_path):
    return Old(tmp_path / "old")


@pytest.fixture()
def cov(tmp_path):
    cov = Cov(tmp_path / "home").start()
    yield cov
    cov.end()


def test_everything_that_ended_is_shown_as_it_was(cov, old, tmp_path):
    before = old.contents()
    said = cov.run("import-covalent", *old.options)
    assert (said["imported"], said["already_there"], said["failed"], said["incomplete"]) == (7, 0, [], [])
    skipped = {told["dispatch_id"]: told["reason"] for told in said["skipped"]}
    assert "RUNNING" in skipped.pop(old.ids["running"])
    assert "never started" in skipped.pop(old.ids["registered"])
    assert skipped == {}
    assert old.contents() == before, "the source was changed"
    seen = maker().seen
    for name in ENDED:
        place = {"dispatcher_addr": cov.url, "results_dir": str(tmp_path / "results")}
        now = without_addresses(seen(ct, old.ids[name], **place))
        then = without_addresses(old.records[name])
        if name == "below":
            # Covalent says of a dispatch that a task has built that it stands alone.
            then["root"] = old.ids["nested"]
        assert now == then, name


def test_a_second_import_changes_nothing(cov, old):
    cov.run("import-covalent", *old.options)
    listed = requests.get(f"{cov.url}/api/v3/dispatches", timeout=10).json()
    said = cov.run("import-covalent", *old.options)
    assert (said["imported"], said["already_there"], said["failed"]) == (0, 7, [])
    assert requests.get(f"{cov.url}/api/v3/dispatches", timeout=10).json() == listed


def test_a_dry_run_sends_nothing(cov, old):
    said = cov.run("import-covalent", "--dry-run", *old.options)
    assert (said["dry_run"], said["imported"]) == (True, 7)
    assert requests.get(f"{cov.url}/api/v3/dispatches", timeout=10).json()["total"] == 0


def test_what_was_under_way_can_be_taken_over_as_lost(cov, old):
    said = cov.run("import-covalent", "--unfinished", "fail", *old.options)
    assert (said["imported"], len(said["skipped"])) == (8, 1)
    lost = ct.get_result(old.ids["running"], dispatcher_addr=cov.url)
    assert str(lost.status) == "FAILED"
    states = [str(node["status"]) for node in lost.get_all_node_results()]
    assert states == ["FAILED", "COMPLETED", "NEW_OBJECT", "COMPLETED", "NEW_OBJECT"]


def test_trouble_with_one_dispatch_does_not_stop_the_others(cov, old):
    with sqlite3.connect(old.database) as database:
        database.execute("UPDATE lattices SET created_at = 'never' WHERE dispatch_id = ?", [old.ids["nested"]])
    database.close()
    shutil.rmtree(old.results / old.ids["fails"] / "node_0")
    said = cov.run("import-covalent", *old.options, code=1)
    assert said["imported"] == 5
    assert [told["dispatch_id"] for told in said["failed"]] == [old.ids["nested"]]
    assert [told["dispatch_id"] for told in said["incomplete"]] == [old.ids["fails"]]
    assert old.ids["below"] in [told["dispatch_id"] for told in said["skipped"]]


def test_results_of_before_are_used_again(cov, old):
    cov.run("import-covalent", *old.options)
    path = f"{cov.url}/api/v3/dispatches/{old.ids['sums']}/redispatch"
    again = requests.post(path, json={"reuse": True}, timeout=10).json()["dispatch_id"]
    result = completed(ct.get_result(again, wait=True, dispatcher_addr=cov.url))
    assert repr(result) == old.records["sums"]["result"]
    plan = requests.get(f"{cov.url}/api/v3/dispatches/{again}/redispatch-plan", timeout=10).json()
    assert {node["verdict"] for node in plan["nodes"]} == {"reused"}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the functions were pickled by Python 3.11")
def test_the_sdk_redispatches_what_was_taken_over(cov, old):
    cov.run("import-covalent", *old.options)
    again = ct.redispatch(old.ids["sums"], dispatcher_addr=cov.url, reuse_previous_results=True)(5)
    assert completed(ct.get_result(again, wait=True, dispatcher_addr=cov.url)) == [
        8,
        8,
        3,
        {"letters": ["a", "b", "c"]},
    ]
