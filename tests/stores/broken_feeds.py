"""Feeds and connections that each have one fault, with the test of the contract that finds it."""

from __future__ import annotations

import asyncio
import fnmatch
from typing import TYPE_CHECKING

from twitchvault.errors import StoreUnavailable

from .right_store import Disk, LogFeed, Right, fails

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.stores.base import Change, Entry


# ruff: noqa: D102 - a class's docstring says its fault, its methods are those of Feed
# ruff: noqa: ASYNC110 - these feeds poll, that is how they are


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


@feed_fails(cancelled_wait="a change was lost")
class LosesWhenCancelled(LogFeed):
    """Takes the changes, then awaits something more."""

    async def wait(self) -> list[Change]:
        while not (news := self.drain()):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return news


@feed_fails(cancelled_catch_up="a change was lost")
class LosesWhenCaughtUp(LogFeed):
    """Takes the changes, then awaits something more before it gives them."""

    async def catch_up(self) -> list[Change]:
        news = self.drain()
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


# ruff: noqa: D102 - a class's docstring says its fault, its methods are those of TokenStore


DOUBT = "the connection broke; the write may have taken place"


class Remote(Right):
    """Without a fault: a write's answer takes a while, and is lost if the connection breaks."""

    said = DOUBT

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        cuts = self.disk.cuts
        await asyncio.sleep(0)
        version = await super().put(key, value, expect=expect)
        await asyncio.sleep(0.002)
        if self.disk.cuts != cuts:
            raise StoreUnavailable(self.said)
        return version


@fails(writes_while_connections_break="its message must say 'may have taken place'")
class SaysNothing(Remote):
    """Says that the write failed, though it may not have."""

    said = "the connection broke"


@fails(writes_while_connections_break="A write that may have taken place must not be sent once")
class SendsOnceMore(Remote):
    """Repeats a write that may have taken place."""

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        try:
            return await super().put(key, value, expect=expect)
        except StoreUnavailable:
            return await super().put(key, value, expect=expect)


@fails(calls_after_broken_connections="expected within 0.5 s: get() works soon after connections")
class StaysDown(Right):
    """Never connects a second time."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.cuts = disk.cuts

    async def get(self, key: str) -> Entry | None:
        if self.disk.cuts != self.cuts:
            raise StoreUnavailable("the connection broke")
        return await super().get(key)


class Resumes(LogFeed):
    """Begins anew at what is there when it connects a second time."""

    cuts = 0

    def drain(self) -> list[Change]:
        if self.disk.cuts != self.cuts:
            self.cuts, self.read = self.disk.cuts, len(self.disk.log)
        return super().drain()


@fails(feed_after_broken_connections="expected within 0.5 s: wait() gives what was written as")
class ForgetsWhatCameMeanwhile(Right):
    """Has a feed that skips what was written while it was not connected."""

    feed = Resumes
