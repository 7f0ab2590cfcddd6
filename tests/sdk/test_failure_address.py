"""Every failed node says whose fault it was: the native API shows fault, message and last lines."""

import os
import signal
import time

import covalent as ct
import pytest
import requests

pytestmark = pytest.mark.mends


@ct.electron(executor="local")
def raises():
    print("before it went wrong")
    raise ValueError("a bad value")


@ct.electron(executor="local")
def exits():
    os._exit(3)


@ct.electron(executor="local")
def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)


@ct.electron(executor=ct.executor.LocalExecutor(time_limit=0.3))
def takes_long():
    time.sleep(60)


@ct.electron(executor="nowhere")
def has_no_executor():
    return 1


CASES = [
    pytest.param(raises, "task", "ValueError: a bad value", id="raised"),
    pytest.param(exits, "runner", "3", id="exit code"),
    pytest.param(is_killed, "runner", "9", id="signal"),
    pytest.param(takes_long, "timeout", "0.3 s", id="time limit"),
    pytest.param(has_no_executor, "executor", "nowhere", id="unknown executor"),
]


def failure_of(server, electron) -> dict:
    """Runs a lattice of this electron alone and returns what is told of its failure."""
    dispatch = ct.dispatch(ct.lattice(lambda: electron(), workflow_executor="local"))()
    assert ct.get_result(dispatch, wait=True).status == "FAILED"
    answer = requests.get(f"{server.url}/api/v3/dispatches/{dispatch}/nodes/0", timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(("electron", "fault", "words"), CASES)
def test_a_failure_has_an_address(server, electron, fault, words):
    """Fault, and the traceback, exit code, signal or limit in words."""
    node = failure_of(server, electron)
    assert (node["status"], node["fault"]) == ("FAILED", fault)
    assert node["failure"]["fault"] == fault
    assert words in node["failure"]["message"], node["failure"]


def test_the_last_lines_of_its_log_are_shown(server):
    """What a failed task printed, and its traceback."""
    failure = failure_of(server, raises)["failure"]
    assert failure["stdout_tail"] == ["before it went wrong"]
    assert "ValueError: a bad value" in failure["stderr_tail"]


def test_nodes_that_did_not_fail_have_no_failure_and_unknown_ones_are_404(server):
    """The same address for a node that is well, and for one that does not exist."""

    @ct.electron(executor="local")
    def well():
        return 1

    dispatch = ct.dispatch(ct.lattice(lambda: well(), workflow_executor="local"))()
    assert ct.get_result(dispatch, wait=True).result == 1
    address = f"{server.url}/api/v3/dispatches/{dispatch}/nodes"
    assert requests.get(f"{address}/0", timeout=10).json()["failure"] is None
    unknown = requests.get(f"{address}/99", timeout=10)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "COV2002")
