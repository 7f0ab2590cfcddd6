"""Tasks through the SSH plugin, to a real `sshd` on loopback."""

import os

import covalent as ct
import pytest
from checks import completed, node, status_of
from engines import kill, session_above, until, why
from meeting import arrive

pytestmark = pytest.mark.mends


def plain(x, *, y=0):
    print("printed over there")
    return os.environ.get("SSH_CONNECTION", ""), x + y


def refuse(x):
    raise ValueError(f"refused {x}")


def report(address, name):
    return arrive(address, name)


def held_in_session(address, name, path):
    with open(path, "w") as file:
        file.write(str(session_above(os.getpid())))
    return arrive(address, name)


def leave():
    os._exit(3)


def test_a_task_runs_over_there_and_its_value_comes_back(ssh_node, tmp_path):
    there = ct.electron(plain, executor=ssh_node.executor(tmp_path))
    here = ct.electron(lambda answer: answer[1] + 1, executor="local")

    @ct.lattice
    def workflow(x):
        answer = there(x, y=2)
        return answer, here(answer)

    (connection, value), last = completed(ct.dispatch_sync(workflow)(1))
    assert connection.startswith("127.0.0.1")
    assert (value, last) == (3, 4)
    assert list((tmp_path / "remote").iterdir()) == []


def test_several_at_once(ssh_node, tmp_path):
    there = ct.electron(plain, executor=ssh_node.executor(tmp_path))

    @ct.lattice
    def workflow(n):
        return [there(i) for i in range(n)]

    answers = completed(ct.dispatch_sync(workflow)(5))
    assert [value for _, value in answers] == list(range(5))


def test_a_failing_function_fails_its_node(ssh_node, tmp_path):
    there = ct.electron(refuse, executor=ssh_node.executor(tmp_path))

    @ct.lattice
    def workflow(x):
        return there(x)

    result = ct.dispatch_sync(workflow)("this")
    assert "refused this" in why(result)
    assert status_of(result, "refuse") == "FAILED"


def test_a_task_that_ends_its_process_fails_its_node(ssh_node, tmp_path):
    there = ct.electron(leave, executor=ssh_node.executor(tmp_path))

    @ct.lattice
    def workflow():
        return there()

    assert "3" in why(ct.dispatch_sync(workflow)())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hostname": "127.0.0.1:1"}, "Could not connect"),
        ({"ssh_key_file": "/no/such/key"}, "/no/such/key"),
        ({"python_path": "/no/such/python"}, "No Python 3"),
    ],
)
def test_what_is_wrong_with_the_way_there_is_said(ssh_node, tmp_path, options, said):
    there = ct.electron(plain, executor=ssh_node.executor(tmp_path, **options))

    @ct.lattice
    def workflow(x):
        return there(x)

    assert said in why(ct.dispatch_sync(workflow)(1))


def test_a_cancelled_dispatch_ends(ssh_node, tmp_path, meeting_point):
    """The plugin cannot cancel: what runs over there runs on to its end, and the dispatch ends with it or before."""
    there = ct.electron(report, executor=ssh_node.executor(tmp_path))

    @ct.lattice
    def workflow(address):
        return there(address, "held")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")
    ct.cancel(dispatch_id)
    meeting_point.release("held")
    result = ct.get_result(dispatch_id, wait=True)
    assert status_of(result, "report") in ("CANCELLED", "COMPLETED")
    assert str(result.status) in ("CANCELLED", "COMPLETED")


def test_the_session_is_killed_in_the_middle(ssh_node, tmp_path, meeting_point):
    there = ct.electron(held_in_session, executor=ssh_node.executor(tmp_path))

    @ct.lattice
    def workflow(address, path):
        return there(address, "held", path)

    path = tmp_path / "session"
    dispatch_id = ct.dispatch(workflow)(meeting_point.address, str(path))
    meeting_point.wait_for("held")
    kill(int(path.read_text()))
    result = ct.get_result(dispatch_id, wait=True)
    assert "exit status" in why(result)
    assert node(result, "held_in_session")["error"]


@pytest.mark.own_server
def test_the_server_is_killed_in_the_middle(ssh_node, tmp_path, spawn_server, meeting_point):
    server = spawn_server()
    executor = ssh_node.executor(tmp_path)
    executor.retries = 2
    there = ct.electron(report, executor=executor)

    @ct.lattice
    def workflow(address):
        return there(address, "held")

    dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(meeting_point.address)
    meeting_point.wait_for("held")
    server.kill9()
    server.restart()
    meeting_point.release("held", message="done")
    result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    assert completed(result) == "done"


def test_the_key_is_nowhere_to_be_read(ssh_node, tmp_path, server):
    """The path of a key may be shown; what is in it may not."""
    there = ct.electron(plain, executor=ssh_node.executor(tmp_path))

    @ct.lattice
    def workflow(x):
        return there(x)

    completed(ct.dispatch_sync(workflow)(1))
    with open(ssh_node.key) as file:
        secret = file.read().splitlines()[2]
    assert secret not in server.stderr_text()
    assert until(server.alive)
