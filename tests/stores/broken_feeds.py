"""A feed without a fault, and feeds that each have one, for the tests of `StoreContract`."""
# ruff: noqa: D102 - a class's docstring tells its fault, its methods are those of Feed
# ruff: noqa: ASYNC110 - these feeds look again and again, that is how they are

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twitchvault.stores.base import Change, Entry


class Disk:
    """What the stores of a test share."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.version = 0
        self.log: list[Change] = []


class Feed:
    """Reads the log of the disk."""

    def __init__(self, disk: Disk, prefix: str) -> None:
        self.disk, self.prefix, self.read = disk, prefix, len(disk.log)

    def drain(self) -> list[Change]:
        """What is new."""
        news, self.read = self.disk.log[self.read :], len(self.disk.log)
        return [change for change in news if change.key.startswith(self.prefix)]

    async def wait(self) -> list[Change]:
        """What is new, once there is something."""
        while not (news := self.drain()):
            await asyncio.sleep(0.001)
        return news

    async def catch_up(self) -> list[Change]:
        """What is new."""
        return self.drain()


class NoDeletes(Feed):
    """Tells of writes only."""

    def drain(self) -> list[Change]:
        return [change for change in super().drain() if change.value is not None]


class DrainsLate(Feed):
    """Knows what is new only after somebody has waited for it."""

    def drain(self) -> list[Change]:
        return []

    async def catch_up(self) -> list[Change]:
        return super().drain()

    async def wait(self) -> list[Change]:
        while not (news := super().drain()):
            await asyncio.sleep(0.001)
        return news


class NoBarrier(Feed):
    """Gives what came in the background, a little later."""

    def drain(self) -> list[Change]:
        self.read, end = min(self.read + 1, len(self.disk.log)), self.read
        return [c for c in self.disk.log[end : self.read] if c.key.startswith(self.prefix)]


class LosesWhenCancelled(Feed):
    """Takes the changes, then awaits something more."""

    async def wait(self) -> list[Change]:
        while not (news := self.drain()):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return news


class WaitsForNothing(Feed):
    """Returns when anything happens, whatever the prefix."""

    async def wait(self) -> list[Change]:
        while self.read == len(self.disk.log):
            await asyncio.sleep(0.001)
        return self.drain()


class Backwards(Feed):
    """Tells the newest first."""

    def drain(self) -> list[Change]:
        return super().drain()[::-1]


class Swallows(Feed):
    """Skips what comes while it is not looked at for long."""

    def drain(self) -> list[Change]:
        return super().drain()[-3:]
