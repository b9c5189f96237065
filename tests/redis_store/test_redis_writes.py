"""How `RedisStore` writes: together, each write for itself, and once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Connection, ConnectionPool, Redis

from tests.environment import until
from tests.redis_store.proxy import MARK, Proxy
from twitchvault.errors import StoreUnavailable, VersionConflict
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_store.servers import Driver, Server


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """A proxy before the shared server."""
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def proxied(proxy: Proxy, namespace: str) -> AsyncIterator[RedisStore]:
    """A store behind the proxy."""
    async with RedisStore(proxy.url, namespace=namespace) as proxied:
        yield proxied


async def test_ten_thousand_calls_take_few_connections(store: RedisStore, client: Driver) -> None:
    """10,000 tasks put at once, then get: all succeed, each write at its own version."""
    before = len(await client.client_list())
    await client.config_resetstat()
    async with store.watch():
        puts = [asyncio.create_task(store.put(f"k{i}", b"value" * 100)) for i in range(10_000)]
        most = 0
        while not all(put.done() for put in puts):
            most = max(most, len(await client.client_list()) - before)
        assert len({await put for put in puts}) == len(puts)
        calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert calls < 100, "what waits at the same time should travel together"
        gets = await asyncio.gather(*(store.get(f"k{i}") for i in range(10_000)))
        assert all(entry is not None and entry.value == b"value" * 100 for entry in gets)
    assert 0 < most <= 4


async def test_lost_answer_is_no_conflict(
    proxied: RedisStore, proxy: Proxy, store: RedisStore
) -> None:
    """A write that the driver repeats, as its answer got lost, is not refused by its first try."""
    version = await proxied.put("key", b"one")
    async with store.watch() as feed:
        proxy.lose = 1
        second = await proxied.put("key", b"two " + MARK, expect=version)
        assert await feed.catch_up() == [("key", second, b"two " + MARK)]
        proxy.lose = 1
        third = await proxied.put(f"{MARK.decode()} new", b"one", expect=0)
        assert await feed.catch_up() == [(f"{MARK.decode()} new", third, b"one")]
        proxy.lose = 2
        assert await proxied.delete(f"{MARK.decode()} new", expect=third) is True
        proxy.lose = 1
        assert await proxied.delete("key " + MARK.decode()) is False
    assert proxy.lose == 0
    assert await store.get("key") == ("key", second, b"two " + MARK)


@pytest.mark.parametrize("expect", [0, None])
async def test_repeated_write_takes_effect_once(
    proxied: RedisStore, proxy: Proxy, store: RedisStore, expect: int | None
) -> None:
    """What others have made of a write's first try stands, also if its answer got lost."""
    async with store.watch() as feed:
        proxy.lose = 1
        put = asyncio.create_task(proxied.put("key", b"one " + MARK, expect=expect))
        ((_, version, _),) = await feed.wait()
        assert await store.delete("key", expect=version)
        assert await put == version
    assert proxy.lose == 0
    assert await store.get("key") is None


async def test_lost_answers_of_a_batch(proxied: RedisStore, proxy: Proxy) -> None:
    """Of a batch that is repeated each write learns what became of it, conflicts included."""
    await proxied.put("there", b"value")
    proxy.lose = 1
    calls = [proxied.put(f"{MARK.decode()}{i}", b"value", expect=0) for i in range(100)]
    calls += [proxied.put("there", b"value", expect=0) for _ in range(100)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert proxy.lose == 0
    assert len({result for result in results[:100] if isinstance(result, int)}) == 100
    assert all(isinstance(result, VersionConflict) for result in results[100:])


class Failing(Connection):
    """A connection that fails once as the driver does when it stumbles over itself."""

    failure: Exception | None = None

    async def check_health(self) -> None:
        """What the driver does right before it sends something."""
        failure, Failing.failure = Failing.failure, None
        if failure is not None:
            raise failure


@pytest.mark.parametrize(
    "failure",
    [
        AttributeError("'NoneType' object has no attribute 'write' canary"),
        TypeError("'NoneType' object is not callable canary"),
        AssertionError("canary"),
        RuntimeError("readuntil() called while another coroutine is waiting: canary"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_faults_of_the_driver(server: Server, namespace: str, failure: Exception) -> None:
    """Whatever the driver raises is `StoreUnavailable` to callers, and the next call works."""
    pool = ConnectionPool(connection_class=Failing, host="127.0.0.1", port=server.port)
    async with Redis(connection_pool=pool) as own, RedisStore(own, namespace=namespace) as store:
        for call in (lambda: store.put("key", b"value"), lambda: store.get("key")):
            Failing.failure = failure
            with pytest.raises(StoreUnavailable, match=type(failure).__name__) as caught:
                await call()
            assert "canary" not in str(caught.value)
            assert await call()
        async with store.watch() as feed:
            Failing.failure = failure
            await until(lambda: Failing.failure is None)
            version = await store.put("key", b"value")
            assert await feed.catch_up() == [("key", version, b"value")]
    await pool.disconnect()


async def test_stored_form(store: RedisStore, client: Driver, namespace: str) -> None:
    """What is stored, and under which keys, is what other versions will find; no time to live."""
    entries, changes, deletes = (
        f"{{{namespace}}}:{part}".encode() for part in ("entries", "changes", "deletes")
    )
    version = await store.put("1:2", b"\0value:")
    await store.put("gone", b"x")
    await store.delete("gone")
    assert {key async for key in client.scan_iter(f"{{{namespace}}}:*")} == {
        entries,
        changes,
        deletes,
    }
    begun, put, other, delete = await client.xrange(changes)
    epoch = int(begun[0].partition(b"-")[0])
    last = int(delete[0].partition(b"-")[0])
    assert await client.hgetall(entries) == {
        b"1:2": b"1:%d:\0value:" % version,
        b"": b"1 %d %d" % (epoch, last),
    }
    assert begun == (b"%d-%d" % (epoch, epoch), {b"p": b"0"})
    name = put[1].pop(b"w")
    assert name != other[1][b"w"]
    form = {b"k": b"1:2", b"v": b"\0value:", b"p": b"%d" % epoch}
    assert put == (b"%d-%d" % (version, epoch), form)
    assert delete[1].keys() == {b"w", b"k", b"p"}
    assert await client.xrange(deletes, min=f"{epoch + 1}") == [(delete[0], {b"k": b"gone"})]
    for key in (entries, changes, deletes):
        assert await client.ttl(key) == -1


async def test_versions_never_go_back(store: RedisStore, client: Driver, namespace: str) -> None:
    """A server whose clock is behind goes on above what it and this process have seen."""
    entries = f"{{{namespace}}}:entries"
    far = 2**52
    await client.delete(entries, f"{{{namespace}}}:changes", f"{{{namespace}}}:deletes")
    await client.hset(entries, "", f"1 1 {far}")
    last = await store.put("key", b"value")
    assert last > far
    await client.delete(entries)
    assert await store.put("other", b"value") > last


async def test_streams_are_bounded(store: RedisStore, client: Driver, namespace: str) -> None:
    """The stream of changes keeps to its length, and no process leaves anything else behind."""
    for _ in range(3):
        await asyncio.gather(*(store.put(f"k{i}", b"value" * 50) for i in range(5000)))
    assert 10_000 <= await client.xlen(f"{{{namespace}}}:changes") < 10_500
    assert await client.hlen(f"{{{namespace}}}:entries") == 5000 + 1


@pytest.mark.parametrize("names", [("a", "ab"), ("a", "a:entries"), ("*", "x"), ("[a-z]", "b")])
async def test_namespaces_never_meet(
    server: Server, namespace: str, names: tuple[str, str]
) -> None:
    """Two namespaces share nothing: no entry, no change, no version conflict."""
    one, two = (RedisStore(server.url, namespace=f"{namespace}{name}") for name in names)
    async with one, two, one.watch() as feed:
        await two.put("key", b"two")
        assert await one.get("key") is None
        version = await one.put("key", b"one", expect=0)
        await two.delete("key")
        assert await feed.catch_up() == [("key", version, b"one")]
        assert [entry async for entry in one.scan()] == [("key", version, b"one")]
        assert [entry async for entry in two.scan()] == []
