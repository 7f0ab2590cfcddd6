"""A place where running tasks report to the test and wait for it.

It replaces sleeping: the test knows that a task is running because the task has arrived, and the task
goes on because the test has released it. `arrive` runs inside tasks and must need nothing but the
standard library.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Callable

WAIT_S = 60.0


def arrive(address: tuple[str, int], name: str) -> str:
    """Called by a task: reports `name`, waits, and returns the test's message ("" if the test has ended)."""
    with socket.create_connection(tuple(address)) as connection:
        connection.sendall(f"{name}\n".encode())
        with connection.makefile("r", encoding="utf-8") as stream:
            return stream.readline().strip()


def announce(address: tuple[str, int], name: str) -> None:
    """Called by a task: reports `name` and does not wait."""
    with socket.create_connection(tuple(address)) as connection:
        connection.sendall(f"{name}\n".encode())


class Meeting:
    """The test's side of `arrive`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._changed = threading.Condition()
        self._waiting: dict[str, list[socket.socket]] = {}
        self._released: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        # Every report with the time at which it came (`time.time`, to be compared with the server's).
        self.history: list[tuple[str, float]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._admit, args=(connection,), daemon=True).start()

    def _admit(self, connection: socket.socket) -> None:
        name = connection.makefile("r", encoding="utf-8").readline().strip()
        with self._changed:
            self._counts[name] = self._counts.get(name, 0) + 1
            self.history.append((name, time.time()))
            if name in self._released:
                self._send(connection, self._released[name])
            else:
                self._waiting.setdefault(name, []).append(connection)
            self._changed.notify_all()

    @staticmethod
    def _send(connection: socket.socket, message: str) -> None:
        with connection:
            try:
                connection.sendall(f"{message}\n".encode())
            except OSError:
                pass

    def wait_for(self, *names: str, count: int = 1, timeout: float = WAIT_S) -> None:
        """Returns when each name has been reported `count` times."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: all(self._counts.get(name, 0) >= count for name in names), timeout
            )
            assert arrived, f"waited {timeout} s for {names}; arrived: {self._counts}"

    def wait_until(self, met: Callable[[], bool], timeout: float = WAIT_S) -> bool:
        """Asks `met` after each report; False when it was not met in time."""
        with self._changed:
            return self._changed.wait_for(met, timeout)

    def arrivals(self, name: str) -> int:
        """How often this name has been reported."""
        with self._changed:
            return self._counts.get(name, 0)

    def release(self, *names: str, message: str = "go") -> None:
        """Lets the tasks waiting under these names go on, and those still to come."""
        with self._changed:
            for name in names:
                self._released[name] = message
                for connection in self._waiting.pop(name, []):
                    self._send(connection, message)

    def close(self) -> None:
        """Ends all waiting, so that no task outlives its test."""
        self._listener.close()
        with self._changed:
            for connections in self._waiting.values():
                for connection in connections:
                    connection.close()
            self._waiting.clear()
