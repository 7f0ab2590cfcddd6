"""Databases that triggers watch, seen from the test: a table of its own in SQLite, PostgreSQL or MariaDB.

`cargo xtask services` starts the two servers and names them in the environment. Without them the tests say so and are
skipped; with `CI=true` they fail.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import urllib.parse
import uuid
from contextlib import suppress

import pytest

VARIABLES = {"postgres": "COV_TEST_POSTGRES_URL", "mysql": "COV_TEST_MYSQL_URL"}


def server_url(kind: str) -> str:
    """The connection string of a server, from the environment."""
    url = os.environ.get(VARIABLES[kind], "")
    if not url:
        text = f"{VARIABLES[kind]} is not set: cargo xtask services -- COMMAND"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return url


def connect(kind: str, url: str):
    """A connection of the usual Python driver; each statement is committed by itself."""
    parts = urllib.parse.urlsplit(url)
    account = {"user": parts.username, "password": urllib.parse.unquote(parts.password or "")}
    place = {"host": parts.hostname, "port": parts.port}
    database = parts.path.lstrip("/")
    if kind == "postgres":
        import psycopg2

        connection = psycopg2.connect(dbname=database, **account, **place)
        connection.autocommit = True
        return connection
    import pymysql

    return pymysql.connect(database=database, autocommit=True, **account, **place)


class Table:
    """A table that only this test knows, in one of the databases. It is not made until `create` is called."""

    def __init__(self, kind: str, folder) -> None:
        self.kind = kind
        self.name = f"jobs_{uuid.uuid4().hex[:12]}"
        if kind == "sqlite":
            self.path = str(folder / "watched.db")
            self.url = f"sqlite:///{self.path}"
            self._connection = sqlite3.connect(self.path, isolation_level=None)
        else:
            self.path = ""
            self.plain_url = server_url(kind)
            driver = {"postgres": "postgresql+psycopg2", "mysql": "mysql+pymysql"}[kind]
            self.url = f"{driver}://{self.plain_url.partition('://')[2]}"
            self._connection = connect(kind, self.plain_url)

    def run(self, statement: str) -> list:
        """Runs one statement, in which `{t}` stands for the table; returns its rows."""
        cursor = self._connection.cursor()
        cursor.execute(statement.replace("{t}", self.name))
        rows = list(cursor.fetchall()) if cursor.description else []
        cursor.close()
        return rows

    def create(self) -> "Table":
        self.run("create table {t} (id integer primary key, state varchar(20), weight double precision)")
        return self

    def insert(self, number: int, state: str = "ready", weight: float = 1.5) -> None:
        self.run(f"insert into {{t}} values ({number}, '{state}', {weight})")

    def close(self) -> None:
        """Drops the table, unless somebody still reads it: then it goes with its server."""
        patience = {"postgres": "set lock_timeout = '2s'", "mysql": "set lock_wait_timeout = 2"}
        with suppress(Exception):
            if self.kind in patience:
                self.run(patience[self.kind])
            self.run("drop table {t}")
        self._connection.close()


class Relay:
    """A door in front of a database server that can be shut: every connection through it breaks."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.port = 0
        self.admit()

    def admit(self) -> None:
        """Lets connections through, at the same port as ever."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Breaks the connections and refuses new ones."""
        assert self._listener is not None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._open += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
