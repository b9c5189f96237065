"""The contract of a token store, kept by the stores that need no server; what memory does beyond.

`tests/docs/test_own_store.py` runs it on the store of the page "Your own store".
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from twitchvault.errors import StoreError
from twitchvault.stores import Change, MemoryStore, SQLiteStore
from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from twitchvault.stores import Feed, TokenStore

OWN: Final = "a MemoryStore is the data, there is no second one on them"


class TestMemoryStore(StoreContract, omits={"handles": OWN, "processes": OWN}):
    """`MemoryStore()`."""

    @pytest.fixture
    def make_store(self) -> Callable[[], MemoryStore]:
        """One store."""
        store = MemoryStore()
        return lambda: store


class TestSQLiteStore(StoreContract):
    """`SQLiteStore(path)`."""

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], SQLiteStore]:
        """Stores on one file."""
        self.path = tmp_path / "tokens.db"
        return functools.partial(SQLiteStore, self.path)

    async def damage(self, store: TokenStore, key: str) -> None:  # noqa: ARG002
        """Put a text where bytes belong."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("UPDATE entries SET value = 'x' WHERE key = ?", (key.encode(),))


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    """An open store."""
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


async def follow(feed: Feed, seen: list[Change]) -> None:
    """Take in what a feed gives, as the vault does."""
    while True:
        seen += await feed.wait()


async def test_readers_know_a_change_before_the_writer_goes_on(store: MemoryStore) -> None:
    """When `put` and `delete` return, whoever waits on this loop has taken the change in."""
    seen: list[list[Change]] = [[], [], []]
    async with store.watch() as one, store.watch("a") as two, store.watch("b") as other:
        feeds = (one, two, other)
        readers = [asyncio.create_task(follow(f, s)) for f, s in zip(feeds, seen, strict=True)]
        await asyncio.sleep(0)
        await store.put("a", b"1")
        assert seen == [[Change("a", 1, b"1")], [Change("a", 1, b"1")], []]
        await store.delete("a")
        assert seen[0][1:] == seen[1][1:] == [Change("a", 2, None)]
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)


def test_loops_in_two_threads() -> None:
    """A reader in one thread misses nothing of what a writer in another thread does."""
    store, ready = MemoryStore(), threading.Event()
    asyncio.run(store.open())

    async def write() -> None:
        assert await asyncio.to_thread(ready.wait, 10)
        for number in range(2000):
            await store.put(f"key:{number % 3}", b"%d" % number)
        await store.put("end", b"")

    async def read() -> dict[str, Change]:
        known: dict[str, Change] = {}
        async with store.watch() as feed, asyncio.timeout(30):
            ready.set()
            while "end" not in known:
                known |= {change.key: change for change in await feed.wait()}
        return known

    writer = threading.Thread(target=asyncio.run, args=(write(),))
    writer.start()
    known = asyncio.run(read())
    writer.join()
    assert {key: change.value for key, change in known.items()} == {
        "key:0": b"1998",
        "key:1": b"1999",
        "key:2": b"1997",
        "end": b"",
    }


async def test_a_feed_ends_with_its_context(store: MemoryStore) -> None:
    """A wait under way raises an error, and so does a later call."""
    async with store.watch() as feed:
        waiting = asyncio.create_task(feed.wait())
        await asyncio.sleep(0)
    with pytest.raises(StoreError) as ended:
        await waiting
    assert str(ended.value) == "this feed has ended with its context: enter 'store.watch()' again"
    with pytest.raises(StoreError, match="has ended"):
        feed.drain()


async def test_only_the_last_change_of_a_key_is_kept(store: MemoryStore) -> None:
    """A feed nobody reads grows with the number of keys, not of writes; order is by version."""
    async with store.watch() as feed:
        for number in range(100):
            await store.put("a", b"%d" % number)
            await store.put("b", b"%d" % number)
        await store.put("a", b"last")
        assert feed.drain() == [Change("b", 200, b"99"), Change("a", 201, b"last")]
