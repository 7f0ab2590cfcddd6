"""Runs each task in a Python program of its own. Its handle is the number of the process, so that it can be ended."""

import asyncio
import os
import signal
import sys
import tempfile

import cloudpickle
from covalent._shared_files.exceptions import TaskCancelledError, TaskRuntimeError
from covalent.executor.base import AsyncBaseExecutor

EXECUTOR_PLUGIN_NAME = "LedgerExecutor"
_EXECUTOR_PLUGIN_DEFAULTS = {"ledger": "", "token": "", "log_stdout": "", "log_stderr": ""}

_PROGRAM = """
import sys, cloudpickle
with open(sys.argv[1], "rb") as file:
    function, args, kwargs = cloudpickle.load(file)
result = function(*args, **kwargs)
with open(sys.argv[2], "wb") as file:
    cloudpickle.dump(result, file)
"""


class LedgerExecutor(AsyncBaseExecutor):
    """Writes into the file `ledger` what it has started."""

    def __init__(self, ledger: str = "", token: str = "", **options) -> None:
        super().__init__(**options)
        self.ledger = ledger
        self.token = token

    async def run(self, function, args, kwargs, task_metadata):
        with tempfile.TemporaryDirectory() as folder:
            call, result = os.path.join(folder, "call"), os.path.join(folder, "result")
            with open(call, "wb") as file:
                cloudpickle.dump((function, args, kwargs), file)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _PROGRAM,
                call,
                result,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            await self.set_job_handle(process.pid)
            self._write(task_metadata["node_id"])
            stdout, stderr = await process.communicate()
            print(stdout.decode(), end="", file=self.task_stdout)
            print(stderr.decode(), end="", file=self.task_stderr)
            if process.returncode == -signal.SIGTERM:
                raise TaskCancelledError
            if process.returncode != 0:
                raise TaskRuntimeError("the program failed")
            with open(result, "rb") as file:
                return cloudpickle.load(file)

    async def cancel(self, task_metadata, job_handle) -> bool:
        os.kill(int(job_handle), signal.SIGTERM)
        return True

    def _write(self, node: int) -> None:
        if self.ledger:
            with open(self.ledger, "a", encoding="utf-8") as file:
                print(node, file=file)
