"""The demo shows what it promises, says so in its exit code, and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from docs.examples.demo.__main__ import verdict
from docs.examples.demo.worker import Report
from tests.environment import until
from twitchvault.testing.fake import Counts

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path

COMMAND: Final = (sys.executable, "-m", "docs.examples.demo")
PATIENCE: Final = 40.0
PID: Final = re.compile(r"process \d runs, pid (\d+)")


async def start(folder: Path, *arguments: str) -> Process:
    """Start the demo as the leader of a session, as a shell in a terminal would."""
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
    )


async def rest(process: Process) -> tuple[int, str]:
    """Wait for its end: the exit code, and what it says until then."""
    async with asyncio.timeout(PATIENCE):
        text, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, text.decode()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Process, list[int]]]:
    """A demo at work, and its four processes."""
    demo = await start(tmp_path)
    pids: list[int] = []
    assert demo.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while "expired" not in (line := (await demo.stdout.readline()).decode()):
            assert line, "the demo has ended"
            pids += map(int, PID.findall(line))
    assert len(pids) == 4
    yield demo, pids
    if demo.returncode is None:
        os.killpg(demo.pid, signal.SIGKILL)
        await demo.wait()


@pytest.mark.long
@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_each_expired_token_is_exchanged_once(tmp_path: Path, store: str) -> None:
    """The double's counts agree, no call fails, no token is printed, and no file is left."""
    code, text = await rest(await start(tmp_path, "--store", store, "--seconds", "2"))
    assert code == 0, text
    found = re.search(r"ok  (\d+) expired tokens, (\d+) exchanges", text)
    assert found is not None, text
    assert found[1] == found[2] != "0"
    assert "ok  0 replays" in text
    assert re.search(r"ok  \d+ calls, 0 failed", text), text
    assert not re.search(r"\b[a-z0-9]{30,}\b", text), "a token is 30 characters long"
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


@pytest.mark.parametrize(
    ("expired", "counts", "last_process", "broken"),
    [
        (3, {}, {}, []),
        (4, {}, {}, [0]),
        (3, {"expiries": 4}, {}, [0]),
        (3, {"exchanges": 4}, {}, [0, 2]),
        (0, {"expiries": 0, "exchanges": 0}, {"refreshes": 0}, [0]),
        (3, {"replays": 1}, {}, [1]),
        (3, {"refused_refreshes": 1}, {}, [1]),
        (3, {}, {"refreshes": 2}, [2]),
        (3, {}, {"failed": 1, "error": "why"}, [3]),
        (3, {}, {"calls": 0}, [3]),
    ],
)
def test_bad_counts(
    expired: int, counts: dict[str, int], last_process: dict[str, Any], broken: list[int]
) -> None:
    """Each promise that the counts contradict is shown as broken, and no other."""
    reports = [Report(calls=9), Report(**{"calls": 9, "refreshes": 3, **last_process})]
    found = verdict(expired, Counts(**{"expiries": 3, "exchanges": 3, **counts}), reports)
    assert [number for number, (good, _) in enumerate(found) if not good] == broken
    assert ("why" in found[3][1]) == ("error" in last_process)


async def test_ctrl_c_ends_everything(running: tuple[Process, list[int]]) -> None:
    """Ctrl-C reaches every process of a terminal; the demo ends them all, with 130."""
    demo, pids = running
    os.killpg(demo.pid, signal.SIGINT)
    code, text = await rest(demo)
    assert code == 130
    assert "Stopped." in text
    assert "Traceback" not in text
    assert not any(map(alive, pids))


async def test_nothing_outlives_a_demo_that_was_killed(running: tuple[Process, list[int]]) -> None:
    """After kill -9 its processes end by themselves."""
    demo, pids = running
    demo.kill()
    await until(lambda: not any(map(alive, pids)), PATIENCE)


async def test_a_process_that_dies_stops_the_demo(running: tuple[Process, list[int]]) -> None:
    """A demo that lost one of its processes says which, and does not claim success."""
    demo, pids = running
    os.kill(pids[2], signal.SIGKILL)
    code, text = await rest(demo)
    assert code == 2
    assert "The demo cannot go on: process 3 ended" in text
    assert not any(map(alive, pids))


def alive(pid: int) -> bool:
    """Whether that process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
