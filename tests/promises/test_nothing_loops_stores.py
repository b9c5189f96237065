"""Nothing loops: a store that does not keep to its contract is asked with pauses in between."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.own_stores import OwnStore, WatchedStore, nothing
from twitchvault import Entry, MemoryStore, NoAnswer, VersionConflict
from twitchvault.stores import Change, Feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.environment import Environment


async def always_conflicts(operation: str, key: str) -> None:
    """A store whose compare-and-set never holds."""
    if operation == "put":
        raise VersionConflict(key, 1, 2)


async def test_a_store_that_refuses_each_lease(env: Environment) -> None:
    """A lease that always conflicts is tried some ten times, with pauses in between."""
    store = OwnStore()
    async with env.app(store=store, lease_ttl=1.0) as app:
        user = await env.own_pair(app)
        store.before = always_conflicts
        reads = store.calls["get"]
        with pytest.raises(NoAnswer):
            await user.refresh()
        assert store.calls["get"] - reads < 50
        store.before = nothing
    assert env.twitch.counts.exchanges == 1


class Replica(OwnStore):
    """A store that reads from a replica which has stopped to follow."""

    async def get(self, key: str) -> Entry | None:
        """What was there when it stopped: nothing."""
        await super().get(key)
        return None


async def test_a_store_whose_reads_do_not_follow_its_writes(env: Environment) -> None:
    """A pair from outside is looked for with pauses in between."""
    store, pair = Replica(), env.pair(expired=True)
    async with env.app(store=store, lease_ttl=1.0) as app:
        with pytest.raises(NoAnswer):
            await app.add_user(pair.access_token, pair.refresh_token)
        assert store.calls["get"] < 100
    assert env.twitch.counts.exchanges == 0


class EmptyFeed(Feed):
    """A feed that says at once that nothing has changed."""

    def __init__(self, inner: Feed) -> None:
        self.inner = inner
        self.waits = 0

    async def wait(self) -> list[Change]:
        """Nothing."""
        self.waits += 1
        return []

    def drain(self) -> list[Change]:
        """What the inner one has."""
        return self.inner.drain()

    async def catch_up(self) -> list[Change]:
        """What the inner one has."""
        return await self.inner.catch_up()


class EmptyFeeds(WatchedStore):
    """A store with such a feed."""

    feed: EmptyFeed

    @asynccontextmanager
    async def watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """That feed."""
        async with super().watch(prefix) as inner:
            self.feed = EmptyFeed(inner)
            yield self.feed


async def test_a_feed_without_changes(env: Environment) -> None:
    """A feed that brings nothing, time after time, is asked with pauses in between."""
    store = EmptyFeeds(MemoryStore())
    async with env.app(store=store) as app:
        await asyncio.sleep(0.3)
        assert store.feed.waits < 20
        await env.own_pair(app)
