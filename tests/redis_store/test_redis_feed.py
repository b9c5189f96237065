"""Feeds miss nothing, report what the server has lost, and report no lost key as deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.environment import until
from tests.redis_store.proxy import Proxy
from tests.redis_store.reader import content, reading
from twitchvault.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.redis_store.reader import Reader
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


SNAPSHOTS = ("--save", "3600 1")


async def lost(*readers: Reader) -> None:
    """Wait until all of them have heard of a loss."""
    await until(lambda: all(reader.losses for reader in readers), what="a loss was not reported")


@pytest.fixture
async def other(server: Server, namespace: str) -> AsyncIterator[RedisStore]:
    """Another process's store, as it were."""
    async with RedisStore(server.url, namespace=namespace) as other:
        yield other


@pytest.mark.parametrize("idle", [True, False], ids=["then idle", "then written"])
@pytest.mark.parametrize(
    "command",
    [
        "DEL :entries :changes :deletes",
        "DEL :entries",
        "DEL :changes",
        "DEL :deletes",
        "RENAME :entries elsewhere",
        "RENAME :changes elsewhere",
        "RENAME :deletes elsewhere",
        "PEXPIRE :entries 1",
        "PEXPIRE :changes 1",
        "HDEL :entries ",
        "XTRIM :changes MAXLEN 0",
        "XTRIM :deletes MAXLEN 0",
        "XADD :changes * foreign field",
    ],
)
async def test_any_key_is_lost(
    store: RedisStore, other: RedisStore, client: Driver, namespace: str, command: str, idle: bool
) -> None:
    """Whichever key goes, or is written to by others: every feed reports it once, versions go on
    above, all can be put back.
    """
    async with reading(store) as one, reading(other) as two:
        last = 0
        for number in range(5):
            last = await store.put(f"k{number}", b"value")
        await store.delete("k4")
        for reader in (one, two):
            await reader.catch_up()
        before = dict(one.values)
        tag = f"{{{namespace}}}"
        words = [
            word.replace(":", f"{tag}:").replace("elsewhere", f"{tag}")
            for word in command.split(" ")
        ]
        await client.execute_command(*words)
        await until(lambda: _is_gone(client, words), what="it is still there")
        if not idle:
            assert await other.put("new", b"after") > last
        await lost(one, two)
        held = await content(store)
        for key, value in before.items():
            entry = await store.get(key)
            assert entry is None or entry.value == value
            if entry is None:
                assert await store.put(key, value, expect=0) > last
        await asyncio.gather(one.catch_up(), two.catch_up())
        assert one.values == two.values == await content(store) == {**held, **before}
        assert one.deleted == two.deleted == {"k4"}
        assert (one.losses, two.losses) == (1, 1)


async def _is_gone(client: Driver, words: list[str]) -> bool:
    return words[0] != "PEXPIRE" or not await client.exists(words[1])


async def test_one_key_goes_back_in_time(store: RedisStore, client: Driver, namespace: str) -> None:
    """An old copy of the entries beside the present streams is a loss."""
    entries = f"{{{namespace}}}:entries"
    async with reading(store) as reader:
        old = await store.put("key", b"old")
        copy = await client.dump(entries)
        new = await store.put("key", b"new")
        await store.put("other", b"value")
        await reader.catch_up()
        await client.restore(entries, 0, copy, replace=True)
        await lost(reader)
        assert await store.get("key") == ("key", old, b"old")
        assert reader.values == {"key": b"new", "other": b"value"}
        assert await store.put("key", b"new", expect=old) > new
        await reader.catch_up()
        assert reader.deleted == set()


@pytest.mark.parametrize("others", [False, True], ids=["quiet", "others write first"])
async def test_restart_that_loses_the_newest(
    own_server: Callable[..., Server], others: bool
) -> None:
    """A server that falls back to an old snapshot, also if a newcomer writes before we are back."""
    server = await own_server(*SNAPSHOTS).ready()
    async with (
        Proxy(server.port) as proxy,
        RedisStore(proxy.url) as store,
        reading(store) as reader,
    ):
        old = await store.put("key", b"in the snapshot")
        await store.put("deleted later", b"value")
        async with server.client() as client:
            await client.save()
        newest = await store.put("key", b"lost")
        await store.put("lost too", b"value")
        await store.delete("deleted later")
        await reader.catch_up()
        await proxy.down()
        server.kill()
        await server.start().ready()
        if others:
            async with RedisStore(server.url) as newcomer:
                await asyncio.gather(*(newcomer.put(f"n{i}", b"new") for i in range(5)))
        await proxy.up()
        await lost(reader)
        assert await store.get("key") == ("key", old, b"in the snapshot")
        written = {f"n{i}": b"new" for i in range(5)} if others else {}
        assert reader.values == {"key": b"lost", "lost too": b"value", **written}
        assert await store.put("key", b"lost", expect=old) > newest
        await reader.catch_up()
        assert reader.losses == 1


async def test_loss_without_a_feed_is_reported_later(
    store: RedisStore, client: Driver, namespace: str
) -> None:
    """What was lost while nobody watched is reported to the next feed, and to it alone."""
    await store.put("key", b"value")
    await client.delete(f"{{{namespace}}}:entries")
    async with reading(store) as reader:
        await lost(reader)
    async with reading(store) as reader:
        await reader.catch_up()
        assert reader.losses == 0


async def test_a_listener_that_fails(
    store: RedisStore, other: RedisStore, client: Driver, namespace: str
) -> None:
    """Its error goes to the loop's handler; its own feed and all others go on."""
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, report: errors.append(report.get("exception")))
    failure = RuntimeError("a listener's")

    def fail() -> None:
        raise failure

    async with store.watch() as feed, reading(store) as reader:
        feed.on_loss(fail)
        await client.delete(f"{{{namespace}}}:entries")
        await lost(reader)
        version = await other.put("key", b"value")
        assert await feed.catch_up() == [("key", version, b"value")]
    assert errors == [failure]
