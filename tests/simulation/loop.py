"""An event loop in which no time passes: a seed decides whose callback runs next.

Each simulated process is a `Host`. Inside a host callbacks run in the order in which asyncio would
run them; between hosts the seed chooses. Time goes on only when no host has anything to run, and
then to the next timer. A held host runs nothing, and what becomes due meanwhile is due at once when
it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import sys
from asyncio.events import _get_running_loop, _set_running_loop
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.simulation.host import HOST, Callback, Host

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
    from contextvars import Context

    from tests.simulation.host import Timer

__all__ = ["IdleError", "SimLoop"]

TICKS: Final = float(1 << 20)
"""Ticks of the virtual clock in a second: a power of two, so that sums of times are exact."""
CLOSINGS: Final = 5

_T = TypeVar("_T")


class IdleError(Exception):
    """Nothing is left to run, and no timer will ever be due."""


class SimTask(asyncio.Task[_T]):
    """A task whose place in a set does not depend on where in memory it lies."""

    __slots__ = ("number",)
    number: int

    def __init__(
        self,
        number: int,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        loop: SimLoop,
        name: str | None,
        context: Context | None,
    ) -> None:
        # asyncio puts it into a set at once.
        self.number = number
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self.number


class SimFuture(asyncio.Future[_T]):
    """The same for a future."""

    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.BaseEventLoop):
    """The loop of all hosts; `ground` is the world's own: what no context claims belongs to it."""

    def __init__(self, chance: random.Random, limit: float = math.inf) -> None:
        super().__init__()
        self.now = 0.0
        """Virtual time, in seconds."""
        self.ground = Host("world")
        self.hosts = [self.ground]
        self._timers: list[Timer] = []
        self._queues = [self.ground.ready]
        self.current = self.ground
        self.failures: list[tuple[Host, dict[str, Any]]] = []
        self.steps = 0
        self.limit = limit
        """A run that takes more steps goes round in circles."""
        self._number = itertools.count()
        self._random = chance.random

    # Hosts

    def add(self, host: Host) -> Host:
        """From now on run this host."""
        self.hosts.append(host)
        self._choose_from()
        return host

    def _choose_from(self) -> None:
        self._queues = [host.ready for host in self.hosts if not host.held]

    def hold(self, host: Host) -> None:
        """Run nothing of this host any more."""
        if not host.held:
            host.held, host.held_since = True, self.now
            self._choose_from()

    def release(self, host: Host, *, suspended: bool = False) -> None:
        """Go on with it; if it was suspended, its monotonic clock has stood still meanwhile."""
        if not host.held:
            return
        away = self.now - host.held_since
        host.held = False
        host.still += away
        if suspended:
            host.offset -= away
            self._put_off(host, away)
        missed, host.missed = host.missed, []
        for timer in missed:
            if timer[0] <= self.now:
                host.ready.append(timer[-1])
            else:
                heapq.heappush(self._timers, timer)
        self._choose_from()

    def _put_off(self, host: Host, seconds: float) -> None:
        for timers in (host.missed, self._timers):
            timers[:] = [
                (due + seconds, number, owner, callback)
                if owner is host
                else (due, number, owner, callback)
                for due, number, owner, callback in timers
            ]
        heapq.heapify(self._timers)

    def kill(self, host: Host) -> None:
        """This host never runs again. Its tasks are kept: nothing of it is collected yet."""
        host.dead = True
        host.ready.clear()
        host.missed.clear()
        if host in self.hosts:
            self.hosts.remove(host)
            self._choose_from()

    def post(self, host: Host, hops: int, call: Callable[..., object], *args: object) -> None:
        """Let `call` run in a host after so many turns of it, as what comes from a socket does."""
        if not host.dead:
            host.ready.append(Callback(host.context, (call, *args), 0.0, hops))

    def at(self, delay: float, call: Callable[..., object], *args: object) -> None:
        """Let the world do this so many seconds from now."""
        when = self.now + delay
        callback = Callback(self.ground.context, (call, *args), when)
        heapq.heappush(self._timers, (when, next(self._number), self.ground, callback))

    # Running

    def run_to(self, time: float) -> None:
        """Run until the virtual time is this, and nothing that is due then has run.

        `IdleError` if nothing is left to run before. It also ends if it goes round in circles.
        """
        with self._running():
            while self.now < time and self._run_ready():
                self._advance()

    def run_until(self, done: Callable[[], bool]) -> None:
        """The same until `done` says so, which is asked before time goes on and after it did."""
        with self._running():
            while not done() and self._run_ready():
                if not done():
                    self._advance()

    def too_long(self) -> bool:
        """Whether it goes round in circles."""
        return self.steps > self.limit

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        _set_running_loop(self)
        try:
            yield
        finally:
            _set_running_loop(None)

    def _run_ready(self) -> bool:
        """Run all that is ready; False if that takes too long."""
        chance, limit = self._random, self.limit
        while queues := [queue for queue in self._queues if queue]:
            if self.steps > limit:
                return False
            ready = queues[int(chance() * len(queues))] if len(queues) > 1 else queues[0]
            callback = ready.popleft()
            if callback.gone:
                continue
            host = ready.host
            host.steps += 1
            if host.steps == host.trap_at:
                ready.appendleft(callback)
                host.trap()
                continue
            self.steps += 1
            if callback.hops:
                callback.hops -= 1
                ready.append(callback)
                continue
            self.current = host
            try:
                callback.context.run(*callback.call)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                context = {"message": "a callback failed", "exception": error}
                self.call_exception_handler(context)
        return not self.too_long()

    def _advance(self) -> None:
        timers, ready = self._timers, False
        while timers:
            due, _, host, callback = timers[0]
            if host.held and not callback.gone:
                host.missed.append(timers[0])
            elif not (callback.gone or host.dead):
                if not ready:
                    # As on a real machine never too early, and next to nothing too late.
                    self.now = max(self.now, math.ceil(due * TICKS) / TICKS)
                    ready = True
                elif due > self.now:
                    return
                host.ready.append(callback)
            heapq.heappop(timers)
        if not ready:
            raise IdleError

    # What asyncio asks of a loop

    def time(self) -> float:
        """The monotonic clock of the host that runs."""
        return self.now + self.current.offset

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Callback:
        """Run it after what its host has to run already."""
        context = copy_context() if context is None else context
        handle = Callback(context, (callback, *args))
        host = context.get(HOST, self.ground)
        if not host.dead:
            host.ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> Callback:
        """Run it at a time of its host's monotonic clock."""
        context = copy_context() if context is None else context
        handle = Callback(context, (callback, *args), when)
        host = context.get(HOST, self.ground)
        if host.dead:
            return handle
        if when <= self.now + host.offset and not host.held:
            host.ready.append(handle)
        else:
            due = when - host.offset
            heapq.heappush(self._timers, (due, next(self._number), host, handle))
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> Callback:
        """Run it so many seconds from now."""
        when = self.now + self.current.offset + delay
        return self.call_at(when, callback, *args, context=context)

    def waiter(self) -> asyncio.Future[Any]:
        """A future for one task alone, cheap to await; in a set it has no fixed place."""
        next(self._number)
        return asyncio.Future(loop=self)

    def create_future(self) -> SimFuture[Any]:
        """A future of this loop."""
        future: SimFuture[Any] = SimFuture(loop=self)
        future.number = next(self._number)
        return future

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> SimTask[_T]:
        """A task of the host that its context belongs to; that host keeps it."""
        task = SimTask(next(self._number), coro, self, name, context)
        host = HOST.get(self.ground) if context is None else context.get(HOST, self.ground)
        host.tasks.append(task)
        return task

    get_debug = staticmethod(bool)
    """Never: asked for each future, and quickly answered."""

    def is_running(self) -> bool:
        """Whether `run_until` is at it."""
        return _get_running_loop() is self

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what nobody caught."""
        if not self._closed and not self.current.dead:
            self.failures.append((self.current, context))

    def run_until_complete(self, future: Awaitable[_T]) -> _T:  # type: ignore[override]
        """Run until this is done, and return its result."""
        task = asyncio.ensure_future(future, loop=self)
        self.run_until(task.done)
        return task.result()

    async def shutdown_asyncgens(self) -> None:
        """Nothing: the hosts keep them."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing: there is none."""

    def close(self) -> None:
        """End all hosts, and everything that their tasks still hold open."""
        self._closed = True
        hosts, self.hosts = self.hosts, []
        for host in hosts:
            self.kill(host)

    def dispose(self, host: Host) -> None:
        """Unwind the tasks of a dead host. What they would still do has no effect any more."""
        self.current = host
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            for task in host.tasks:
                if not task.done():
                    host.context.copy().run(_unwind, task)
            host.tasks.clear()
        finally:
            sys.unraisablehook = hook


def _unwind(task: SimTask[Any]) -> None:
    coroutine = task.get_coro()
    for _ in range(CLOSINGS):
        # It may catch what ends it, and wait again.
        with contextlib.suppress(BaseException):
            coroutine.close()
            return
