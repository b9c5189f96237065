"""Carries what many tasks ask for at the same time to the server together."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from twitchvault.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

__all__ = ["Batcher"]

ITEMS: Final = 256
"""At most so many requests in a batch, so that the server's script stays short."""
SIZE: Final = 1 << 20
"""Bytes after which a batch is full; one request alone may be larger."""

Request = TypeVar("Request")
Result = TypeVar("Result")


class _Waiting(NamedTuple, Generic[Request]):
    request: Request
    size: int
    future: asyncio.Future[Any]


class Batcher(Generic[Request, Result]):
    """Has one batch under way at a time; what is asked for meanwhile is the next one.

    `send` takes a batch's requests and returns as many results; one that is an exception is raised
    to whoever asked. An exception that `send` raises is raised to all of the batch. Whoever is
    cancelled before the batch leaves is left out of it; the others do not notice.
    """

    def __init__(
        self, send: Callable[[list[Request]], Awaitable[list[Result | StoreError]]]
    ) -> None:
        self._send = send
        self._queue: deque[_Waiting[Request]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, request: Request, size: int = 0) -> Result:
        """The result of this request."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(request, size, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="twitchvault-redis-batches")
        return await future

    async def close(self, seconds: float) -> None:
        """Wait for what was submitted, at most for this time; the rest fails."""
        task = self._task
        if task is None:
            return
        await asyncio.wait({task}, timeout=seconds)
        task.cancel()  # does nothing to one that is done
        _fail(self._queue, StoreUnavailable("the store was closed; this was not sent"))
        await asyncio.wait({task}, timeout=seconds)

    async def _run(self) -> None:
        batch: list[_Waiting[Request]] = []
        try:
            while batch := self._next_batch():
                await self._send_batch(batch)
        except asyncio.CancelledError:
            _fail(batch, StoreUnavailable("the store was closed while this was under way"))
            raise
        finally:
            self._task = None

    def _next_batch(self) -> list[_Waiting[Request]]:
        batch: list[_Waiting[Request]] = []
        size = 0
        while self._queue and len(batch) < ITEMS and (not batch or size < SIZE):
            waiting = self._queue.popleft()
            if not waiting.future.done():
                batch.append(waiting)
                size += waiting.size
        return batch

    async def _send_batch(self, batch: list[_Waiting[Request]]) -> None:
        try:
            results = await self._send([waiting.request for waiting in batch])
        except StoreUnavailable as error:
            _fail(batch, error)
            # The others have waited for as long as a call may take: they need not do so once more.
            rest, self._queue = self._queue, deque()
            _fail(rest, StoreUnavailable(f"this was not sent, as the call before failed: {error}"))
        except Exception as error:
            _fail(batch, error)
        else:
            for waiting, result in zip(batch, results, strict=True):
                _resolve(waiting.future, result)


def _fail(batch: Iterable[_Waiting[Any]], error: Exception) -> None:
    for waiting in batch:
        _resolve(waiting.future, error)


def _resolve(future: asyncio.Future[Any], result: object) -> None:
    """Give a result, or an error of its own, to a caller who may have gone."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(copy.copy(result))
    else:
        future.set_result(result)
