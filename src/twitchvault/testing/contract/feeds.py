"""Feeds of changes, one thing at a time; for stores that are `Watchable`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from twitchvault.stores.base import Change
from twitchvault.testing.contract.keys import KEYS
from twitchvault.testing.contract.kit import PROMPT, Kit, MakeStore, opened, rule, within
from twitchvault.testing.contract.picture import Picture, caught_up, need_watch

if TYPE_CHECKING:
    from twitchvault.stores.base import Feed, TokenStore

PREFIXES: Final = ("", "a", "a%", "a*", "[", "_", "\\", "\0", "é", "app:1", "\U0010ffff")
AT_ONCE: Final = 1.0
"""Seconds that a hundred drains may take; generous, for busy machines."""


class Feeds(Kit):
    """What each method of a feed promises."""

    @rule("watch")
    async def test_catch_up_gives_what_was_written(self, store: TokenStore) -> None:
        """Everything written since the context was entered comes, at the version put returned."""
        async with need_watch(store).watch() as feed:
            first = await store.put("a", b"first")
            second = await store.put("b", b"second")
            known = await caught_up(feed)
            assert known == {"a": ("a", first, b"first"), "b": ("b", second, b"second")}, (
                f"catch_up() must give both puts made since the feed was entered, it gave {known}"
            )
            third = await store.put("a", b"third", expect=first)
            known = await caught_up(feed)
            assert known.get("a") == ("a", third, b"third"), f"catch_up() missed a put: {known}"

    @rule("watch")
    async def test_delete_is_a_change(self, store: TokenStore) -> None:
        """A delete comes as None, at a version between those of the writes around it."""
        before = await store.put("key", b"value")
        async with need_watch(store).watch() as feed:
            await store.delete("key")
            change = (await caught_up(feed)).get("key")
            assert change is not None, "a feed missed a delete"
            assert change.value is None, f"a delete must come with the value None, not as {change}"
            assert change.version > before, (
                f"a delete came at version {change.version}, the entry stood at {before}: readers "
                f"would take it for old"
            )
            after = await store.put("key", b"again")
            assert after > change.version, (
                f"a put after a delete of version {change.version} came at {after}: readers would "
                f"take it for old"
            )
            assert (await caught_up(feed)).get("key") == ("key", after, b"again"), "missed a put"

    @rule("watch")
    async def test_refused_write_is_no_change(self, store: TokenStore) -> None:
        """A conflict and a delete of what is absent change no picture."""
        version = await store.put("key", b"value")
        async with need_watch(store).watch() as feed:
            results = await asyncio.gather(
                store.put("key", b"refused", expect=0),
                store.put("absent", b"refused", expect=version),
                store.delete("key", expect=version + 1),
                store.delete("absent"),
                return_exceptions=True,
            )
            picture = Picture()
            picture.apply(list((await caught_up(feed)).values()))
            shown = {key: change.value for key, change in picture.known.items()}
            assert shown.get("key", b"value") == b"value", f"a feed tells of a refused put: {shown}"
            assert shown.get("absent") is None, f"a feed tells of a refused put: {shown}"
            assert results[3] is False, f"delete() of an absent key gave {results[3]!r}"

    @rule("watch")
    async def test_prefix_of_a_feed_is_literal(self, store: TokenStore) -> None:
        """A feed gives the keys that start with its prefix, and no others."""
        async with AsyncExitStack() as stack:
            watch = need_watch(store).watch
            feeds = {p: await stack.enter_async_context(watch(p)) for p in PREFIXES}
            await asyncio.gather(*(store.put(key, b"value") for key in KEYS))
            for prefix, feed in feeds.items():
                found = (await caught_up(feed)).keys()
                right = {key for key in KEYS if key.startswith(prefix)}
                assert found == right, (
                    f"watch({prefix!a}) must give the keys that start with it, literally; too "
                    f"many: {sorted(found - right)!a}, missing: {sorted(right - found)!a}"
                )

    @rule("watch")
    async def test_wait_wakes_up(self, store: TokenStore) -> None:
        """`wait` returns at least one change soon after it is made, and at once if one is there."""
        async with need_watch(store).watch() as feed:
            for number in range(3):
                waiting = asyncio.create_task(feed.wait())
                await asyncio.sleep(0)
                version = await store.put("key", b"%d" % number)
                await _check_wait(waiting, Change("key", version, b"%d" % number))
            version = await store.put("key", b"before")
            waiting = asyncio.create_task(feed.wait())
            await _check_wait(waiting, Change("key", version, b"before"))

    @rule("watch", "handles")
    async def test_wait_wakes_up_by_another_store(
        self, store: TokenStore, opener: MakeStore
    ) -> None:
        """`wait` returns soon after another store on the same data has written."""
        async with opened(opener) as other, need_watch(store).watch() as feed:
            waiting = asyncio.create_task(feed.wait())
            await asyncio.sleep(0)
            version = await other.put("key", b"value")
            await _check_wait(waiting, Change("key", version, b"value"))

    @rule("watch")
    async def test_wait_of_a_quiet_store(self, store: TokenStore) -> None:
        """`wait` does not return an empty list, not even when keys of other prefixes change."""
        async with need_watch(store).watch("mine:") as feed:
            waiting = asyncio.create_task(feed.wait())
            for number in range(5):
                await store.put("other:key", b"%d" % number)
                await asyncio.sleep(0.01)
            assert not waiting.done(), f"wait() returned though nothing changed: {waiting!r}"
            version = await store.put("mine:key", b"value")
            await _check_wait(waiting, Change("mine:key", version, b"value"))

    @rule("watch")
    async def test_drain_does_not_wait(self, store: TokenStore) -> None:
        """`drain` is a plain call that returns at once, and what it leaves comes by `catch_up`."""
        async with need_watch(store).watch() as feed:
            loop = asyncio.get_running_loop()
            start = loop.time()
            for _ in range(100):
                changes = feed.drain()
                assert changes == [], f"drain() of a store without changes must be [], {changes!r}"
            taken = loop.time() - start
            assert taken < AT_ONCE, f"100 calls of drain() took {taken:.2f} s: it must not wait"
            versions = {key: await store.put(key, b"value") for key in ("a", "b", "c")}
            await store.delete("b")
            picture = Picture()
            picture.apply(feed.drain())
            picture.apply(await feed.catch_up())
            values = {key: change.value for key, change in picture.known.items()}
            assert values == {"a": b"value", "b": None, "c": b"value"}, (
                f"drain() and then catch_up() must tell all of {versions} and the delete of 'b': "
                f"{picture.known}"
            )

    @rule("watch")
    async def test_drain_gives_all_in_time(self, store: TokenStore) -> None:
        """A reader that only drains learns of each write and delete soon."""
        async with need_watch(store).watch() as feed:
            for number in range(3):
                version = await store.put("key", b"%d" % number)
                await _drain_until(feed, Change("key", version, b"%d" % number))
                await store.delete("key")
                await _drain_until(feed, Change("key", version, None))

    @rule("watch", "handles")
    async def test_catch_up_is_a_barrier(self, store: TokenStore, opener: MakeStore) -> None:
        """`catch_up` gives what any store had committed before the call, each time."""
        async with opened(opener) as other, need_watch(store).watch() as feed:
            for number in range(30):
                writer = (store, other)[number % 2]
                version = await writer.put("key", b"%d" % number)
                gone = await other.delete("gone")
                await store.put("gone", b"value")
                known = await caught_up(feed)
                assert known.get("key") == ("key", version, b"%d" % number), (
                    f"catch_up() missed a put that had returned before the call: {known}"
                )
                assert gone is (number > 0), "delete() by another store"

    @rule("watch")
    async def test_feeds_are_independent(self, store: TokenStore) -> None:
        """What one feed has handed out, another still gives; leaving one leaves the others."""
        watch = need_watch(store).watch
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

    @rule("watch")
    async def test_left_while_waiting(self, store: TokenStore) -> None:
        """A wait can be cancelled and its context left; the store goes on, and can be watched."""
        for _ in range(3):
            expected = "leave a feed's context after its wait() was cancelled"
            async with within(PROMPT, expected), need_watch(store).watch() as feed:
                waiting = asyncio.create_task(feed.wait())
                await asyncio.sleep(0.005)
                waiting.cancel()
                (result,) = await asyncio.gather(waiting, return_exceptions=True)
                assert isinstance(result, asyncio.CancelledError), (
                    f"a cancelled wait() must raise CancelledError, it gave {result!r}"
                )
            assert await store.put("key", b"value"), "put() after a feed was left"


async def _check_wait(waiting: asyncio.Task[list[Change]], expected: Change) -> None:
    """Fail unless `wait` returns soon, with the change."""
    async with within(PROMPT, f"wait() returns after {expected}"):
        changes = await waiting
    assert changes, "wait() must return at least one change, it returned an empty list"
    picture = Picture()
    picture.apply(changes)
    known = picture.known.get(expected.key)
    assert known == expected, f"wait() must give {expected}, it gave {changes}"


async def _drain_until(feed: Feed, expected: Change) -> None:
    """Drain until the change is there; for a delete its version must be larger than given."""
    picture = Picture()
    async with within(PROMPT, f"drain() gives {expected}"):
        while True:
            picture.apply(feed.drain())
            found = picture.known.get(expected.key)
            if found == expected or (found and not (found.value or expected.value)):
                break
            await asyncio.sleep(0.001)
