"""Processes: they open one empty store, and rotation is cut short by `kill -9` while they write."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import signal
import sys
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.own_stores import OwnStore
from tests.redis_store.conftest import server, store_url  # noqa: F401 - fixtures
from tests.spawning import CONTEXT, fork
from twitchvault.errors import DecryptionError, VersionConflict
from twitchvault.stores import FernetStore, SQLiteStore, open_store

from .makers import KEY, NEW, WRONG, content, decrypts, name_of, opened, values

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier, Event
    from pathlib import Path


PROCESSES = 4
COUNTERS = 8
ENTRIES = 400
KILLS = 10
"""Rotations that are killed, on each store."""


def count(url: str, stop: Event, answer: Connection) -> None:
    """A process that adds to counters until it is told to stop; what it added to each."""
    answer.send(asyncio.run(_count(url, stop)))


async def _count(url: str, stop: Event) -> Counter[str]:
    store, added = FernetStore(url, [NEW, KEY]), Counter[str]()
    await store.open()
    while not stop.is_set():
        key = f"counter:{random.randrange(COUNTERS)}"
        entry = await store.get(key)
        number, version = (int(entry.value), entry.version) if entry else (0, 0)
        with suppress(VersionConflict):
            await store.put(key, b"%d" % (number + 1), expect=version)
            added[key] += 1
    await store.close()
    return added


def rotate(url: str, answer: Connection, puts: int | None) -> None:
    """A process that rotates and reports, or is killed a moment after so many puts have begun."""
    asyncio.run(_rotate(url, answer, puts))


async def _rotate(url: str, answer: Connection, puts: int | None) -> None:
    inner = OwnStore(open_store(url))

    async def count(operation: str, _key: str) -> None:
        if operation == "put" and inner.calls["put"] == puts:
            kill = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
            threading.Timer(random.uniform(0, 0.002), kill).start()

    inner.before = count
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    report = await store.rotate()
    answer.send(f"{report.old_keys_unused} {report}")
    await inner.inner.close()


async def rotation(url: str, puts: int | None = None) -> str:
    """Let a process rotate; what it reports, nothing if it is killed."""
    answers, answer = CONTEXT.Pipe(duplex=False)
    process = fork(rotate, url, answer, puts)
    answer.close()
    report = ""
    with suppress(EOFError):
        report = await asyncio.to_thread(answers.recv)
    await asyncio.to_thread(process.join)
    answers.close()
    return report


async def fill(store: FernetStore) -> None:
    """A process that still has the old key first writes."""
    await asyncio.gather(*(store.put(f"cid:{n}", b"value %d" % n) for n in range(ENTRIES)))


async def under_old_key(url: str) -> int:
    """How many entries stand under the old key; all of them can be decrypted."""
    inner = open_store(url)
    await inner.open()
    entries = await content(inner)
    await inner.close()
    old = {key for key, entry in entries.items() if decrypts(KEY, entry.value)}
    assert all(decrypts(NEW, entry.value) for key, entry in entries.items() if key not in old)
    return len(old & {f"cid:{n}" for n in range(ENTRIES)})


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store_url", ["sqlite", "redis"], indirect=True)
async def test_killed_at_any_moment_while_processes_write(store_url: str) -> None:  # noqa: F811
    """No write is lost, every entry can be decrypted, and the last rotation finishes."""
    url, old = store_url, FernetStore(store_url, [KEY, NEW])
    await old.open()
    await fill(old)
    stop, pipes = CONTEXT.Event(), [CONTEXT.Pipe(duplex=False) for _ in range(PROCESSES)]
    writers = [fork(count, url, stop, answer) for _, answer in pipes]
    half_way = 0
    for _ in range(KILLS):
        await fill(old)
        await rotation(url, random.randrange(1, ENTRIES // 2))
        half_way += 0 < await under_old_key(url) < ENTRIES
    assert half_way > KILLS // 10, "hardly a rotation was killed half-way: the test shows nothing"
    await fill(old)
    await old.close()
    report = await rotation(url)
    stop.set()
    added = sum([await asyncio.to_thread(answers.recv) for answers, _ in pipes], Counter[str]())
    for writer in writers:
        await asyncio.to_thread(writer.join)
    assert report.startswith("True "), report
    assert f"drop {name_of(KEY)}" in report
    dropped, alone = FernetStore(url, KEY), FernetStore(url, NEW)
    with pytest.raises(DecryptionError, match="none of the keys"):
        await dropped.open()
    await dropped.close()
    await alone.open()
    found = await values(alone)
    await alone.close()
    assert {key: int(value) for key, value in found.items() if key in added} == added
    assert all(found[f"cid:{n}"] == b"value %d" % n for n in range(ENTRIES))


def write_one(path: Path, key: str, name: str, barrier: Barrier) -> None:
    """A process that opens the store with others and writes; ends with 7 if its key is wrong."""

    async def write() -> None:
        store = FernetStore(SQLiteStore(path), key)
        barrier.wait(30)
        try:
            await store.open()
            await store.put(name, name.encode())
        except DecryptionError:
            sys.exit(7)
        finally:
            await store.close()

    asyncio.run(write())


@pytest.mark.parametrize("keys", [[KEY] * 4, [KEY, WRONG] * 2], ids=["one key", "two keys"])
async def test_processes_open_an_empty_store(tmp_path: Path, keys: list[str]) -> None:
    """Of four processes that make the same store at once those with the winner's key write."""
    path, barrier = tmp_path / "tokens.db", CONTEXT.Barrier(4)
    processes = [fork(write_one, path, key, f"cid:{n}", barrier) for n, key in enumerate(keys)]
    for process in processes:
        await asyncio.to_thread(process.join, 30)
    codes = [process.exitcode for process in processes]
    winner = keys[codes.index(0)]
    assert codes == [0 if key == winner else 7 for key in keys]
    store = await opened(SQLiteStore(path), winner)
    assert set(await values(store)) == {f"cid:{n}" for n, key in enumerate(keys) if key == winner}
    await store.close()
