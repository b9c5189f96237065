"""How `RedisStore` writes: together, once, and whatever happens to the connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Connection, ConnectionPool, Redis

from tests.redis_store.proxy import Proxy
from tests.redis_store.servers import until
from twitchvault.errors import StoreError, StoreUnavailable, VersionConflict
from twitchvault.stores import RedisStore
from twitchvault.stores.redis.scripts import CHANGES_KEPT, WRITE, WRITERS_KEPT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_store.servers import Driver, Server


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """A proxy that knows our writes by their script."""
    async with Proxy(server.port, WRITE.sha.encode()) as proxy:
        yield proxy


@pytest.fixture
async def proxied(proxy: Proxy, namespace: str, store: RedisStore) -> AsyncIterator[RedisStore]:
    """A store behind the proxy; the server knows the scripts already."""
    await store.put("first", b"so that the script is known")
    async with RedisStore(f"redis://127.0.0.1:{proxy.port}", namespace=namespace) as proxied:
        yield proxied


async def test_ten_thousand_puts_take_few_connections(store: RedisStore, client: Driver) -> None:
    """10,000 tasks put at once: all succeed, each at its own version, over few connections."""
    before = len(await client.client_list())
    async with store.watch():
        puts = [asyncio.create_task(store.put(f"k{i}", b"value" * 100)) for i in range(10_000)]
        most = 0
        while not all(put.done() for put in puts):
            most = max(most, len(await client.client_list()) - before)
        assert len({await put for put in puts}) == len(puts)
        gets = await asyncio.gather(*(store.get(f"k{i}") for i in range(10_000)))
        assert all(entry is not None and entry.value == b"value" * 100 for entry in gets)
    assert 0 < most <= 8


async def test_writes_at_once_share_calls(store: RedisStore, client: Driver) -> None:
    """What waits at the same time travels together."""
    await client.config_resetstat()
    await asyncio.gather(*(store.put(f"k{i}", b"value") for i in range(1000)))
    calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls < 20


async def test_cancelling_one_disturbs_nobody(store: RedisStore) -> None:
    """Of many writers at once some are cancelled; the others get their own results."""
    tasks = [asyncio.create_task(store.put(f"k{i}", b"%d" % i)) for i in range(1000)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in enumerate(results):
        entry = await store.get(f"k{number}")
        if isinstance(result, int):
            assert entry == (f"k{number}", result, b"%d" % number)
        else:
            assert number % 3 == 0
            assert isinstance(result, asyncio.CancelledError)


async def test_conflicts_stay_with_their_callers(store: RedisStore) -> None:
    """In one batch some writes conflict and some do not; each caller learns of his own."""
    version = await store.put("key", b"value")
    results = await asyncio.gather(
        store.put("key", b"one", expect=version),
        store.put("key", b"two", expect=version),
        store.put("other", b"three"),
        store.delete("absent", expect=7),
        store.delete("absent"),
        return_exceptions=True,
    )
    one, two, three, four, five = results
    assert isinstance(one, int)
    assert isinstance(two, VersionConflict)
    assert (two.key, two.expected, two.found) == ("key", version, one)
    assert isinstance(three, int)
    assert isinstance(four, VersionConflict)
    assert four.found == 0
    assert five is False


async def test_large_values_are_split_into_batches(store: RedisStore) -> None:
    """Many large values at once arrive as they are."""
    value = bytes(range(256)) * 2048
    await asyncio.gather(*(store.put(f"k{i}", value) for i in range(20)))
    entries = [entry async for entry in store.scan()]
    assert len(entries) == 20
    assert all(entry.value == value for entry in entries)


async def test_scripts_that_the_server_forgot(store: RedisStore, client: Driver) -> None:
    """A server that has lost its scripts gets them again."""
    await client.script_flush()
    version = await store.put("key", b"value")
    await client.script_flush()
    assert await store.get("key") == ("key", version, b"value")


async def test_swallowed_answer_is_no_conflict(proxied: RedisStore, proxy: Proxy) -> None:
    """A compare-and-set whose answer got lost is recognised, not refused by its own first try."""
    version = await proxied.put("key", b"one")
    proxy.swallow = 1
    second = await proxied.put("key", b"two", expect=version)
    assert proxy.swallow == 0
    assert await proxied.get("key") == ("key", second, b"two")
    proxy.swallow = 1
    assert await proxied.put("new", b"one", expect=0) > second
    proxy.swallow = 1
    assert await proxied.delete("new") is True
    assert proxy.swallow == 0


async def test_swallowed_answer_writes_once(
    proxied: RedisStore, proxy: Proxy, store: RedisStore
) -> None:
    """An unconditional put whose answer got lost is not written a second time."""
    async with store.watch() as feed:
        proxy.swallow = 1
        version = await proxied.put("key", b"value")
        assert proxy.swallow == 0
        assert await feed.catch_up() == [("key", version, b"value")]
        assert await feed.catch_up() == []


async def test_late_first_try_does_nothing(
    proxied: RedisStore, proxy: Proxy, store: RedisStore
) -> None:
    """A first try that reaches the server after its repetition and others' writes is refused."""
    proxy.hold = 1
    await proxied.put("key", b"old")
    assert proxy.hold == 0
    newer = await store.put("key", b"newer")
    await proxied.put("other", b"value")
    await proxy.release()
    await asyncio.sleep(0.1)
    assert await store.get("key") == ("key", newer, b"newer")


async def test_late_first_try_of_a_refused_write_does_nothing(
    proxied: RedisStore, proxy: Proxy, store: RedisStore
) -> None:
    """What was told to be a conflict stays undone, also if the first try arrives when it fits."""
    await store.put("key", b"there")
    proxy.hold = 1
    with pytest.raises(VersionConflict):
        await proxied.put("key", b"refused", expect=0)
    await store.delete("key")
    await proxy.release()
    await asyncio.sleep(0.1)
    assert await store.get("key") is None


async def test_server_that_is_gone_for_a_moment(store: RedisStore, client: Driver) -> None:
    """Connections killed while idle cost nobody an error."""
    for number in range(5):
        await client.client_kill_filter(_type="normal", skipme=True)
        version = await store.put("key", b"%d" % number)
        await client.client_kill_filter(_type="normal", skipme=True)
        assert await store.get("key") == ("key", version, b"%d" % number)


class Snatched(Connection):
    """A connection that is closed under the next call, as another task's trouble does it."""

    doomed = False

    async def check_health(self) -> None:
        """What the driver does right before it sends something."""
        if Snatched.doomed:
            Snatched.doomed = False
            await self.disconnect()


async def test_connection_that_the_driver_closes_under_a_call(
    server: Server, namespace: str
) -> None:
    """In a Cluster the driver stumbles over its own closed connections: nobody notices."""
    pool = ConnectionPool(connection_class=Snatched, host="127.0.0.1", port=server.port)
    async with Redis(connection_pool=pool) as own, RedisStore(own, namespace=namespace) as store:
        Snatched.doomed = True
        version = await store.put("key", b"value")
        assert not Snatched.doomed
        Snatched.doomed = True
        assert await store.get("key") == ("key", version, b"value")
    await pool.disconnect()


async def test_stored_form(store: RedisStore, client: Driver, namespace: str) -> None:
    """What is stored, and under which keys, is what other versions will find; no time to live."""
    version = await store.put("1:2", b"\0value:")
    assert await store.put("gone", b"x")
    await store.delete("gone")
    names = {key async for key in client.scan_iter(f"{{{namespace}}}:*")}
    parts = {
        f"{{{namespace}}}:{part}".encode() for part in ("entries", "meta", "changes", "deletes")
    }
    assert names == parts
    entries, meta = f"{{{namespace}}}:entries", f"{{{namespace}}}:meta"
    assert await client.hgetall(entries) == {b"1:2": b"1:%d:\0value:" % version}
    found = await client.hgetall(meta)
    assert found[b"format"] == b"1"
    assert int(found[b"version"]) > version
    changes = await client.xrange(f"{{{namespace}}}:changes", min=f"{version}-0", count=2)
    (put_id, put), (next_id, following) = changes
    assert put_id == b"%d-0" % version
    assert {name: put[name] for name in (b"k", b"v")} == {b"k": b"1:2", b"v": b"\0value:"}
    assert following[b"p"] == b"%d" % version
    assert int(next_id.partition(b"-")[0]) > version
    for name in names:
        assert await client.ttl(name) == -1


async def test_versions_never_go_back(store: RedisStore, client: Driver, namespace: str) -> None:
    """A server whose counter and clock fell behind goes on above what this process has seen."""
    meta, changes = f"{{{namespace}}}:meta", f"{{{namespace}}}:changes"
    far = 2**52
    await client.hset(meta, "version", far)
    last = await store.put("key", b"value")
    assert last == far + 1
    await client.hset(meta, "version", 7)
    await client.delete(changes)
    assert await store.put("other", b"value") > last
    epoch = await client.hget(meta, "epoch")
    await client.hset(meta, "version", 7)
    await client.delete(changes)
    async with store.watch() as feed:
        assert await client.hget(meta, "epoch") != epoch
        version = await store.put("key", b"value")
        assert version > last + 1
        assert await feed.catch_up() == [("key", version, b"value")]


async def test_stream_is_bounded(store: RedisStore, client: Driver, namespace: str) -> None:
    """The stream of changes keeps to its length."""
    for _ in range(3):
        await asyncio.gather(*(store.put(f"k{i}", b"value" * 50) for i in range(5000)))
    assert CHANGES_KEPT <= await client.xlen(f"{{{namespace}}}:changes") < CHANGES_KEPT * 1.05


async def test_writers_are_forgotten(
    server: Server, store: RedisStore, client: Driver, namespace: str
) -> None:
    """The results of writers long gone do not pile up; those of the newest stay."""
    old = {f"w:old{i}": f"7 {i}\n=5" for i in range(2 * WRITERS_KEPT)}
    await store.put("key", b"value")
    await client.hset(f"{{{namespace}}}:meta", mapping=old)
    async with RedisStore(server.url, namespace=namespace) as other:
        await other.put("key", b"value")
        await store.put("key", b"again")
    fields = await client.hkeys(f"{{{namespace}}}:meta")
    writers = [field for field in fields if field.startswith(b"w:")]
    assert len(writers) == WRITERS_KEPT + 1
    assert b"w:old0" not in writers
    assert f"w:old{2 * WRITERS_KEPT - 1}".encode() in writers


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


async def test_put_under_way_when_closed(server: Server, namespace: str) -> None:
    """What was asked for before `close` is carried out; later calls are refused."""
    async with RedisStore(server.url, namespace=namespace) as store:
        puts = [asyncio.create_task(store.put(f"k{i}", b"value")) for i in range(500)]
        await asyncio.sleep(0)
    versions = await asyncio.gather(*puts)
    assert len(set(versions)) == 500
    with pytest.raises(StoreError, match="is closed"):
        await store.put("key", b"value")


async def test_close_gives_up_in_time(proxied: RedisStore, proxy: Proxy) -> None:
    """A server that stops answering does not keep `close` from ending, nor callers from hearing."""
    proxy.hold = 1000
    puts = [asyncio.create_task(proxied.put(f"k{i}", b"value")) for i in range(5)]
    await until(lambda: proxy.hold < 1000)
    async with asyncio.timeout(10):
        await proxied.close()
        results = await asyncio.gather(*puts, return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
