"""Tasks through the Slurm plugin: a controller, a node and the `sshd` of its login node, all real.

The plugin asks after a job every five seconds at most, so each test takes that long.
"""

import os

import covalent as ct
import pytest
from checks import completed
from engines import until, why
from meeting import arrive

pytestmark = pytest.mark.mends


def plain(x):
    print("printed by the job")
    return os.environ.get("SLURM_JOB_ID", ""), x


def refuse(x):
    raise ValueError(f"refused {x}")


def report(address, name):
    return arrive(address, name)


def test_tasks_are_jobs(slurm):
    there = ct.electron(plain, executor=slurm.executor())

    @ct.lattice
    def workflow(n):
        return [there(i) for i in range(n)]

    answers = completed(ct.dispatch_sync(workflow)(3))
    assert [x for _, x in answers] == [0, 1, 2]
    assert len({job for job, _ in answers} - {""}) == 3


def test_a_failing_function_fails_its_node(slurm):
    there = ct.electron(refuse, executor=slurm.executor())

    @ct.lattice
    def workflow(x):
        return there(x)

    assert "refused this" in why(ct.dispatch_sync(workflow)("this"))


def test_a_job_that_slurm_cancels_fails_its_node(slurm, meeting_point):
    there = ct.electron(report, executor=slurm.executor())

    @ct.lattice
    def workflow(address):
        return there(address, "held")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")
    slurm.ask("scancel", *slurm.jobs(dispatch_id))
    assert "CANCELLED" in why(ct.get_result(dispatch_id, wait=True))


def test_what_sbatch_refuses_is_said(slurm):
    there = ct.electron(plain, executor=slurm.executor(options={"partition": "nowhere"}))

    @ct.lattice
    def workflow(x):
        return there(x)

    assert "partition" in why(ct.dispatch_sync(workflow)(1))


def test_a_cancelled_dispatch_ends(slurm, meeting_point):
    """The plugin cannot cancel a job: it runs on to its end, and the dispatch ends with it or before."""
    there = ct.electron(report, executor=slurm.executor())

    @ct.lattice
    def workflow(address):
        return there(address, "held")

    dispatch_id = ct.dispatch(workflow)(meeting_point.address)
    meeting_point.wait_for("held")
    ct.cancel(dispatch_id)
    meeting_point.release("held")
    result = ct.get_result(dispatch_id, wait=True)
    assert str(result.status) in ("CANCELLED", "COMPLETED")
    until(lambda: not slurm.jobs(dispatch_id))


@pytest.mark.own_server
def test_the_server_is_killed_in_the_middle(slurm, spawn_server, meeting_point):
    server = spawn_server()
    there = ct.electron(report, executor=slurm.executor(retries=2))

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
