"""Cancelled means dead: when a task is shown CANCELLED, nothing of it is left in the process table."""

import covalent as ct
import pytest
from checks import cancelled, node, until_shown
from meeting import announce
from tagging import WAYS, marked, misbehave, new_tag

pytestmark = pytest.mark.mends


@ct.electron
def wild(address, name, how, tag):
    misbehave(how, tag, lambda: announce(address, name))


@ct.lattice
def wild_alone(address, name, how, tag):
    return wild(address, name, how, tag)


def wait(dispatch_id):
    return ct.get_result(dispatch_id, wait=True)


@pytest.mark.parametrize("how", WAYS)
def test_cancelled_means_dead(meeting_point, how):
    """At the first answer that shows the task CANCELLED, the process table holds nothing of it."""
    tag = new_tag()
    dispatch_id = ct.dispatch(wild_alone)(meeting_point.address, "wild", how, tag)
    meeting_point.wait_for("wild")
    assert marked(tag)
    wild_id = node(ct.get_result(dispatch_id), "wild")["node_id"]
    ct.cancel(dispatch_id)
    until_shown(dispatch_id, wild_id, "CANCELLED")
    assert marked(tag) == {}
    cancelled(wait(dispatch_id))


def test_twenty_cancels_leave_nothing(meeting_point):
    """Every way to misbehave in turn, two at a time: each is dead when it is shown so."""
    for number in range(10):
        pair = []
        for beside in range(2):
            tag, name = new_tag(), f"wild {number} {beside}"
            how = WAYS[(2 * number + beside) % len(WAYS)]
            dispatch_id = ct.dispatch(wild_alone)(meeting_point.address, name, how, tag)
            pair.append((dispatch_id, tag, name))
        meeting_point.wait_for(*(name for _, _, name in pair))
        for dispatch_id, _, _ in pair:
            ct.cancel(dispatch_id)
        for dispatch_id, tag, _ in pair:
            cancelled(wait(dispatch_id))
            assert marked(tag) == {}


def test_dead_to_any_depth(meeting_point):
    """When the parent is shown CANCELLED, nothing is left of a task two sub-workflows below."""

    @ct.electron
    @ct.lattice
    def inner(address, tag):
        return wild(address, "deep and wild", "double fork", tag)

    @ct.electron
    @ct.lattice
    def middle(address, tag):
        return inner(address, tag)

    @ct.lattice
    def outer(address, tag):
        return middle(address, tag)

    tag = new_tag()
    dispatch_id = ct.dispatch(outer)(meeting_point.address, tag)
    meeting_point.wait_for("deep and wild")
    assert marked(tag)
    ct.cancel(dispatch_id)
    while ct.get_result(dispatch_id, status_only=True)["status"] != "CANCELLED":
        pass
    assert marked(tag) == {}


@pytest.mark.own_server
def test_dead_without_cgroups(spawn_server, meeting_point):
    """Where no cgroup can be made, what escapes and what replaces itself is found all the same."""
    own = spawn_server(workers=4, options=("--cgroups", "off"))
    address = {"dispatcher_addr": own.url}
    ways = ("double fork", "relay of processes", "relay of sessions", "forks a crowd")
    tags = {how: new_tag() for how in ways}
    started = {how: ct.dispatch(wild_alone, **address)(meeting_point.address, how, how, tags[how]) for how in ways}
    meeting_point.wait_for(*ways)
    for how in ways:
        ct.cancel(started[how], **address)
    for how in ways:
        cancelled(ct.get_result(started[how], wait=True, **address))
        assert marked(tags[how]) == {}, how


@pytest.mark.own_server
def test_cancelled_tasks_stay_so_after_kill9(spawn_server, meeting_point):
    """A cancel that was answered is kept: killed at once, the server ends it at the next start."""
    own = spawn_server()
    address = {"dispatcher_addr": own.url}
    tag = new_tag()
    dispatch_id = ct.dispatch(wild_alone, **address)(meeting_point.address, "wild", "double fork", tag)
    meeting_point.wait_for("wild")
    ct.cancel(dispatch_id, **address)
    own.kill9()
    own.restart()
    cancelled(ct.get_result(dispatch_id, wait=True, **address))
    assert marked(tag) == {}
    assert meeting_point.arrivals("wild") == 1
