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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Write:
    """A put or, when `value` is None, a delete; `done` gets its version, 0 if not written."""

    key: bytes
    value: bytes | None
    expect: int | None
    done: asyncio.Future[int]


class Batcher:
    """Commits the writes that wait, up to 1,000 at a time, each key at most once among them.

    Writes of one key are carried out in the order in which they were submitted.
    """

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
            except asyncio.CancelledError:  # the loop ends, or the file does not answer
                self._fail_all(group, _NO_ANSWER)
            except StoreUnavailable as error:
                self._fail_all(group, error)
            except Exception as error:
                _fail(group, error)
            else:
                for write in group:
                    if not write.done.done():
                        write.done.set_result(versions.get(write.key, 0))

    def _fail_all(self, group: list[Write], error: Exception) -> None:
        """Nobody has to wait for that long once more."""
        _fail(chain(group, *self._waiting.values()), error)
        self._waiting.clear()

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
