"""`kill -9` during a rotation: the next one comes to the same end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from twitchvault.stores import FernetStore, SQLiteStore

from .makers import KEY, NEW, name_of, over_sqlite, values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERS = 400
LIVES = 50

# One quick-starting rotation for each line. Everything is imported before the forks.
ROTATIONS = """
import asyncio, os, signal, sys
from cryptography.fernet import Fernet
from twitchvault.stores import FernetStore, SQLiteStore
from twitchvault.stores.fernet import keys
from twitchvault.stores.sqlite import session

async def main(path, first, second):
    store = FernetStore(SQLiteStore(path), [first, second])
    await store.open()
    os.write(1, f"{os.getpid()}\\n".encode())
    await store.rotate()
    os.write(1, b"rotated\\n")
    signal.pause()

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        asyncio.run(main(*line.split()))
    os.waitpid(pid, 0)
    os.write(1, b"over\\n")
"""


def one_life(crew: subprocess.Popen[str], path: Path, keys: list[str], moment: float) -> None:
    """Let a process rotate, and kill it."""
    assert crew.stdin
    assert crew.stdout
    crew.stdin.write(f"{path} {keys[0]} {keys[1]}\n")
    crew.stdin.flush()
    pid = int(crew.stdout.readline())
    time.sleep(moment)  # the random moment itself: nothing is waited for
    os.kill(pid, signal.SIGKILL)
    while crew.stdout.readline() != "over\n":
        pass


@pytest.fixture
def crew() -> Iterator[subprocess.Popen[str]]:
    """What forks the processes that rotate."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", ROTATIONS], stdin=pipe, stdout=pipe, text=True
    ) as crew:
        yield crew
        assert crew.stdin
        crew.stdin.close()


async def look(path: Path, keys: list[str]) -> tuple[int, int]:
    """All users are there and open; how many entries stand under the first key and the second."""
    store = FernetStore(SQLiteStore(path), keys)
    await store.open()
    assert await values(store) == {f"cid:{n}": b"value %d" % n for n in range(USERS)}
    ring = store._source._ring
    assert ring
    counts = [0, 0]
    async for entry in store._inner.scan():
        found = ring.find(entry.value)
        assert found
        counts[found[0]] += 1
    await store.close()
    return counts[0], counts[1]


@pytest.mark.timeout(120)
async def test_killed_at_any_moment(tmp_path: Path, crew: subprocess.Popen[str]) -> None:
    """50 rotations are killed; nothing is lost, and a last one finishes what they began."""
    path = tmp_path / "tokens.db"
    store = over_sqlite(path)
    await store.open()
    await asyncio.gather(*(store.put(f"cid:{n}", b"value %d" % n) for n in range(USERS)))
    await store.close()
    keys, half_way, lives = [NEW, KEY], 0, 0
    # On a busy machine most are killed before they begin: go on until enough were half-way.
    while lives < LIVES or (half_way <= LIVES // 10 and lives < 4 * LIVES):
        lives += 1
        one_life(crew, path, keys, random.uniform(0, 0.05))
        new, old = await look(path, keys)
        assert new + old == USERS + 1
        half_way += bool(new and old)
        if not old:
            keys.reverse()  # there is nothing left to do: rotate back
    store = FernetStore(SQLiteStore(path), keys)
    await store.open()
    report = await store.rotate()
    await store.close()
    assert report.by_key == {name_of(keys[0]): USERS + 1, name_of(keys[1]): 0}
    assert report.old_keys_unused
    assert await look(path, keys) == (USERS + 1, 0)
    assert half_way > LIVES // 10, "hardly a rotation was killed half-way: the test shows nothing"
