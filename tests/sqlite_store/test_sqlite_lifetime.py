"""Feeds, opening and closing, losing the file, and `kill -9` at random moments."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import until
from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores import Change, Entry, SQLiteStore
from twitchvault.stores.base import Unreadable

from .tools import BOUND, edit, locked

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
    """Between two reads the log can be emptied: else it would grow for as long as a feed lives."""
    async with store.watch() as feed:
        for number in range(3):
            await store.put(f"key {number}", b"1")
        assert len(feed.drain()) == 3
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


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


async def test_many_open_one_new_file_at_once(path: Path) -> None:
    """Every store gets it, laid out once."""
    for number in range(8):
        stores = [SQLiteStore(path.with_suffix(f".{number}")) for _ in range(12)]
        await asyncio.gather(*(store.open() for store in stores))
        versions = await asyncio.gather(*(store.put("a", b"1") for store in stores))
        assert sorted(versions) == list(range(1, 13))
        await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.long
async def test_close_gives_up_in_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that hangs delays it for a bounded time; its writers get an error."""
    begun, disk = threading.Event(), threading.Event()

    class Hanging(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401
            if "INSERT INTO entries" in sql:
                begun.set()
                disk.wait(2 * BOUND)
            return super().execute(sql, *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Hanging, **k))
    store = SQLiteStore(path, busy_timeout=0)
    await store.open()
    threads = set(threading.enumerate())
    puts = [asyncio.create_task(store.put(key, b"1")) for key in "aab"]
    assert await asyncio.to_thread(begun.wait, BOUND)
    async with asyncio.timeout(BOUND):
        await store.close()
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert (
        str(results[0])
        == "the store was closed before an answer came: a write may have taken place"
    )
    assert caplog.messages == [f"{str(path)!r} did not close in time; its thread is left behind"]
    disk.set()
    await until(lambda: not threads <= set(threading.enumerate()))


def test_an_interrupted_loop_waits_for_the_write_under_way(
    path: Path, statements: list[str]
) -> None:
    """`asyncio.run` that ends in the midst of a write leaves a store that works."""
    store = SQLiteStore(path, busy_timeout=BOUND)

    async def leave() -> None:
        await store.open()
        other.execute("BEGIN IMMEDIATE")
        tasks.extend(asyncio.create_task(store.put(key, b"1")) for key in "ab")
        await until(lambda: "INSERT" in str(statements[-1]))
        tasks.extend(asyncio.create_task(store.get(key)) for key in "ab")
        threading.Timer(0.05, other.rollback).start()

    async def come_back() -> Entry | None:
        with pytest.raises(StoreError, match="was opened on an event loop that is closed: call"):
            await store.get("a")
        await store.open()
        entry = await store.get("a")
        await store.close()
        return entry

    tasks: list[asyncio.Task[object]] = []
    with locked(path) as other:
        other.rollback()
        asyncio.run(leave())
        assert [task.cancelled() for task in tasks] == [True] * 4
        assert asyncio.run(come_back()) == Entry("a", 1, b"1"), "it had begun: it was carried out"


@pytest.mark.parametrize("how", ["deleted", "replaced", "log deleted", "folder moved"])
async def test_a_file_taken_away_is_noticed(path: Path, how: str) -> None:
    """Nothing is written into a file that nobody will see; opening again starts anew."""
    folder = path.parent / "inner"
    folder.mkdir()
    path = folder / "tokens.db"
    store = SQLiteStore(path, busy_timeout=0.1)
    await store.open()
    await store.put("a", b"1")
    async with store.watch() as feed:
        match how:
            case "deleted":
                path.unlink()
            case "replaced":
                other = folder / "other.db"
                other.touch()
                other.replace(path)
            case "log deleted":
                (folder / "tokens.db-wal").unlink()
            case "folder moved":
                folder.rename(folder.parent / "elsewhere")
        steps = store.put("a", b"2"), store.get("a"), anext(store.scan()), feed.catch_up()
        for step in steps:
            with pytest.raises(StoreUnavailable) as refused:
                await step
            assert str(refused.value) == (
                f"{str(path)!r} or its log was deleted or replaced while the store had it open: "
                "nothing is written any more; close the store and open it again"
            )
    await store.close()
    folder.mkdir(exist_ok=True)
    for rest in folder.iterdir():
        rest.unlink()
    await store.open()
    assert await store.put("a", b"3") == 1
    await store.close()


ROUNDS = 120
ROUNDS_PER_FILE = 10
KEYS = "abcdef"

# One quick-starting writer for each line with a path. Everything is imported before the forks.
WRITERS = """
import asyncio, concurrent.futures.thread, itertools, os, sys
from twitchvault.stores import SQLiteStore

SQLiteStore("imports.db")

async def main(path):
    store = SQLiteStore(path)
    await store.open()
    async def write(key):
        for number in itertools.count(1):
            version = await store.put(key, b"%d " % number * (200 * number % 1999 + 1))
            os.write(1, f"{key} {version} {number}\\n".encode())
    await asyncio.gather(*map(write, sys.argv[1]))

for path in map(str.strip, sys.stdin):
    pid = os.fork()
    if not pid:
        os.write(1, f"writing {os.getpid()}\\n".encode())
        asyncio.run(main(path))
    os.waitpid(pid, 0)
    os.write(1, b"dead\\n")
"""


def one_life(writers: subprocess.Popen[str], path: Path, *, late: bool) -> dict[str, list[int]]:
    """Let a writer write, kill it; the last version and number that it reported for each key."""
    assert writers.stdin
    assert writers.stdout
    writers.stdin.write(f"{path}\n")
    writers.stdin.flush()
    word, pid = writers.stdout.readline().split()
    assert word == "writing"
    lines = [writers.stdout.readline()] if late else []
    time.sleep(random.uniform(0, 0.06))  # the random moment itself: nothing is waited for
    os.kill(int(pid), signal.SIGKILL)
    while (line := writers.stdout.readline()) != "dead\n":
        lines.append(line)
    return {key: [*map(int, rest)] for key, *rest in map(str.split, lines)}


def inspect(path: Path, copies: Path) -> dict[str, tuple[int, bytes]]:
    """What a copy of the files holds; the originals wait for the next writer to recover them."""
    copies.mkdir()
    for original in path.parent.glob(f"{path.name}*"):
        if not original.name.endswith("-shm"):
            shutil.copy(original, copies)
    with closing(sqlite3.connect(copies / path.name)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        rows = file.execute("SELECT key, version, value FROM entries").fetchall() if tables else []
    shutil.rmtree(copies)
    return {key.decode(): (version, value) for key, version, value in rows}


@pytest.mark.long
@pytest.mark.timeout(120)
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """120 lives, ten on each file: no damage, no acknowledged write lost, none half written.

    Each second one is killed after its first write; the others may die while they open the file.
    """
    command, pipe = [sys.executable, "-c", WRITERS, KEYS], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as writers:
        for life in range(ROUNDS):
            path = tmp_path / f"{life // ROUNDS_PER_FILE}.db"
            reported = one_life(writers, path, late=bool(life % 2))
            found = inspect(path, tmp_path / "copies")
            for key, (version, number) in reported.items():
                assert found[key][0] >= version, f"life {life}: a write of {key!r} is lost"
                if found[key][0] == version:
                    assert found[key][1].startswith(b"%d " % number)
            for version, value in found.values():
                number = int(value.split()[0])
                assert value == b"%d " % number * (200 * number % 1999 + 1), f"half at {version}"
        assert writers.stdin
        writers.stdin.close()
