"""Rotation while four processes read and write, cut short by `kill -9` again and again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.environment import until
from tests.redis_store.conftest import server  # noqa: F401
from tests.spawning import CONTEXT, fork
from twitchvault.errors import DecryptionError, VersionConflict
from twitchvault.stores import FernetStore, open_store

from .makers import KEY, NEW, content, decrypts, name_of, token, values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from twitchvault.stores import TokenStore

PROCESSES = 4
COUNTERS = 8
ENTRIES = 300
KILLS = 10
"""Rotations that are killed half-way, on each store."""


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


def rotate(url: str, answer: Connection) -> None:
    """A process that rotates, and lives until it is killed."""
    asyncio.run(_rotate(url, answer))


async def _rotate(url: str, answer: Connection) -> None:
    store = FernetStore(url, [NEW, KEY])
    await store.open()
    answer.send("begun")
    report = await store.rotate()
    answer.send(f"{report.old_keys_unused} {report}")
    await asyncio.sleep(60)


async def killed_rotation(url: str, moment: Callable[[Connection], Awaitable[str]]) -> str:
    """Let a process rotate and kill it at that moment; what the moment has brought."""
    answers, answer = CONTEXT.Pipe(duplex=False)
    process = fork(rotate, url, answer)
    answer.close()
    assert await asyncio.to_thread(answers.recv) == "begun"
    report = await moment(answers)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.join)
    answers.close()
    return report


async def reported(answers: Connection) -> str:
    """The rotation is through, and has reported."""
    return await asyncio.to_thread(answers.recv)


async def half_way(url: str) -> str:
    """An entry, whichever it is, stands under the new key."""
    async with open_inner(url) as inner:
        key = f"cid:{random.randrange(ENTRIES)}"
        await until(lambda: _is_new(inner, key))
    return ""


async def _is_new(inner: TokenStore, key: str) -> bool:
    return decrypts(NEW, await token(inner, key))


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    return f"{request.getfixturevalue('server').url}/5"


async def fill(store: FernetStore) -> None:
    """A process that still has the old key first writes."""
    await asyncio.gather(*(store.put(f"cid:{n}", b"value %d" % n) for n in range(ENTRIES)))


@asynccontextmanager
async def open_inner(url: str) -> AsyncIterator[TokenStore]:
    """The store with what is encrypted in it."""
    inner = open_store(url)
    await inner.open()
    yield inner
    await inner.close()


async def under_old_key(url: str) -> int:
    """How many entries stand under the old key; all of them can be decrypted."""
    async with open_inner(url) as inner:
        entries = await content(inner)
    old = {key for key, entry in entries.items() if decrypts(KEY, entry.value)}
    assert all(decrypts(NEW, entry.value) for key, entry in entries.items() if key not in old)
    return len(old & {f"cid:{n}" for n in range(ENTRIES)})


@pytest.mark.timeout(120)
async def test_killed_at_any_moment_while_processes_write(url: str) -> None:
    """No write is lost, every entry can be decrypted, and the last rotation finishes."""
    old = FernetStore(url, [KEY, NEW])
    await old.open()
    await fill(old)
    stop, pipes = CONTEXT.Event(), [CONTEXT.Pipe(duplex=False) for _ in range(PROCESSES)]
    writers = [fork(count, url, stop, answer) for _, answer in pipes]
    killed = tries = 0
    while killed < KILLS:  # on a busy machine some rotations are through before they are killed
        await fill(old)
        await killed_rotation(url, lambda _: half_way(url))
        killed += await under_old_key(url) > 0
        assert (tries := tries + 1) <= 10 * KILLS, "the kills come too late"
    await fill(old)
    await old.close()
    report = await killed_rotation(url, reported)
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
