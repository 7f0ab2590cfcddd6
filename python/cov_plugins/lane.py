"""One executor's thread and event loop, and the attempts that run there.

Each executor has its own, so that a plugin that blocks its loop stops none but itself.
"""

from __future__ import annotations

import asyncio
import collections
import threading
from typing import Any, Callable, Coroutine, Deque, Dict, Optional, Union

from . import frames, managed, old
from .attempts import Attempt, Ending, JobLost, Link, Settings
from .catalogue import Catalogue, NoSuch, NotUsable, Plugin
from .frames import Attach, Kill, Order, Run, Show
from .hearing import Pool
from .secrecy import log_error

Way = Union[old.OldWay, managed.ManagedWay]


class Lane:
    """A thread with a loop, which takes orders one after the other."""

    def __init__(self, name: str, link: Link, settings: Settings) -> None:
        self.name = name
        self.link = link
        self.settings = settings
        self.attempts: Dict[int, Attempt] = {}
        self._orders: Deque[Order] = collections.deque()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(Pool(settings.threads, name))
        self._tasks: "set[asyncio.Task[None]]" = set()
        threading.Thread(target=self._run, name=f"lane {name}", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while True:
            try:
                self._loop.run_forever()
            except BaseException as error:
                # What a plugin starts by itself can raise SystemExit through the loop.
                log_error(self.name, error)

    def post(self, order: Order) -> None:
        """Takes an order from another thread."""
        with self._lock:
            is_first = not self._orders
            self._orders.append(order)
        if is_first:
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        with self._lock:
            orders, self._orders = self._orders, collections.deque()
        self.take(list(orders))

    def take(self, orders: "list[Order]") -> None:
        """Carries out orders."""
        for order in orders:
            self.take_one(order)

    def take_one(self, order: Order) -> None:
        """Carries out an order."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Says what is still to be said to an engine, before everything ends."""

    def settled(self, seconds: float) -> None:
        """Waits in another thread for `settle`."""
        future = asyncio.run_coroutine_threadsafe(self.settle(), self._loop)
        try:
            future.result(seconds)
        except Exception as error:
            log_error(self.name, error)

    def attempt_of(self, order: Union[Run, Attach]) -> Attempt:
        """A new attempt, for the order that brings it."""
        if isinstance(order, Run):
            number, dispatch, node = order.task.attempt, order.task.dispatch, order.task.node
        else:
            number, dispatch, node = order.attempt, order.dispatch, order.node
        attempt = Attempt(self.link, self.settings, number, dispatch, node, order.engine)
        self.attempts[number] = attempt
        return attempt

    def spawn(self, coroutine: "Coroutine[Any, Any, None]") -> "asyncio.Task[None]":
        """Starts what goes on beside everything else."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class PluginLane(Lane):
    """Attempts that a plugin of Covalent runs."""

    def __init__(self, name: str, link: Link, settings: Settings, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._ways: Dict[int, Way] = {}
        self._cancels: Dict[int, "asyncio.Task[bool]"] = {}
        super().__init__(name, link, settings)

    def take_one(self, order: Order) -> None:
        """Carries out an order."""
        if isinstance(order, (Run, Attach)):
            attempt = self.attempt_of(order)
            attempt.running = self.spawn(self._serve(attempt, order))
        elif isinstance(order, Kill):
            self.spawn(self._kill(order))
        elif isinstance(order, Show):
            self._show(order)

    def _show(self, order: Show) -> None:
        attempt, way = self.attempts.get(order.attempt), self._ways.get(order.attempt)
        if attempt is not None and way is not None:
            attempt.show(*way.printed())
        else:
            self.link.send(frames.shown(order.attempt, b"", b""))

    async def _serve(self, attempt: Attempt, order: Union[Run, Attach]) -> None:
        try:
            ending = await self._ending(attempt, order)
            if await self._was_killed(attempt, ending):
                ending = ending._replace(outcome=frames.Killed())
            await self._report(lambda: attempt.end(ending))
        except JobLost as error:
            attempt.lose(str(error))
        except asyncio.CancelledError:
            stdout, stderr = self._printed(attempt)
            attempt.end(Ending(frames.Killed(), stdout, stderr))
        except BaseException as error:
            log_error(self.name, error)
            attempt.end(Ending(frames.Refused(f"{type(error).__name__}: {error}")))
        finally:
            self._forget(attempt)

    def _forget(self, attempt: Attempt) -> None:
        self.attempts.pop(attempt.number, None)
        self._cancels.pop(attempt.number, None)
        way = self._ways.pop(attempt.number, None)
        if way is not None:
            way.close()

    async def _report(self, report: Callable[[], None]) -> None:
        # A large output is written to a file, which may have to wait for space.
        await asyncio.get_running_loop().run_in_executor(None, report)

    def _printed(self, attempt: Attempt) -> "tuple[str, str]":
        way = self._ways.get(attempt.number)
        return ("", "") if way is None else way.printed()

    async def _ending(self, attempt: Attempt, order: Union[Run, Attach]) -> Ending:
        loop = asyncio.get_running_loop()
        try:
            # To load a plugin may take long, or never end.
            plugin = await loop.run_in_executor(None, self._loaded)
        except NoSuch as error:
            return Ending(frames.Unknown(error.names))
        except NotUsable as error:
            return Ending(frames.Refused(str(error)))
        try:
            if isinstance(order, Attach):
                return await self._attach(attempt, plugin, order)
            way = self._way(attempt, plugin, plugin.is_managed())
            return await way.run(order)
        except NotUsable as error:
            return Ending(frames.Refused(str(error)))

    def _loaded(self) -> Plugin:
        plugin = self._catalogue.plugin(self.name)
        plugin.executor_class()
        return plugin

    def _way(self, attempt: Attempt, plugin: Plugin, is_managed: bool) -> Way:
        kind = managed.ManagedWay if is_managed else old.OldWay
        way: Way = kind(plugin, attempt, self.settings)
        self._ways[attempt.number] = way
        return way

    async def _attach(self, attempt: Attempt, plugin: Plugin, order: Attach) -> Ending:
        job = job_of(order)
        attempt.job = job
        way = self._way(attempt, plugin, job.get("way") == managed.WAY)
        return await way.attach(job)

    async def _was_killed(self, attempt: Attempt, ending: Ending) -> bool:
        """Whether an attempt that failed did so because its end was asked for."""
        cancel = self._cancels.get(attempt.number)
        if cancel is None or isinstance(ending.outcome, (frames.Completed, frames.Killed)):
            return False
        return await asyncio.shield(cancel)

    async def _kill(self, order: Kill) -> None:
        attempt = self.attempts.get(order.attempt)
        if attempt is None or attempt.running is None or attempt.cancel_requested:
            return
        attempt.cancel_requested = True
        way: Optional[Way] = self._ways.get(order.attempt)
        if way is None or not attempt.has_begun:
            attempt.running.cancel()
            return
        cancel = asyncio.ensure_future(way.cancel())
        self._cancels[order.attempt] = cancel
        if await cancel:
            await asyncio.wait({attempt.running}, timeout=order.grace)
            attempt.running.cancel()


def job_of(order: Attach) -> Dict[str, Any]:
    """The job that an earlier host accepted. Raises `JobLost`."""
    import json

    try:
        job = json.loads(order.job)
    except ValueError:
        job = None
    if not isinstance(job, dict):
        raise JobLost(f"The job of `{order.engine.name}` cannot be read: {order.job!r}")
    return job
