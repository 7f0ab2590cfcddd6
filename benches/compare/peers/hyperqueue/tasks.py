"""Tasks as commands, and as Python functions, that tell a client by its pipe when the last of them is done.

HyperQueue has no results: functions leave theirs in files, where the next function finds them. Commands leave none.
"""

import itertools
import os
from pathlib import Path

from hyperqueue import Job
from hyperqueue.task.task import Task

import work

# The interpreters that HyperQueue starts find this module, too.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])

# Standard output and error would each be a file per task.
QUIET = {"stdout": None, "stderr": None}

names = itertools.count()


class Commands:
    """A task is `true`. It gets and leaves no value."""

    def single(self, folder: Path, pipe: Path, number: int) -> Job:
        job = Job()
        job.program(written(number + 1, pipe), **QUIET)
        return job

    def chain(self, folder: Path, pipe: Path, n: int) -> Job:
        job, before = Job(), ()
        for _ in range(n - 1):
            before = (job.program(["true"], deps=before, **QUIET),)
        job.program(written(n, pipe), deps=before, **QUIET)
        return job

    def fan(self, folder: Path, pipe: Path, n: int) -> Job:
        job = Job()
        tasks = [job.program(["true"], **QUIET) for _ in range(n)]
        job.program(written(n * (n - 1) // 2, pipe), deps=tasks, **QUIET)
        return job

    def big(self, returned: Path, pipe: Path, content: bytes) -> Job:
        job = Job()
        copied = job.program(["cat"], stdin=content, stdout=returned, stderr=None)
        job.program(written(0, pipe), deps=(copied,), **QUIET)
        return job


class Functions:
    """A task is a function in an interpreter of its own, which HyperQueue starts for it."""

    def single(self, folder: Path, pipe: Path, number: int) -> Job:
        job = Job()
        job.function(tell_incremented, args=(number, pipe), **QUIET)
        return job

    def chain(self, folder: Path, pipe: Path, n: int) -> Job:
        job, before, file = Job(), (), folder / f"chain-{next(names)}"
        file.write_text("0")
        for _ in range(n - 1):
            before = (job.function(increment_file, args=(file, file), deps=before, **QUIET),)
        job.function(increment_file, args=(file, pipe), deps=before, **QUIET)
        return job

    def fan(self, folder: Path, pipe: Path, n: int) -> Job:
        job, own = Job(), folder / f"fan-{next(names)}"
        own.mkdir()
        files = [own / str(number) for number in range(n)]
        tasks: list[Task] = [
            job.function(leave_nothing, args=(number, file), **QUIET) for number, file in enumerate(files)
        ]
        job.function(tell_total, args=(files, pipe), deps=tasks, **QUIET)
        return job

    def big(self, returned: Path, pipe: Path, content: bytes) -> Job:
        job = Job()
        job.function(leave_same, args=(content, returned, pipe), **QUIET)
        return job


def written(number: int, pipe: Path) -> list[str]:
    """The command that tells a number to the reader of a pipe."""
    return ["sh", "-c", 'echo "$0" > "$1"', str(number), str(pipe)]


def tell(number: int, pipe: Path) -> None:
    with pipe.open("w") as reader:
        reader.write(f"{number}\n")


def tell_incremented(number: int, pipe: Path) -> None:
    tell(work.increment(number), pipe)


def increment_file(before: Path, after: Path) -> None:
    number = work.increment(int(before.read_text()))
    tell(number, after)


def leave_nothing(number: int, file: Path) -> None:
    file.write_text(str(work.nothing(number)))


def tell_total(files: list[Path], pipe: Path) -> None:
    tell(work.total([int(file.read_text()) for file in files]), pipe)


def leave_same(content: bytes, returned: Path, pipe: Path) -> None:
    returned.write_bytes(work.same(content))
    tell(0, pipe)
