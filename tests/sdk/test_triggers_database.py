"""Database triggers on SQLite, PostgreSQL and MariaDB: conditions, levels, edges, and what must not happen."""

import time
import urllib.parse

import covalent as ct
import pytest
from checks import completed
from covalent.triggers import DatabaseTrigger, SQLiteTrigger
from databases import Relay, Table, server_url
from firing import fired, history, refused, status, trigger_of, until

POLL_S = 0.2
KINDS = ["sqlite", "postgres", "mysql"]
# Covalent polls a server in one transaction that never ends: it sees no row that comes later (MySQL), and no table that
# comes later (PostgreSQL).
MENDED = [pytest.param(kind, marks=pytest.mark.mends) for kind in ("postgres", "mysql")]


@pytest.fixture(params=["SQLiteTrigger", "sqlite", *MENDED])
def watched(request, tmp_path):
    """A table, and how a trigger on it is made: `SQLiteTrigger` takes a path, `DatabaseTrigger` a connection string."""
    kind = "sqlite" if request.param == "SQLiteTrigger" else request.param
    table = Table(kind, tmp_path)
    table.takes_path = request.param == "SQLiteTrigger"
    yield table
    table.close()


@pytest.fixture(params=KINDS)
def table(request, tmp_path):
    """A table of each kind of database."""
    made = Table(request.param, tmp_path).create()
    yield made
    made.close()


def trigger_on(table, where=None, after=1, poll=POLL_S, **further):
    if getattr(table, "takes_path", False):
        trigger = SQLiteTrigger(table.path, table.name, poll, where, after)
    else:
        trigger = DatabaseTrigger(table.url, table.name, poll, where, after)
    for name, value in further.items():
        setattr(trigger, name, value)
    return trigger


# --- as in Covalent -----------------------------------------------------------------------------


def test_a_row_fires_and_fires_again_while_it_stays(server, firings, watched):
    """Each poll that finds rows counts: levels, not edges."""
    watched.create()
    dispatch_id = firings.arm(trigger_on(watched))
    assert status(server, dispatch_id) == "NEW_OBJECT"
    watched.insert(1)
    runs = firings.wait(3)
    ct.stop_triggers(dispatch_id)
    assert runs[0].dispatch_id == dispatch_id
    assert len({run.dispatch_id for run in runs[:3]}) == 3


def test_all_conditions_must_hold(server, firings, watched):
    watched.create()
    dispatch_id = firings.arm(trigger_on(watched, ["state = 'ready'", "id > 1"]))
    fence = firings.arm(trigger_on(watched), label="fence")
    watched.insert(1, "ready")
    watched.insert(2, "waiting")
    firings.wait(2, "fence")
    ct.stop_triggers(fence)
    assert status(server, dispatch_id) == "NEW_OBJECT"
    watched.insert(3, "ready")
    assert firings.wait(1)[0].dispatch_id == dispatch_id
    ct.stop_triggers(dispatch_id)


def test_a_table_that_comes_later(server, firings, watched):
    dispatch_id = firings.arm(trigger_on(watched))
    watched.create()
    watched.insert(1)
    assert firings.wait(1)[0].dispatch_id == dispatch_id
    ct.stop_triggers(dispatch_id)


def test_the_nth_poll_with_rows_fires(server, firings, watched):
    watched.create()
    watched.insert(1)
    armed_at = time.time()
    dispatch_id = firings.arm(trigger_on(watched, after=4))
    runs = firings.wait(2)
    ct.stop_triggers(dispatch_id)
    # The first of the four polls may come at once.
    assert runs[0].at - armed_at >= 3 * POLL_S


# --- exact --------------------------------------------------------------------------------------


@pytest.mark.mends
def test_polls_are_counted_exactly(server, firings, table):
    table.insert(1)
    dispatch_id = firings.arm(trigger_on(table, after=3))
    until(lambda: len(fired(server, dispatch_id)) >= 3)
    ct.stop_triggers(dispatch_id)
    polls = [int(row["event_key"].removeprefix("poll:")) for row in history(server, dispatch_id)]
    gaps = [later - earlier for earlier, later in zip(polls, polls[1:])]
    assert polls and all(gap >= 2.9 * POLL_S * 1e6 for gap in gaps), gaps


@pytest.mark.mends
def test_rows_that_go_stop_the_firing(server, firings, table):
    table.insert(1)
    dispatch_id = firings.arm(trigger_on(table))
    firings.wait(2)
    table.run("delete from {t}")
    fence = firings.arm(trigger_on(table, ["id = 2"]), label="fence")
    # A poll that had found the row may still be on its way; after two polls of the fence it is not.
    table.insert(2)
    firings.wait(2, "fence")
    table.run("delete from {t}")
    ct.stop_triggers([dispatch_id, fence])
    assert sorted(firings.ids()) == sorted(fired(server, dispatch_id))


@pytest.mark.mends
def test_a_cursor_column_counts_each_row_once(server, firings, table):
    table.insert(1, "old")
    dispatch_id = firings.arm(trigger_on(table, cursor_column="id"))
    before = len(fired(server, dispatch_id))
    for number in range(2, 7):
        table.insert(number)
    until(lambda: len(fired(server, dispatch_id)) >= before + 5)
    fence = firings.arm(trigger_on(table), label="fence")
    firings.wait(3, "fence")
    ct.stop_triggers(fence)
    rows = [row["event_key"] for row in history(server, dispatch_id, "fired")]
    assert sorted(rows)[-5:] == [f"row:{number}" for number in range(2, 7)]
    assert len(rows) == len(set(rows)) <= 6
    table.insert(7)
    until(lambda: len(fired(server, dispatch_id)) == len(rows) + 1)


@pytest.mark.mends
def test_a_cursor_column_with_conditions_and_a_batch(server, firings, table):
    trigger = trigger_on(table, ["state = 'ready'"], 2, cursor_column="id")
    dispatch_id = firings.arm(trigger)
    for number in range(1, 9):
        table.insert(number, "ready" if number % 2 else "waiting")
    until(lambda: len(fired(server, dispatch_id)) == 2)
    assert [row["event_key"] for row in history(server, dispatch_id, "fired")] == ["row:3", "row:7"]


# --- trouble is seen and passes -------------------------------------------------------------------


@pytest.mark.mends
def test_a_missing_table_is_a_visible_trouble(server, firings, table):
    table.run("drop table {t}")
    dispatch_id = firings.arm(trigger_on(table))
    trouble = until(lambda: trigger_of(server, dispatch_id)["trouble"])
    assert table.name in trouble["error"]
    assert trouble["since"] and trouble["next_try"]
    table.create()
    table.insert(1)
    firings.wait(1)
    until(lambda: trigger_of(server, dispatch_id)["trouble"] is None)
    ct.stop_triggers(dispatch_id)


@pytest.mark.mends
def test_a_missing_column_is_a_visible_trouble(server, firings, table):
    table.insert(1)
    dispatch_id = firings.arm(trigger_on(table, ["colour = 'red'"]))
    trouble = until(lambda: trigger_of(server, dispatch_id)["trouble"])
    assert "colour" in trouble["error"]
    table.run("alter table {t} add column colour varchar(10) default 'red'")
    firings.wait(1)
    ct.stop_triggers(dispatch_id)


@pytest.mark.mends
@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_database_that_is_down_comes_back(server, firings, tmp_path, kind):
    parts = urllib.parse.urlsplit(server_url(kind))
    door = Relay(parts.hostname, parts.port)
    table = Table(kind, tmp_path).create()
    table.url = table.url.replace(f":{parts.port}/", f":{door.port}/")
    try:
        table.insert(1)
        dispatch_id = firings.arm(trigger_on(table))
        firings.wait(1)
        door.shut()
        until(lambda: trigger_of(server, dispatch_id)["trouble"])
        seen = len(firings.runs())
        door.admit()
        firings.wait(seen + 2)
        assert trigger_of(server, dispatch_id)["trouble"] is None
        ct.stop_triggers(dispatch_id)
    finally:
        door.shut()
        table.close()


# --- what is refused ----------------------------------------------------------------------------

WRITES = [
    "1 = 1; delete from {t}",
    "1 = 1; drop table {t}",
    "id in (delete from {t} returning id)",
    "state = 'ready",
    "",
    "1 = 1) or (1 = 1",
]


@pytest.mark.mends
@pytest.mark.parametrize("clause", WRITES)
def test_a_clause_that_does_more_than_ask_is_refused(server, firings, table, clause):
    table.insert(1)
    text = refused(trigger_on(table, [clause.replace("{t}", table.name)]), firings.arm())
    assert "where_clauses" in text
    assert table.run("select count(*) from {t}")[0][0] == 1


@pytest.mark.mends
def test_a_function_that_writes_fails_and_writes_nothing(server, firings, tmp_path):
    """No parser sees that `nextval` writes: the transaction is read-only."""
    table = Table("postgres", tmp_path).create()
    table.insert(1)
    table.run("create sequence {t}_seq")
    try:
        dispatch_id = firings.arm(trigger_on(table, [f"nextval('{table.name}_seq') > 0"]))
        until(lambda: trigger_of(server, dispatch_id)["trouble"])
        assert table.run("select is_called from {t}_seq") == [(False,)]
        assert fired(server, dispatch_id) == []
    finally:
        table.run("drop sequence {t}_seq")
        table.close()


@pytest.mark.mends
@pytest.mark.parametrize("name", ["{t}; drop table {t}", "(select 1) as x", "{t} where 1=1", "a b"])
def test_a_table_name_is_nothing_but_a_name(server, firings, table, name):
    """Whatever stands there is looked for as a table, and nothing of it is run."""
    table.insert(1)
    trigger = trigger_on(table)
    trigger.table_name = name.replace("{t}", table.name)
    dispatch_id = firings.arm(trigger)
    assert until(lambda: trigger_of(server, dispatch_id)["trouble"])["error"]
    assert fired(server, dispatch_id) == []
    assert table.run("select count(*) from {t}")[0][0] == 1


@pytest.mark.mends
@pytest.mark.parametrize("url", ["oracle://u:p@host/db", "mssql+pyodbc://u:p@host/db", "snowflake://a/b", "redis://h"])
def test_a_dialect_we_cannot_speak_is_answered_with_those_we_can(server, firings, url):
    text = refused(DatabaseTrigger(url, "jobs"), firings.arm())
    for dialect in (url.partition(":")[0].partition("+")[0], "sqlite", "postgresql", "mysql", "mariadb"):
        assert dialect in text
    assert "u:p@" not in text


@pytest.mark.mends
def test_a_password_is_not_shown(server, firings, tmp_path):
    table = Table("postgres", tmp_path).create()
    try:
        shown = trigger_of(server, firings.arm(trigger_on(table)))
        secret = urllib.parse.urlsplit(table.url).password
        assert secret not in str(shown) and urllib.parse.unquote(secret) not in str(shown)
    finally:
        table.close()


@pytest.mark.mends
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "mysql", "mysql+mysqldb", "mariadb+pymysql"])
def test_other_drivers_names(server, firings, tmp_path, scheme):
    """What SQLAlchemy would load is of no interest: the dialect counts."""
    table = Table("postgres" if scheme.startswith("postgresql") else "mysql", tmp_path).create()
    try:
        table.insert(1)
        table.url = f"{scheme}://{table.plain_url.partition('://')[2]}"
        dispatch_id = firings.arm(trigger_on(table))
        run = firings.wait(1)[0]
        ct.stop_triggers(dispatch_id)
        completed(ct.get_result(run.dispatch_id, wait=True))
    finally:
        table.close()
