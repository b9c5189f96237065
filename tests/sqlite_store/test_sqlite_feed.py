"""Feeds: a look costs one small question, and misses nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from twitchvault.errors import StoreUnavailable
from twitchvault.stores import Change, SQLiteStore
from twitchvault.stores.base import Unreadable

from .tools import edit, empty_log

if TYPE_CHECKING:
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


async def test_what_others_wrote_shows_at_the_next_drain(path: Path, store: SQLiteStore) -> None:
    """When a put has returned elsewhere, `drain` has it, without any wait."""
    async with SQLiteStore(path) as other, store.watch("k") as feed:
        for number in range(1, 21):
            await other.put("k", b"%d" % number)
            assert feed.drain() == [Change("k", number, b"%d" % number)]
            assert feed.drain() == []
        await other.put("other", b"1")
        assert feed.drain() == []
        await other.delete("k")
        assert feed.drain() == [Change("k", 22, None)]


async def test_a_drain_of_nothing_is_one_statement(
    statements: list[str], store: SQLiteStore
) -> None:
    """Whether anyone has committed; entries are read only then, those of other keys once."""
    async with store.watch("mine") as feed:
        await store.put("mine", b"1")
        assert len(feed.drain()) == 1
        await store.put("yours", b"1")
        assert feed.drain() == []
        statements.clear()
        for _ in range(100):
            assert feed.drain() == []
        assert statements == ["PRAGMA data_version"] * 100


async def test_a_drain_holds_no_snapshot(path: Path, store: SQLiteStore) -> None:
    """Between two looks the log can be emptied."""
    async with store.watch() as feed:
        for _ in range(2):
            await store.put("a", b"1")
            assert len(feed.drain()) == 1
            assert feed.drain() == []
            assert empty_log(path)


async def test_while_the_file_cannot_be_read(path: Path, store: SQLiteStore) -> None:
    """`drain` knows nothing now, `catch_up` says so, `wait` waits; afterwards nothing is lost."""
    async with store.watch() as feed:
        await store.put("a", b"1")
        command = [sys.executable, "-c", BLOCK_READERS, f"{path}-shm"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as program:  # noqa: ASYNC220
            assert program.stdout
            assert program.stdout.readline()
            assert feed.drain() == []
            with pytest.raises(StoreUnavailable, match="stayed locked by another program"):
                await feed.catch_up()
            with pytest.raises(StoreUnavailable, match="stayed locked by another program"):
                await store.watch().__aenter__()
            waiting = asyncio.create_task(feed.wait())
            await asyncio.sleep(0)
            assert not waiting.done()
            program.communicate()
        assert await waiting == [Change("a", 1, b"1")]


async def test_a_damaged_entry_hides_no_other(path: Path, store: SQLiteStore) -> None:
    """In a feed and in a scan it comes with what is wrong in the place of its value."""
    async with store.watch() as feed:
        edit(
            path,
            "INSERT INTO entries VALUES (1, x'61', 1, CAST(x'ff' AS TEXT))",
            "INSERT INTO entries VALUES (2, x'62ff', 2, x'78')",
        )
        await store.put("c", b"1")
        changes = feed.drain()
    for found in (changes, [entry async for entry in store.scan()]):
        (_, _, text), (_, _, key), good = found
        assert good == ("c", 3, b"1")
        assert isinstance(text, Unreadable)
        assert isinstance(key, Unreadable)
        advice = "it is damaged, restore the file from a backup"
        assert str(text.error) == f"the value of key 'a' is not a BLOB: {advice}"
        assert str(key.error) == f"the key 'b\\\\xff' is not UTF-8: {advice}"
