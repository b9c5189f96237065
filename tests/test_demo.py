"""The demo shows what it promises, says so in its exit code, and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from docs.examples.demo.__main__ import verdict
from docs.examples.demo.worker import Report
from tests.environment import until
from tests.programs import PATIENCE, Program, running
from twitchvault.testing.fake import Counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


def started(folder: Path, *arguments: str) -> AbstractAsyncContextManager[Program]:
    """The demo as the leader of a session, as a shell in a terminal would start it."""
    variables = {**os.environ, "TMPDIR": str(folder)}
    return running("-m", "docs.examples.demo", *arguments, env=variables, start_new_session=True)


@pytest.fixture
async def at_work(tmp_path: Path) -> AsyncIterator[tuple[Program, list[int]]]:
    """A demo at work, and its four processes."""
    async with started(tmp_path) as demo:
        await demo.has_written("expired")
        pids = [int(pid) for pid in re.findall(r"process \d runs, pid (\d+)", demo.output)]
        assert len(pids) == 4
        yield demo, pids


@pytest.mark.long
@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_each_expired_token_is_exchanged_once(tmp_path: Path, store: str) -> None:
    """The double's counts agree, no call fails, no token is printed, and no file is left."""
    async with started(tmp_path, "--store", store, "--seconds", "2") as demo:
        code, text = await demo.ended(), demo.output
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


async def test_ctrl_c_ends_everything(at_work: tuple[Program, list[int]]) -> None:
    """Ctrl-C reaches every process of a terminal; the demo ends them all, with 130."""
    demo, pids = at_work
    os.killpg(demo.process.pid, signal.SIGINT)
    assert await demo.ended() == 130
    assert "Stopped." in demo.output
    assert "Traceback" not in demo.output
    assert not any(map(alive, pids))


async def test_nothing_outlives_a_demo_that_was_killed(at_work: tuple[Program, list[int]]) -> None:
    """After kill -9 its processes end by themselves."""
    demo, pids = at_work
    demo.process.kill()
    await until(lambda: not any(map(alive, pids)), PATIENCE)


async def test_a_process_that_dies_stops_the_demo(at_work: tuple[Program, list[int]]) -> None:
    """A demo that lost one of its processes says which, and does not claim success."""
    demo, pids = at_work
    os.kill(pids[2], signal.SIGKILL)
    assert await demo.ended() == 2
    assert "The demo cannot go on: process 3 ended" in demo.output
    assert not any(map(alive, pids))


def alive(pid: int) -> bool:
    """Whether that process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
