"""Triggers seen from a test: armed through the SDK, known by what they run and by what the server says of them.

Each run of `telling` and `holding` reports its dispatch id, so a test waits for firings and not for time.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any, Callable

import covalent as ct
import pytest
import requests
from meeting import Meeting, announce, arrive

TIMEOUT_S = 30
NATIVE = "/api/v3/triggers"


@ct.electron
def tell(address, label):
    announce(address, f"{label} {ct.get_context().dispatch_id}")
    return label


@ct.electron
def tell_and_wait(address, label):
    announce(address, f"{label} {ct.get_context().dispatch_id}")
    return arrive(address, "gate")


def tell_once(address, label):
    """What `ct.lattice(..., triggers=...)` makes a workflow of, in tests that need one of their own."""
    return tell(address, label)


@ct.lattice
def telling(address, label):
    return tell(address, label)


@ct.lattice
def holding(address, label):
    """Each run waits until the test opens the gate: `meeting_point.release("gate")`."""
    return tell_and_wait(address, label)


@dataclass(frozen=True)
class Run:
    """One run of a workflow, as it has reported itself."""

    dispatch_id: str
    at: float


class Firings:
    """What triggers have run in this test, and the triggers that have to be stopped at its end."""

    def __init__(self, server, meeting: Meeting) -> None:
        self.server = server
        self.meeting = meeting
        self.address = meeting.address
        self._armed: list[tuple[Any, str]] = []

    def arm(self, *triggers, server=None, workflow=telling, label: str = "run") -> str:
        """Registers the workflow without starting it, and each of the triggers with its id."""
        at = server or self.server
        register = ct.dispatch(workflow, disable_run=True, dispatcher_addr=at.url)
        dispatch_id = register(self.address, label)
        for trigger in triggers:
            self.attach(trigger, dispatch_id, at)
        return dispatch_id

    def attach(self, trigger, dispatch_id: str, server=None) -> None:
        """Registers a trigger for a dispatch, as a user does by hand."""
        at = server or self.server
        trigger.lattice_dispatch_id = dispatch_id
        trigger.triggers_server_addr = at.url.removeprefix("http://")
        self._armed.append((at, dispatch_id))
        trigger.register()

    def runs(self, label: str = "run") -> list[Run]:
        """All runs so far, in the order in which they reported."""
        reports = list(self.meeting.history)
        return [
            Run(name.partition(" ")[2], at) for name, at in reports if name.partition(" ")[0] == label
        ]

    def ids(self, label: str = "run") -> list[str]:
        """The dispatch ids of the runs; twice, when a dispatch has run twice."""
        return [run.dispatch_id for run in self.runs(label)]

    def wait(self, count: int, label: str = "run", timeout: float = TIMEOUT_S) -> list[Run]:
        """Returns the runs as soon as there are so many."""
        enough = self.meeting.wait_until(lambda: len(self.runs(label)) >= count, timeout)
        assert enough, f"waited {timeout} s for {count} runs of {label!r}: {self.runs(label)}"
        return self.runs(label)

    def stop(self, *dispatch_ids: str, server=None) -> None:
        """`ct.stop_triggers`, with a list."""
        ct.stop_triggers(list(dispatch_ids), triggers_server_addr=(server or self.server).url)

    def close(self) -> None:
        """Stops what the test has armed; a server that is gone, and a trigger that was refused, are no fault."""
        for server, dispatch_id in dict.fromkeys(self._armed):
            with contextlib.suppress(requests.RequestException):
                url = f"{server.url}/api/triggers/stop_observe"
                requests.post(url, json=[dispatch_id], timeout=TIMEOUT_S)


def status(server, dispatch_id: str) -> str:
    """The dispatch's status, as the SDK tells it."""
    answer = ct.get_result(dispatch_id, status_only=True, dispatcher_addr=server.url)
    return str(answer["status"])


def refused(trigger, dispatch_id: str | None, server=None) -> str:
    """Registers a trigger that must be refused with a 4xx status; returns the reason."""
    trigger.lattice_dispatch_id = dispatch_id
    if server:
        trigger.triggers_server_addr = server.url.removeprefix("http://")
    with pytest.raises(requests.HTTPError) as caught:
        trigger.register()
    return reason(caught.value, 400, 422)


def reason(error: requests.HTTPError, *statuses: int) -> str:
    """The `detail` of an error whose status must be one of these."""
    assert error.response.status_code in statuses, (error, error.response.text)
    detail = error.response.json()["detail"]
    assert isinstance(detail, str) and detail, detail
    return detail


def until(probe: Callable[[], Any], timeout: float = TIMEOUT_S) -> Any:
    """Asks again until the answer is something; for what only the server knows."""
    deadline = time.monotonic() + timeout
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"waited {timeout} s, and the answer is still {answer!r}"
        time.sleep(0.02)
    return answer


def native(server, method: str, path: str = "", **options) -> Any:
    """A call of the native API; its answer."""
    answer = requests.request(method, server.url + NATIVE + path, timeout=TIMEOUT_S, **options)
    assert answer.ok, (method, path, answer.status_code, answer.text)
    return answer.json() if answer.content else None


def triggers_of(server, dispatch_id: str) -> list[dict]:
    """All triggers of a dispatch, as the native API shows them."""
    return native(server, "GET", params={"dispatch_id": dispatch_id})["triggers"]


def trigger_of(server, dispatch_id: str) -> dict:
    """The only trigger of a dispatch."""
    found = triggers_of(server, dispatch_id)
    assert len(found) == 1, found
    return found[0]


def history(server, dispatch_id: str, *outcomes: str) -> list[dict]:
    """The decisions of a dispatch's only trigger, the oldest first; only these outcomes, if any are named."""
    path = f"/{trigger_of(server, dispatch_id)['id']}/history"
    rows = native(server, "GET", path, params={"limit": 1000})["firings"]
    rows.sort(key=lambda row: row["due_at"])
    return [row for row in rows if not outcomes or row["outcome"] in outcomes]


def fired(server, dispatch_id: str) -> list[str]:
    """The dispatches that a trigger has started, the oldest first."""
    return [row["dispatch_id"] for row in history(server, dispatch_id, "fired")]
