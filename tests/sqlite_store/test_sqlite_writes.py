"""Writing: values, the group commit, cancelling."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import StoreError, StoreUnavailable, VersionConflict
from twitchvault.stores.base import Entry

from .tools import commits, held, writer

if TYPE_CHECKING:
    from twitchvault.stores.sqlite import SQLiteStore


@pytest.mark.parametrize("size", [0, 1, 4_000, 1_000_000])
async def test_values_of_any_size(store: SQLiteStore, size: int) -> None:
    """They come back as they went, also through scan and a feed."""
    value = os.urandom(size)
    async with store.watch() as feed:
        await store.put("a", value)
        assert [change.value for change in feed.drain()] == [value]
    assert await store.get("a") == Entry("a", 1, value)
    assert [entry async for entry in store.scan()] == [Entry("a", 1, value)]


async def test_writes_that_wait_share_a_transaction(store: SQLiteStore) -> None:
    """1,000 puts at once take two commits at most, each put with a version of its own."""
    with commits(store) as seen:
        versions = await asyncio.gather(*(store.put(f"k{n}", b"1") for n in range(1_000)))
    assert versions == list(range(1, 1_001))
    assert 1 <= len(seen) <= 2


async def test_a_group_is_bounded(store: SQLiteStore) -> None:
    """Very many writes go in several transactions."""
    with commits(store) as seen:
        await asyncio.gather(*(store.put(f"k{n}", b"1") for n in range(2_500)))
    assert 3 <= len(seen) <= 5


async def test_one_after_the_other_is_one_commit_each(store: SQLiteStore) -> None:
    """A put is on the disk before it returns."""
    with commits(store) as seen:
        for number in range(1, 6):
            await store.put("a", b"1")
            assert len(seen) == number


async def test_each_write_of_a_group_has_its_own_result(store: SQLiteStore) -> None:
    """Conflicts, absent keys and successes stand side by side, in the order asked for."""
    await store.put("there", b"1")
    with held(store):
        steps = asyncio.gather(
            store.put("new", b"1", expect=0),
            store.put("new", b"2", expect=0),
            store.delete("absent"),
            store.put("there", b"2", expect=1),
            store.delete("there", expect=1),
            store.delete("there", expect=3),
            store.put("there", b"3", expect=0),
            return_exceptions=True,
        )
        await asyncio.sleep(0)
    results = await steps
    assert [str(r) if isinstance(r, VersionConflict) else r for r in results] == [
        2,
        "key 'new': expected no entry, found version 2",
        False,
        3,
        "key 'there': expected version 1, found version 3",
        True,
        5,
    ]


async def test_a_group_is_carried_out_in_order(store: SQLiteStore) -> None:
    """Of several puts and deletes of one key at once the last one stands, with its version."""
    steps = [store.put(f"k{n % 60}", b"%d" % n) for n in range(250)]
    deletes = [store.delete(f"k{n}") for n in range(55)]
    results = await asyncio.gather(*steps, *deletes, store.put("k0", b"again", expect=0))
    assert results == [*range(1, 251), *[True] * 55, 306]
    found = sorted([entry async for entry in store.scan()], key=lambda entry: entry.version)
    assert found == [
        *(Entry(f"k{n % 60}", n + 1, b"%d" % n) for n in range(235, 240)),
        Entry("k0", 306, b"again"),
    ]


async def test_a_failed_transaction_fails_all_of_its_writers(store: SQLiteStore) -> None:
    """With an error each; nothing of it is stored, and the next one works."""
    await store.put("a", b"before")
    pages = writer(store).execute("PRAGMA page_count").fetchone()[0]
    writer(store).execute(f"PRAGMA max_page_count = {pages}")
    puts = [store.put("a", b"after"), store.put("b", bytes(100_000)), store.put("c", b"1")]
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert len({id(result) for result in results}) == 3, "an exception has one owner"
    assert str(results[0]).endswith(
        "tokens.db' cannot grow, the disk is full: nothing of this was written; make room and try "
        "again (SQLITE_FULL)"
    )
    assert [entry async for entry in store.scan()] == [Entry("a", 1, b"before")]
    writer(store).execute("PRAGMA max_page_count = 100000")
    assert await store.put("b", bytes(100_000)) == 2


async def test_a_value_that_is_too_large_fails_alone(store: SQLiteStore) -> None:
    """The others of its group are written."""
    writer(store).setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    puts = [store.put("a", b"1"), store.put("b", bytes(20_000)), store.put("c", b"1")]
    first, second, third = await asyncio.gather(*puts, return_exceptions=True)
    assert [first, third] == [1, 2]
    assert isinstance(second, StoreError)
    assert str(second) == "the value for key 'b' is too large for SQLite: 20000 bytes"


async def test_a_value_that_is_too_large_changes_nothing(store: SQLiteStore) -> None:
    """Whoever comes after it in its group finds the key as it was before."""
    writer(store).setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    await store.put("a", b"1")
    steps = [
        store.put("a", bytes(20_000), expect=1),
        store.put("b", bytes(20_000)),
        store.put("b", b"1", expect=0),
        store.put("a", b"2", expect=1),
    ]
    results = await asyncio.gather(*steps, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, StoreError, int, int]
    assert results[2:] == [2, 3]


async def test_cancelled_before_it_began(store: SQLiteStore) -> None:
    """The write is taken back, its neighbours are not."""
    with held(store):
        first = asyncio.create_task(store.put("first", b"1"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # its group is on the way to the thread
        tasks = [asyncio.create_task(store.put(f"k{n}", b"1")) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
    assert list(await asyncio.gather(first, tasks[0], tasks[2])) == [1, 2, 3]
    assert await store.get("k1") is None


async def test_cancelled_after_it_began(store: SQLiteStore) -> None:
    """It is carried out as a whole, its neighbours undisturbed."""
    with held(store):
        tasks = [asyncio.create_task(store.put(f"k{n}", b"1")) for n in range(3)]
        for _ in range(3):
            await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
    assert list(await asyncio.gather(tasks[0], tasks[2])) == [1, 3]
    assert await store.get("k1") == Entry("k1", 2, b"1")


async def test_cancelled_get_leaves_the_store_in_order(store: SQLiteStore) -> None:
    """The caller leaves at once; whoever comes next is served."""
    await store.put("a", b"1")
    with held(store):
        task = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.get("a") == Entry("a", 1, b"1")
