"""The feeds of `RedisStore`: nothing is missed, whatever happens to connection and server."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import BlockingConnectionPool, Redis

from tests.redis_store.proxy import Proxy
from tests.redis_store.servers import until
from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores import Change, RedisStore
from twitchvault.stores.redis.scripts import CHANGES_KEPT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.redis_store.servers import Driver, Server
    from twitchvault.stores.redis.feed import RedisFeed

PERSISTENT = ("--appendonly", "yes", "--appendfsync", "always")


class Reader:
    """What a reader knows from a feed; a change counts if its version is larger."""

    def __init__(self, feed: RedisFeed) -> None:
        self.known: dict[str, Change] = {}
        self.told: list[Change] = []
        self.losses = 0
        feed.push_to(self._take)
        feed.on_loss(self._lose)

    def _take(self, changes: list[Change]) -> None:
        self.told += changes
        for change in changes:
            if change.key not in self.known or self.known[change.key].version < change.version:
                self.known[change.key] = change

    def _lose(self) -> None:
        self.losses += 1

    @property
    def values(self) -> dict[str, bytes]:
        """The keys that are there, as far as the reader knows."""
        return {key: c.value for key, c in self.known.items() if c.value is not None}


async def content(store: RedisStore) -> dict[str, bytes]:
    """What is in the store."""
    return {entry.key: entry.value async for entry in store.scan()}


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """A proxy that can go down."""
    async with Proxy(server.port, b"no mark") as proxy:
        yield proxy


async def test_feeds_share_a_connection(store: RedisStore, client: Driver) -> None:
    """However many feeds a store has, one connection waits for changes."""
    before = len(await client.client_list())
    contexts = [store.watch(prefix) for prefix in "abcdefgh" * 5]
    feeds = [await context.__aenter__() for context in contexts]
    await store.put("a1", b"value")
    changes = await asyncio.gather(*(feed.catch_up() for feed in feeds))
    assert [bool(each) for each in changes] == [prefix == "a" for prefix in "abcdefgh" * 5]
    assert len(await client.client_list()) - before <= 4
    for context in contexts:
        await context.__aexit__(None, None, None)


async def test_killed_connections_hide_nothing(store: RedisStore, client: Driver) -> None:
    """While much is written all connections are killed again and again; the feed tells it all."""
    async with store.watch() as feed:
        reader = Reader(feed)
        for number in range(20):
            await asyncio.gather(*(store.put(f"k{i}", b"%d" % number) for i in range(50)))
            await store.delete(f"k{number}")
            await client.client_kill_filter(_type="normal", skipme=True)
        await feed.catch_up()
        assert reader.values == await content(store)
        assert reader.losses == 0


async def test_stream_cut_behind_the_reader(
    store: RedisStore, proxy: Proxy, namespace: str
) -> None:
    """A reader who was away for more changes than are kept learns of all, deletes too."""
    kept = {f"k{i}": b"old" for i in range(300)}
    await asyncio.gather(*(store.put(key, value) for key, value in kept.items()))
    url = f"redis://127.0.0.1:{proxy.port}"
    async with RedisStore(url, namespace=namespace) as away, away.watch() as feed:
        reader = Reader(feed)
        await store.put("seen", b"value")
        await feed.catch_up()
        await proxy.down()
        await asyncio.gather(*(store.delete(f"k{i}") for i in range(100)))
        await store.put("k7", b"again")
        for _ in range(3):
            writes = (store.put(f"k{i % 200 + 100}", b"%d" % i) for i in range(CHANGES_KEPT // 2))
            await asyncio.gather(*writes)
        await proxy.up()
        await feed.catch_up()
        assert {key for key, change in reader.known.items() if change.value is None} == {
            f"k{i}" for i in range(100) if i != 7
        }
        assert reader.values == await content(store)
        assert reader.losses == 0
        versions: dict[str, int] = {}
        for change in reader.told:
            assert change.version >= versions.get(change.key, 0), "not in the order of versions"
            versions[change.key] = change.version


async def test_stream_deleted_by_hand(store: RedisStore, client: Driver, namespace: str) -> None:
    """Somebody removes the streams; the feed goes on, and nothing counts as lost."""
    async with store.watch() as feed:
        reader = Reader(feed)
        await store.put("one", b"1")
        await feed.catch_up()
        await client.delete(f"{{{namespace}}}:changes", f"{{{namespace}}}:deletes")
        await store.put("two", b"2")
        await feed.catch_up()
        assert reader.values == {"one": b"1", "two": b"2"}
        assert reader.losses == 0


@pytest.mark.parametrize("idle", [False, True], ids=["then written", "then idle"])
async def test_restart_that_loses_everything(own_server: Callable[..., Server], idle: bool) -> None:
    """A server that comes back empty: no deletes are told, the loss is, and versions go on."""
    server = await own_server().ready()
    async with RedisStore(server.url) as store, store.watch() as feed:
        reader = Reader(feed)
        last = 0
        for number in range(20):
            last = await store.put(f"k{number}", b"value")
        await feed.catch_up()
        before = dict(reader.values)
        server.kill()
        await server.start().ready()
        if not idle:
            assert await store.put("new", b"after") > last
        await until(lambda: reader.losses, what="the loss was not told")
        assert {key: reader.values[key] for key in before} == before
        assert not [change for change in reader.told if change.value is None]
        back = [await store.put(key, value, expect=0) for key, value in before.items()]
        assert min(back) > last
        await feed.catch_up()
        assert reader.values == await content(store)
        assert reader.losses == 1


async def test_restart_that_loses_the_newest(own_server: Callable[..., Server]) -> None:
    """A server that falls back to an old snapshot: the loss is told, versions go on above it."""
    server = await own_server("--save", "3600 1").ready()
    async with RedisStore(server.url) as store, store.watch() as feed:
        reader = Reader(feed)
        old = await store.put("key", b"in the snapshot")
        await store.put("deleted later", b"value")
        async with server.client() as client:
            await client.save()
        lost = await store.put("key", b"lost")
        await store.put("lost too", b"value")
        await store.delete("deleted later")
        await feed.catch_up()
        server.kill()
        await server.start().ready()
        await until(lambda: reader.losses, what="the loss was not told")
        assert await store.get("key") == ("key", old, b"in the snapshot")
        assert reader.values["key"] == b"lost"
        assert reader.values["lost too"] == b"value"
        assert await store.put("key", b"lost", expect=old) > lost
        await feed.catch_up()
        assert reader.losses == 1


async def test_rollback_is_told_though_others_wrote_first(
    own_server: Callable[..., Server],
) -> None:
    """Somebody who knows nothing writes after a fallback, before the reader is back: still told."""
    server = await own_server("--save", "3600 1").ready()
    async with (
        Proxy(server.port, b"no mark") as proxy,
        RedisStore(f"redis://127.0.0.1:{proxy.port}") as store,
        store.watch() as feed,
    ):
        reader = Reader(feed)
        await store.put("key", b"in the snapshot")
        async with server.client() as client:
            await client.save()
        await store.put("key", b"lost")
        await feed.catch_up()
        await proxy.down()
        server.kill()
        await server.start().ready()
        async with RedisStore(server.url) as other:
            for number in range(5):
                await other.put("other", b"%d" % number)
        await proxy.up()
        await until(lambda: reader.losses, what="the loss was not told")
        await feed.catch_up()
        assert reader.values == {"key": b"lost", "other": b"4"}


async def test_restart_with_its_data(own_server: Callable[..., Server]) -> None:
    """A server with an append-only file comes back as it was: nothing lost, nothing missed."""
    server = await own_server(*PERSISTENT).ready()
    async with RedisStore(server.url) as store, store.watch() as feed:
        reader = Reader(feed)
        for number in range(3):
            for key in range(20):
                await store.put(f"k{key}", b"%d" % number)
            server.kill()
            await server.start().ready()
            await store.delete(f"k{number}")
        await feed.catch_up()
        assert reader.values == await content(store)
        assert len(reader.values) == 20 - 1
        assert reader.losses == 0


async def test_emptied_database_counts_as_lost(own_server: Callable[..., Server]) -> None:
    """FLUSHALL is no delete: the loss is told to every process."""
    server = await own_server().ready()
    one, two = RedisStore(server.url), RedisStore(server.url)
    async with one, two, one.watch() as first, two.watch() as second, server.client() as client:
        readers = [Reader(first), Reader(second)]
        await one.put("key", b"value")
        await asyncio.gather(first.catch_up(), second.catch_up())
        await client.flushall()
        await until(lambda: all(reader.losses == 1 for reader in readers))
        assert all(reader.values == {"key": b"value"} for reader in readers)


async def test_loss_without_a_feed_is_told_later(own_server: Callable[..., Server]) -> None:
    """What was lost while nobody watched is told to the next who asks; to the one after no more."""
    server = await own_server().ready()
    async with RedisStore(server.url) as store:
        await store.put("key", b"value")
        async with server.client() as client:
            await client.flushall()
        async with store.watch() as feed:
            assert Reader(feed).losses == 1
        async with store.watch() as feed:
            assert Reader(feed).losses == 0


async def test_loss_before_the_listener_came(own_server: Callable[..., Server]) -> None:
    """What was lost before `on_loss` was called is told when it is."""
    server = await own_server().ready()
    async with RedisStore(server.url) as store, store.watch() as feed:
        await store.put("key", b"value")
        async with server.client() as client:
            await client.flushall()
        await store.put("other", b"value")
        await feed.catch_up()
        assert Reader(feed).losses == 1


async def test_catch_up_of_a_server_that_hangs(own_server: Callable[..., Server]) -> None:
    """Asked for what cannot be found out, `catch_up` says so in time, and works again later."""
    server = await own_server().ready()
    async with RedisStore(server.url) as store, store.watch() as feed:
        server.signal(signal.SIGSTOP)
        async with asyncio.timeout(10):
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{server.port}.*no answer"):
                await feed.catch_up()
        server.signal(signal.SIGCONT)
        version = await store.put("key", b"value")
        assert await feed.catch_up() == [("key", version, b"value")]


async def test_failing_listener_stops_nobody(
    store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A sink that raises is reported without its text; the other feeds go on."""

    def fail(changes: list[Change]) -> None:
        raise RuntimeError(str(changes[0].value))

    async with store.watch() as bad, store.watch() as good:
        bad.push_to(fail)
        await store.put("key", b"canary")
        assert len(await good.catch_up()) == 1
        await store.put("key", b"canary")
        assert len(await good.catch_up()) == 1
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


async def test_feed_ends_with_its_store(store: RedisStore) -> None:
    """Who waits when the store is closed hears of it; so does who asks later."""
    async with store.watch() as feed:
        waiting = asyncio.create_task(feed.wait())
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreError, match="ended"):
            await waiting
        for ask in (feed.wait, feed.catch_up):
            with pytest.raises(StoreError, match="ended"):
                await ask()


@pytest.mark.parametrize(
    "options",
    [
        {"socket_timeout": 0.3},
        {"socket_timeout": None},
        {"single_connection_client": True},
        {"max_connections": 2},
        {"health_check_interval": 1},
    ],
    ids=str,
)
async def test_clients_of_all_kinds(
    server: Server, namespace: str, options: dict[str, object]
) -> None:
    """A user's client with unusual options follows the changes, quietly, and writes meanwhile."""
    async with server.client(**options) as own, RedisStore(own, namespace=namespace) as store:
        async with store.watch() as feed:
            await asyncio.sleep(1)
            versions = await asyncio.gather(*(store.put(f"k{i}", b"value") for i in range(20)))
            changes = await feed.catch_up()
            assert sorted(change.version for change in changes) == sorted(versions)
        assert await own.ping()


async def test_blocking_pool(server: Server, namespace: str) -> None:
    """A pool that lets callers wait for a connection does."""
    pool = BlockingConnectionPool.from_url(server.url, max_connections=2, timeout=5)
    async with (
        Redis.from_pool(pool) as own,
        RedisStore(own, namespace=namespace) as store,
        store.watch() as feed,
    ):
        await asyncio.gather(*(store.put(f"k{i}", b"value") for i in range(20)))
        assert len(await feed.catch_up()) == 20


async def test_open_again_in_another_loop(server: Server, namespace: str) -> None:
    """One store object serves several runs of `asyncio.run`, one after the other."""
    store = RedisStore(server.url, namespace=namespace)

    async def use() -> int:
        async with store, store.watch() as feed:
            await asyncio.gather(*(store.put(f"k{i}", b"value") for i in range(100)))
            return len(await feed.catch_up())

    assert [await asyncio.to_thread(lambda: asyncio.run(use())) for _ in range(3)] == [100] * 3
