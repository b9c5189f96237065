"""Feeds over feeds: what they can, and that many entries do not hold up the loop."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from tests.own_stores import OwnStore
from twitchvault.errors import DecryptionError, StoreError
from twitchvault.stores import Change, FernetStore, MemoryStore, RedisStore, SQLiteStore
from twitchvault.stores.base import Unreadable, Watchable

from .makers import CHECK, KEY, NEW, opened, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from twitchvault.stores import Entry, Feed

MANY = 10_000
"""So many that decrypting them takes longer than the loop may be held."""
SOME = 1_000
HELD = 0.05
"""Seconds of this thread's own work for which the loop may be held."""


def watchable(store: FernetStore) -> Watchable:
    """The store as one that can be watched."""
    assert isinstance(store, Watchable)
    return store


async def test_abilities_of_the_inner_store(tmp_path: Path, store: FernetStore) -> None:
    """It can be watched, and pushes changes, if the store inside does."""
    assert isinstance(store, Watchable)
    assert store.pushes_changes is True
    assert not isinstance(FernetStore(OwnStore(), KEY), Watchable)
    file = FernetStore(SQLiteStore(tmp_path / "tokens.db"), KEY)
    assert file.pushes_changes is False
    with pytest.raises(StoreError, match="not open yet"):
        async with watchable(file).watch():
            pass


async def test_losses_of_the_inner_feed_are_reported(store: FernetStore) -> None:
    """A loss that the inner feed tells of reaches the listener."""
    async with watchable(store).watch() as feed:
        assert not hasattr(feed, "on_loss")
    lost = asyncio.Event()
    async with FakeAsyncRedis(server=FakeServer()) as client:
        redis = await opened(RedisStore(client))
        async with watchable(redis).watch() as feed, asyncio.timeout(20):
            getattr(feed, "on_loss")(lost.set)  # noqa: B009 - not every feed has it
            reading = asyncio.create_task(feed.wait())
            await client.flushall()
            await redis.put("key", b"value")
            await lost.wait()
            reading.cancel()
            await asyncio.wait({reading})
        await redis.close()


async def test_check_entry_is_hidden(inner: MemoryStore, store: FernetStore) -> None:
    """No feed tells of the check entry, and `wait` does not return for it."""
    async with watchable(store).watch() as feed:
        await inner.put(CHECK, await token(inner, CHECK))
        assert feed.drain() == await feed.catch_up() == []
        waiting = asyncio.create_task(feed.wait())
        await inner.put(CHECK, await token(inner, CHECK))
        assert not waiting.done()
        version = await store.put("key", b"value")
        assert await waiting == [Change("key", version, b"value")]


async def test_unreadable_changes(inner: MemoryStore, store: FernetStore) -> None:
    """What cannot be decrypted is handed out as such, in its place, and never as deleted."""
    async with watchable(store).watch() as feed:
        await store.put("good", b"value")
        await inner.put("plain", b"plain")
        await inner.put("moved", await token(inner, "good"))
        changes = {change.key: change.value for change in feed.drain()}
    assert changes.pop("good") == b"value"
    assert set(changes) == {"plain", "moved"}
    for key, value in changes.items():
        assert isinstance(value, Unreadable)
        assert isinstance(value.error, DecryptionError)
        assert repr(key) in str(value.error)


async def test_feed_follows_a_rotation(inner: MemoryStore) -> None:
    """A feed that was entered before a rotation decrypts what was written under the new key."""
    given = [KEY]
    store = FernetStore(inner, lambda: list(given))
    await store.open()
    async with watchable(store).watch() as feed:
        await store.put("key", b"value")
        given[:] = [NEW, KEY]
        await store.rotate()
        assert [(c.key, c.value) for c in await feed.catch_up()] == [("key", b"value")]


async def longest_hold(work: Coroutine[None, None, object]) -> float:
    """The longest time for which the loop's thread worked between two turns of the loop."""
    longest, before = 0.0, time.thread_time()
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    await task
    return longest


@pytest.fixture
async def feed(request: pytest.FixtureRequest, store: FernetStore) -> AsyncIterator[Feed]:
    """A feed with as many changes that nobody has taken yet."""
    async with watchable(store).watch() as feed:
        await asyncio.gather(*(store.put(f"cid:{n}", b"%200d" % n) for n in range(request.param)))
        gc.collect()
        gc.freeze()  # what all other tests have left in memory is not what holds the loop here
        yield feed
        gc.unfreeze()


@pytest.mark.parametrize("feed", [MANY], indirect=True)
@pytest.mark.parametrize("method", ["wait", "catch_up", "scan"])
async def test_many_entries_do_not_hold_the_loop(
    store: FernetStore, feed: Feed, method: str
) -> None:
    """Many entries at once are decrypted little by little, and come whole."""
    found: list[Change | Entry] = []

    async def read() -> None:
        found.extend([e async for e in store.scan()] if method == "scan" else await take())

    take = feed.catch_up if method == "catch_up" else feed.wait
    assert await longest_hold(read()) < HELD
    assert {each.key: each.value for each in found} == {
        f"cid:{n}": b"%200d" % n for n in range(MANY)
    }


@pytest.mark.parametrize("feed", [SOME], indirect=True)
@pytest.mark.parametrize("turns", [1, 2, 5, 8])
async def test_cancelled_wait_loses_nothing(feed: Feed, turns: int) -> None:
    """What a wait that is cancelled while it decrypts had taken, the next call gives."""
    waiting = asyncio.create_task(feed.wait())
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    changes = feed.drain()
    assert await feed.catch_up() == []
    assert {change.key for change in changes} == {f"cid:{n}" for n in range(SOME)}
