"""Carries what many tasks ask for at the same time to the server together."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from twitchvault.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Lane", "end"]

ITEMS: Final = 256
"""At most so many items travel together, so that the server's script stays short."""
SIZE: Final = 1 << 20
"""Bytes after which a batch is full; one item alone may be larger."""

AGAIN: Final = 0.1
"""Seconds after which a task that was cancelled and goes on is cancelled once more."""

Item = TypeVar("Item")
Result = TypeVar("Result")


async def end(task: asyncio.Task[None], seconds: float) -> None:
    """Cancel a task and wait for its end, at most for this time.

    More than once if need be: up to Python 3.11 `asyncio.wait_for`, which the driver uses, may
    swallow a cancellation.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while not task.done() and asyncio.get_running_loop().time() < deadline:
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN)


class _Waiting(NamedTuple, Generic[Item]):
    item: Item
    size: int
    future: asyncio.Future[Any]


class Lane(Generic[Item, Result]):
    """One batch is under way at a time; what is asked for meanwhile is the next one.

    `carry` takes a batch's items and returns as many results; one that is an exception is raised
    to whom it belongs. What `carry` raises itself is raised to all of the batch. Who is cancelled
    before his batch leaves is left out of it; later he disturbs nobody.
    """

    def __init__(self, carry: Callable[[list[Item]], Awaitable[list[Result | StoreError]]]) -> None:
        self._carry = carry
        self._queue: deque[_Waiting[Item]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: Item, size: int = 0) -> Result:
        """The result for this item."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(item, size, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="twitchvault-redis-lane")
        return await future

    async def finish(self, seconds: float, error: StoreError) -> None:
        """Let what is waiting go through, at most for this time; the rest gets `error`."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)
        if self._task is not None:
            await end(self._task, seconds)
        self._refuse(error)

    async def _work(self) -> None:
        batch: list[_Waiting[Item]] = []
        try:
            while batch := self._next():
                await self._deliver(batch)
        except asyncio.CancelledError:
            _fail(batch, StoreUnavailable("the store was closed while this was under way"))
            raise
        finally:
            self._task = None

    def _next(self) -> list[_Waiting[Item]]:
        """The next batch, without those who have gone."""
        batch: list[_Waiting[Item]] = []
        size = 0
        while self._queue and len(batch) < ITEMS and (not batch or size < SIZE):
            waiting = self._queue.popleft()
            if not waiting.future.done():
                batch.append(waiting)
                size += waiting.size
        return batch

    async def _deliver(self, batch: list[_Waiting[Item]]) -> None:
        try:
            results = await self._carry([waiting.item for waiting in batch])
        except StoreUnavailable as error:
            _fail(batch, error)
            # The server did not answer for as long as one may wait: no use in waiting once more.
            self._refuse(StoreUnavailable(f"{error}; this was not sent"))
        except Exception as error:
            _fail(batch, error)
        else:
            for waiting, result in zip(batch, results, strict=True):
                _settle(waiting.future, result)

    def _refuse(self, error: StoreError) -> None:
        """Raise `error` to all who still wait for their batch."""
        refused = list(self._queue)
        self._queue.clear()
        _fail(refused, error)


def _fail(batch: list[_Waiting[Any]], error: Exception) -> None:
    for waiting in batch:
        _settle(waiting.future, error)


def _settle(future: asyncio.Future[Any], result: object) -> None:
    """Give a result or an error of his own to one who may have gone."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(copy.copy(result))
    else:
        future.set_result(result)
