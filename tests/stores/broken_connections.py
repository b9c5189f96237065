"""Stores at the end of a connection that breaks, with the test of the contract that finds each."""
# ruff: noqa: D102 - a class's docstring says its fault, its methods are those of TokenStore

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from twitchvault.errors import StoreUnavailable

from .right_store import Disk, LogFeed, Right, fails

if TYPE_CHECKING:
    from twitchvault.stores.base import Change, Entry

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
