"""Makes what a server of each schema leaves behind: `schema_NNNN.sql`, a dump of its database after real dispatches.

    COV_SERVER_BIN=target/debug/cov-server python tests/upgrades/make_fixtures.py

To be run with each new migration, before its release. Files that exist are history and are never made again.

The server of today runs the dispatches; what an older schema did not have is left out. That holds as long as
migrations only add tables: this script stops when one changes a table, and the server of that time has to be used.
"""

from __future__ import annotations

import linecache
import os
import re
import shutil
import sqlite3
import sys
import textwrap
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MIGRATIONS = ROOT / "crates" / "cov-store" / "migrations" / "sqlite"
sys.path.insert(0, str(ROOT / "tests" / "sdk"))

# Appears in what is stored, so it names no place of whoever runs this.
PLACE = Path("/tmp/covalent-fixture")

WORKFLOWS = """
import covalent as ct

@ct.electron
def double(number):
    return 2 * number

@ct.electron
def broken():
    raise ValueError("on purpose")

@ct.electron
def slow(seconds):
    import time
    time.sleep(seconds)
    return "slept"

@ct.lattice
def fan(width):
    return [double(number) for number in range(width)]

@ct.lattice
def fails():
    return broken()

@ct.lattice
def sleeps(seconds):
    return slow(seconds)
"""


def workflows() -> dict:
    """The workflows, as if they stood in a file without a path."""
    text = textwrap.dedent(WORKFLOWS)
    name = "workflow.py"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), space)
    return space


def run_dispatches(binary: str) -> Path:
    """A database with a completed, a failed, an unfinished and an unstarted dispatch, and a trigger that has fired."""
    from harness import Server, isolate_sdk, point_sdk_at

    shutil.rmtree(PLACE, ignore_errors=True)
    isolate_sdk(PLACE / "user")
    server = Server(binary, PLACE / "server", workers=1).start()
    point_sdk_at(server.host, server.port)
    import covalent as ct

    space = workflows()
    try:
        for name, args in (("fan", (3,)), ("fails", ())):
            dispatch_id = ct.dispatch(space[name])(*args)
            ct.get_result(dispatch_id, wait=True)
        fired = ct.dispatch(space["fan"], disable_run=True)(1)
        trigger = ct.triggers.TimeTrigger(1, fired)
        trigger.triggers_server_addr = f"{server.host}:{server.port}"
        trigger.register()
        ct.get_result(fired, wait=True)
        ct.dispatch(space["fan"], disable_run=True)(2)
        under_way = ct.dispatch(space["sleeps"])(1)
        while str(ct.get_result(under_way).status) != "RUNNING":
            time.sleep(0.05)
    finally:
        server.kill9()
    return server.data_dir / "dispatches.sqlite"


def migrations() -> list[tuple[int, str]]:
    files = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    return [(int(file.name[:4]), file.read_text()) for file in files]


def dump(source: sqlite3.Connection, known: list[tuple[int, str]], version: int) -> str:
    """A database of schema `version` with the rows of `source`, as SQL."""
    made = sqlite3.connect(":memory:")
    columns = "version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT " \
        "CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL"
    made.execute(f"CREATE TABLE _sqlx_migrations ({columns})")
    for number, text in known:
        if number <= version:
            made.executescript(text)
    # What the database does by itself with new rows has been done to these.
    by_itself = made.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in by_itself:
        made.execute(f"DROP TRIGGER {name}")
    tables = [name for (name,) in made.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for table in tables:
        if table.startswith("sqlite_"):
            continue
        rows = source.execute(f"SELECT * FROM {table}").fetchall()
        if table == "_sqlx_migrations":
            rows = [(*row[:2], "2026-01-01 00:00:00", row[3], row[4], 0) for row in rows if row[0] <= version]
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            made.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
    for _, statement in by_itself:
        made.execute(statement)
    made.commit()
    return "\n".join(made.iterdump()) + "\n"


def main() -> None:
    known = migrations()
    missing = [number for number, _ in known if not (HERE / f"schema_{number:04}.sql").exists()]
    if not missing:
        print("nothing to make")
        return
    for number, text in known:
        if re.search(r"\b(ALTER|DROP)\s+TABLE\b", text, re.IGNORECASE):
            sys.exit(f"migration {number} changes a table: see the head of this file")
    source = sqlite3.connect(run_dispatches(os.environ["COV_SERVER_BIN"]))
    for number in missing:
        path = HERE / f"schema_{number:04}.sql"
        path.write_text(dump(source, known, number))
        print(path.name, path.stat().st_size, "bytes")
    shutil.rmtree(PLACE, ignore_errors=True)


if __name__ == "__main__":
    main()
