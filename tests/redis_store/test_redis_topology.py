"""Cluster, Sentinel, failover, and replicas that a write waits for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import RedisCluster
from redis.asyncio.sentinel import Sentinel as SentinelClient
from redis.cluster import LoadBalancingStrategy
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.environment import until
from tests.redis_store.reader import reading
from tests.redis_store.servers import Sentinel, Server, clustered, followed, join, running
from twitchvault import App
from twitchvault.errors import StoreUnavailable, VersionConflict
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.redis_store.servers import Driver


def in_first_slots(name: str) -> str:
    """A namespace like this one that lies on the first node."""
    names = (f"{name}-{number}" for number in range(1000))
    return next(name for name in names if key_slot(f"{{{name}}}".encode()) < 16384 // 3)


@pytest.fixture
async def own_cluster(cluster: list[Server]) -> AsyncIterator[RedisCluster]:
    """A client of the cluster, as a user has one."""
    async with RedisCluster(host="127.0.0.1", port=cluster[0].port) as client:
        yield client


async def test_reads_never_come_from_replicas(
    cluster: list[Server], own_cluster: RedisCluster, namespace: str
) -> None:
    """A client that may read from replicas reads from the primary all the same."""
    first, robin = in_first_slots(namespace), LoadBalancingStrategy.ROUND_ROBIN_REPLICAS
    port = cluster[0].port
    async with RedisCluster("127.0.0.1", port, load_balancing_strategy=robin) as reading:
        one, two = (RedisStore(client, namespace=first) for client in (own_cluster, reading))
        async with one, two, two.watch() as feed:
            for number in range(50):
                version = await one.put("key", b"%d" % number)
                assert await two.get("key") == ("key", version, b"%d" % number)
            assert (await feed.catch_up())[-1].version == version


async def test_min_replicas_in_a_cluster(own_cluster: RedisCluster, namespace: str) -> None:
    """More replicas than there are: the error says that the write is on the primary alone."""
    async with RedisStore(own_cluster, namespace=namespace, min_replicas=2) as store:
        with pytest.raises(StoreUnavailable, match=r"written on the primary.* [01] of 2 replicas"):
            await store.put("key", b"value")
        entry = await store.get("key")
        assert entry is not None
        with pytest.raises(VersionConflict):
            await store.put("key", b"value", expect=entry.version + 1)


async def test_min_replicas(own_server: Callable[..., Server]) -> None:
    """A write waits for the replica; without one the error says that it is on the primary alone."""
    primary = await own_server().ready()
    replica = await own_server("--replicaof", "127.0.0.1", str(primary.port)).ready()
    async with RedisStore(primary.url, min_replicas=1) as store, primary.client() as client:
        await until(lambda: followed(client))
        versions = await asyncio.gather(*(store.put(f"k{i}", b"value") for i in range(100)))
        assert len(set(versions)) == 100
        await client.script_flush()
        assert await store.delete("k0") is True
        with replica.stopped():
            results = await asyncio.gather(
                store.put("key", b"value"),
                store.put("k1", b"value", expect=7),
                store.delete("absent"),
                return_exceptions=True,
            )
        written, conflict, absent = results
        assert isinstance(written, StoreUnavailable)
        assert "key 'key' is written on the primary at version" in str(written)
        assert "0 of 1 replicas (min_replicas) confirmed it in time" in str(written)
        assert isinstance(conflict, VersionConflict)
        assert absent is False
        assert await store.get("key") is not None


async def test_clients_stay_open(server: Server, own_cluster: RedisCluster, namespace: str) -> None:
    """A user's client is not closed; the client made from a URL is."""
    async with server.client() as own, server.client() as other:
        await own.client_setname("ours")
        async with RedisStore(own, namespace=namespace) as store:
            await store.put("key", b"value")
        assert await own.client_getname() == "ours", "the connection was closed in between"
        before = len(await other.client_list())
        async with RedisStore(server.url, namespace=namespace) as store, store.watch():
            await store.put("key", b"value")
            assert len(await other.client_list()) > before
        await until(lambda: _count(other, before))
    async with RedisStore(own_cluster, namespace=namespace) as store:
        await store.put("key", b"value")
    assert await own_cluster.ping()


async def _count(client: Driver, wanted: int) -> bool:
    return len(await client.client_list()) == wanted


GOES_ON = 30.0
"""Seconds after which writes must have gone on."""


@contextlib.asynccontextmanager
async def write_on(store: RedisStore) -> AsyncIterator[dict[str, int]]:
    """Write one key after the other; those that were confirmed, with their versions."""
    confirmed: dict[str, int] = {}
    stop = asyncio.Event()

    async def write() -> None:
        for number in itertools.count():
            with contextlib.suppress(StoreUnavailable):
                confirmed[f"key {number}"] = await store.put(f"key {number}", b"value")
            await asyncio.sleep(0.01)
            if stop.is_set():
                return

    task = asyncio.create_task(write())
    yield confirmed
    stop.set()
    await task


async def fail_over(
    primary: Server,
    replica: Server,
    replace: Callable[[], object],
    store: RedisStore,
    other: RedisStore,
) -> None:
    """Kill the primary while one store writes and another one watches.

    What the replica had confirmed is there, writes go on, feed and views miss nothing. `replace`
    starts another replica once this one is promoted.
    """
    async with (
        App("client", store=store, maintain=False) as bot,
        App("client", store=other, maintain=False) as watcher,
        reading(other, "key") as reader,
    ):
        async with write_on(store) as confirmed:
            await show(bot, watcher, "before")
            await until(lambda: len(confirmed) > 20)
            primary.kill()
            async with replica.client() as client:
                await until(lambda: _is_primary(client), GOES_ON, replica.log)
            assert watcher.tokens["1"] == ("before", "refresh")
            replace()
            before = len(confirmed)
            await until(lambda: len(confirmed) > before + 20, GOES_ON)
            await show(bot, watcher, "after")
        await reader.catch_up()
        found = {entry.key: entry async for entry in other.scan("key")}
    assert confirmed.items() <= {key: entry.version for key, entry in found.items()}.items()
    assert {key: tuple(change) for key, change in reader.known.items()} == found


async def show(bot: App, watcher: App, access_token: str) -> None:
    """What one process adds, the view of another one shows."""
    bot.add_token("1", access_token, "refresh")
    await bot.flush()
    await watcher.sync()
    assert watcher.tokens["1"] == (access_token, "refresh")


async def _is_primary(client: Driver) -> bool:
    with contextlib.suppress(RedisError):  # it may cut connections when it changes
        return bool((await client.info("replication"))["role"] == "master")
    return False


@pytest.mark.long
async def test_cluster() -> None:
    """The primary of the namespace's slot dies; its replica is promoted by the other primaries."""
    first = in_first_slots("app")
    with clustered(node_timeout=500) as (primary, *others, replica):
        await join([primary, *others], replica)
        # One client knows at first only the node that dies, the other one only one that stays.
        async with (
            RedisCluster(host="127.0.0.1", port=primary.port) as one,
            RedisCluster(host="127.0.0.1", port=others[0].port) as two,
            RedisStore(one, namespace=first, min_replicas=1) as store,
            RedisStore(two, namespace=first) as other,
        ):
            await fail_over(primary, replica, primary.start, store, other)


@pytest.mark.long
async def test_sentinel(own_server: Callable[..., Server]) -> None:
    """The primary dies; Sentinel promotes its replica."""
    primary = await own_server().ready()
    replica = await own_server("--replicaof", "127.0.0.1", str(primary.port)).ready()
    sentinel = Sentinel(primary)
    with running(sentinel):
        where = [("127.0.0.1", sentinel.port)]
        manager = SentinelClient(where, socket_timeout=1)  # type: ignore[no-untyped-call]
        await until(lambda: _knows_replica(manager), 20, sentinel.log)
        async with primary.client() as client:
            await until(lambda: followed(client))
        async with (
            manager.master_for("mymaster") as one,
            manager.master_for("mymaster") as two,
            RedisStore(one, min_replicas=1) as store,
            RedisStore(two) as other,
        ):
            another = ("--replicaof", "127.0.0.1", str(replica.port))
            await fail_over(primary, replica, lambda: own_server(*another), store, other)
        for client in manager.sentinels:
            await client.aclose()


async def _knows_replica(manager: SentinelClient) -> bool:
    with contextlib.suppress(OSError, RedisError):
        return bool(await manager.discover_slaves("mymaster"))
    return False
