"""Cluster, and replicas that a write waits for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.cluster import LoadBalancingStrategy
from redis.crc import key_slot

from tests.environment import until
from tests.redis_store.makers import Maker
from tests.redis_store.reader import content, reading
from tests.redis_store.servers import Server, followed
from tests.redis_store.test_redis_errors import acl_of_the_page
from twitchvault.errors import StoreUnavailable, VersionConflict
from twitchvault.stores import RedisStore
from twitchvault.testing.contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.redis_store.servers import Driver


def cluster_client(port: int, **options: object) -> RedisCluster:
    """A cluster client that starts from one node."""
    return RedisCluster(host="127.0.0.1", port=port, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("make_store")
class TestCluster(StoreContract):
    """A client of a cluster."""

    @pytest.fixture(params=[{"protocol": 2}], ids=str)
    async def make_store(
        self, request: pytest.FixtureRequest, cluster: list[Server], namespace: str
    ) -> AsyncIterator[Maker]:
        """Stores on clients of the cluster."""
        maker = Maker(cluster_client, namespace, port=cluster[0].port, **request.param)
        yield maker
        await maker.close()


@pytest.fixture
async def own_cluster(cluster: list[Server]) -> AsyncIterator[RedisCluster]:
    """A client of the cluster, as a user has one."""
    async with cluster_client(cluster[0].port) as client:
        yield client


async def test_reads_never_come_from_replicas(
    cluster: list[Server], own_cluster: RedisCluster, namespace: str
) -> None:
    """A client that may read from replicas reads from the primary all the same."""
    names = (f"{namespace}-{number}" for number in range(1000))
    first = next(name for name in names if key_slot(f"{{{name}}}".encode()) < 16384 // 3)
    how = {"load_balancing_strategy": LoadBalancingStrategy.ROUND_ROBIN_REPLICAS}
    async with cluster_client(cluster[0].port, **how) as reading:
        one, two = (RedisStore(client, namespace=first) for client in (own_cluster, reading))
        async with one, two, two.watch() as feed:
            for number in range(50):
                version = await one.put("key", b"%d" % number)
                assert await two.get("key") == ("key", version, b"%d" % number)
            assert (await feed.catch_up())[-1].version == version


async def test_minimal_permissions(cluster: list[Server], namespace: str) -> None:
    """A Cluster wants two commands more."""
    for node in cluster:
        async with node.client() as client:
            command = acl_of_the_page(password="word", namespace=namespace)
            await client.execute_command(*command, "+cluster", "+command")
    who = {"username": "bot", "password": "word"}
    async with (
        cluster_client(cluster[0].port, **who) as own,
        RedisStore(own, namespace=namespace) as store,
        store.watch() as feed,
    ):
        version = await store.put("key", b"value")
        assert await feed.catch_up() == [("key", version, b"value")]
        assert await store.delete("key")


async def test_slot_that_moves(
    cluster: list[Server], own_cluster: RedisCluster, namespace: str
) -> None:
    """The namespace's slot is moved to another node while it is used: nobody notices."""
    async with RedisStore(own_cluster, namespace=namespace) as store, reading(store) as reader:
        versions = [0]
        stop = asyncio.Event()

        async def write() -> None:
            while not stop.is_set():
                versions.append(await store.put("key", b"value", expect=versions[-1]))

        async def write_more() -> None:
            wanted = len(versions) + 20
            await until(lambda: len(versions) > wanted)

        task = asyncio.create_task(write())
        await write_more()
        await _move(cluster, own_cluster, namespace)
        await write_more()
        stop.set()
        await task
        await reader.catch_up()
        assert reader.known["key"].version == versions[-1]
        assert reader.values == await content(store)
        assert reader.losses == 0


async def _move(cluster: list[Server], own: RedisCluster, namespace: str) -> None:
    slot = key_slot(f"{{{namespace}}}".encode())
    held = own.get_node_from_key(f"{{{namespace}}}:entries")
    assert isinstance(held, ClusterNode)
    source, target = sorted(cluster, key=lambda node: node.port != held.port)[:2]
    async with contextlib.AsyncExitStack() as stack:
        clients = {n.port: await stack.enter_async_context(n.client()) for n in cluster}
        ids = {port: await client.cluster("MYID") for port, client in clients.items()}
        ids = {port: name.decode() for port, name in ids.items()}
        here, there = clients[source.port], clients[target.port]
        await there.cluster("SETSLOT", slot, "IMPORTING", ids[source.port])
        await here.cluster("SETSLOT", slot, "MIGRATING", ids[target.port])
        while names := await here.cluster("GETKEYSINSLOT", slot, 10):
            await here.migrate("127.0.0.1", target.port, names, 0, 5000)
        for port in (target.port, source.port):
            await clients[port].cluster("SETSLOT", slot, "NODE", ids[target.port])


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
        replica.signal(signal.SIGSTOP)
        results = await asyncio.gather(
            store.put("key", b"value"),
            store.put("k1", b"value", expect=7),
            store.delete("absent"),
            return_exceptions=True,
        )
        replica.signal(signal.SIGCONT)
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
