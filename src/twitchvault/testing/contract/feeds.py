"""Feeds of changes, in quiet stores and while many writers write."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import VersionConflict
from twitchvault.stores.base import Change
from twitchvault.testing.contract.entries import KEYS, MANY, check_prefix, check_unreadable, fill
from twitchvault.testing.contract.support import (
    CANCEL_POINTS,
    ContractFixtures,
    Damage,
    Watch,
    check_parts,
    reach_point,
    result_of,
    scan_all,
    time_limit,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Set

    from twitchvault.stores.base import Feed, TokenStore

PREFIXES: Final = ("", "a", "a%", "a*", "[", "_", "\\", "\0", "é", "app:1", "\U0010ffff")
WRITERS: Final = 4
LEAVE: Final = "leave a feed's context after its wait() or catch_up() was cancelled"
END: Final = "the end"
"""The key that is written last."""


class Feeds(ContractFixtures):
    """What a feed promises."""

    async def test_delete_is_a_change(self, store: TokenStore, watch: Watch) -> None:
        """A delete comes with the value None, at a version between those of the puts around it."""
        before = await store.put("key", b"value")
        async with watch() as feed:
            await store.delete("key")
            change = (await caught_up(feed)).get("key")
            after = await store.put("key", b"again")
            assert change is not None, "a feed missed a delete"
            assert change.value is None, f"a delete must come with the value None, not as {change}"
            right = before < change.version < after
            assert right, f"readers would take {change} for old: puts came at {before} and {after}"

    async def test_prefix_of_a_feed_is_literal(self, store: TokenStore, watch: Watch) -> None:
        """A feed gives the changes of exactly the keys that start with its prefix."""
        async with AsyncExitStack() as stack:
            feeds = {p: await stack.enter_async_context(watch(p)) for p in PREFIXES}
            await asyncio.gather(*(store.put(key, b"value") for key in KEYS))
            for prefix, feed in feeds.items():
                found = (await caught_up(feed)).keys()
                right = {key for key in KEYS if key.startswith(prefix)}
                check_prefix(f"watch({prefix!a})", found, right)

    async def test_wait_wakes_up(self, stores: list[TokenStore], watch: Watch) -> None:
        """`wait` returns soon after any store has written, and at once if a change is there.

        It misses no write, at whatever moment that comes.
        """
        async with watch() as feed:
            for point in range(CANCEL_POINTS):
                waiting = asyncio.create_task(feed.wait())
                await reach_point(point)
                version = await stores[point % len(stores)].put("key", b"%d" % point)
                await check_wait(waiting, Change("key", version, b"%d" % point))
            version = await stores[-1].put("key", b"before")
            await check_wait(feed.wait(), Change("key", version, b"before"))

    async def test_wait_of_a_quiet_store(self, store: TokenStore, watch: Watch) -> None:
        """`wait` does not return an empty list, not even when keys of other prefixes change."""
        async with watch("mine:") as feed:
            waiting = asyncio.create_task(feed.wait())
            for number in range(5):
                await store.put("other:key", b"%d" % number)
                await asyncio.sleep(0.01)
            assert not waiting.done(), f"wait() returned though nothing changed: {waiting!r}"
            version = await store.put("mine:key", b"value")
            await check_wait(waiting, Change("mine:key", version, b"value"))

    async def test_drain_does_not_wait(self, watch: Watch) -> None:
        """`drain` is a plain call that returns at once, and [] where nothing has changed."""
        async with watch() as feed:
            start = time.monotonic()
            given = [feed.drain() for _ in range(100)]
            taken = time.monotonic() - start
            assert given == [[]] * 100, f"drain() without changes must be [], not {given}"
            assert taken < 1, f"100 calls of drain() took {taken:.2f} s: it must not wait"

    async def test_drain_gives_all_in_time(self, store: TokenStore, watch: Watch) -> None:
        """A reader that only calls `drain` learns of each write and delete soon."""
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

    async def test_catch_up_is_a_barrier(self, stores: list[TokenStore], watch: Watch) -> None:
        """`catch_up` gives what any store had committed before the call, each time."""
        async with watch() as feed:
            for number in range(30):
                await stores[-1].put("other", b"value")
                version = await stores[number % len(stores)].put("key", b"%d" % number)
                await check_caught_up(feed, ("key", version, b"%d" % number))

    async def test_late_reader_misses_nothing(self, store: TokenStore, watch: Watch) -> None:
        """A feed that nobody reads while 2,500 keys are written gives them all afterwards."""
        async with watch() as feed:
            await fill(store, [f"user:{number}" for number in range(MANY)])
            replica = Replica()
            replica.apply(await feed.catch_up())
            await replica.check(store, "a feed that was not read for long")

    async def test_feeds_are_independent(self, store: TokenStore, watch: Watch) -> None:
        """Each feed gives every change, also one that another gave, and when others are left."""
        async with watch() as stays:
            async with watch() as leaves, watch("k") as narrow:
                version = await store.put("key", b"value")
                for feed in (leaves, narrow, stays):
                    await check_caught_up(feed, ("key", version, b"value"))
            version = await store.put("key", b"again")
            await check_caught_up(stays, ("key", version, b"again"))

    async def test_feeds_miss_nothing(self, stores: list[TokenStore], watch: Watch) -> None:
        """Readers that wait, drain or catch up while four writers write know all in the end."""
        async with reading(watch, stores[0], {END}):
            writes = (_write(stores[i % len(stores)], i) for i in range(WRITERS))
            await asyncio.gather(*writes)
            await stores[0].put(END, b"")

    async def test_watch_then_scan(self, store: TokenStore, watch: Watch) -> None:
        """A reader that enters a feed, scans, and then reads the feed knows all, whoever writes."""
        replicas: list[tuple[Feed, Replica]] = []
        async with AsyncExitStack() as stack:
            writes = asyncio.gather(*(_write(store, number) for number in range(WRITERS)))
            for _ in range(3):
                feed, replica = await stack.enter_async_context(watch()), Replica()
                async for entry in store.scan():
                    replica.add(Change(*entry))
                replicas.append((feed, replica))
                await asyncio.sleep(0.003)
            await writes
            for feed, replica in replicas:
                replica.apply(await feed.catch_up())
                await replica.check(store, "a reader that entered watch() and then scanned")

    async def test_cancelled_wait(self, store: TokenStore, watch: Watch) -> None:
        """A `wait` that is cancelled ends and loses no change, and its feed can be left."""
        for point in range(CANCEL_POINTS):
            async with time_limit(LEAVE), watch() as feed:
                waiting = asyncio.create_task(feed.wait())
                put = asyncio.create_task(store.put("key", b"%d" % point))
                await reach_point(point)
                await _check_cancelled(waiting, feed, put)

    async def test_cancelled_catch_up(self, store: TokenStore, watch: Watch) -> None:
        """A `catch_up` that is cancelled ends and loses no change, and its feed can be left."""
        for point in range(CANCEL_POINTS):
            async with time_limit(LEAVE), watch() as feed:
                put = asyncio.create_task(store.put("key", b"%d" % point))
                await asyncio.wait({put})
                reading = asyncio.create_task(feed.catch_up())
                await reach_point(point)
                await _check_cancelled(reading, feed, put)

    async def test_damage_does_not_stop_a_feed(
        self, store: TokenStore, watch: Watch, damage_entry: Damage
    ) -> None:
        """A feed goes on beside a damaged entry, and never shows it as deleted."""
        damaged = await store.put("damaged", b"value")
        async with watch() as feed:
            await damage_entry("damaged")
            other = await store.put("other", b"value")
            known = await check_caught_up(feed, ("other", other, b"value"))
            if "damaged" in known and known["damaged"].version > damaged:
                check_unreadable(known["damaged"].value)
            version = await store.put("damaged", b"repaired")
            await check_caught_up(feed, ("damaged", version, b"repaired"))


async def check_wait(waiting: Awaitable[list[Change]], expected: Change) -> None:
    """Fail unless `wait` returns soon, with the change."""
    async with time_limit(f"wait() returns after {expected}"):
        changes = await waiting
    assert expected in changes, f"wait() must give {expected}, it gave {changes}"


async def _check_cancelled(
    reading: asyncio.Task[list[Change]], feed: Feed, put: asyncio.Task[int]
) -> None:
    """Cancel a reader; fail if it or its feed does not give the change that was put."""
    reading.cancel()
    given, version, replica = await result_of(reading), await put, Replica()
    replica.apply([] if isinstance(given, asyncio.CancelledError) else given)
    replica.apply(await feed.catch_up())
    known = replica.known.get("key", Change("key", 0, None))
    assert known.version == version, (
        f"a change was lost with a cancelled wait() or catch_up(): after version {version} the "
        f"reader knows {known}. Take changes only when nothing more is awaited"
    )


@asynccontextmanager
async def reading(watch: Watch, store: TokenStore, last: Set[str]) -> AsyncIterator[None]:
    """Readers that wait, drain or catch up, each on its own, while the block writes.

    Fail unless each knows all in the end; `last` are the keys that are written last.
    """
    async with AsyncExitStack() as stack:
        readers = [
            (method, await stack.enter_async_context(watch()), Replica())
            for method in ("wait", "drain", "catch_up")
        ]
        reads = [asyncio.create_task(_read(*reader, last)) for reader in readers]
        try:
            yield
            for read, (method, _, _) in zip(reads, readers, strict=True):
                async with time_limit(f"{method}() gives the last write"):
                    await read
        finally:
            for read in reads:
                read.cancel()
            await asyncio.wait(reads)
        for method, feed, replica in readers:
            replica.apply(await feed.catch_up())
            await replica.check(store, f"a feed read by {method}() while others wrote")


async def _read(method: str, feed: Feed, replica: Replica, last: Set[str]) -> None:
    """Read until the last writes have come."""
    while not last <= replica.known.keys():
        await asyncio.sleep(0.001 if method == "drain" else 0)
        result = getattr(feed, method)()
        replica.apply(result if method == "drain" else await result)


async def _write(store: TokenStore, number: int) -> None:
    """Put, compare and set, and delete keys of its own and some that other writers change too."""
    for step in range(40):
        key = f"key:{(number + step * 3) % 8}"
        value = b"%d of %d " % (step, number) * (1 + step % 4 * 2000)  # some take longer
        match step % 5:
            case 0:
                await store.delete(key)
            case 1 | 2:
                entry = await store.get(key)
                with suppress(VersionConflict):
                    await store.put(key, value, expect=entry.version if entry else 0)
            case _:  # nobody replaces it, so that a reader that misses it never knows it
                await store.put(f"own:{number}:{step}", value)


class Replica:
    """The newest change of each key; a change counts if its version is larger."""

    def __init__(self) -> None:
        self.known: dict[str, Change] = {}
        self._given: dict[str, int] = {}

    def apply(self, changes: object) -> None:
        """Take in what a feed gave; fail if it is no list of changes in order."""
        assert isinstance(changes, list), f"a feed must give a list, not {type(changes).__name__}"
        for change in changes:
            check_parts(change, Change, "a feed")
            given = self._given.get(change.key, 0)
            assert change.version >= given, (
                f"a feed gave {change} after version {given} of the same key: changes of one key "
                "must come in version order"
            )
            self._given[change.key] = change.version
            self.add(change)

    def add(self, change: Change) -> None:
        """Take in one change, or an entry as one."""
        known = self.known.get(change.key)
        if known is None or change.version > known.version:
            self.known[change.key] = change

    async def check(self, store: TokenStore, reader: str) -> None:
        """Fail unless the replica is what is in the store."""
        there = {key: Change(*entry) for key, entry in (await scan_all(store)).items()}
        alive = {key: change for key, change in self.known.items() if change.value is not None}
        wrong = {
            key: f"known: {self.known.get(key)}, there: {there.get(key)}"
            for key in sorted(alive.keys() | there.keys())
            if alive.get(key) != there.get(key)
        }
        assert not wrong, (
            f"{reader} missed changes: {wrong}. A feed must give every write and delete that "
            "commits after its context was entered, whoever makes it and however late it is read. "
            "One that reads above a cursor finds all only if versions are in the order of commits"
        )


async def caught_up(feed: Feed) -> dict[str, Change]:
    """The newest change of each key that `catch_up` gives."""
    replica = Replica()
    async with time_limit("catch_up() returns"):
        replica.apply(await feed.catch_up())
    return replica.known


async def check_caught_up(feed: Feed, right: tuple[str, int, bytes]) -> dict[str, Change]:
    """The newest changes that `catch_up` gives; fail unless this is among them."""
    known = await caught_up(feed)
    found = known.get(right[0])
    assert found == right, f"catch_up() missed a put: it must give {right}, it gave {found}"
    return known
