"""Requests that wait at the same time travel together."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twitchvault.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence

Request = TypeVar("Request")
Result = TypeVar("Result")
_Waiting = tuple["asyncio.Future[Any]", Request]


class Batcher(Generic[Request, Result]):
    """Sends one batch at a time; what is submitted meanwhile makes up the next one.

    `send` takes the requests of a batch, at most `size`, and returns as many results; a result that
    is an error is raised to its caller. An error that `send` raises is raised to every caller of
    the batch. With `key`, no two requests of a batch have the same one. A request whose caller is
    cancelled before the batch leaves is dropped.
    """

    def __init__(
        self,
        send: Callable[[list[Request]], Awaitable[Sequence[Result | StoreError]]],
        size: int,
        *,
        key: Callable[[Request], Hashable] | None = None,
    ) -> None:
        self._send = send
        self._size = size
        self._key = key or (lambda _: object())
        self._queue: deque[_Waiting[Request]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Result:
        """The result of this request."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((future, request))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="twitchvault batches")
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
            while self._queue:
                batch = self._next_batch()
                await self._send_batch(batch)
        except asyncio.CancelledError:
            msg = "the store was closed before an answer came: a write may have taken place"
            _fail(batch, StoreUnavailable(msg))
            self._fail_queue("the store was closed")
            raise

    def _next_batch(self) -> list[_Waiting[Request]]:
        batch: list[_Waiting[Request]] = []
        keys = set()
        while self._queue and len(batch) < self._size:
            future, request = self._queue[0]
            key = self._key(request)
            if key in keys:
                break
            self._queue.popleft()
            if not future.done():
                keys.add(key)
                batch.append((future, request))
        return batch

    async def _send_batch(self, batch: list[_Waiting[Request]]) -> None:
        try:
            results = await self._send([request for _, request in batch]) if batch else []
        except Exception as error:
            _fail(batch, error)
            if isinstance(error, StoreUnavailable):  # do not make each batch wait for that again
                self._fail_queue(f"the call before it failed: {error}")
        else:
            for (future, _), result in zip(batch, results, strict=True):
                _resolve(future, result)

    def _fail_queue(self, reason: str) -> None:
        queue, self._queue = self._queue, deque()
        _fail(queue, StoreUnavailable(f"this was not sent, as {reason}"))


async def cancel_and_wait(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for them, two seconds at most.

    More than once if need be: up to Python 3.11 a driver may swallow a cancellation.
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
