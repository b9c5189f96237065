"""The group commit: writes that wait at the same time share one statement."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

_GROUP: Final = 1_000
_NO_ANSWER: Final = StoreUnavailable("no answer from the file: this write may have taken place")


@dataclass(slots=True, eq=False, repr=False)
class Write:
    """A put or, when `value` is None, a delete; `done` gets its version, 0 if not written."""

    key: bytes
    value: bytes | None
    expect: int | None
    done: asyncio.Future[int]


class Batcher:
    """Commits up to 1,000 writes at a time, of a key one at a time, in the order of the calls."""

    def __init__(self, commit: Callable[[Sequence[Write]], Awaitable[Mapping[bytes, int]]]) -> None:
        self._commit = commit
        self._waiting: dict[bytes, deque[Write]] = {}
        self.task: asyncio.Task[None] | None = None  # ends when nothing waits

    async def submit(self, key: bytes, value: bytes | None, expect: int | None) -> int:
        """The new version once it is durable; 0 if the expectation does not hold.

        A caller that is cancelled takes back a write that is not on its way to the file yet.
        """
        write = Write(key, value, expect, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(key, deque()).append(write)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._commit_all())
        return await write.done

    async def _commit_all(self) -> None:
        while self._waiting:
            group = self._next_group()
            try:
                versions = await self._commit(group) if group else {}
            except (asyncio.CancelledError, StoreUnavailable) as error:
                failure = error if isinstance(error, StoreUnavailable) else _NO_ANSWER
                _fail(
                    chain(group, *self._waiting.values()), failure
                )  # nobody waits that long twice
                self._waiting.clear()
            except Exception as error:
                _fail(group, error)
            else:
                for write in group:
                    if not write.done.done():
                        write.done.set_result(versions.get(write.key, 0))

    def _next_group(self) -> list[Write]:
        group = []
        for key in list(islice(self._waiting, _GROUP)):
            writes = self._waiting.pop(key)
            group.append(writes.popleft())
            if writes:
                self._waiting[key] = writes  # behind all others
        return [write for write in group if not write.done.done()]


def _fail(writes: Iterable[Write], error: Exception) -> None:
    for write in writes:
        if not write.done.done():
            write.done.set_exception(copy.copy(error))  # each caller gets one of its own
