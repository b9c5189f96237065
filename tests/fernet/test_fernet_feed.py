"""Feeds over feeds: what they can, and that a big batch does not hold the loop."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from twitchvault.errors import DecryptionError, StoreError
from twitchvault.stores import Change, Entry, FernetStore, MemoryStore, RedisStore, SQLiteStore
from twitchvault.stores.base import Feed, LossFeed, PushingFeed, Unreadable, Watchable
from twitchvault.stores.fernet.feed import FernetFeed
from twitchvault.stores.redis.feed import RedisFeed

from .makers import CHECK, KEY, over_custom, over_sqlite, swap, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

MANY = 10_000
HELD = 0.05
"""Seconds of this thread's own work for which the loop may be held."""


async def test_watchable_iff_the_inner_store_is(tmp_path: Path, store: FernetStore) -> None:
    """isinstance tells what the inner store can, and so do its feeds."""
    assert isinstance(store, Watchable)
    assert not isinstance(over_custom(tmp_path / "custom.db"), Watchable)
    async with store.watch() as feed:
        assert isinstance(feed, PushingFeed)
    file = over_sqlite(tmp_path / "tokens.db")
    assert isinstance(file, Watchable)
    await file.open()
    async with file.watch() as feed:
        assert not isinstance(feed, PushingFeed)
    await file.close()
    with pytest.raises(StoreError, match="closed"):
        async with file.watch():
            pass


async def test_tells_of_losses_iff_the_inner_feed_does(store: FernetStore) -> None:
    """A loss that the inner feed tells of reaches the listener."""
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        assert not isinstance(feed, LossFeed)
    async with FakeAsyncRedis(server=FakeServer()) as client:
        redis = FernetStore(RedisStore(client), KEY)
        await redis.open()
        assert isinstance(redis, Watchable)
        told: list[int] = []
        async with redis.watch() as feed:
            assert isinstance(feed, LossFeed)
            feed.on_loss(lambda: told.append(1))
            assert isinstance(feed, FernetFeed)
            assert isinstance(feed._inner, RedisFeed)
            feed._inner.tell_loss()
        await redis.close()
    assert told == [1]


async def test_check_entry_is_hidden(inner: MemoryStore, store: FernetStore) -> None:
    """No feed tells of the check entry."""
    assert isinstance(store, Watchable)
    async with store.watch() as asked, store.watch("twitchvault/") as pushed:
        given: list[Change] = []
        assert isinstance(pushed, PushingFeed)
        pushed.push_to(given.extend)
        await swap(inner, CHECK, await token(inner, CHECK))
        assert asked.drain() == []
        assert await asked.catch_up() == []
        assert given == []
        waiting = asyncio.create_task(asked.wait())
        await swap(inner, CHECK, await token(inner, CHECK))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        version = await store.put("key", b"value")
        assert await waiting == [Change("key", version, b"value")]


async def test_unreadable_changes(inner: MemoryStore, store: FernetStore) -> None:
    """What does not open is handed out as such, in its place, and never as deleted."""
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        await store.put("good", b"value")
        await inner.put("plain", b"plain")
        await inner.put("moved", await token(inner, "good"))
        await inner.put("cut", (await token(inner, "good"))[:-9])
        changes = {change.key: change.value for change in feed.drain()}
        assert changes.pop("good") == b"value"
        assert set(changes) == {"plain", "moved", "cut"}
        for key, value in changes.items():
            assert isinstance(value, Unreadable)
            assert isinstance(value.error, DecryptionError)
            assert repr(key) in str(value.error)


class Busy:
    """Finds out how long the loop's thread worked between two turns of the loop."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)

    async def during(self, work: Coroutine[None, None, object]) -> float:
        """The longest stretch while this work is done."""
        await asyncio.sleep(0)
        self.longest = 0.0
        await work
        self._task.cancel()
        return self.longest


@pytest.fixture(scope="module")
def batch() -> dict[str, bytes]:
    """The values of many users."""
    return {f"cid:{number}": b"%200d" % number for number in range(MANY)}


class Bulk(MemoryStore):
    """Fills itself without a turn of the loop, and tells its feeds all at once."""

    async def fill(self, store: FernetStore, values: dict[str, bytes]) -> None:
        """Put what `store` would put."""
        assert store._session
        seal = store._session.seal
        for key, value in values.items():
            self._version += 1
            self._entries[key] = Entry(key, self._version, seal.close(key, value))

    def tell_all(self) -> None:
        """One push, or one drain, with everything."""
        changes = [Change(*entry) for entry in self._entries.values()]
        for feed in self._feeds:
            if feed._sink:
                feed._sink(changes)
            else:
                feed._waiting.update({change.key: change for change in changes})
                feed.wake()


@pytest.fixture
async def bulk(batch: dict[str, bytes]) -> AsyncIterator[tuple[Bulk, FernetStore]]:
    """A store with many users, whose inner store never lets go of the loop."""
    inner = Bulk()
    store = FernetStore(inner, KEY)
    await store.open()
    await inner.fill(store, batch)
    gc.collect()
    gc.freeze()  # what all other tests have left in memory is not what holds the loop here
    yield inner, store
    gc.unfreeze()


async def test_scan_does_not_hold_the_loop(
    bulk: tuple[Bulk, FernetStore], batch: dict[str, bytes]
) -> None:
    """A scan lets others run although its inner store never waits."""
    found: dict[str, bytes] = {}

    async def scan() -> None:
        found.update({entry.key: entry.value async for entry in bulk[1].scan("cid:")})

    assert await Busy().during(scan()) < HELD
    assert found == batch


@pytest.mark.parametrize("method", ["wait", "catch_up"])
async def test_feed_does_not_hold_the_loop(
    bulk: tuple[Bulk, FernetStore], batch: dict[str, bytes], method: str
) -> None:
    """A big batch is decrypted little by little, and comes whole."""
    inner, store = bulk
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        inner.tell_all()
        changes: list[Change] = []

        async def read() -> None:
            changes.extend(await getattr(feed, method)())

        assert await Busy().during(read()) < HELD
    assert {change.key: change.value for change in changes} == batch


async def test_drain_does_not_hold_the_loop(
    bulk: tuple[Bulk, FernetStore], batch: dict[str, bytes]
) -> None:
    """A drain that finds a big batch gives a part; the next calls, of any kind, give the rest."""
    inner, store = bulk
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        inner.tell_all()
        before = time.thread_time()
        changes = feed.drain()
        assert time.thread_time() - before < HELD
        assert 0 < len(changes) < MANY
        changes += feed.drain()
        changes += await feed.wait()
        changes += await feed.catch_up()
        assert feed.drain() == []
    assert [change.key for change in changes] == list(batch)


async def test_push_does_not_hold_the_loop(
    bulk: tuple[Bulk, FernetStore], batch: dict[str, bytes]
) -> None:
    """A big push is handed over piece by piece, in order; later ones wait behind it."""
    inner, store = bulk
    given: list[Change] = []
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        assert isinstance(feed, PushingFeed)
        feed.push_to(given.extend)
        before = time.thread_time()
        inner.tell_all()
        assert time.thread_time() - before < HELD
        assert 0 < len(given) < MANY
        await store.put("cid:0", b"later")
        assert await Busy().during(_all_pushed(feed)) < HELD
    assert {change.key: change.value for change in given} == batch | {"cid:0": b"later"}
    assert given[-1].value == b"later"


async def _all_pushed(feed: Feed) -> None:
    assert await feed.catch_up() == []


async def test_push_goes_on_by_itself(bulk: tuple[Bulk, FernetStore]) -> None:
    """A big push needs nobody to ask for the rest, and ends with its context."""
    inner, store = bulk
    given: list[Change] = []
    done = asyncio.Event()

    def sink(changes: list[Change]) -> None:
        given.extend(changes)
        if len(given) == MANY:
            done.set()

    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        assert isinstance(feed, PushingFeed)
        feed.push_to(sink)
        inner.tell_all()
        async with asyncio.timeout(20):
            await done.wait()
    async with store.watch() as feed:
        assert isinstance(feed, PushingFeed)
        feed.push_to(sink)
        inner.tell_all()
        pushed = len(given)
    assert pushed < 2 * MANY
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(given) == pushed


async def test_big_values_do_not_hold_the_loop(inner: MemoryStore, store: FernetStore) -> None:
    """Time counts, not the number of entries."""
    for number in range(20):
        await store.put(f"key:{number}", bytes(1_000_000))

    async def scan() -> None:
        assert [len(entry.value) async for entry in store.scan()] == [1_000_000] * 20

    assert await Busy().during(scan()) < HELD
    assert len([entry async for entry in inner.scan()]) == 21


async def test_cancelled_wait_of_a_big_batch(
    bulk: tuple[Bulk, FernetStore], batch: dict[str, bytes]
) -> None:
    """A wait that is cancelled while it decrypts loses nothing of what it had."""
    inner, store = bulk
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        inner.tell_all()
        waiting = asyncio.create_task(feed.wait())
        for _ in range(4):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        changes = await feed.catch_up()
    assert {change.key: change.value for change in changes} == batch


async def test_freshness_between_processes(tmp_path: Path) -> None:
    """Over SQLite a drain shows what another store on the file has committed before."""
    one, two = over_sqlite(tmp_path / "tokens.db"), over_sqlite(tmp_path / "tokens.db")
    await one.open()
    await two.open()
    assert isinstance(one, Watchable)
    async with one.watch() as feed:
        for number in range(20):
            version = await two.put("key", b"%d" % number)
            assert feed.drain() == [Change("key", version, b"%d" % number)]
    await one.close()
    await two.close()
    assert isinstance(one._inner, SQLiteStore)
