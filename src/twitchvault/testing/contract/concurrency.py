"""Many tasks, and many stores on the same data, in one process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import VersionConflict
from twitchvault.testing.contract.support import (
    CANCEL_POINTS,
    ContractFixtures,
    check_conflict,
    get_entry,
    reach_point,
    scan_all,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twitchvault.stores.base import TokenStore

TASKS: Final = 50
LATE: Final = 0.05
"""Seconds in which a cancelled write that goes on in the background would be done."""


class Concurrency(ContractFixtures):
    """What holds when much happens at once."""

    async def test_increments_of_many_tasks(self, store: TokenStore) -> None:
        """50 tasks that add one by compare-and-set lose nothing."""
        await _check_increments([store])

    async def test_increments_of_several_stores(
        self, store: TokenStore, others: list[TokenStore]
    ) -> None:
        """The same with stores on the same data."""
        await _check_increments([store, *others])

    async def test_one_creates(self, store: TokenStore) -> None:
        """Of many puts with expect=0 at once one succeeds; the others learn its version."""
        await _check_one_creates([store])

    async def test_one_of_several_stores_creates(
        self, store: TokenStore, others: list[TokenStore]
    ) -> None:
        """The same with stores on the same data."""
        await _check_one_creates([store, *others])

    async def test_stores_see_each_other(self, store: TokenStore, others: list[TokenStore]) -> None:
        """What one store has written, another on the same data reads at once."""
        other = others[0]
        for number in range(5):
            version = await store.put("key", b"%d" % number)
            expected = ("key", version, b"%d" % number)
            assert await get_entry(other, "key") == expected, "get() gave another store's old entry"
            assert await scan_all(other) == {"key": expected}, "scan() gave an old entry"
            assert await other.delete("key", expect=version) is True, "delete() by another store"
            assert await store.get("key") is None, "another store's delete is not seen"
            later = await other.put("key", b"other")
            assert later > version, f"another store gave version {later} after {version}"

    async def test_puts_and_deletes_at_once(self, store: TokenStore) -> None:
        """All puts are kept, each at a version of its own; of many deletes one returns True."""
        keys = [f"key:{number}" for number in range(2 * TASKS)]
        versions = await asyncio.gather(*(store.put(key, key.encode()) for key in keys))
        assert len(set(versions)) == len(keys), "two writes were given the same version"
        found = await scan_all(store)
        right = {k: (k, v, k.encode()) for k, v in zip(keys, versions, strict=True)}
        assert found == right, f"of {len(keys)} puts at once {len(found)} are there"
        results = await asyncio.gather(*(store.delete("key:0") for _ in range(TASKS)))
        assert results.count(True) == 1, f"{results.count(True)} of {TASKS} deletes gave True"

    async def test_puts_on_one_key(self, store: TokenStore) -> None:
        """Of unconditional puts on one key the one with the largest version stands."""
        puts = (store.put("key", b"%d" % number) for number in range(TASKS))
        versions = await asyncio.gather(*puts)
        last = max(versions)
        entry = await get_entry(store, "key")
        assert entry == ("key", last, b"%d" % versions.index(last)), (
            f"{entry!r} stands; the largest version is {last}"
        )

    async def test_refused_among_accepted(self, store: TokenStore) -> None:
        """A refused write does not take those with it that were made at the same time."""
        calls = [store.put(f"key:{i}", b"value", expect=i % 2 * TASKS) for i in range(TASKS)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        for number, result in enumerate(results):
            key, entry = f"key:{number}", await store.get(f"key:{number}")
            if number % 2:
                check_conflict(result, key, TASKS, 0)
                assert entry is None, f"a refused put left {entry!r}"
            else:
                assert entry == (key, result, b"value"), f"put({key!r}) gave {result!r}: {entry!r}"

    async def test_cancelled_put(self, store: TokenStore) -> None:
        """A put that is cancelled leaves the old value or the new one, and the store usable."""
        last: dict[str, int] = {}
        for point in range(CANCEL_POINTS):
            key = f"key:{point}"
            old = await store.put(key, b"old")
            await _check_cancelled(store, key, point, expect=old if point % 2 else None)
            last[key] = await store.put(key, b"last")
            assert last[key] > old, f"after a cancelled put version {last[key]} came after {old}"
        await asyncio.sleep(LATE)
        for key, version in last.items():
            assert await get_entry(store, key) == (key, version, b"last"), (
                "a cancelled put took effect after a later put had returned"
            )

    async def test_cancelled_put_among_others(self, store: TokenStore) -> None:
        """A cancelled put does not take those with it that were made at the same time."""
        for point in range(CANCEL_POINTS // 2):
            puts = [asyncio.create_task(store.put(f"key:{i}", b"%d" % point)) for i in range(10)]
            await reach_point(point)
            for put in puts[::2]:
                put.cancel()
            results = await asyncio.gather(*puts, return_exceptions=True)
            for number in range(1, len(puts), 2):
                entry = await get_entry(store, f"key:{number}")
                assert entry == (f"key:{number}", results[number], b"%d" % point), (
                    f"a put beside a cancelled one gave {results[number]!r}, there is {entry!r}"
                )


async def increment(store: TokenStore, key: str) -> int:
    """Add one to the number under `key` by compare-and-set; the version it was written at."""
    while True:
        entry = await store.get(key)
        number, version = (int(entry.value), entry.version) if entry else (0, 0)
        await asyncio.sleep(0)  # lets others in between, also in a store that never waits
        with suppress(VersionConflict):
            return await store.put(key, b"%d" % (number + 1), expect=version)


async def check_count(store: TokenStore, key: str, versions: list[int]) -> None:
    """Fail unless every one of the increments that returned `versions` is in the number."""
    entry = await get_entry(store, key)
    assert int(entry.value) == len(versions), (
        f"{len(versions)} increments by compare-and-set succeeded, but the number is "
        f"{int(entry.value)}: put() must compare and write in one atomic step"
    )
    assert len(set(versions)) == len(versions), "two writes were given the same version"
    assert entry.version == max(versions), "the last write returned another version"


async def _check_increments(stores: Sequence[TokenStore]) -> None:
    calls = [increment(stores[i % len(stores)], "count") for i in range(TASKS)]
    versions = await asyncio.gather(*calls)
    for store in stores:
        await check_count(store, "count", versions)


async def _check_one_creates(stores: Sequence[TokenStore]) -> None:
    """Let all create the same key at once; fail unless exactly one does."""
    calls = [stores[i % len(stores)].put("key", b"%d" % i, expect=0) for i in range(TASKS)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    made = {i: result for i, result in enumerate(results) if isinstance(result, int)}
    assert len(made) == 1, f"{len(made)} of {TASKS} puts with expect=0 at once succeeded"
    ((winner, version),) = made.items()
    assert await get_entry(stores[0], "key") == ("key", version, b"%d" % winner), "another stands"
    for result in results[:winner] + results[winner + 1 :]:
        check_conflict(result, "key", 0, version)


async def _check_cancelled(store: TokenStore, key: str, point: int, expect: int | None) -> None:
    """Cancel a put at some point of its way; fail if it left neither the old value nor the new."""
    put = asyncio.create_task(store.put(key, b"cancelled", expect=expect))
    await reach_point(point)
    put.cancel()
    (result,) = await asyncio.gather(put, return_exceptions=True)
    assert isinstance(result, int | asyncio.CancelledError), f"a cancelled put raised {result!r}"
    value = (await get_entry(store, key)).value
    assert value == b"cancelled" or (value == b"old" and not isinstance(result, int)), (
        f"a cancelled put gave {result!r} and left {value!r}"
    )
