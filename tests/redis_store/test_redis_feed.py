"""The feeds of `RedisStore`: nothing is missed, whatever happens to connection and stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.redis_store.proxy import Proxy
from tests.redis_store.reader import content, reading
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from tests.redis_store.servers import Driver, Server

MORE_THAN_KEPT = 12_000
"""More changes than the stream keeps."""


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


async def test_reader_that_was_away_for_long(
    server: Server, store: RedisStore, namespace: str
) -> None:
    """A reader who was away for more changes than are kept learns of all, deletes too, in order."""
    await asyncio.gather(*(store.put(f"k{i}", b"old") for i in range(300)))
    async with (
        Proxy(server.port) as proxy,
        RedisStore(proxy.url, namespace=namespace) as away,
        reading(away) as reader,
    ):
        await store.put("seen", b"value")
        await reader.catch_up()
        await proxy.down()
        await asyncio.gather(*(store.delete(f"k{i}") for i in range(100)))
        await store.put("k7", b"again")
        numbers = range(MORE_THAN_KEPT)
        await asyncio.gather(*(store.put(f"k{i % 200 + 100}", b"%d" % i) for i in numbers))
        await proxy.up()
        await reader.catch_up()
        assert reader.deleted == {f"k{i}" for i in range(100) if i != 7}
        assert reader.values == await content(store)
        assert reader.losses == 0
        versions: dict[str, int] = {}
        for change in reader.changes:
            assert change.version >= versions.get(change.key, 0), "not in the order of versions"
            versions[change.key] = change.version


@pytest.mark.parametrize(
    "options",
    [
        {"socket_timeout": 0.3},
        {"socket_timeout": None},
        {"max_connections": 4},
        {"health_check_interval": 1},
    ],
    ids=str,
)
async def test_clients_of_all_kinds(
    server: Server, namespace: str, options: dict[str, object]
) -> None:
    """A user's client with unusual options follows the changes and writes meanwhile."""
    async with server.client(**options) as own, RedisStore(own, namespace=namespace) as store:
        async with store.watch() as feed:
            versions = await asyncio.gather(*(store.put(f"k{i}", b"value") for i in range(20)))
            found = await asyncio.gather(*(store.get(f"k{i}") for i in range(20)))
            assert [entry and entry.version for entry in found] == versions
            changes = await feed.catch_up()
            assert sorted(change.version for change in changes) == sorted(versions)
        assert await own.ping()
