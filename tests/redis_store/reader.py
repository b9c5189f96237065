"""A reader of a feed, as the vault is one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.stores import Change, RedisStore
    from twitchvault.stores.redis.feed import RedisFeed


class Reader:
    """What is known from a feed; a change counts if its version is larger."""

    def __init__(self, feed: RedisFeed) -> None:
        self.known: dict[str, Change] = {}
        self.changes: list[Change] = []
        self.losses = 0
        self._feed = feed
        feed.on_loss(self._lose)

    @property
    def values(self) -> dict[str, bytes]:
        """The keys that are there, as far as the reader knows."""
        return {key: c.value for key, c in self.known.items() if c.value is not None}

    @property
    def deleted(self) -> set[str]:
        """The keys that were deleted, as far as the reader knows."""
        return {key for key, change in self.known.items() if change.value is None}

    async def follow(self) -> None:
        """Take in what comes, until cancelled."""
        while True:
            self._take(await self._feed.wait())

    async def catch_up(self) -> None:
        """Know all that was committed before."""
        self._take(await self._feed.catch_up())

    def _take(self, changes: list[Change]) -> None:
        self.changes += changes
        for change in changes:
            if change.key not in self.known or self.known[change.key].version < change.version:
                self.known[change.key] = change

    def _lose(self) -> None:
        self.losses += 1


@contextlib.asynccontextmanager
async def reading(store: RedisStore, prefix: str = "") -> AsyncIterator[Reader]:
    """A reader at work."""
    async with store.watch(prefix) as feed:
        reader = Reader(feed)
        task = asyncio.create_task(reader.follow())
        try:
            yield reader
        finally:
            task.cancel()
            await asyncio.wait({task})


async def content(store: RedisStore) -> dict[str, bytes]:
    """What is in the store."""
    return {entry.key: entry.value async for entry in store.scan()}
