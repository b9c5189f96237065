"""Feeds that each have one fault, with the test of the contract that finds it."""
# ruff: noqa: D102 - a class's docstring says its fault, its methods are those of Feed
# ruff: noqa: ASYNC110 - these feeds poll, that is how they are

from __future__ import annotations

import asyncio
import fnmatch
from typing import TYPE_CHECKING

from .right_store import LogFeed, Right, fails

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.stores.base import Change


def feed_fails(**tests: str) -> Callable[[type[LogFeed]], type[LogFeed]]:
    """Say which tests find the fault of a feed, each with a piece of its failure."""

    def add(feed: type[LogFeed]) -> type[LogFeed]:
        fails(**tests)(type(feed.__name__, (Right,), {"feed": feed}))
        return feed

    return add


@feed_fails(
    delete_is_a_change="missed a delete",
    drain_gives_all_in_time="expected within 0.5 s: drain() gives",
    feeds_miss_nothing="missed changes",
)
class NoDeletes(LogFeed):
    """Gives writes only."""

    def drain(self) -> list[Change]:
        return [change for change in super().drain() if change.value is not None]


@feed_fails(drain_gives_all_in_time="expected within 0.5 s: drain() gives")
class DrainsLate(LogFeed):
    """Knows what is new only after somebody has waited for it."""

    def drain(self) -> list[Change]:
        return []

    async def catch_up(self) -> list[Change]:
        return super().drain()

    async def wait(self) -> list[Change]:
        while not (news := super().drain()):
            await asyncio.sleep(0.001)
        return news


@feed_fails(catch_up_is_a_barrier="missed a put")
class NoBarrier(LogFeed):
    """Gives what came in the background, a little later."""

    def drain(self) -> list[Change]:
        self.read, end = min(self.read + 1, len(self.disk.log)), self.read
        return [c for c in self.disk.log[end : self.read] if c.key.startswith(self.prefix)]


@feed_fails(cancelled_wait="cancelled wait()")
class LosesWhenCancelled(LogFeed):
    """Takes the changes, then awaits something more."""

    async def wait(self) -> list[Change]:
        while not (news := self.drain()):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return news


@feed_fails(wait_wakes_up="expected within 0.5 s: wait() returns after Change")
class SubscribesLate(LogFeed):
    """Looks for changes, and then begins to listen for new ones."""

    async def wait(self) -> list[Change]:
        if news := self.drain():
            return news
        await asyncio.sleep(0)
        heard = len(self.disk.log)
        while len(self.disk.log) == heard:
            await asyncio.sleep(0.001)
        return self.drain()


@feed_fails(wait_of_a_quiet_store="nothing changed")
class WaitsForNothing(LogFeed):
    """Returns when anything happens, whatever the prefix."""

    async def wait(self) -> list[Change]:
        while self.read == len(self.disk.log):
            await asyncio.sleep(0.001)
        return self.drain()


@feed_fails(feeds_miss_nothing="must come in version order")
class Backwards(LogFeed):
    """Gives the newest first."""

    def drain(self) -> list[Change]:
        return super().drain()[::-1]


@feed_fails(prefix_of_a_feed_is_literal="literally; too many")
class GlobFeed(LogFeed):
    """Takes the prefix for a pattern."""

    def drain(self) -> list[Change]:
        news, self.read = self.disk.log[self.read :], len(self.disk.log)
        return [change for change in news if fnmatch.fnmatchcase(change.key, self.prefix + "*")]


@feed_fails(feeds_miss_nothing="missed changes", watch_then_scan="missed changes")
class Swallows(LogFeed):
    """Skips what comes while nobody reads."""

    def drain(self) -> list[Change]:
        return super().drain()[-3:]


@feed_fails(late_reader_misses_nothing="missed changes")
class FullQueue(LogFeed):
    """Holds the last 1000 changes for a reader."""

    def drain(self) -> list[Change]:
        return super().drain()[-1000:]
