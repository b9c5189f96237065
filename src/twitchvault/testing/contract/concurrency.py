"""Many tasks, and many stores on the same data, in one process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from twitchvault.errors import VersionConflict
from twitchvault.testing.contract.kit import (
    POINTS,
    Kit,
    MakeStore,
    check_conflict,
    check_count,
    content,
    held,
    increment,
    opened,
    reach,
    rule,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twitchvault.stores.base import TokenStore

TASKS: Final = 50
LATE: Final = 0.05
"""Seconds in which a write that was called off, but goes on, would be done."""


class Concurrency(Kit):
    """What holds when much happens at once."""

    @rule()
    async def test_increments_of_many_tasks(self, store: TokenStore) -> None:
        """50 tasks that add one by compare-and-set lose nothing."""
        versions = await asyncio.gather(*(increment(store, "count") for _ in range(TASKS)))
        await check_count(store, "count", versions)

    @rule()
    async def test_one_creates(self, store: TokenStore) -> None:
        """Of many puts with expect=0 at once one succeeds; the others learn its version."""
        await _check_one_creates([store] * TASKS)

    @rule()
    async def test_one_deletes(self, store: TokenStore) -> None:
        """Of many deletes at once one is told True."""
        await store.put("key", b"value")
        told = await asyncio.gather(*(store.delete("key") for _ in range(TASKS)))
        assert told.count(True) == 1, f"{told.count(True)} of {TASKS} deletes at once gave True"

    @rule()
    async def test_puts_on_many_keys(self, store: TokenStore) -> None:
        """Unconditional puts at once are all kept, each at a version of its own."""
        keys = [f"key:{number}" for number in range(2 * TASKS)]
        versions = await asyncio.gather(*(store.put(key, key.encode()) for key in keys))
        assert len(set(versions)) == len(keys), "two writes were given the same version"
        found = await content(store)
        assert found == {
            key: (key, version, key.encode()) for key, version in zip(keys, versions, strict=True)
        }, f"of {len(keys)} puts at once {len(found)} are there, or at other versions than told"

    @rule()
    async def test_puts_on_one_key(self, store: TokenStore) -> None:
        """Of unconditional puts on one key the one with the largest version stands."""
        puts = (store.put("key", b"%d" % number) for number in range(TASKS))
        versions = await asyncio.gather(*puts)
        assert len(set(versions)) == TASKS, "two writes were given the same version"
        last = max(versions)
        expected = ("key", last, b"%d" % versions.index(last))
        entry = await held(store, "key")
        assert entry == expected, f"{entry!r} stands; the largest version was told for {expected}"

    @rule()
    async def test_refused_among_accepted(self, store: TokenStore) -> None:
        """A refused write does not take those with it that were made at the same time."""
        calls = [store.put(f"key:{i}", b"value", expect=i % 2 * TASKS) for i in range(TASKS)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        for number, result in enumerate(results):
            key, entry = f"key:{number}", await store.get(f"key:{number}")
            if number % 2:
                assert isinstance(result, VersionConflict), f"put({key!r}) gave {result!r}"
                check_conflict(result, key, TASKS, 0)
                assert entry is None, f"a refused put left {entry!r}"
            else:
                assert entry == (key, result, b"value"), f"put({key!r}) gave {result!r}: {entry!r}"

    @rule()
    async def test_cancelled_put(self, store: TokenStore) -> None:
        """A put that is cancelled leaves the old value or the new one, and the store usable."""
        last: dict[str, int] = {}
        for point in range(POINTS):
            key = f"key:{point}"
            old = await store.put(key, b"old")
            seen = await _cancel(store, key, point, expect=old if point % 2 else None)
            assert seen in (b"old", b"called off"), f"a cancelled put left {seen!r}"
            last[key] = await store.put(key, b"last")
            assert last[key] > old, f"after a cancelled put version {last[key]} came after {old}"
        await asyncio.sleep(LATE)
        for key, version in last.items():
            assert await held(store, key) == (key, version, b"last"), (
                "a cancelled put took effect after a later put had returned"
            )

    @rule()
    async def test_cancelled_put_among_others(self, store: TokenStore) -> None:
        """A cancelled put does not take those with it that were made at the same time."""
        for point in range(POINTS // 2):
            puts = [asyncio.create_task(store.put(f"key:{i}", b"%d" % point)) for i in range(10)]
            await reach(point)
            for put in puts[::2]:
                put.cancel()
            results = await asyncio.gather(*puts, return_exceptions=True)
            for number in range(1, len(puts), 2):
                entry = await held(store, f"key:{number}")
                assert entry == (f"key:{number}", results[number], b"%d" % point), (
                    f"a put beside a cancelled one gave {results[number]!r}, there is {entry!r}"
                )

    @rule("handles")
    async def test_stores_see_each_other(self, store: TokenStore, opener: MakeStore) -> None:
        """What one store has written, another on the same data reads at once."""
        async with opened(opener) as other:
            for number in range(5):
                version = await store.put("key", b"%d" % number)
                assert await held(other, "key") == ("key", version, b"%d" % number), (
                    "get() of another store on the same data gave an old entry"
                )
                assert (await content(other))["key"].version == version, "scan() gave an old entry"
                assert await other.delete("key", expect=version) is True, (
                    "delete() by another store"
                )
                assert await store.get("key") is None, "another store's delete is not seen"
            later = await other.put("key", b"other")
            assert later > version, f"another store gave version {later} after {version}"

    @rule("handles")
    async def test_increments_of_several_stores(self, store: TokenStore, opener: MakeStore) -> None:
        """Stores on the same data that add one by compare-and-set lose nothing."""
        async with opened(opener) as second, opened(opener) as third:
            stores = (store, second, third)
            calls = [increment(stores[i % len(stores)], "count") for i in range(TASKS)]
            versions = await asyncio.gather(*calls)
            for each in stores:
                await check_count(each, "count", versions)

    @rule("handles")
    async def test_one_of_several_stores_creates(
        self, store: TokenStore, opener: MakeStore
    ) -> None:
        """Of puts with expect=0 by several stores at once one succeeds."""
        async with opened(opener) as second, opened(opener) as third:
            await _check_one_creates([store, second, third] * 5)


async def _check_one_creates(stores: Sequence[TokenStore]) -> None:
    """Let all create the same key at once; fail unless exactly one does."""
    calls = [store.put("key", b"%d" % i, expect=0) for i, store in enumerate(stores)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    made = {i: result for i, result in enumerate(results) if isinstance(result, int)}
    assert len(made) == 1, f"{len(made)} of {len(stores)} puts with expect=0 at once succeeded"
    (winner, version), *_ = made.items()
    assert await held(stores[0], "key") == ("key", version, b"%d" % winner), "another one stands"
    for result in results[:winner] + results[winner + 1 :]:
        assert isinstance(result, VersionConflict), f"a put that came too late gave {result!r}"
        check_conflict(result, "key", 0, version)


async def _cancel(store: TokenStore, key: str, point: int, expect: int | None) -> bytes:
    """Cancel a put at some point of its way; the value that is there then."""
    put = asyncio.create_task(store.put(key, b"called off", expect=expect))
    await reach(point)
    put.cancel()
    (result,) = await asyncio.gather(put, return_exceptions=True)
    assert isinstance(result, int | asyncio.CancelledError), f"a cancelled put raised {result!r}"
    entry = await held(store, key)
    if isinstance(result, int):
        assert entry.value == b"called off", "a put that returned is not there"
    return entry.value
