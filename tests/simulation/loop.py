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
from collections import deque
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from contextvars import Context

__all__ = ["LANE", "IdleError", "Lane", "SimLoop"]

TICKS: Final = float(1 << 20)
"""Ticks of the virtual clock in a second: a power of two, so that sums of times are exact."""
CLOSINGS: Final = 5

_T = TypeVar("_T")


class IdleError(Exception):
    """Nothing is left to run, and no timer will ever be due."""


class Callback(asyncio.TimerHandle):
    """A callback with its context, in the queue of a lane or waiting for its time."""

    __slots__ = ("call", "due", "gone", "parameters", "place")

    def __init__(
        self, call: Callable[..., object], parameters: tuple[Any, ...], place: Context, due: float
    ) -> None:  # pylint: disable=super-init-not-called
        self.call = call
        self.parameters = parameters
        self.place = place
        self.due = due
        self.gone = False

    def __repr__(self) -> str:
        return f"<Callback {self.call!r}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def cancel(self) -> None:
        """Never run it."""
        self.gone = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.gone

    def when(self) -> float:
        """The time of its lane's monotonic clock at which it is due."""
        return self.due


class Lane:
    """One simulated process as the loop sees it: what it has to run, its timers, its clock."""

    def __init__(self, name: str, *, offset: float = 0.0) -> None:
        self.name = name
        self.context = copy_context()
        self.context.run(LANE.set, self)
        self.ready: deque[Callback] = deque()
        self.timers: list[tuple[float, int, Callback]] = []
        self.tasks: list[SimTask[Any]] = []
        self.offset = offset
        """What its monotonic clock shows more than the virtual one."""
        self.held = False
        self.dead = False
        self.steps = 0
        self.trap_at = 0
        """Before this step `trap` is called; 0: never."""
        self.trap: Callable[[], None] = lambda: None
        self.still = 0.0
        """Seconds for which it was held, without the present time."""
        self.held_since = 0.0

    def __repr__(self) -> str:
        return f"<Lane {self.name}>"

    def move_due(self, now: float) -> None:
        """Timers that are due become ready, the earliest first."""
        clock, timers = now + self.offset, self.timers
        while timers and timers[0][0] <= clock:
            callback = heapq.heappop(timers)[2]
            if not callback.gone:
                self.ready.append(callback)

    def next_due(self) -> float:
        """The virtual time of its next timer; infinite if there is none."""
        timers = self.timers
        while timers and timers[0][2].gone:
            heapq.heappop(timers)
        return timers[0][0] - self.offset if timers else math.inf

    def ran(self, now: float) -> float:
        """Seconds for which it was not held, plus a constant."""
        return now - self.still - (now - self.held_since if self.held else 0.0)


LANE: Final[ContextVar[Lane]] = ContextVar("lane")


class SimTask(asyncio.Task[_T]):
    """A task whose place in a set does not depend on where in memory it lies."""

    number = 0

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimFuture(asyncio.Future[_T]):
    """The same for a future."""

    number = 0

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """The loop of all lanes; `ground` is the world's own: what no context claims belongs to it."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.now = 0.0
        """Virtual time, in seconds."""
        self.ground = Lane("world")
        self.lanes = [self.ground]
        self.current = self.ground
        self.failures: list[tuple[Lane, dict[str, Any]]] = []
        self.steps = 0
        self._number = itertools.count()
        self._random = chance.random
        self._closed = False

    # Lanes

    def add(self, lane: Lane) -> Lane:
        """From now on run this lane."""
        self.lanes.append(lane)
        return lane

    def hold(self, lane: Lane) -> None:
        """Run nothing of this lane any more."""
        if not lane.held:
            lane.held, lane.held_since = True, self.now

    def release(self, lane: Lane, *, suspended: bool = False) -> None:
        """Go on with it; if it was suspended, its monotonic clock has stood still meanwhile."""
        if not lane.held:
            return
        away = self.now - lane.held_since
        lane.held = False
        lane.still += away
        if suspended:
            lane.offset -= away
        lane.move_due(self.now)

    def kill(self, lane: Lane) -> None:
        """This lane never runs again. Its tasks are kept: nothing of it is collected yet."""
        lane.dead = True
        lane.ready.clear()
        lane.timers.clear()
        if lane in self.lanes:
            self.lanes.remove(lane)

    def post(self, lane: Lane, hops: int, call: Callable[..., object], *args: object) -> None:
        """Let `call` run in a lane after so many turns of it, as what comes from a socket does."""
        if lane.dead:
            return
        if hops:
            call, args = self.post, (lane, hops - 1, call, *args)
        lane.ready.append(Callback(call, args, lane.context, 0.0))

    def at(self, delay: float, call: Callable[..., object], *args: object) -> None:
        """Let the world do this so many seconds from now."""
        ground, when = self.ground, self.now + delay
        heapq.heappush(
            ground.timers, (when, next(self._number), Callback(call, args, ground.context, when))
        )

    # Running

    def run_until(self, done: Callable[[], bool]) -> None:
        """Run until `done` says so. `IdleError` if nothing is left to run before."""
        _set_running_loop(self)
        try:
            while not done():
                self._step()
        finally:
            _set_running_loop(None)

    def _step(self) -> None:
        runnable = [lane for lane in self.lanes if lane.ready and not lane.held]
        if not runnable:
            self._advance()
            return
        lane = runnable[int(self._random() * len(runnable))] if len(runnable) > 1 else runnable[0]
        callback = lane.ready.popleft()
        if callback.gone:
            return
        lane.steps += 1
        if lane.steps == lane.trap_at:
            lane.ready.appendleft(callback)
            lane.trap()
            return
        self.steps += 1
        self.current = lane
        try:
            callback.place.run(callback.call, *callback.parameters)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            context = {"message": "a callback failed", "exception": error}
            self.call_exception_handler(context)

    def _advance(self) -> None:
        lanes = [lane for lane in self.lanes if not lane.held]
        due = min(lane.next_due() for lane in lanes)
        if due == math.inf:
            raise IdleError
        # As on a real machine never too early, and by so little too late that it does not matter.
        self.now = max(self.now, math.ceil(due * TICKS) / TICKS)
        for lane in lanes:
            lane.move_due(self.now)

    # What asyncio asks of a loop

    def time(self) -> float:
        """The monotonic clock of the lane that runs."""
        return self.now + self.current.offset

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Callback:
        """Run it after what its lane has to run already."""
        context = copy_context() if context is None else context
        handle = Callback(callback, args, context, 0.0)
        lane = context.get(LANE, self.ground)
        if not lane.dead:
            lane.ready.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> Callback:
        """Run it at a time of its lane's monotonic clock."""
        context = copy_context() if context is None else context
        handle = Callback(callback, args, context, when)
        lane = context.get(LANE, self.ground)
        if lane.dead:
            return handle
        if when <= self.now + lane.offset and not lane.held:
            lane.ready.append(handle)
        else:
            heapq.heappush(lane.timers, (when, next(self._number), handle))
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> Callback:
        """Run it so many seconds from now."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

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
        task: SimTask[_T] = SimTask(coro, loop=self, name=name, context=context)
        task.number = next(self._number)
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
