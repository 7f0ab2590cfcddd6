"""What tasks import is imported once, before runners are forked, also where that starts threads."""

import os
import textwrap

import covalent as ct
import numpy
import pytest
from checks import completed
from meeting import arrive

# What a runner's parent is told when each runner has to import covalent by itself.
LATE = "--import-covalent-late"


def _parents_command():
    with open(f"/proc/{os.getppid()}/cmdline", encoding="utf-8") as file:
        return file.read().split("\0")


@ct.electron
def multiply(size):
    """As large as it takes for OpenBLAS to use its threads."""
    ones = numpy.ones((size, size))
    return [float((ones @ ones).sum()), _parents_command()]


@ct.lattice
def products(size, count):
    return [multiply(size) for _ in range(count)]


def _outcome(server, workflow, *args):
    dispatch_id = ct.dispatch(workflow, dispatcher_addr=server.url)(*args)
    return completed(ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url))


def test_runners_share_covalent_beside_the_threads_of_numpy(server):
    for total, parent in _outcome(server, products, 600, 8):
        assert total == 600.0**3
        assert LATE not in parent


@pytest.mark.own_server
def test_runners_import_covalent_beside_threads_that_outlast_forks(spawn_server, tmp_path):
    """A library that begins a thread when covalent is imported, and knows nothing of forks."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import sys
            import threading

            class Beginner:
                def find_spec(self, name, path=None, target=None):
                    if name == "covalent":
                        threading.Thread(target=threading.Event().wait, daemon=True).start()

            sys.meta_path.insert(0, Beginner())
        """)
    )
    server = spawn_server(environment={"PYTHONPATH": str(tmp_path)})
    for total, parent in _outcome(server, products, 600, 8):
        assert total == 600.0**3
        assert LATE in parent


@pytest.mark.own_server
def test_numbers_of_numpy_differ_between_tasks(spawn_server, meeting_point, tmp_path):
    """NumPy's own generator is forked with its state, if something has imported it before."""
    (tmp_path / "sitecustomize.py").write_text("import numpy.random")
    server = spawn_server(environment={"PYTHONPATH": str(tmp_path)})

    @ct.electron
    def draw(address, name):
        arrive(address, name)
        return numpy.random.rand(3).tolist()

    @ct.lattice
    def both(address):
        return [draw(address, "first"), draw(address, "second")]

    dispatch_id = ct.dispatch(both, dispatcher_addr=server.url)(meeting_point.address)
    meeting_point.wait_for("first", "second")
    meeting_point.release("first", "second")
    result = ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)
    first, second = completed(result)
    assert first != second
