"""One connection to a Dask scheduler, and all jobs that go over it.

Jobs are sent and answers are fetched many at a time. A job that takes longer than a moment is held
at the scheduler under a name that is not this connection's, so that it outlives this process; its
key is enough to find it again.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any, Callable, Dict, Iterable, List, Optional

from . import dask_job
from .attempts import Ending
from .dask_job import Job
from .frames import Killed, Refused
from .secrecy import log_error

_WHAT = "the connection to Dask"

# The name under which jobs are held at the scheduler.
_HOLDER = "cov-jobs"
# What ends sooner is not worth being found again: it is run again. Seconds.
_KEPT_AFTER_S = 0.2
_SWEEP_S = 0.2
# How long a scheduler may be away. Seconds.
_FIRST_CONTACT_S = 10.0
_ABSENCE_S = 45.0
_PAUSE_S = 0.25
# How often the connection is looked at. Seconds.
_LOOK_S = 0.05
# How long answers wait for others, unless this part of all jobs has one.
_LINGER_S = 0.02
_LINGER_STEP_S = 0.004
_LINGER_PART = 4
_BATCH_TASKS_MAX = 256
_BATCH_BYTES_MAX = 16 * 1024 * 1024
# What Dask says of a future whose task will not run again by itself.
_FAILED = ("error", "cancelled")
_OVER = ("finished", *_FAILED)


class Cluster:
    """The jobs at one address. Belongs to one event loop."""

    def __init__(self, address: str, inline_bytes_max: int, over: Callable[[Job], None]) -> None:
        self.address = address
        self.jobs: Dict[int, Job] = {}
        self._inline_bytes_max = inline_bytes_max
        # Called with each job of which there will be no more news.
        self._over = over
        self._client: Any = None
        # What the client speaks through; another one means that it lost the scheduler for a moment.
        self._comm: Any = None
        self._unsent: List[Job] = []
        self._unattached: List[Job] = []
        self._done: List[Job] = []
        self._has_work = asyncio.Event()
        self._has_done = asyncio.Event()
        self._watchers: "set[asyncio.Future[None]]" = set()
        self._main: "asyncio.Future[None]" = asyncio.ensure_future(self._run())

    def submit(self, jobs: Iterable[Job]) -> None:
        """Runs jobs."""
        for job in jobs:
            self.jobs[job.attempt.number] = job
            self._unsent.append(job)
        self._has_work.set()

    def attach(self, job: Job) -> None:
        """Takes up a job that another host sent."""
        self.jobs[job.attempt.number] = job
        self._unattached.append(job)
        self._has_work.set()

    def kill(self, number: int) -> None:
        """Ends a job. Dask cannot stop what a worker has begun: its result is not waited for."""
        job = self.jobs.get(number)
        if job is None:
            return
        job.is_doomed = True
        if job in self._unsent:
            self._end(job, Ending(Killed()))
        elif job.future is not None and self._client is not None:
            self._beside(self._cancel(self._client, [job]))
        else:
            # It is cancelled when the scheduler is there again.
            self._has_work.set()

    async def settle(self) -> None:
        """Sends what is on its way to the scheduler. Nothing can be sent after it."""
        if self._client is not None and self._client.status == "running":
            await self._client.scheduler_comm.close()

    async def _cancel(self, client: Any, jobs: List[Job]) -> None:
        """Ends jobs at the scheduler. What cannot be told now is told to the next connection."""
        futures = [job.future for job in jobs if job.future is not None]
        try:
            await client.cancel(futures, asynchronous=True, force=True)
        except Exception as error:
            log_error(_WHAT, error)
            return
        for job in jobs:
            if job.attempt.number in self.jobs:
                self._end(job, Ending(Killed()))

    def _beside(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    def _end(self, job: Job, ending: Ending) -> None:
        self._forget(job)
        # A large output is written to a file, which may have to wait for space.
        size = len(getattr(ending.outcome, "output", b"")) + len(ending.stdout) + len(ending.stderr)
        if size > self._inline_bytes_max:
            self._beside(asyncio.get_running_loop().run_in_executor(None, job.attempt.end, ending))
        else:
            job.attempt.end(ending)

    def _lose(self, job: Job, message: str) -> None:
        self._forget(job)
        job.attempt.lose(message)

    def _gone(self, job: Job) -> None:
        """The scheduler does not know the job."""
        if job.is_doomed:
            self._end(job, Ending(Killed()))
        else:
            self._lose(job, f"The Dask scheduler at {self.address} no longer has {job.key}")

    def _forget(self, job: Job) -> None:
        if self.jobs.pop(job.attempt.number, None) is not None:
            self._over(job)

    async def _run(self) -> None:
        """Connects when there is something to do, and again whenever the scheduler went."""
        patience = _FIRST_CONTACT_S
        while True:
            await self._has_work.wait()
            try:
                self._client = await self._connected(patience)
            except Exception as error:
                self._give_up(f"{type(error).__name__}: {error}")
                continue
            patience = _ABSENCE_S
            try:
                await self._serve(self._client)
            except Exception as error:
                log_error(_WHAT, error)
            print(f"the connection to the Dask scheduler at {self.address} is over", flush=True)
            await self._disconnect()

    async def _connected(self, patience: float) -> Any:
        distributed: Any = importlib.import_module("distributed")
        until = time.monotonic() + patience
        while True:
            left = until - time.monotonic()
            client = distributed.Client(
                self.address, asynchronous=True, set_as_default=False, timeout=max(left, 1.0)
            )
            try:
                await client
                return client
            except Exception:
                await _closed(client)
                if time.monotonic() + _PAUSE_S > until:
                    raise
            await asyncio.sleep(_PAUSE_S)

    def _give_up(self, why: str) -> None:
        message = f"The Dask scheduler at {self.address} cannot be reached: {why}"
        print(message, flush=True)
        self._has_work.clear()
        self._unsent, self._unattached = [], []
        for job in list(self.jobs.values()):
            if job.is_doomed:
                self._end(job, Ending(Killed()))
            elif job.attempt.has_begun or job.function is None:
                self._lose(job, message)
            else:
                self._end(job, Ending(Refused(message)))

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        for job in self.jobs.values():
            if job in self._unsent or job in self._unattached:
                continue
            # What was not sent for certain is sent again under its key, which Dask runs once.
            (self._unsent if job.payload else self._unattached).append(job)
            job.future = None
            job.is_kept = False
        self._done = []
        if self.jobs:
            self._has_work.set()
        await _closed(client)

    async def _serve(self, client: Any) -> None:
        """Returns when the connection is over."""
        self._comm = client.scheduler_comm
        over = asyncio.ensure_future(self._until_over(client))
        collector = asyncio.ensure_future(self._collect(client))
        sweeper = asyncio.ensure_future(self._sweep(client))
        try:
            while True:
                work = asyncio.ensure_future(self._has_work.wait())
                parts = {over, collector, sweeper, work}
                done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                if work not in done:
                    work.cancel()
                    _note(done)
                    return
                self._has_work.clear()
                await self._take_up(client)
                self._send(client)
        finally:
            for part in (over, collector, sweeper):
                part.cancel()
            await asyncio.gather(over, collector, sweeper, return_exceptions=True)

    def _is_connected(self, client: Any) -> bool:
        return client.status == "running" and client.scheduler_comm is self._comm

    async def _until_over(self, client: Any) -> None:
        while self._is_connected(client):
            await asyncio.sleep(_LOOK_S)

    async def _take_up(self, client: Any) -> None:
        """Looks which of the jobs of an earlier connection the scheduler still has."""
        while self._unattached:
            jobs = [job for job in self._unattached if job.attempt.number in self.jobs]
            states = await client.scheduler.get_task_status(keys=[job.key for job in jobs])
            # Until here they are kept for another try; others may have come meanwhile.
            seen = {job.key for job in jobs}
            self._unattached = [
                job
                for job in self._unattached
                if job.key not in seen and job.attempt.number in self.jobs
            ]
            for job in jobs:
                if job.attempt.number not in self.jobs:
                    continue
                if states.get(job.key) in (None, "released", "forgotten"):
                    self._gone(job)
                    continue
                if not job.attempt.has_begun:
                    job.attempt.begin()
                self._hold(client, [job])
                job.is_kept = True
                self._watch(client, job, _future(client, job.key))
            await self._drop_unknown(client, jobs)
            doomed = [job for job in jobs if job.is_doomed and job.future is not None]
            if doomed:
                await self._cancel(client, doomed)

    async def _drop_unknown(self, client: Any, jobs: List[Job]) -> None:
        """Loses those that went just before they were held."""
        states = await client.scheduler.get_task_status(keys=[job.key for job in jobs])
        for job in jobs:
            if states.get(job.key) is None and job.attempt.number in self.jobs:
                self._gone(job)

    def _send(self, client: Any) -> None:
        unsent = [job for job in self._unsent if job.attempt.number in self.jobs]
        self._unsent = []
        for batch in _batches(unsent):
            function = batch[0].function
            payloads, keys = [job.payload for job in batch], [job.key for job in batch]
            for job in batch:
                job.attempt.begin()
                job.sent_at = time.monotonic()
            futures = client.map(function, payloads, key=keys, pure=False)
            for job, future in zip(batch, futures):
                job.payload = {}
                self._watch(client, job, future)

    def _watch(self, client: Any, job: Job, future: Any) -> None:
        job.future = future
        self._beside(self._wait(client, job, future))

    async def _wait(self, client: Any, job: Job, future: Any) -> None:
        await future._state.wait()
        if job.future is future and client is self._client and job.attempt.number in self.jobs:
            self._done.append(job)
            self._has_done.set()

    async def _collect(self, client: Any) -> None:
        """Fetches answers, as many as there are at a time."""
        while True:
            await self._has_done.wait()
            await self._linger()
            self._has_done.clear()
            jobs, self._done = self._done, []
            jobs = [job for job in jobs if job.attempt.number in self.jobs]
            finished = [job for job in jobs if job.future.status == "finished"]
            lost = [job for job in jobs if job.future.status not in _OVER]
            for job in jobs:
                if job.future.status in _FAILED:
                    await self._failed(client, job)
            answers = await _gathered(client, finished)
            for job in finished:
                if job.key in answers:
                    self._end(job, dask_job.ending_of(answers[job.key]))
                else:
                    lost.append(job)
            for job in lost:
                # Its worker died with the answer, and another makes it again.
                self._watch(client, job, job.future)
            self._release(client, finished)

    async def _linger(self) -> None:
        """Waits a little for more, since to fetch one answer costs as much as to fetch many."""
        until = time.monotonic() + _LINGER_S
        while len(self._done) * _LINGER_PART < len(self.jobs) and time.monotonic() < until:
            await asyncio.sleep(_LINGER_STEP_S)

    async def _failed(self, client: Any, job: Job) -> None:
        if job.future.status == "error":
            self._end(job, dask_job.ending_of_error(await job.future.exception()))
            self._release(client, [job])
            return
        await asyncio.sleep(0)
        if job.is_doomed:
            self._end(job, Ending(Killed()))
            return
        if not self._is_connected(client):
            # It is not the job that is gone, but the connection.
            return
        message = "The task was cancelled at the Dask scheduler, and not by this server"
        self._end(job, Ending(Refused(message)))

    def _release(self, client: Any, jobs: List[Job]) -> None:
        over = [job for job in jobs if job.attempt.number not in self.jobs]
        held = [job.key for job in over if job.is_kept]
        if held:
            client._send_to_scheduler(
                {"op": "client-releases-keys", "keys": held, "client": _HOLDER}
            )
        for job in over:
            job.future = None

    @staticmethod
    def _hold(client: Any, jobs: List[Job]) -> None:
        keys = [job.key for job in jobs]
        client._send_to_scheduler({"op": "client-desires-keys", "keys": keys, "client": _HOLDER})

    async def _sweep(self, client: Any) -> None:
        """Holds what takes longer at the scheduler, and tells the server how to find it again."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            oldest = time.monotonic() - _KEPT_AFTER_S
            jobs = [
                job
                for job in self.jobs.values()
                if job.future is not None and not job.is_kept and job.sent_at < oldest
            ]
            if not jobs:
                continue
            # Those of which the scheduler has not heard cannot be held yet.
            states = await client.scheduler.get_task_status(keys=[job.key for job in jobs])
            known = [
                job for job in jobs if states.get(job.key) is not None and job.future is not None
            ]
            self._hold(client, known)
            for job in known:
                job.is_kept = True
                job.attempt.accept(job.handle(self.address))


def _batches(jobs: List[Job]) -> Iterable[List[Job]]:
    batch: List[Job] = []
    size = 0
    for job in jobs:
        is_full = len(batch) >= _BATCH_TASKS_MAX or size + job.size() > _BATCH_BYTES_MAX
        if batch and (is_full or batch[0].function is not job.function):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += job.size()
    if batch:
        yield batch


async def _gathered(client: Any, jobs: List[Job]) -> Dict[str, Any]:
    """The answers that are still there. Waits for no other: a client's own `gather` does."""
    futures = {job.key: job.future for job in jobs}
    while futures:
        response = await client.scheduler.gather(keys=list(futures))
        if response["status"] == "OK":
            return dict(response["data"])
        for key in response["keys"]:
            # The scheduler tells again when the task has been made anew.
            futures.pop(key)._state.reset()
            client._send_to_scheduler({"op": "report-key", "key": key})
    return {}


def _future(client: Any, key: str) -> Any:
    distributed: Any = importlib.import_module("distributed")
    future = distributed.Future(key, client)
    # The scheduler tells of keys that a client is known to want.
    client._send_to_scheduler({"op": "client-desires-keys", "keys": [key], "client": client.id})
    return future


def _note(parts: "Iterable[asyncio.Future[Any]]") -> None:
    for part in parts:
        error = part.exception()
        if error is not None:
            log_error(_WHAT, error)


async def _closed(client: Optional[Any]) -> None:
    if client is None:
        return
    try:
        await asyncio.wait_for(client._close(fast=True), 5.0)
    except Exception as error:
        # What it held is gone with the connection anyway.
        log_error(_WHAT, error)
