"""Stores as their users would write them: nothing but `get`, `put`, `delete`, `scan`."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from twitchvault import Change, Entry, Feed, MemoryStore, TokenStore, Watchable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Hook = Callable[[str, str], Awaitable[None]]


async def nothing(_operation: str, _key: str) -> None:
    """A hook that lets all calls pass."""


class OwnStore(TokenStore):
    """A store over another one; it is not watchable.

    `before(operation, key)` and `after(operation, key)` may wait or raise; `broken` is raised by
    every write. `calls` counts the operations.
    """

    def __init__(self, inner: TokenStore | None = None) -> None:
        self.inner = inner or MemoryStore()
        self.calls: Counter[str] = Counter()
        self.before: Hook = nothing
        self.after: Hook = nothing
        self.broken: BaseException | None = None

    async def open(self) -> None:
        """Open the inner store."""
        await self.inner.open()

    async def get(self, key: str) -> Entry | None:
        """As the inner store, between the hooks."""
        await self._begin("get", key)
        entry = await self.inner.get(key)
        await self.after("get", key)
        return entry

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """As the inner store, between the hooks."""
        await self._begin("put", key)
        version = await self.inner.put(key, value, expect=expect)
        await self.after("put", key)
        return version

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """As the inner store, between the hooks."""
        await self._begin("delete", key)
        deleted = await self.inner.delete(key, expect=expect)
        await self.after("delete", key)
        return deleted

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The entries of the inner store, after `before`."""
        await self._begin("scan", prefix)
        async for entry in self.inner.scan(prefix):
            yield entry

    async def _begin(self, operation: str, key: str) -> None:
        self.calls[operation] += 1
        await self.before(operation, key)
        if self.broken is not None and operation in {"put", "delete"}:
            raise self.broken


class OwnFeed(Feed):
    """A feed over another one."""

    def __init__(self, inner: Feed) -> None:
        self.inner = inner

    async def wait(self) -> list[Change]:
        """As the inner feed."""
        return await self.inner.wait()

    def drain(self) -> list[Change]:
        """As the inner feed."""
        return self.inner.drain()

    async def catch_up(self) -> list[Change]:
        """As the inner feed."""
        return await self.inner.catch_up()


class WatchedStore(OwnStore, Watchable):
    """An `OwnStore` that can be watched as the inner store can; `feeds` are those it has given."""

    def __init__(
        self, inner: TokenStore | None = None, make_feed: Callable[[Feed], Feed] = OwnFeed
    ) -> None:
        super().__init__(inner)
        self.feeds: list[Any] = []
        self._make_feed = make_feed

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """The inner store's feed, in one of `make_feed`."""
        assert isinstance(self.inner, Watchable)
        async with self.inner.watch(prefix) as feed:
            self.feeds.append(self._make_feed(feed))
            yield self.feeds[-1]


class Broken:
    """A hook that fails while `down`, for the operations it is given."""

    def __init__(self, *operations: str) -> None:
        self.operations = operations
        self.down = True

    async def __call__(self, operation: str, key: str) -> None:
        """Fail or pass."""
        if self.down and operation in self.operations:
            raise OSError(f"connect to db://user:hunter2@host: {operation} of {key!r}")


class Once:
    """A hook that raises `error` at the first call of one operation."""

    def __init__(self, operation: str, error: BaseException) -> None:
        self.operation = operation
        self.error = error
        self.raised = asyncio.Event()

    async def __call__(self, operation: str, _key: str) -> None:
        """Raise or pass."""
        if operation == self.operation and not self.raised.is_set():
            self.raised.set()
            raise self.error


class Held:
    """A hook that holds all calls of some operations until its release."""

    def __init__(self, *operations: str) -> None:
        self.operations = operations
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, operation: str, _key: str) -> None:
        """Wait or pass."""
        if operation in self.operations:
            self.reached.set()
            await self.released.wait()
