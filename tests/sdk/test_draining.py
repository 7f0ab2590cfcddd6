"""A server that was asked to stop: what runs may end and is seen to, nothing new begins, the rest goes on later."""

import signal
import threading
import time

import covalent as ct
import pytest
import requests
from checks import completed
from meeting import arrive


@ct.electron
def met(address, name):
    return arrive(address, name)


@ct.electron
def after(word):
    return f"{word}, and on"


@ct.lattice
def chain(address):
    return after(met(address, "first"))


def _stop(server) -> None:
    server.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 20
    while requests.get(f"{server.url}/readyz", timeout=10).status_code != 503:
        assert time.monotonic() < until, "the server does not say that it stops"


def test_a_draining_server_answers_and_takes_nothing_new(spawn_server, meeting_point):
    server = spawn_server(options=("--grace", "60"))
    dispatch_id = ct.dispatch(chain, dispatcher_addr=server.url)(meeting_point.address)
    meeting_point.wait_for("first")
    _stop(server)

    refused = requests.post(f"{server.url}/api/v3/dispatches/{dispatch_id}/redispatch", timeout=10)
    assert refused.status_code == 503, refused.text
    assert refused.json()["code"] == "COV3004"
    assert int(refused.headers["Retry-After"]) >= 1
    # Neither refused nor hurried: what is there can be asked for, and waited for.
    began = time.monotonic()
    held = requests.get(f"{server.url}/api/v3/dispatches/{dispatch_id}?wait=2", timeout=10)
    assert held.json()["status"] == "RUNNING"
    assert time.monotonic() - began > 1.5

    meeting_point.release("first")
    assert server.process.wait(timeout=30) == 0
    server.start()
    result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    assert completed(result) == "go, and on"
    assert meeting_point.arrivals("first") == 1, "a task that ended within the grace period runs once"


def test_what_outlasts_the_grace_period_runs_again(spawn_server, meeting_point):
    server = spawn_server(options=("--grace", "1"))
    dispatch_id = ct.dispatch(chain, dispatcher_addr=server.url)(meeting_point.address)
    meeting_point.wait_for("first")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) == 0
    server.start()
    meeting_point.wait_for("first", count=2)
    meeting_point.release("first")
    result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    assert completed(result) == "go, and on"


@pytest.mark.parametrize("path", ["/api/v3/events", "/api/v3/dispatches/{id}/events", "/api/v3/dispatches/{id}?wait=60"])
def test_those_who_follow_are_let_go(spawn_server, meeting_point, path):
    server = spawn_server(options=("--grace", "1"))
    dispatch_id = ct.dispatch(chain, dispatcher_addr=server.url)(meeting_point.address)
    meeting_point.wait_for("first")
    ended = threading.Event()

    def follow() -> None:
        url = server.url + path.replace("{id}", dispatch_id)
        try:
            with requests.get(url, stream=True, timeout=60) as answer:
                begun.set()
                for _ in answer.iter_content(None):
                    pass
        finally:
            ended.set()

    begun = threading.Event()
    threading.Thread(target=follow, daemon=True).start()
    if "wait" not in path:
        assert begun.wait(20)
    asked = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert ended.wait(20)
    assert server.process.wait(timeout=30) == 0
    assert time.monotonic() - asked < 8
