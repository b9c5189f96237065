"""A store without a fault, and the list of the stores that each have one."""
# ruff: noqa: D102 - the methods are those of TokenStore

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from twitchvault.errors import VersionConflict
from twitchvault.stores.base import Change, Entry, TokenStore, Watchable, check_arguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Disk:
    """What the stores of a test share."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.version = 0
        self.log: list[Change] = []
        self.cuts = 0


class LogFeed:
    """Reads the log of the disk."""

    def __init__(self, disk: Disk, prefix: str) -> None:
        self.disk, self.prefix, self.read = disk, prefix, len(disk.log)

    def drain(self) -> list[Change]:
        """What is new."""
        news, self.read = self.disk.log[self.read :], len(self.disk.log)
        return [change for change in news if change.key.startswith(self.prefix)]

    async def wait(self) -> list[Change]:
        """What is new, once there is something."""
        while not (news := self.drain()):  # noqa: ASYNC110 - it polls
            await asyncio.sleep(0.001)
        return news

    async def catch_up(self) -> list[Change]:
        """What is new."""
        return self.drain()


class Right(TokenStore, Watchable):
    """A store without a fault; the broken ones inherit from it."""

    feed: type[LogFeed] = LogFeed

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    async def get(self, key: str) -> Entry | None:
        check_arguments(key)
        return self.disk.entries.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        check_arguments(key, value)
        await self.compare(key, expect)
        return self.write(key, value)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        await self.compare(key, expect)
        if key not in self.disk.entries:
            return False
        self.write(key, None)
        return True

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        for entry in list(self.disk.entries.values()):
            if entry.key.startswith(prefix):
                yield entry

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[LogFeed]:
        yield self.feed(self.disk, prefix)

    async def compare(self, key: str, expect: int | None) -> None:
        """Raise unless the key stands at the version."""
        check_arguments(key, expect=expect)
        entry = self.disk.entries.get(key)
        found = entry.version if entry else 0
        if expect not in (None, found):
            raise VersionConflict(key, expect or 0, found)

    def write(self, key: str, value: bytes | None) -> int:
        """Write or delete, and log it."""
        self.disk.version = self.next_version()
        return self.commit(key, self.disk.version, value)

    def commit(self, key: str, version: int, value: bytes | None) -> int:
        """Let everybody read it."""
        if value is None:
            del self.disk.entries[key]
        else:
            self.disk.entries[key] = Entry(key, version, value)
        self.disk.log.append(Change(key, version, value))
        return version

    def next_version(self) -> int:
        """One more than ever given."""
        return self.disk.version + 1


class Fault(NamedTuple):
    """A broken store, the test of the contract that fails for it, and what its failure says."""

    store: type[Right]
    test: str
    said: str


FAULTS: list[Fault] = []


def fails(**tests: str) -> Callable[[type[Right]], type[Right]]:
    """Say which tests find the fault, each with a piece of its failure."""

    def add(store: type[Right]) -> type[Right]:
        FAULTS.extend(Fault(store, f"test_{test}", said) for test, said in tests.items())
        return store

    return add
