"""The primary dies and its replica takes over, with Sentinel and in a Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import RedisCluster
from redis.asyncio.sentinel import Sentinel as SentinelClient
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.environment import until
from tests.redis_store.reader import reading
from tests.redis_store.servers import Sentinel, Server, clustered, followed, join, running
from twitchvault import App
from twitchvault.errors import StoreUnavailable
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.redis_store.servers import Driver

GOES_ON = 30.0
"""Seconds after which writes must have gone on."""


class Writer:
    """Writes one key after the other and notes what was confirmed."""

    def __init__(self, store: RedisStore) -> None:
        self.confirmed: dict[str, int] = {}
        self.stopped = False
        self._store = store

    async def run(self) -> None:
        """Write until stopped."""
        numbers = itertools.count()
        while not self.stopped:
            key = f"key {next(numbers)}"
            with contextlib.suppress(StoreUnavailable):
                self.confirmed[key] = await self._store.put(key, b"value")
            await asyncio.sleep(0.01)

    async def confirms(self, more: int) -> None:
        """Return once so many more writes are confirmed."""
        wanted = len(self.confirmed) + more
        await until(lambda: len(self.confirmed) >= wanted, GOES_ON)


@contextlib.asynccontextmanager
async def running_writer(store: RedisStore) -> AsyncIterator[Writer]:
    """A writer at work."""
    writer = Writer(store)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        writer.stopped = True
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
        async with running_writer(store) as writer:
            await show(bot, watcher, "before")
            await writer.confirms(20)
            primary.kill()
            async with replica.client() as client:
                await until(lambda: _is_primary(client), GOES_ON, replica.log)
            assert watcher.tokens["1"] == ("before", "refresh")
            replace()
            await writer.confirms(20)
            await show(bot, watcher, "after")
        await reader.catch_up()
        found = {entry.key: entry async for entry in other.scan("key")}
    versions = {key: entry.version for key, entry in found.items()}
    assert writer.confirmed.items() <= versions.items()
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
    names = (f"app-{number}" for number in range(1000))
    first = next(name for name in names if key_slot(f"{{{name}}}".encode()) < 16384 // 3)
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
