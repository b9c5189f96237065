"""Rotation while four processes refresh, cut short by `kill -9` again and again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.processes.conftest import fleet, twitch  # noqa: F401
from tests.processes.fleet import all_do
from tests.redis_store.conftest import server  # noqa: F401
from twitchvault.stores import FernetStore

from .makers import KEY, NEW, name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.processes.fleet import Fleet

PROCESSES = 4
USERS = 4
ENTRIES = 300
LIVES = 25
"""Rotations that are killed, on each store."""

# One quick-starting rotation for each line. Everything is imported before the forks.
ROTATIONS = """
import asyncio, os, sys
from twitchvault.stores import FernetStore
from twitchvault.stores.fernet import keys
from twitchvault.stores.redis import session
from twitchvault.stores.sqlite import session

async def main(url, *keys):
    store = FernetStore(url, keys)
    await store.open()
    os.write(1, f"{os.getpid()}\\n".encode())
    report = await store.rotate()
    os.write(1, f"{report.old_keys_unused} {report}\\n".encode())
    await asyncio.sleep(60)

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        asyncio.run(main(*line.split()))
    os.waitpid(pid, 0)
    os.write(1, b"over\\n")
"""


class Crew:
    """Forks the processes that rotate."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def rotate(self, url: str, *, moment: float | None = None) -> str:
        """Let a new process rotate, and kill it: at that moment, or once it has reported."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{url} {NEW} {KEY}\n".encode())
        pid = int(await self._process.stdout.readline())
        report = b""
        if moment is None:
            report = await self._process.stdout.readline()
        else:
            await asyncio.sleep(moment)  # the random moment itself: nothing is waited for
        os.kill(pid, signal.SIGKILL)
        while await self._process.stdout.readline() != b"over\n":
            pass
        return report.decode()


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    """A crew, and its end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ROTATIONS, stdin=pipe, stdout=pipe
    )
    yield Crew(process)
    process.kill()
    await process.communicate()


@pytest.fixture(params=["sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    return f"{request.getfixturevalue('server').url}/5"


async def expire(fleet: Fleet, user_id: str) -> None:  # noqa: F811 - the fixture
    """A user's token expires, and all processes want it at once."""
    assert await fleet.twitch.expire_access(user_id) == 1
    failures = await all_do(fleet.workers, "call", user_id=user_id)
    assert failures == [[]] * len(fleet.workers)


async def fill(store: FernetStore) -> None:
    """A process that still has the old key first writes."""
    await asyncio.gather(*(store.put(f"cid:{n}", b"value %d" % n) for n in range(ENTRIES)))


async def under_old_key(store: FernetStore) -> int:
    """All entries are there and open; how many of them stand under the old key."""
    ring = store._source._ring
    assert ring
    found = {entry.key: ring.find(entry.value) async for entry in store._inner.scan()}
    for number in range(ENTRIES):
        opened = found[f"cid:{number}"]
        assert opened
        assert opened[1].endswith(b"value %d" % number)
    return sum(ring.prints[opened[0]] == name_of(KEY) for opened in found.values() if opened)


@pytest.mark.timeout(120)
async def test_killed_at_any_moment_while_processes_refresh(
    fleet: Fleet,  # noqa: F811 - the fixture
    crew: Crew,
    store_url: str,
) -> None:
    """No call fails, no pair is lost, nothing is replayed, and the last rotation finishes."""
    old = FernetStore(store_url, [KEY, NEW])
    await old.open()
    await fill(old)
    await fleet.register()
    await fleet.start(PROCESSES, keys=[NEW, KEY])
    users = [await fleet.own_pair(fleet.workers[0]) for _ in range(USERS)]
    half_way = lives = 0
    # On a busy machine most are killed before they begin: go on until enough were half-way.
    while lives < LIVES or (half_way <= LIVES // 10 and lives < 4 * LIVES):
        await fill(old)
        killed = crew.rotate(store_url, moment=random.uniform(0, 0.05))
        await asyncio.gather(killed, expire(fleet, users[lives % USERS]))
        half_way += 0 < await under_old_key(old) < ENTRIES
        lives += 1
    await fill(old)
    refreshing = asyncio.gather(*(expire(fleet, user_id) for user_id in users))
    report = await crew.rotate(store_url)
    await refreshing
    assert report.startswith("True "), report
    assert f"drop {name_of(KEY)}" in report
    assert await under_old_key(old) == 0
    await old.close()
    assert half_way > LIVES // 10, "hardly a rotation was killed half-way: the test shows nothing"
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (lives + 2 * USERS, 0)
    await all_do(fleet.workers, "close")
    (alone,) = await fleet.start(1, keys=[NEW])
    for user_id in users:
        assert await alone.do("token", user_id=user_id) == await fleet.live(user_id)
        assert await alone.do("call", user_id=user_id) == []
