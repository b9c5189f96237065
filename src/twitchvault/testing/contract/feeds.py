"""Feeds of changes, one thing at a time and while much is written."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import VersionConflict
from twitchvault.stores.base import Change
from twitchvault.testing.contract.entries import KEYS, check_prefix
from twitchvault.testing.contract.support import (
    CANCEL_POINTS,
    ContractFixtures,
    Replica,
    Watch,
    caught_up,
    check_caught_up,
    reach_point,
    running,
    time_limit,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from twitchvault.stores.base import Feed, TokenStore

PREFIXES: Final = ("", "a", "a%", "a*", "[", "_", "\\", "\0", "é", "app:1", "\U0010ffff")
WRITERS: Final = 4
END: Final = "the end"
"""The key that is written when everything else is."""


class Feeds(ContractFixtures):
    """What a feed promises, one thing at a time and amid many writes."""

    async def test_catch_up_gives_what_was_written(self, store: TokenStore, watch: Watch) -> None:
        """Everything written since the context was entered comes, at the version put returned."""
        async with watch() as feed:
            first = await store.put("a", b"first")
            second = await store.put("b", b"second")
            known = await check_caught_up(feed, ("a", first, b"first"), ("b", second, b"second"))
            assert known.keys() == {"a", "b"}, f"catch_up() gave more than was written: {known}"
            third = await store.put("a", b"third", expect=first)
            await check_caught_up(feed, ("a", third, b"third"))

    async def test_delete_is_a_change(self, store: TokenStore, watch: Watch) -> None:
        """A delete comes as None, at a version between those of the writes around it."""
        before = await store.put("key", b"value")
        async with watch() as feed:
            await store.delete("key")
            change = (await caught_up(feed)).get("key")
            assert change is not None, "a feed missed a delete"
            assert change.value is None, f"a delete must come with the value None, not as {change}"
            after = await store.put("key", b"again")
            right = before < change.version < after
            assert right, f"readers would take {change} for old: puts came at {before} and {after}"

    async def test_refused_write_is_no_change(self, store: TokenStore, watch: Watch) -> None:
        """A feed tells of no conflict and of no delete of what is absent."""
        version = await store.put("key", b"value")
        async with watch() as feed:
            await asyncio.gather(
                store.put("key", b"refused", expect=0),
                store.put("absent", b"refused", expect=version),
                store.delete("key", expect=version + 1),
                store.delete("absent"),
                return_exceptions=True,
            )
            given = {key: change.value for key, change in (await caught_up(feed)).items()}
            assert given.get("key", b"value") == b"value", f"a feed tells of a refused put: {given}"
            assert given.get("absent") is None, f"a feed tells of a refused put: {given}"

    async def test_prefix_of_a_feed_is_literal(self, store: TokenStore, watch: Watch) -> None:
        """A feed gives the keys that start with its prefix, and no others."""
        async with AsyncExitStack() as stack:
            feeds = {p: await stack.enter_async_context(watch(p)) for p in PREFIXES}
            await asyncio.gather(*(store.put(key, b"value") for key in KEYS))
            for prefix, feed in feeds.items():
                found = (await caught_up(feed)).keys()
                right = {key for key in KEYS if key.startswith(prefix)}
                check_prefix(f"watch({prefix!a})", found, right)

    async def test_wait_wakes_up(self, store: TokenStore, watch: Watch) -> None:
        """`wait` returns at least one change soon after it is made, and at once if one is there."""
        async with watch() as feed:
            await _check_wakes_up(feed, store)
            version = await store.put("key", b"before")
            await _check_wait(feed.wait(), Change("key", version, b"before"))

    async def test_wait_wakes_up_by_another_store(
        self, watch: Watch, others: list[TokenStore]
    ) -> None:
        """`wait` returns soon after another store on the same data has written."""
        async with watch() as feed:
            await _check_wakes_up(feed, others[0])

    async def test_wait_of_a_quiet_store(self, store: TokenStore, watch: Watch) -> None:
        """`wait` does not return an empty list, not even when keys of other prefixes change."""
        async with watch("mine:") as feed:
            waiting = asyncio.create_task(feed.wait())
            for number in range(5):
                await store.put("other:key", b"%d" % number)
                await asyncio.sleep(0.01)
            assert not waiting.done(), f"wait() returned though nothing changed: {waiting!r}"
            version = await store.put("mine:key", b"value")
            await _check_wait(waiting, Change("mine:key", version, b"value"))

    async def test_drain_does_not_wait(self, store: TokenStore, watch: Watch) -> None:
        """`drain` is a plain call that returns at once, and what it leaves comes by `catch_up`."""
        async with watch() as feed:
            start = asyncio.get_running_loop().time()
            for _ in range(100):
                changes = feed.drain()
                assert changes == [], f"drain() of a store without changes must be [], {changes!r}"
            taken = asyncio.get_running_loop().time() - start
            assert taken < 1, f"100 calls of drain() took {taken:.2f} s: it must not wait"
            for key in ("a", "b", "c"):
                await store.put(key, b"value")
            await store.delete("b")
            replica = Replica()
            replica.apply(feed.drain())
            replica.apply(await feed.catch_up())
            values = {key: change.value for key, change in replica.known.items()}
            right = {"a": b"value", "b": None, "c": b"value"}
            assert values == right, f"drain() and then catch_up() must give {right}, not {values}"

    async def test_drain_gives_all_in_time(self, store: TokenStore, watch: Watch) -> None:
        """A reader that only drains learns of each write and delete soon."""
        async with watch() as feed:
            for value in (b"first", None, b"second", None):
                if value is None:
                    await store.delete("key")
                else:
                    await store.put("key", value)
                async with time_limit(f"drain() gives {value!r} for 'key'"):
                    given: list[bytes | None] = []
                    while given[-1:] != [value]:
                        await asyncio.sleep(0.001)
                        given += [change.value for change in feed.drain()]

    async def test_catch_up_is_a_barrier(
        self, store: TokenStore, watch: Watch, others: list[TokenStore]
    ) -> None:
        """`catch_up` gives what any store had committed before the call, each time."""
        async with watch() as feed:
            for number in range(30):
                await others[0].put("other", b"value")
                version = await (store, *others)[number % 3].put("key", b"%d" % number)
                await check_caught_up(feed, ("key", version, b"%d" % number))

    async def test_feeds_are_independent(self, store: TokenStore, watch: Watch) -> None:
        """What one feed has handed out, another still gives; leaving one leaves the others."""
        async with watch() as stays:
            async with watch() as leaves, watch("k") as narrow:
                version = await store.put("key", b"value")
                for feed in (leaves, narrow, stays):
                    await check_caught_up(feed, ("key", version, b"value"))
            version = await store.put("key", b"again")
            await check_caught_up(stays, ("key", version, b"again"))

    async def test_left_while_waiting(self, store: TokenStore, watch: Watch) -> None:
        """A wait can be cancelled and its context left; the store goes on, and can be watched."""
        for _ in range(3):
            expected = "leave a feed's context after its wait() was cancelled"
            async with time_limit(expected), watch() as feed:
                waiting = asyncio.create_task(feed.wait())
                await asyncio.sleep(0.005)
                waiting.cancel()
                await asyncio.wait({waiting})
                assert waiting.cancelled(), f"a cancelled wait() must end so: {waiting!r}"
            assert await store.put("key", b"value"), "put() after a feed was left"

    async def test_feeds_miss_nothing(self, store: TokenStore, watch: Watch) -> None:
        """Readers that wait, drain or catch up end with what is there, while four writers write."""
        await _check_readers(watch, [store])

    async def test_feeds_miss_nothing_of_other_stores(
        self, store: TokenStore, watch: Watch, others: list[TokenStore]
    ) -> None:
        """The same when the writers use other stores on the same data, too."""
        await _check_readers(watch, [store, *others])

    async def test_watch_then_scan(self, store: TokenStore, watch: Watch) -> None:
        """Who enters a feed amid writes, scans, and then reads the changes knows everything."""
        replicas: list[tuple[Feed, Replica]] = []
        async with AsyncExitStack() as stack:
            async with running(*(_write(store, number) for number in range(WRITERS))):
                for _ in range(3):
                    feed, replica = await stack.enter_async_context(watch()), Replica()
                    async for entry in store.scan():
                        replica.add(Change(*entry))
                    replicas.append((feed, replica))
                    await asyncio.sleep(0.003)
            for feed, replica in replicas:
                replica.apply(await feed.catch_up())
                await replica.check(store, "a reader that entered watch() and then scanned")

    async def test_cancelled_wait_loses_nothing(self, store: TokenStore, watch: Watch) -> None:
        """A change that comes while a wait is being cancelled is given by the next call."""
        async with watch() as feed:
            for point in range(CANCEL_POINTS):
                waiting = asyncio.create_task(feed.wait())
                writing = asyncio.create_task(store.put("key", b"%d" % point))
                await reach_point(point)
                waiting.cancel()
                (result,) = await asyncio.gather(waiting, return_exceptions=True)
                version = await writing
                replica = Replica()
                replica.apply(result if isinstance(result, list) else [])
                replica.apply(await feed.catch_up())
                known = replica.known.get("key")
                right = ("key", version, b"%d" % point)
                assert known == right, f"a change was lost with a cancelled wait(): {known}"


async def _check_wakes_up(feed: Feed, writer: TokenStore) -> None:
    """Fail unless `wait` returns after each of some puts."""
    for number in range(3):
        waiting = asyncio.create_task(feed.wait())
        await asyncio.sleep(0)
        version = await writer.put("key", b"%d" % number)
        await _check_wait(waiting, Change("key", version, b"%d" % number))


async def _check_wait(waiting: Awaitable[list[Change]], expected: Change) -> None:
    """Fail unless `wait` returns soon, with the change."""
    replica = Replica()
    async with time_limit(f"wait() returns after {expected}"):
        replica.apply(changes := await waiting)
    found = replica.known.get(expected.key)
    assert found == expected, f"wait() must give {expected}, it gave {changes}"


async def _check_readers(watch: Watch, writers: Sequence[TokenStore]) -> None:
    """Read by each method while the writers write; fail unless each reader knows what is there."""
    async with AsyncExitStack() as stack:
        readers = [
            (method, await stack.enter_async_context(watch()), Replica())
            for method in ("wait", "drain", "catch_up")
        ]
        async with running(*(_read(*reader) for reader in readers)):
            await asyncio.gather(*(_write(writers[i % len(writers)], i) for i in range(WRITERS)))
            await writers[0].put(END, b"")
        for method, feed, replica in readers:
            replica.apply(await feed.catch_up())
            await replica.check(writers[0], f"a feed read by {method}() while others wrote")


async def _read(method: str, feed: Feed, replica: Replica) -> None:
    """Read until the last write has come."""
    while END not in replica.known:
        await asyncio.sleep(0.001 if method == "drain" else 0)
        result = getattr(feed, method)()
        replica.apply(result if method == "drain" else await result)


async def _write(store: TokenStore, number: int) -> None:
    """Put, compare and set, and delete some keys that other writers change too."""
    for step in range(40):
        key, value = f"key:{(number + step * 3) % 8}", b"%d of %d" % (step, number)
        match step % 5:
            case 0:
                await store.delete(key)
            case 1 | 2:
                entry = await store.get(key)
                with suppress(VersionConflict):
                    await store.put(key, value, expect=entry.version if entry else 0)
            case _:
                await store.put(key, value)
