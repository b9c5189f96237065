"""Stores as their users would write them: nothing but `get`, `put`, `delete`, `scan`."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from twitchvault import Entry, MemoryStore, StoreUnavailable, TokenStore, Watchable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from twitchvault import Feed


class OwnStore(TokenStore):
    """A store over another one; it is not watchable.

    `before(operation, key)` may wait or raise; `broken` is raised by every write. `calls` counts
    the operations.
    """

    def __init__(self, inner: TokenStore | None = None) -> None:
        self.inner = inner or MemoryStore()
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str, str], Awaitable[None]] = nothing
        self.broken: BaseException | None = None

    async def open(self) -> None:
        """Open the inner store."""
        await self.inner.open()

    async def get(self, key: str) -> Entry | None:
        """`before`, then as the inner store."""
        await self._begin("get", key)
        return await self.inner.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """`before`, then as the inner store."""
        await self._begin("put", key)
        return await self.inner.put(key, value, expect=expect)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """`before`, then as the inner store."""
        await self._begin("delete", key)
        return await self.inner.delete(key, expect=expect)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """`before`, then the entries of the inner store."""
        await self._begin("scan", prefix)
        async for entry in self.inner.scan(prefix):
            yield entry

    async def _begin(self, operation: str, key: str) -> None:
        self.calls[operation] += 1
        await self.before(operation, key)
        if self.broken is not None and operation in {"put", "delete"}:
            raise self.broken


class WatchedStore(OwnStore, Watchable):
    """An `OwnStore` that can be watched as the inner store can."""

    def watch(self, prefix: str = "") -> AbstractAsyncContextManager[Feed]:
        """The inner store's feed."""
        assert isinstance(self.inner, Watchable)
        return self.inner.watch(prefix)


class Broken:
    """A `before` that fails while `down`, for the operations that it is told."""

    def __init__(self, *operations: str) -> None:
        self.operations = operations
        self.down = True

    async def __call__(self, operation: str, key: str) -> None:
        """Fail or pass."""
        if self.down and operation in self.operations:
            raise OSError(f"connect to db://user:hunter2@host: {operation} of {key!r}")


class Held:
    """A `before` that holds all calls of an operation, after `skip` of them, until its release."""

    def __init__(self, operation: str, skip: int = 0) -> None:
        self.operation = operation
        self.skip = skip
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, operation: str, _key: str) -> None:
        """Wait or pass."""
        if operation != self.operation:
            return
        if self.skip:
            self.skip -= 1
            return
        self.reached.set()
        await self.released.wait()


async def nothing(_operation: str, _key: str) -> None:
    """A `before` that lets all pass."""


class DeniedError(StoreUnavailable):
    """An error of the user's own; its constructor does not take a message."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} denies")
        self.host = host
        self.port = port
