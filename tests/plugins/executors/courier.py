"""An executor plugin of one file: it runs each task in a thread of the plugin host, and leaves a note of it.

That is all that a plugin needs: a class with `run`, the name of the class, and the defaults of its options.
"""

import os

from covalent._shared_files.exceptions import TaskCancelledError
from covalent.executor.base import BaseExecutor

EXECUTOR_PLUGIN_NAME = "CourierExecutor"
_EXECUTOR_PLUGIN_DEFAULTS = {"notes": "", "log_stdout": "", "log_stderr": ""}


class CourierExecutor(BaseExecutor):
    """Says in the file `notes` what becomes of its tasks."""

    def __init__(self, notes: str = "", **options) -> None:
        super().__init__(**options)
        self.notes = notes

    def _note(self, *words: object) -> None:
        if self.notes:
            with open(self.notes, "a", encoding="utf-8") as file:
                print(*words, file=file)

    def setup(self, task_metadata: dict) -> None:
        self._note("setup", task_metadata["node_id"])

    def run(self, function, args, kwargs, task_metadata):
        if self.get_cancel_requested():
            raise TaskCancelledError
        version = self.get_version_info()["python"]
        self.set_job_handle({"pid": os.getpid(), "node": task_metadata["node_id"]})
        self._note("run", task_metadata["node_id"])
        print("carried for python", version, file=self.task_stdout)
        result = function(*args, **kwargs)
        if self.get_cancel_requested():
            raise TaskCancelledError
        return result

    def teardown(self, task_metadata: dict) -> None:
        self._note("teardown", task_metadata["node_id"])

    def cancel(self, task_metadata: dict, job_handle) -> bool:
        self._note("cancel", task_metadata["node_id"], job_handle["node"])
        return True
