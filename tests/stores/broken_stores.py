"""A store without a fault, and stores that each have one, for the tests of `StoreContract`."""
# ruff: noqa: D102 - a class's docstring tells its fault, its methods are those of TokenStore or Feed

from __future__ import annotations

import asyncio
import fnmatch
import sqlite3
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from twitchvault.errors import CorruptRecord, VersionConflict
from twitchvault.stores.base import (
    Change,
    Entry,
    TokenStore,
    Unreadable,
    Watchable,
    check_expect,
    check_key,
    check_value,
)

from .broken_feeds import Disk, Feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Right(TokenStore, Watchable):
    """A store without a fault; the broken ones inherit from it."""

    feed: type[Feed] = Feed

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    async def get(self, key: str) -> Entry | None:
        """The entry."""
        check_key(key)
        return self.disk.entries.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write."""
        check_value(value)
        await self.compare(key, expect)
        return self.write(key, value)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Delete."""
        await self.compare(key, expect)
        if key not in self.disk.entries:
            return False
        self.write(key, None)
        return True

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries."""
        for entry in list(self.disk.entries.values()):
            if entry.key.startswith(prefix):
                yield entry

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """The changes."""
        yield self.feed(self.disk, prefix)

    async def compare(self, key: str, expect: int | None) -> None:
        """Raise unless the key stands at the version."""
        check_key(key)
        check_expect(expect)
        entry = self.disk.entries.get(key)
        found = entry.version if entry else 0
        if expect not in (None, found):
            raise VersionConflict(key, expect or 0, found)

    def write(self, key: str, value: bytes | None) -> int:
        """Keep it, and tell."""
        self.disk.version = version = self.next_version()
        if value is None:
            del self.disk.entries[key]
        else:
            self.disk.entries[key] = Entry(key, version, value)
        self.disk.log.append(Change(key, version, value))
        return version

    def next_version(self) -> int:
        """One more than ever given."""
        return self.disk.version + 1


class ReusesVersions(Right):
    """Counts on from the largest version that is still there."""

    def next_version(self) -> int:
        return max((e.version for e in self.disk.entries.values()), default=0) + 1


class ForgetsData(Right):
    """Loses all at close."""

    async def close(self) -> None:
        self.disk.entries.clear()


class OwnVersions(Right):
    """Counts the versions of each key for itself."""

    def write(self, key: str, value: bytes | None) -> int:
        self.disk.version = sum(change.key == key for change in self.disk.log)
        return super().write(key, value)


class IgnoresExpect(Right):
    """Writes whatever the version."""

    async def compare(self, key: str, expect: int | None) -> None:
        check_key(key)
        check_expect(expect)


class ZeroIsNone(Right):
    """Takes expect=0 for no expectation."""

    async def compare(self, key: str, expect: int | None) -> None:
        await super().compare(key, expect or None)


class ComparesThenWrites(Right):
    """Lets others in between comparing and writing."""

    async def compare(self, key: str, expect: int | None) -> None:
        await super().compare(key, expect)
        await asyncio.sleep(0)


class WritesLate(Right):
    """Goes on writing in the background when the put was cancelled."""

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        async def late() -> int:
            await asyncio.sleep(0.001 if value == b"cancelled" else 0)
            return await super(WritesLate, self).put(key, value, expect=expect)

        task = asyncio.create_task(late())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)


class WritesAtOnce(Right):
    """Begins to write when it is called, not when it is awaited."""

    def put(  # type: ignore[override]
        self, key: str, value: bytes, *, expect: int | None = None
    ) -> asyncio.Task[int]:
        return asyncio.create_task(super().put(key, value, expect=expect))


class GlobPrefix(Right):
    """Scans as SCAN MATCH does."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        async for entry in super().scan():
            if fnmatch.fnmatchcase(entry.key, prefix + "*"):
                yield entry


class OnePage(Right):
    """Reads one page of a scan as if it were all."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        left = 1000
        async for entry in super().scan(prefix):
            if (left := left - 1) >= 0:
                yield entry


class Offsets(Right):
    """Pages by offset, so that deletes shift what comes."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        offset = 0
        while page := [e for e in self.disk.entries.values() if e.key.startswith(prefix)][offset:]:
            yield page[0]
            offset += 1


class LocksWhileScanning(Right):
    """Holds a lock as long as a scan is not through."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.lock = asyncio.Lock()

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        async with self.lock:
            async for entry in super().scan(prefix):
                yield entry

    async def compare(self, key: str, expect: int | None) -> None:
        async with self.lock:
            await super().compare(key, expect)


class Changed(Right):
    """Keeps keys in another form."""

    def form(self, key: str) -> str:
        """The other form."""
        raise NotImplementedError

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(self.form(key))
        return entry and entry._replace(key=key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        return await super().put(self.form(key), value, expect=expect)


class FoldsCase(Changed):
    """As a file system or a collation may."""

    def form(self, key: str) -> str:
        return key.lower()


class Truncates(Changed):
    """As a column of a set width may."""

    def form(self, key: str) -> str:
        return key[:512]


class PlainTuples(Right):
    """Gives rows as the driver does."""

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        return entry and tuple(entry)  # type: ignore[return-value]


class NoNul(Right):
    """Ends values at a NUL."""

    def write(self, key: str, value: bytes | None) -> int:
        return super().write(key, value and value.split(b"\0")[0])


class LeaksDriverErrors(Right):
    """Lets the driver's error out when it is closed."""

    closed = False

    async def open(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True

    async def get(self, key: str) -> Entry | None:
        if self.closed:
            msg = "Cannot operate on a closed database."
            raise sqlite3.ProgrammingError(msg)
        return await super().get(key)


class Caches(Right):
    """Remembers what it read, and does not learn what others write."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.cache: dict[str, Entry] = {}

    async def get(self, key: str) -> Entry | None:
        entry = self.cache.get(key) or await super().get(key)
        if entry:
            self.cache[key] = entry
        return entry


DAMAGE = b"damaged"


class SeesDamage(Right):
    """Without a fault: says what it cannot read, and goes on."""

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        if entry and entry.value == DAMAGE:
            raise self.error(key)
        return entry

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        async for entry in super().scan(prefix):
            damaged = entry.value == DAMAGE
            yield entry._replace(value=Unreadable(self.error(entry.key))) if damaged else entry

    def error(self, key: str) -> CorruptRecord:
        """What it says."""
        return CorruptRecord(f"the entry of {key!r} cannot be read")


class DamageIsAbsence(SeesDamage):
    """Takes what it cannot read for absent."""

    async def get(self, key: str) -> Entry | None:
        with suppress(CorruptRecord):
            return await super().get(key)
        return None


class DamageIsSkipped(SeesDamage):
    """Leaves out of a scan what it cannot read."""

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        async for entry in super().scan(prefix):
            if not isinstance(entry.value, Unreadable):
                yield entry


def feeding(feed: type[Feed]) -> type[Right]:
    """A store whose feed has a fault."""
    return type(f"Right{feed.__name__}", (Right,), {"feed": feed})
