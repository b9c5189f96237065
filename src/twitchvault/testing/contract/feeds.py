"""Feeds of changes, one thing at a time; for stores that are `Watchable`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from twitchvault.stores.base import Change
from twitchvault.testing.contract.keys import KEYS
from twitchvault.testing.contract.replica import Replica, caught_up
from twitchvault.testing.contract.support import ContractFixtures, Watch, time_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from twitchvault.stores.base import Feed, TokenStore

PREFIXES: Final = ("", "a", "a%", "a*", "[", "_", "\\", "\0", "é", "app:1", "\U0010ffff")


class Feeds(ContractFixtures):
    """What each method of a feed promises."""

    async def test_catch_up_gives_what_was_written(self, store: TokenStore, watch: Watch) -> None:
        """Everything written since the context was entered comes, at the version put returned."""
        async with watch() as feed:
            first = await store.put("a", b"first")
            second = await store.put("b", b"second")
            known = await caught_up(feed)
            assert known == {"a": ("a", first, b"first"), "b": ("b", second, b"second")}, (
                f"catch_up() must give both puts made since the feed was entered, it gave {known}"
            )
            third = await store.put("a", b"third", expect=first)
            known = await caught_up(feed)
            assert known.get("a") == ("a", third, b"third"), f"catch_up() missed a put: {known}"

    async def test_delete_is_a_change(self, store: TokenStore, watch: Watch) -> None:
        """A delete comes as None, at a version between those of the writes around it."""
        before = await store.put("key", b"value")
        async with watch() as feed:
            await store.delete("key")
            change = (await caught_up(feed)).get("key")
            assert change is not None, "a feed missed a delete"
            assert change.value is None, f"a delete must come with the value None, not as {change}"
            after = await store.put("key", b"again")
            assert before < change.version < after, (
                f"a delete between the versions {before} and {after} came at {change.version}: "
                f"readers would take it for old, or the put after it"
            )

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
                assert found == right, (
                    f"watch({prefix!a}) must give the keys that start with it, literally; too "
                    f"many: {sorted(found - right)!a}, missing: {sorted(right - found)!a}"
                )

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
            assert values == {"a": b"value", "b": None, "c": b"value"}, (
                f"drain() and then catch_up() must give 'a', 'c' and the delete of 'b': {values}"
            )

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
                known = await caught_up(feed)
                assert known.get("key") == ("key", version, b"%d" % number), (
                    f"catch_up() missed a put that had returned before the call: {known}"
                )

    async def test_feeds_are_independent(self, store: TokenStore, watch: Watch) -> None:
        """What one feed has handed out, another still gives; leaving one leaves the others."""
        async with watch() as stays:
            async with watch() as leaves, watch("k") as narrow:
                version = await store.put("key", b"value")
                for feed in (leaves, narrow, stays):
                    known = await caught_up(feed)
                    assert known == {"key": ("key", version, b"value")}, (
                        f"each of three feeds must give the put, one gave {known}"
                    )
            version = await store.put("key", b"again")
            known = await caught_up(stays)
            assert known == {"key": ("key", version, b"again")}, "a feed ended with another one"

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
    assert replica.known.get(expected.key) == expected, (
        f"wait() must give {expected}, it gave {changes}"
    )
