"""An event loop in which no time passes: a seed decides whose callback runs next.

Each simulated process is a `Lane`. Inside a lane callbacks run in the order in which asyncio would
run them; between lanes the seed chooses. Time goes on only when no lane has anything to run, and
then to the next timer. A held lane runs nothing, and what becomes due meanwhile is due at once when
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

from tests.simulation.lane import LANE, Callback, Lane

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
    from contextvars import Context

    from tests.simulation.lane import Timer

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
    """The loop of all lanes; `ground` is the world's own: what no context claims belongs to it."""

    def __init__(self, chance: random.Random, limit: float = math.inf) -> None:
        super().__init__()
        self.now = 0.0
        """Virtual time, in seconds."""
        self.ground = Lane("world")
        self.lanes = [self.ground]
        self._timers: list[Timer] = []
        self._queues = [self.ground.ready]
        self.current = self.ground
        self.failures: list[tuple[Lane, dict[str, Any]]] = []
        self.steps = 0
        self.limit = limit
        """A run that takes more steps goes round in circles."""
        self._number = itertools.count()
        self._random = chance.random
        self._closed = False

    # Lanes

    def add(self, lane: Lane) -> Lane:
        """From now on run this lane."""
        self.lanes.append(lane)
        self._choose_from()
        return lane

    def _choose_from(self) -> None:
        self._queues = [lane.ready for lane in self.lanes if not lane.held]

    def hold(self, lane: Lane) -> None:
        """Run nothing of this lane any more."""
        if not lane.held:
            lane.held, lane.held_since = True, self.now
            self._choose_from()

    def release(self, lane: Lane, *, suspended: bool = False) -> None:
        """Go on with it; if it was suspended, its monotonic clock has stood still meanwhile."""
        if not lane.held:
            return
        away = self.now - lane.held_since
        lane.held = False
        lane.still += away
        if suspended:
            lane.offset -= away
            self._put_off(lane, away)
        missed, lane.missed = lane.missed, []
        for timer in missed:
            if timer[0] <= self.now:
                lane.ready.append(timer[-1])
            else:
                heapq.heappush(self._timers, timer)
        self._choose_from()

    def _put_off(self, lane: Lane, seconds: float) -> None:
        for timers in (lane.missed, self._timers):
            timers[:] = [
                (due + seconds, number, owner, callback)
                if owner is lane
                else (due, number, owner, callback)
                for due, number, owner, callback in timers
            ]
        heapq.heapify(self._timers)

    def kill(self, lane: Lane) -> None:
        """This lane never runs again. Its tasks are kept: nothing of it is collected yet."""
        lane.dead = True
        lane.ready.clear()
        lane.missed.clear()
        if lane in self.lanes:
            self.lanes.remove(lane)
            self._choose_from()

    def post(self, lane: Lane, hops: int, call: Callable[..., object], *args: object) -> None:
        """Let `call` run in a lane after so many turns of it, as what comes from a socket does."""
        if not lane.dead:
            lane.ready.append(Callback(lane.context.run, (call, *args), 0.0, hops))

    def at(self, delay: float, call: Callable[..., object], *args: object) -> None:
        """Let the world do this so many seconds from now."""
        when = self.now + delay
        callback = Callback(call, args, when)
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
        chance = self._random
        while queues := list(filter(None, self._queues)):
            if self.steps > self.limit:
                return False
            ready = queues[int(chance() * len(queues))] if len(queues) > 1 else queues[0]
            callback, lane = ready.popleft(), ready.lane
            if callback.gone:
                continue
            lane.steps += 1
            if lane.steps == lane.trap_at:
                ready.appendleft(callback)
                lane.trap()
                continue
            self.steps += 1
            if callback.hops:
                callback.hops -= 1
                ready.append(callback)
                continue
            self.current = lane
            try:
                callback.call(*callback.parameters)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                context = {"message": "a callback failed", "exception": error}
                self.call_exception_handler(context)
        return not self.too_long()

    def _advance(self) -> None:
        timers, ready = self._timers, False
        while timers:
            due, _, lane, callback = timers[0]
            if lane.held and not callback.gone:
                lane.missed.append(timers[0])
            elif not (callback.gone or lane.dead):
                if not ready:
                    # As on a real machine never too early, and next to nothing too late.
                    self.now = max(self.now, math.ceil(due * TICKS) / TICKS)
                    ready = True
                elif due > self.now:
                    return
                lane.ready.append(callback)
            heapq.heappop(timers)
        if not ready:
            raise IdleError

    # What asyncio asks of a loop

    def time(self) -> float:
        """The monotonic clock of the lane that runs."""
        return self.now + self.current.offset

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Callback:
        """Run it after what its lane has to run already."""
        context = copy_context() if context is None else context
        handle = Callback(context.run, (callback, *args))
        lane = context.get(LANE, self.ground)
        if not lane.dead:
            lane.ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> Callback:
        """Run it at a time of its lane's monotonic clock."""
        context = copy_context() if context is None else context
        handle = Callback(context.run, (callback, *args), when)
        lane = context.get(LANE, self.ground)
        if lane.dead:
            return handle
        if when <= self.now + lane.offset and not lane.held:
            lane.ready.append(handle)
        else:
            due = when - lane.offset
            heapq.heappush(self._timers, (due, next(self._number), lane, handle))
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
        """A task of the lane that its context belongs to; that lane keeps it."""
        task = SimTask(next(self._number), coro, self, name, context)
        lane = LANE.get(self.ground) if context is None else context.get(LANE, self.ground)
        lane.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whether `run_until` is at it."""
        return _get_running_loop() is self

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

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
        """Nothing: the lanes keep them."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing: there is none."""

    def close(self) -> None:
        """End all lanes, and everything that their tasks still hold open."""
        self._closed = True
        lanes, self.lanes = self.lanes, []
        for lane in lanes:
            self.kill(lane)

    def dispose(self, lane: Lane) -> None:
        """Unwind the tasks of a dead lane. What they would still do has no effect any more."""
        self.current = lane
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            for task in lane.tasks:
                if not task.done():
                    lane.context.copy().run(_unwind, task)
            lane.tasks.clear()
        finally:
            sys.unraisablehook = hook


def _unwind(task: SimTask[Any]) -> None:
    coroutine = task.get_coro()
    for _ in range(CLOSINGS):
        # It may catch what ends it, and wait again.
        with contextlib.suppress(BaseException):
            coroutine.close()
            return
