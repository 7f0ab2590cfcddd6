"""The suite of the executor plugins: what the SDK suite has, and the engines that plugins talk to.

Plugins of one file lie in `executors/` and are put where the SDK and the server look for them before anything imports
covalent.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import types
from pathlib import Path

import cloudpickle
import pytest

HERE = Path(__file__).parent

# A recording of Covalent's own server holds a plugin and a workflow on it: they are used as they are.
RECORDED = HERE.parents[1] / "protocol" / "golden" / "24_custom_executor"


def _sdk_suite() -> str:
    """Loads the SDK suite's fixtures under a name that is not ours."""
    name = "conftest_of_the_sdk_suite"
    place = HERE.parent / "sdk" / "conftest.py"
    specification = importlib.util.spec_from_file_location(name, place)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return name


pytest_plugins = [_sdk_suite()]


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if "HOME" not in os.environ or not os.environ.get("COVALENT_EXECUTOR_DIR"):
        return
    for file in (*(HERE / "executors").glob("*.py"), RECORDED / "toy.py"):
        shutil.copy(file, os.environ["COVALENT_EXECUTOR_DIR"])
    import engines

    engines.tell_ssh(Path(os.environ["HOME"]))
    for name in ("engines", *(path.stem for path in HERE.glob("test_*.py"))):
        stand_in = sys.modules.setdefault(name, types.ModuleType(name))
        cloudpickle.register_pickle_by_value(stand_in)
        if stand_in.__spec__ is None:
            del sys.modules[name]


@pytest.fixture(scope="session")
def dask_address() -> str:
    """A Dask scheduler with two workers, which nobody kills."""
    import engines

    return engines.needed(engines.DASK)


@pytest.fixture
def cluster(tmp_path: Path):
    """A Dask cluster of this test's own, to be killed in parts."""
    import engines

    own = engines.Cluster(tmp_path / "dask")
    yield own
    own.close()


@pytest.fixture(scope="session")
def ssh_node():
    """Where SSH leads to: this machine."""
    import engines

    return engines.SshNode(engines.needed(engines.SSH))


@pytest.fixture
def slurm(ssh_node, tmp_path: Path):
    """A Slurm of one node, reached through SSH."""
    import engines

    return engines.Slurm(engines.needed(engines.SLURM), ssh_node, tmp_path)


@pytest.fixture
def on_dask(dask_address: str):
    """The executor that sends tasks to the shared cluster."""
    import covalent as ct

    return ct.executor.DaskExecutor(scheduler_address=dask_address)
