"""Carries what many tasks ask for at the same time to the server together."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from twitchvault.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from twitchvault.errors import StoreError

__all__ = ["Batcher", "cancel_and_wait"]

ITEMS: Final = 256  # in a batch at most, so that the server's script stays short

Request = TypeVar("Request")
Result = TypeVar("Result")
_Waiting = tuple["asyncio.Future[Any]", Request]


class Batcher(Generic[Request, Result]):
    """Has one batch under way at a time; what is asked for meanwhile is the next one.

    `send` takes a batch's requests and returns as many results; one that is an error is raised to
    whoever asked. An error that `send` raises is raised to all of the batch. Whoever is cancelled
    before the batch leaves is left out of it; the others do not notice.
    """

    def __init__(
        self, send: Callable[[list[Request]], Awaitable[list[Result | StoreError]]]
    ) -> None:
        self._send = send
        self._queue: deque[_Waiting[Request]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Result:
        """The result of this request."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((future, request))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="twitchvault-redis-batches")
        return await future

    async def close(self, seconds: float) -> None:
        """Wait for what was submitted, at most for this time; the rest fails."""
        task = self._task
        if task is not None:
            await asyncio.wait({task}, timeout=seconds)
            await cancel_and_wait({task})

    async def _run(self) -> None:
        batch: list[_Waiting[Request]] = []
        try:
            while batch := self._next_batch():
                await self._send_batch(batch)
        except asyncio.CancelledError:
            _fail(batch, StoreUnavailable("the store was closed while this was under way"))
            self._refuse_rest("the store was closed")
            raise
        finally:
            self._task = None

    def _next_batch(self) -> list[_Waiting[Request]]:
        batch: list[_Waiting[Request]] = []
        while self._queue and len(batch) < ITEMS:
            waiting = self._queue.popleft()
            if not waiting[0].done():
                batch.append(waiting)
        return batch

    async def _send_batch(self, batch: list[_Waiting[Request]]) -> None:
        try:
            results = await self._send([request for _, request in batch])
        except Exception as error:
            _fail(batch, error)
            if isinstance(error, StoreUnavailable):  # who has waited for that need not wait again
                self._refuse_rest(f"the call before it failed: {error}")
        else:
            for (future, _), result in zip(batch, results, strict=True):
                _resolve(future, result)

    def _refuse_rest(self, reason: str) -> None:
        rest, self._queue = self._queue, deque()
        _fail(rest, StoreUnavailable(f"this was not sent, as {reason}"))


async def cancel_and_wait(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for them, two seconds at most.

    More than once if need be: up to Python 3.11 the driver may swallow a cancellation.
    """
    for _ in range(20):
        if any(task.cancel() for task in tasks):
            await asyncio.wait(tasks, timeout=0.1)


def _fail(waiting: Iterable[_Waiting[Any]], error: Exception) -> None:
    for future, _ in waiting:
        _resolve(future, error)


def _resolve(future: asyncio.Future[Any], result: object) -> None:
    """Give a result, or an error of its own, to a caller who may have gone."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(copy.copy(result))
    else:
        future.set_result(result)
