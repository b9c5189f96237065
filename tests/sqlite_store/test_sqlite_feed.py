"""Feeds: a look costs one small question, and misses nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.base import Change, PushingFeed, Unreadable
from twitchvault.stores.sqlite import SQLiteStore

from .tools import writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Makes the index beside the log unreadable, as a process that died while recovering it would, and
# holds the locks that any other needs for recovering it.
BLOCK_READERS = """
import fcntl, sys
WRITE_LOCK, RECOVER_LOCK, HEADER = 120, 122, 96
with open(sys.argv[1], "r+b", buffering=0) as index:
    for lock in (WRITE_LOCK, RECOVER_LOCK):
        fcntl.lockf(index, fcntl.LOCK_EX, 1, lock)
    header = index.read(HEADER)
    index.seek(0)
    index.write(bytes(HEADER))
    print("blocked", flush=True)
    sys.stdin.readline()
    index.seek(0)
    index.write(header)
"""

PUT = """
import asyncio, sys
from twitchvault.stores.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    for line in sys.stdin:
        key, value = line.split()
        await (store.delete(key) if value == "-" else store.put(key, value.encode()))
        print("done", flush=True)
    await store.close()

asyncio.run(main())
"""


class Helper:
    """A Python program that answers each line with one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, line: str) -> str:
        """Send a line, return the answer."""
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        """The next line."""
        assert self._process.stdout
        return self._process.stdout.readline()


@contextmanager
def helper(script: str, *arguments: object) -> Iterator[Helper]:
    """A program that ends when it is no longer needed."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Helper(process)
        finally:
            process.communicate()
    assert process.returncode == 0


@contextmanager
def questions(store: SQLiteStore) -> Iterator[list[str]]:
    """What is asked on the reader, as SQLite itself reports it."""
    assert store._session
    seen: list[str] = []
    store._session.reader.connection.set_trace_callback(seen.append)
    try:
        yield seen
    finally:
        store._session.reader.connection.set_trace_callback(None)


async def test_other_processes_show_at_the_next_look(path: Path, store: SQLiteStore) -> None:
    """When a put has returned in one process, `drain` in another has it, without any wait."""
    with helper(PUT, path) as other:
        async with store.watch("k") as feed:
            for number in range(1, 21):
                other.ask(f"k {number}")
                assert feed.drain() == [Change("k", number, b"%d" % number)]
                assert feed.drain() == []
            other.ask("other 1")
            assert feed.drain() == []
            other.ask("k -")
            assert feed.drain() == [Change("k", 22, None)]


async def test_a_look_at_nothing_new_is_one_question(store: SQLiteStore) -> None:
    """Whether anyone has committed; entries are read only then."""
    async with store.watch() as feed:
        await store.put("a", b"1")
        assert len(feed.drain()) == 1
        with questions(store) as seen:
            for _ in range(100):
                assert feed.drain() == []
        assert set(seen) == {"PRAGMA data_version"}
        assert len(seen) == 100


async def test_changes_under_another_prefix_are_looked_at_once(store: SQLiteStore) -> None:
    """They are not read again at every look."""
    async with store.watch("mine") as feed:
        await store.put("yours", b"1")
        assert feed.drain() == []
        with questions(store) as seen:
            assert feed.drain() == []
        assert seen == ["PRAGMA data_version"]


async def test_feeds_do_not_take_from_each_other(store: SQLiteStore) -> None:
    """Each compares with what it saw itself, however the others look."""
    async with store.watch() as first, store.watch() as second, store.watch("b") as third:
        for number in range(1, 21, 2):
            await store.put("a", b"1")
            change_a = Change("a", number, b"1")
            assert first.drain() == [change_a]
            await store.put("b", b"1")
            change_b = Change("b", number + 1, b"1")
            assert first.drain() == [change_b]
            assert second.drain() == [change_a, change_b]
            assert third.drain() == [change_b]


async def test_it_begins_with_the_context(store: SQLiteStore) -> None:
    """What stood before does not come, what comes after is complete."""
    await store.put("a", b"1")
    async with store.watch() as feed:
        assert feed.drain() == []
        await store.put("a", b"2")
        async with store.watch() as later:
            assert later.drain() == []
        assert await feed.catch_up() == [Change("a", 2, b"2")]


async def test_it_asks_and_is_not_told(store: SQLiteStore) -> None:
    """It is no PushingFeed."""
    async with store.watch() as feed:
        assert not isinstance(feed, PushingFeed)


async def test_a_look_holds_no_snapshot(store: SQLiteStore) -> None:
    """Between two looks the log can be emptied."""
    async with store.watch() as feed:
        for _ in range(2):
            await store.put("a", b"1")
            assert len(feed.drain()) == 1
            assert feed.drain() == []
            assert writer(store).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


async def test_only_the_last_write_of_a_key_comes(store: SQLiteStore) -> None:
    """In order of versions."""
    async with store.watch() as feed:
        await asyncio.gather(*(store.put(f"k{n % 3}", b"%d" % n) for n in range(9)))
        assert feed.drain() == [
            Change("k0", 7, b"6"),
            Change("k1", 8, b"7"),
            Change("k2", 9, b"8"),
        ]


async def test_while_the_file_cannot_be_read(path: Path) -> None:
    """`drain` knows nothing now, `catch_up` says so, `wait` waits; afterwards nothing is lost."""
    store = SQLiteStore(path, busy_timeout=0.2)
    await store.open()
    async with store.watch() as feed:
        await store.put("a", b"1")
        with helper(BLOCK_READERS, f"{path}-shm") as blocker:
            assert blocker.answer() == "blocked\n"
            assert feed.drain() == []
            with pytest.raises(StoreUnavailable) as refused:
                await feed.catch_up()
            with pytest.raises(StoreUnavailable):
                async with store.watch():
                    pass
            waiting = asyncio.create_task(feed.wait())
            await asyncio.sleep(0)
            assert not waiting.done()
        assert str(refused.value) == (
            f"{str(path)!r} stayed locked by another program for longer than 'busy_timeout' "
            "allows: find what keeps a transaction open on it, or allow more time "
            "(SQLITE_BUSY_RECOVERY)"
        )
        assert await waiting == [Change("a", 1, b"1")]
    await store.close()


async def test_after_its_context_or_its_store(store: SQLiteStore) -> None:
    """Using it is an error that says which of the two has ended."""
    async with store.watch() as feed:
        pass
    with pytest.raises(StoreError) as ended:
        feed.drain()
    assert str(ended.value) == "this feed has ended with its context: enter 'store.watch()' again"
    async with store.watch() as feed:
        waiting = asyncio.create_task(feed.wait())
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreError, match="is closed"):
            feed.drain()
        with pytest.raises(StoreError, match="is closed"):
            await feed.catch_up()
        with pytest.raises(StoreError, match="is closed"):
            await waiting
        with pytest.raises(StoreError, match="is closed"):
            await store.watch().__aenter__()


async def test_a_damaged_entry_hides_no_other(path: Path, store: SQLiteStore) -> None:
    """It comes with what is wrong in the place of its value; it is not taken for deleted."""
    async with store.watch() as feed:
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("PRAGMA ignore_check_constraints = ON")
            file.execute("INSERT INTO entries VALUES (1, ?, 1, CAST(? AS TEXT))", (b"a", b"\xff"))
            file.execute("INSERT INTO entries VALUES (2, ?, 2, 0)", (b"b",))
        await store.put("c", b"1")
        changes = feed.drain()
    assert [change[:2] for change in changes] == [("a", 1), ("b", 2), ("c", 3)]
    for change in changes[:2]:
        assert isinstance(change.value, Unreadable)
        assert str(change.value.error) == (
            f"the value of key {change.key!r} is not a BLOB: it is damaged, restore the file from "
            "a backup"
        )
