"""Stores as their users would write them: nothing but `get`, `put`, `delete`, `scan`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from twitchvault import Entry, StoreUnavailable, TokenStore, VersionConflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Table:
    """The database behind a `DictStore`, shared by all that are opened on it."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.version = 0


class DictStore(TokenStore):
    """A store that cannot be watched. `broken` is raised by every write; `gate` holds reads up."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table()
        self.broken: BaseException | None = None
        self.puts = 0
        self.scans = 0

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, or None."""
        await asyncio.sleep(0)
        return self.table.entries.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value`; its version."""
        await asyncio.sleep(0)
        self.puts += 1
        self._check(key, expect)
        self.table.version += 1
        self.table.entries[key] = Entry(key, self.table.version, value)
        return self.table.version

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; whether it was there."""
        await asyncio.sleep(0)
        self._check(key, expect)
        if self.table.entries.pop(key, None) is None:
            return False
        self.table.version += 1
        return True

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The entries of one moment."""
        self.scans += 1
        for entry in list(self.table.entries.values()):
            await asyncio.sleep(0)
            if entry.key.startswith(prefix):
                yield entry

    def _check(self, key: str, expect: int | None) -> None:
        if self.broken is not None:
            raise self.broken
        entry = self.table.entries.get(key)
        found = entry.version if entry else 0
        if expect is not None and expect != found:
            raise VersionConflict(key, expect, found)


class SlowScanStore(DictStore):
    """Its scan waits at `gate`, and takes a moment to clean up after itself."""

    def __init__(self, table: Table | None = None) -> None:
        super().__init__(table)
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()
        self.cleanup = 0.0

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """The entries of one moment, in time."""
        try:
            self.waiting.set()
            await self.gate.wait()
            async for entry in super().scan(prefix):
                yield entry
        finally:
            await asyncio.sleep(self.cleanup)


class DeniedError(StoreUnavailable):
    """An error of the user's own; its constructor does not take a message."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} denies")
        self.host = host
        self.port = port


class SlowFeedStore(TokenStore):
    """Another store without its feed; while it is `late`, scans show what they last showed."""

    def __init__(self, inner: TokenStore) -> None:
        self._inner = inner
        self._last: list[Entry] = []
        self.late = False

    async def open(self) -> None:
        """Open the other store."""
        await self._inner.open()

    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, or None."""
        return await self._inner.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value`; its version."""
        return await self._inner.put(key, value, expect=expect)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; whether it was there."""
        return await self._inner.delete(key, expect=expect)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries, or those of before."""
        if not self.late:
            self._last = [entry async for entry in self._inner.scan(prefix)]
        for entry in self._last:
            yield entry
